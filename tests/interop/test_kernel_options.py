"""Transfers with kernels that were told to be old-fashioned or cramped, and over other MTUs."""

import os
import socket

import pytest

from scapystack.link.tap import TapLink
from scapystack.sockets.facade import Stack
from tests.interop.netns import KERNEL, STACK, stack_on_tap
from tests.interop.peers import connection_of, drained, kernel_receives, kernel_sends, said, sha256

PORT = 5005
SIZE = 3_000_000

KERNELS = {
    "no-sack": {"tcp_sack": 0},
    "no-timestamps": {"tcp_timestamps": 0},
    "no-scaling": {"tcp_window_scaling": 0},
    "none": {"tcp_sack": 0, "tcp_timestamps": 0, "tcp_window_scaling": 0},
    "cramped": {"tcp_rmem": "4096 8192 16384", "tcp_wmem": "4096 8192 16384"},
}


def into(ns, stack):
    """From the kernel to the stack; the stack's connection as it stood when it was accepted."""
    with stack.create_server((STACK, PORT)) as server:
        server.settimeout(10)
        sending = kernel_sends(ns, PORT, SIZE)
        sock, _ = server.accept()
        connection = connection_of(stack, sock)
        with sock:
            sock.settimeout(20)
            size, digest = drained(sock)
    assert size == SIZE
    assert said(sending) == [digest]
    return connection


def out_of(ns, stack):
    """From the stack to the kernel; the stack's connection."""
    receiving = kernel_receives(ns, KERNEL, PORT)
    data = os.urandom(SIZE)
    with stack.create_connection((KERNEL, PORT), timeout=20) as sock:
        connection = connection_of(stack, sock)
        sock.sendall(data)
        sock.shutdown(socket.SHUT_WR)
        assert sock.recv(1) == b""
    assert said(receiving) == [str(SIZE), sha256(data)]
    return connection


@pytest.mark.parametrize("settings", KERNELS.values(), ids=KERNELS)
def test_kernel_without_an_option_or_without_memory_gets_and_gives_the_same(lan, settings):
    for name, value in settings.items():
        lan.ns.sysctl(f"net.ipv4.{name}", value)
    for c in (into(lan.ns, lan.stack), out_of(lan.ns, lan.stack)):
        assert (c.sack_ok, c.ts_ok, c.ws_ok) == tuple(
            settings.get(name, 1) == 1 for name in ("tcp_sack", "tcp_timestamps", "tcp_window_scaling")
        )


@pytest.mark.parametrize("offload", [True, False], ids=["offload", "no-offload"])
def test_stack_without_options_gets_and_gives_the_same(netns, offload):
    lan = stack_on_tap(netns, offload=offload)
    tcp = lan.stack.net.config.tcp
    tcp.sack = tcp.timestamps = tcp.window_scaling = False
    with lan.stack:
        for c in (into(netns, lan.stack), out_of(netns, lan.stack)):
            assert (c.sack_ok, c.ts_ok, c.ws_ok, c.snd_mss) == (False, False, False, 1460)


@pytest.mark.parametrize("offload", [True, False], ids=["offload", "no-offload"])
@pytest.mark.parametrize("mtu", [576, 9_000, 65_521])
def test_other_mtu_decides_the_segments_size(netns, offload, mtu):
    link = TapLink("tap0", netns=netns.name, offload=offload, mtu=mtu)
    netns.net.add_address("tap0", f"{KERNEL}/24")
    netns.net.set_up("tap0")
    with Stack(f"{STACK}/24", link=link) as stack:
        assert stack.ping(KERNEL, size=60_000, timeout=2).address == KERNEL
        for c in (into(netns, stack), out_of(netns, stack)):
            assert c.snd_mss == mtu - 40 - 12
