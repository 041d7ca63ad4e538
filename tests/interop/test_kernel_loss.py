"""A LAN that loses frames: 3 MB each way arrive the same under 1% and 5% random loss by nftables.

The kernel's host is behind a bridge, so that both directions pass a `netdev` ingress chain: frames of the
stack's where they come off the TAP, frames of the kernel's where they come off the veth. All set-ups
(loss, offload, congestion control) run at once, for most of their time is waiting for retransmission timers.
"""

import os
import re
import socket

import pytest

from tests.interop.netns import KERNEL, STACK, Namespace, needs, stack_on_tap
from tests.interop.peers import Doing, drained, kernel_receives, kernel_sends, said, sha256

SIZE = 3_000_000
PORT = 5002
LIMIT_S = 60
SET_UPS = [(1, True, "cubic"), (1, False, "cubic"), (5, True, "cubic"), (5, False, "cubic"), (5, True, "bbr")]

_RULES = """
table netdev loss {{
  chain from_stack {{
    type filter hook ingress device tap0 priority 0;
    ip protocol tcp ip length > 200 numgen random mod 100 < {percent} counter drop
    ip protocol tcp numgen random mod 100 < {percent} drop
  }}
  chain from_kernel {{
    type filter hook ingress device wire priority 0;
    ip protocol tcp ip length > 200 numgen random mod 100 < {percent} counter drop
    ip protocol tcp numgen random mod 100 < {percent} drop
  }}
}}
"""


def transfers(percent, offload, congestion):
    """Send 3 MB each way at once; for each way whether all arrived right, and how much was lost."""
    bridge, host = Namespace(), Namespace()
    try:
        lan = stack_on_tap(bridge, offload=offload)
        lan.stack.net.tcp.config.congestion = congestion
        with lan.stack:
            lossy_bridge(bridge, host, percent)
            if not offload:
                # frames of wire size on the kernel's side too, so that each is lost by itself
                host.run("ip", "link", "set", "eth0", "gso_max_segs", 1)
            inward = Doing(repeat, into_stack, lan, host, bridge, "from_kernel")
            outward = Doing(repeat, out_of_stack, lan, host, bridge, "from_stack")
            return inward.result(LIMIT_S), outward.result(LIMIT_S), dict(lan.stack.net.counters)
    finally:
        host.close()
        bridge.close()


def lossy_bridge(bridge, host, percent):
    bridge.net.delete_address("tap0", f"{KERNEL}/24")
    bridge.net.add_bridge("lan")
    bridge.net.add_veth("wire", "eth0", host.name)
    for port in ("tap0", "wire"):
        bridge.net.set_master(port, "lan")
    host.net.add_address("eth0", f"{KERNEL}/24")
    bridge.run("nft", "-f", "-", data=_RULES.format(percent=percent).encode())


def lost(bridge, chain):
    told = bridge.run("nft", "list", "chain", "netdev", "loss", chain).decode()
    return int(re.search(r"counter packets (\d+)", told)[1])


def repeat(transfer, lan, host, bridge, chain):
    """Transfer until data was lost on the way (super-segments are few): did all arrive right, and how many losses."""
    for _ in range(30):
        same = transfer(lan, host)
        if lost(bridge, chain) or not same:
            break
    return same, lost(bridge, chain)


def into_stack(lan, host):
    with lan.stack.create_server((STACK, PORT)) as server:
        server.settimeout(LIMIT_S)
        sending = kernel_sends(host, PORT, SIZE)
        sock, _ = server.accept()
        with sock:
            sock.settimeout(LIMIT_S)
            size, digest = drained(sock)
    return size == SIZE and said(sending) == [digest]


def out_of_stack(lan, host):
    receiving = kernel_receives(host, KERNEL, PORT)
    data = os.urandom(SIZE)
    with lan.stack.create_connection((KERNEL, PORT), timeout=LIMIT_S) as sock:
        sock.sendall(data)
        sock.shutdown(socket.SHUT_WR)
        assert sock.recv(1) == b""
    return said(receiving) == [str(SIZE), sha256(data)]


@pytest.fixture(scope="module")
def runs():
    return {each: Doing(transfers, *each) for each in SET_UPS}


@needs("nft", "ip")
@pytest.mark.parametrize("set_up", SET_UPS, ids=str)
def test_3_megabytes_each_way_arrive_the_same(runs, set_up):
    inward, outward, counters = runs[set_up].result(2 * LIMIT_S)
    for same, dropped in (inward, outward):
        assert same
        assert dropped
    assert counters["tcp.retrans_segs"] >= outward[1] > 0
