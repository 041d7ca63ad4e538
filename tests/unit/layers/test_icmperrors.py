"""What may be answered with an ICMP error, what it quotes, and how often (RFC 1122 3.2.2, RFC 1812 4.3)."""

import pytest
from scapy.layers.inet import ICMP, IP, TCP, UDP

from scapystack.base.addr import ip
from tests.harness.ip import BROADCAST, Wire

DATAGRAM = UDP(sport=5, dport=9)


def test_icmperrors_port_unreachable_quotes_the_datagram(wire):
    """1122/3.2.2-b, 1122/4.1."""
    packet = wire.rx(DATAGRAM / b"hello", tos=0x2A)
    wire.send(packet)
    # RFC 1812 section 4.3.2.5: precedence of internetwork control, the TOS of what it is about
    wire.expect(wire.tx(ICMP(type=3, code=3) / bytes(packet[IP]), tos=0xCA))


@pytest.mark.parametrize("size", [519, 520, 521, 1400])
def test_icmperrors_quote_as_much_as_fits_576_octets(wire, size):
    packet = wire.rx(DATAGRAM / bytes(size))
    wire.send(packet)
    wire.expect(wire.tx(ICMP(type=3, code=3) / bytes(packet[IP])[:548], tos=0xC0))


def test_icmperrors_quote_options_too(wire):
    packet = wire.rx(DATAGRAM / b"hello", options=b"\1\1\1\1")
    wire.send(packet)
    wire.expect(wire.tx(ICMP(type=3, code=3) / bytes(packet[IP]), tos=0xC0))


@pytest.mark.parametrize("ttl", [1, 0])
def test_icmperrors_leave_with_a_ttl_of_their_own(wire, ttl):
    wire.send(wire.rx(DATAGRAM, ttl=ttl))
    (packet,) = wire.out()
    assert packet[IP].ttl == 64


@pytest.mark.parametrize("dst", ["255.255.255.255", "10.0.0.255", "224.0.0.1"])
def test_icmperrors_never_about_a_broadcast_or_multicast(wire, dst):
    """1122/3.2.2-a, hostile/casts."""
    to = "01:00:5e:00:00:01" if dst[0:3] == "224" else BROADCAST
    wire.send(wire.rx(DATAGRAM, dst=dst, to=to), wire.rx(b"x", proto=200, dst=dst, to=to))
    wire.expect()


@pytest.mark.parametrize("kind", [3, 4, 5, 11, 12, 200])
def test_icmperrors_never_about_an_icmp_error(router, kind):
    """1122/3.2.2-a, hostile/icmp-quotes."""
    router.send(router.rx(bytes((kind,)) + bytes(27), proto=1, dst="192.0.2.1"))
    router.expect()
    assert router.count("icmp.suppressed.error") == 1


def test_icmperrors_about_an_icmp_query_allowed(router):
    router.send(router.rx(ICMP(id=1), dst="192.0.2.1"))
    assert len(router.out()) == 1


def test_icmperrors_never_about_a_later_fragment(router):
    """1122/3.2.2-a."""
    router.send(
        router.rx(bytes(64), dst="192.0.2.1", frag=5, proto=17), router.rx(bytes(64), dst="10.0.1.2", frag=5, ttl=1)
    )
    router.expect()
    assert router.count("icmp.suppressed.fragment") == 2


def test_icmperrors_about_a_first_fragment_allowed(router):
    router.send(router.rx(bytes(64), dst="192.0.2.1", flags="MF", proto=17))
    assert len(router.out()) == 1


def test_icmperrors_come_from_the_address_that_was_asked(router):
    packet = router.rx(DATAGRAM, dst="10.0.1.1")
    router.send(packet)
    router.expect(router.tx(ICMP(type=3, code=3) / bytes(packet[IP]), src="10.0.1.1", tos=0xC0))


def test_icmperrors_to_one_peer_are_limited():
    """hostile/storms."""
    wire = Wire()
    wire.send(*[wire.rx(DATAGRAM)] * 100)
    assert len(wire.out()) == 10
    wire.after(ms=1_000)
    wire.send(*[wire.rx(DATAGRAM)] * 100)
    assert len(wire.out()) == 10
    assert wire.count("icmp.suppressed.rate") == 180


def test_icmperrors_to_all_peers_are_limited_together():
    """hostile/storms."""
    wire = Wire("10.0.0.1/8", known=False)
    for n in range(200):
        wire.net.arp.add_static(wire.eth[0], ip(f"10.0.1.{n}"), bytes((2, 0, 0, 0, 0, n)))
    wire.send(*(wire.rx(DATAGRAM, src=f"10.0.1.{n}") for n in range(200)))
    assert len(wire.out()) == 50


def test_icmperrors_fragmentation_needed_is_not_held_back_by_the_peers_limit(router):
    router.eth[1].mtu = 576
    router.send(*[router.rx(UDP() / bytes(1000), dst="10.0.1.2", flags="DF")] * 20)
    assert len(router.out()) == 20


def test_icmperrors_port_scan_answers_are_bounded():
    """hostile/storms."""
    wire = Wire()
    probe = bytes(wire.rx(UDP(sport=5, dport=1, chksum=0)))
    wire.send(*(probe[:36] + port.to_bytes(2, "big") + probe[38:] for port in range(1, 2_000)))
    assert len(wire.out()) == 10


def test_icmperrors_to_an_unknown_neighbour_wait_for_arp_too(strange):
    packet = strange.rx(DATAGRAM)
    strange.send(packet)
    strange.expect(strange.who_has("10.0.0.2"))
    strange.send(strange.is_at("10.0.0.2"))
    strange.expect(strange.tx(ICMP(type=3, code=3) / bytes(packet[IP]), tos=0xC0))


def test_icmperrors_about_tcp_of_an_unregistered_stack(wire):
    del wire.net.ipv4.transports[6]
    packet = wire.rx(TCP(dport=80))
    wire.send(packet)
    wire.expect(wire.tx(ICMP(type=3, code=2) / bytes(packet[IP]), tos=0xC0))
