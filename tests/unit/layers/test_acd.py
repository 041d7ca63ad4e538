"""Address conflict detection (RFC 5227): an address is probed for before it is used, and defended after."""

from itertools import pairwise

import pytest
from scapy.layers.inet import ICMP
from scapy.layers.l2 import ARP, Ether

from scapystack.base.addr import ip
from scapystack.base.errors import ConfigError
from scapystack.base.types import MILLISECOND
from tests.harness.ip import BROADCAST, Wire

THIEF = "02:00:00:00:00:66"


@pytest.fixture
def probing():
    return Wire(known=False, configure=lambda config: setattr(config.arp, "probe", True))


def probe(wire, address="10.0.0.1"):
    return wire.who_has(address, src="0.0.0.0")


def claim_of(psrc, pdst, op=1):
    return Ether(src=THIEF, dst=BROADCAST) / ARP(op=op, hwsrc=THIEF, psrc=psrc, pdst=pdst)


def test_acd_address_probed_thrice_then_announced_twice(probing):
    """5227/2.1-2.4."""
    times = []
    expected = [probe(probing)] * 3 + [probing.who_has("10.0.0.1")] * 2
    while len(times) < 5:
        probing.now = probing.net.next_deadline()
        probing.net.poll(probing.now)
        left = probing.out()
        if left:
            assert [bytes(packet) for packet in left] == [bytes(expected[len(times)])]
            times.append(probing.now)
    gaps = [(b - a) // MILLISECOND for a, b in pairwise(times)]
    assert all(1_000 <= gap <= 2_000 for gap in gaps[:2])  # PROBE_MIN, PROBE_MAX
    assert gaps[2:] == [2_000, 2_000]  # ANNOUNCE_WAIT, ANNOUNCE_INTERVAL
    assert probing.net.ipv4.is_local(ip("10.0.0.1"))
    probing.after(ms=60_000)
    probing.expect()


def test_acd_address_not_used_while_probed(probing):
    probing.send(probing.rx(ICMP(id=1)), claim_of("10.0.0.7", "10.0.0.1"))
    probing.expect()
    with pytest.raises(OSError, match="unreachable"):
        probing.net.ipv4.route(ip("10.0.0.2"))


@pytest.mark.parametrize(
    "packet",
    [claim_of("10.0.0.1", "10.0.0.9"), claim_of("10.0.0.1", "10.0.0.1", op=2), claim_of("0.0.0.0", "10.0.0.1")],
    ids=["request", "reply", "probe"],
)
def test_acd_conflict_while_probing_loses_the_address(probing, packet):
    probing.after(ms=1_000)
    probing.send(packet)
    probing.out()
    probing.after(ms=60_000)
    probing.expect()
    assert not probing.net.ipv4.is_local(ip("10.0.0.1"))
    conflict = probing.net.acd.conflicts[-1]
    assert (conflict.address, conflict.mac, conflict.lost) == (ip("10.0.0.1"), b"\2\0\0\0\0\x66", True)


def test_acd_probe_for_another_address_is_no_conflict(probing):
    probing.after(ms=1_000)
    probing.send(claim_of("0.0.0.0", "10.0.0.7"))
    probing.after(ms=20_000)
    assert probing.net.ipv4.is_local(ip("10.0.0.1"))


def test_acd_address_in_use_defended_once_in_ten_seconds(strange):
    """5227/2.1-2.4."""
    strange.send(claim_of("10.0.0.1", "10.0.0.9"), claim_of("10.0.0.1", "10.0.0.9"))
    strange.expect(strange.who_has("10.0.0.1"))
    strange.after(ms=9_999)
    strange.send(claim_of("10.0.0.1", "10.0.0.9"))
    strange.expect()
    strange.after(ms=1)
    strange.send(claim_of("10.0.0.1", "10.0.0.9"))
    strange.expect(strange.who_has("10.0.0.1"))
    assert strange.count("arp.conflict") == 4
    assert strange.neighbours() == {}
    assert strange.net.ipv4.is_local(ip("10.0.0.1"))


def test_acd_claim_withdrawn_with_its_address_or_interface():
    for undo in (lambda net, eth: net.remove_address(eth, "10.0.0.1"), lambda net, eth: net.remove_interface(eth)):
        wire = Wire(known=False, configure=lambda config: setattr(config.arp, "probe", True))
        undo(wire.net, wire.eth[0])
        wire.after(ms=60_000)
        wire.expect()
        assert not wire.net.ipv4.is_local(ip("10.0.0.1"))


@pytest.mark.parametrize("address", ["10.0.0.1/24", "10.0.0.1/16"])
def test_acd_address_that_is_being_probed_for_is_not_claimed_twice(address):
    """Both claims would succeed, and the second to end would find the address in use, in the middle of a poll."""
    probing = Wire(
        "10.0.0.1/24", "10.0.1.1/24", known=False, configure=lambda config: setattr(config.arp, "probe", True)
    )
    for iface in probing.eth:
        with pytest.raises(ConfigError, match=r"10\.0\.0\.1 is being probed for already"):
            probing.net.add_address(iface, address)
    probing.after(ms=20_000)
    assert [[e.address for e in iface.addresses] for iface in probing.eth] == [[ip("10.0.0.1")], [ip("10.0.1.1")]]
