"""ARP and ICMP echo between the stack and the kernel: ping and arping, small, and in fragments both ways."""

import re
import subprocess

import pytest

from tests.interop.netns import KERNEL, STACK, needs
from tests.interop.peers import until

BIG = 60_000


@needs("ping")
def test_ping_from_the_kernel_is_answered(shared_lan):
    told = shared_lan.ns.run("ping", "-c", 5, "-i", 0.02, "-W", 2, STACK).decode()
    assert "5 packets transmitted, 5 received, 0% packet loss" in told
    assert "ttl=64" in told
    assert "DUP" not in told


@needs("ping")
def test_ping_of_60000_octets_from_the_kernel_is_answered_whole(shared_lan):
    counters = shared_lan.stack.net.counters
    whole, sent = counters["ip.reassembly.ok"], counters["ip.fragments_out"]
    told = shared_lan.ns.run("ping", "-c", 3, "-i", 0.02, "-W", 2, "-s", BIG, "-p", "c0ffee", STACK).decode()
    assert "3 packets transmitted, 3 received" in told
    assert f"{BIG + 8} bytes from {STACK}" in told
    assert "wrong data" not in told
    assert counters["ip.reassembly.ok"] - whole == 3
    assert counters["ip.fragments_out"] - sent == 3 * 41


@pytest.mark.parametrize("size", [0, 56, 1472, 1473, BIG, 65_507])
def test_ping_of_the_stack_is_answered_by_the_kernel(shared_lan, size):
    reply = shared_lan.stack.ping(KERNEL, size=size, timeout=2)
    assert (reply.address, reply.ttl) == (KERNEL, 64)
    assert reply.data == bytes(i & 0xFF for i in range(size))
    assert reply.rtt_ms > 0


def test_ping_of_the_stack_to_nobody_is_host_unreachable(shared_lan):
    shared_lan.stack.net.config.arp.retry_ms = 50
    try:
        with pytest.raises(OSError, match="No route to host"):
            shared_lan.stack.ping("10.0.0.77", timeout=5)
    finally:
        shared_lan.stack.net.config.arp.retry_ms = 1000


@needs("arping")
def test_arping_is_answered_with_the_stacks_address(shared_lan):
    told = shared_lan.ns.run("arping", "-c", 1, "-w", 3, "-I", "tap0", STACK).decode()
    assert re.search(r"reply from 10\.0\.0\.1 \[(.*)\]", told)[1].lower() == shared_lan.link.mac.hex(":")
    assert "Received 1 response(s)" in told


@needs("arping")
def test_arping_of_another_address_is_not_answered(shared_lan):
    told = shared_lan.ns.run("arping", "-c", 1, "-w", 1, "-I", "tap0", "10.0.0.9", check=False).decode()
    assert "Received 0 response(s)" in told


@needs("arping", "ip")
def test_gratuitous_arp_of_the_kernel_updates_the_stacks_cache(lan):
    """RFC 826: what is in the table is brought up to date, whoever asked."""
    lan.stack.ping(KERNEL, timeout=2)
    lan.ns.net.set_up("tap0", False)
    lan.ns.net.set_mac("tap0", "02:00:00:00:00:99")
    lan.ns.net.set_up("tap0")
    with pytest.raises(TimeoutError):
        lan.stack.ping(KERNEL, timeout=0.1)
    asked = lan.stack.net.counters["arp.in.request"]
    announcing = lan.ns.popen("arping", "-c", 1, "-U", "-I", "tap0", KERNEL, stdout=subprocess.DEVNULL)
    until(lambda: lan.stack.net.counters["arp.in.request"] > asked)
    assert lan.stack.ping(KERNEL, timeout=1).address == KERNEL
    announcing.kill()
