"""Raw IP endpoints: a copy to each match, our header or the application's own."""

import errno

import pytest
from scapy.layers.inet import ICMP, IP, UDP

from scapystack.base.addr import ANY4, ip
from tests.harness.ip import BROADCAST, Wire, errno_of

OURS, PEER = ip("10.0.0.1"), ip("10.0.0.2")


def test_raw_each_match_gets_a_copy_of_the_whole_packet(wire):
    takers = [wire.net.raw.open(17), wire.net.raw.open(17, OURS)]
    others = [wire.net.raw.open(1), wire.net.raw.open(17, ip("127.0.0.1"))]
    endpoint = wire.net.udp.bind(ANY4, 7)
    packet = wire.rx(UDP(sport=5, dport=7) / b"hello")
    wire.send(packet)
    assert [raw.recv() for raw in takers] == [(bytes(packet[IP]), PEER)] * 2
    assert [raw.recv() for raw in others] == [None] * 2
    assert endpoint.recv() == (b"hello", PEER, 5)


def test_raw_socket_for_a_protocol_makes_it_reachable(wire):
    raw = wire.net.raw.open(200)
    packet = wire.rx(b"hello", proto=200)
    wire.send(packet)
    wire.expect()
    assert raw.recv() == (bytes(packet[IP]), PEER)
    raw.close()
    raw.close()
    wire.send(packet)
    assert len(wire.out()) == 1


def test_raw_packet_with_our_header(wire):
    raw = wire.net.raw.open(200)
    raw.ttl, raw.tos = 9, 8
    assert raw.send(b"hello", PEER) == 5
    wire.expect(wire.tx(b"hello", proto=200, ttl=9, tos=8))


def test_raw_large_packet_leaves_in_fragments(wire):
    wire.net.raw.open(200).send(bytes(3000), PEER)
    assert [packet[IP].frag for packet in wire.out()] == [0, 185, 370]


def test_raw_header_of_the_applications_own(wire):
    raw = wire.net.raw.open(255)
    packet = IP(src="192.0.2.7", dst="198.51.100.1", ttl=3, id=0x1234, flags="DF", tos=4) / UDP(sport=1, dport=2) / b"x"
    raw.send(bytes(packet), PEER, hdrincl=True)
    (left,) = wire.out()
    assert bytes(left[IP]) == bytes(packet)
    assert left.dst == wire.mac("10.0.0.2")


def test_raw_header_fields_of_zero_are_filled_in(wire):
    raw = wire.net.raw.open(255)
    raw.send(bytes(IP(src="0.0.0.0", dst="10.0.0.2", id=0, len=1, chksum=7) / ICMP(id=1)), PEER, hdrincl=True)
    (left,) = wire.out()
    assert left[IP].id != 0
    wire.net.raw.open(255).send(bytes(IP(src="0.0.0.0", dst="10.0.0.2", id=9) / ICMP(id=1)), PEER, hdrincl=True)
    wire.expect(wire.tx(ICMP(id=1), id=9))


def test_raw_send_that_cannot_be(wire):
    raw = wire.net.raw.open(200)
    assert errno_of(raw.send, bytes(65_516), PEER) == errno.EMSGSIZE
    assert errno_of(raw.send, b"x", ip("10.0.0.255")) == errno.EACCES
    assert errno_of(raw.send, b"x", ip("192.0.2.1")) == errno.ENETUNREACH
    assert errno_of(raw.send, b"", PEER, hdrincl=True) == errno.EINVAL
    assert errno_of(raw.send, b"\x4f" + bytes(30), PEER, hdrincl=True) == errno.EINVAL
    assert errno_of(raw.send, b"\x45" + bytes(1500), PEER, hdrincl=True) == errno.EMSGSIZE
    raw.close()
    assert errno_of(raw.send, b"x", PEER) == errno.EBADF
    wire.expect()


def test_raw_broadcast_when_allowed(wire):
    raw = wire.net.raw.open(200)
    raw.broadcast = True
    raw.send(b"hello", ip("255.255.255.255"))
    wire.expect(wire.tx(b"hello", dst="255.255.255.255", to=BROADCAST, proto=200))


def test_raw_open_of_what_cannot_be():
    raw = Wire().net.raw
    assert errno_of(raw.open, 0) == errno.EINVAL
    assert errno_of(raw.open, 256) == errno.EINVAL
    assert errno_of(raw.open, 1, PEER) == errno.EADDRNOTAVAIL


def test_raw_queue_is_bounded(wire):
    raw = wire.net.raw.open(200)
    raw.rcvbuf = 5_000
    wire.send(*[wire.rx(bytes(1000), proto=200)] * 10)
    assert sum(raw.recv() is not None for _ in range(10)) == 4
    assert wire.drops() == {"raw.drop.rcvbuf": 6}


def test_raw_send_only_protocol_hears_nothing(wire):
    raw = wire.net.raw.open(255)
    wire.send(wire.rx(b"x", proto=255))
    assert raw.recv() is None


@pytest.mark.parametrize(("src", "answered"), [("10.0.0.3", True), ("224.0.0.1", False), ("0.1.2.3", False)])
def test_raw_packet_of_another_source_that_arp_cannot_deliver_is_answered_to_it(src, answered):
    wire = Wire(known=False)
    wire.net.arp.add_static(wire.eth[0], ip("10.0.0.3"), b"\2\0\0\0\0\3")
    wire.net.raw.open(255).send(bytes(IP(src=src, dst="10.0.0.2") / ICMP(id=1)), PEER, hdrincl=True)
    wire.after(ms=5_000)
    assert [packet[ICMP].code for packet in wire.out() if ICMP in packet] == ([1] if answered else [])


def test_raw_nonsense_that_arp_cannot_deliver_harms_nobody(strange):
    raw = strange.net.raw.open(255)
    for data in (b"\x45" + bytes(19), b"\x45" + bytes(19) + b"\1\2\3", b"\xf5" + bytes(40)):
        raw.send(data, PEER, hdrincl=True)
    strange.after(ms=10_000)
    assert strange.neighbours() == {"10.0.0.2": "failed"}
