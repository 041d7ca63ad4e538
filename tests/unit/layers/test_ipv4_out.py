"""IPv4 on its way out: headers, ids, fragments, options, open checksums and super-segments."""

import errno

import pytest
from scapy.layers.inet import ICMP, IP, TCP, UDP, IPOption_LSRR, IPOption_RR, fragment

from scapystack.base.addr import ip
from scapystack.base.checksum import finish, partial_sum, pseudo_sum
from scapystack.base.frames import CSUM_PARTIAL
from scapystack.base.offload import split
from tests.harness.ip import BROADCAST, Wire

PEER = ip("10.0.0.2")


def udp_to(wire, dst=PEER, port=9, data=b"hello", **settings):
    endpoint = wire.net.udp.bind(ip("0.0.0.0"), 5_000, reuse=True)
    for name, value in settings.items():
        setattr(endpoint, name, value)
    endpoint.send(data, dst, port)
    wire.poll()
    endpoint.close()


def test_ipv4_send_is_what_scapy_would_build(wire):
    """1122/3.2.1.6-7, MUST-48, MUST-49: TTL and TOS are the application's."""
    udp_to(wire, ttl=7, tos=0x28)
    wire.expect(wire.tx(UDP(sport=5000, dport=9) / b"hello", ttl=7, tos=0x28))


def test_ipv4_ttl_that_nobody_set_is_the_stacks_and_never_zero(wire):
    """1122/3.2.1.6-7."""
    udp_to(wire, ttl=0)
    wire.expect(wire.tx(UDP(sport=5000, dport=9) / b"hello", ttl=64))
    wire.net.config.ip.ttl = 33
    udp_to(wire)
    wire.expect(wire.tx(UDP(sport=5000, dport=9) / b"hello", ttl=33))


def test_ipv4_send_without_fragmenting_has_df_and_no_id(wire):
    """6864."""
    udp_to(wire, df=True)
    wire.expect(wire.tx(UDP(sport=5000, dport=9) / b"hello", flags="DF", id=0))


def test_ipv4_ids_count_for_each_destination_from_a_random_start(wire):
    """6864."""
    for _ in range(3):
        for n in (2, 3):
            udp_to(wire, ip(f"10.0.0.{n}"))
    left = [(packet[IP].dst, packet[IP].id) for packet in wire.out()]
    for dst in ("10.0.0.2", "10.0.0.3"):
        ids = [ident for to, ident in left if to == dst]
        assert ids == [ids[0], (ids[0] + 1) & 0xFFFF, (ids[0] + 2) & 0xFFFF]
    assert left[0][1] != left[1][1]


def test_ipv4_super_segment_takes_an_id_for_each_segment_that_it_will_be(wire):
    """RFC 6864 section 4.3: where it may be fragmented, no other packet may have the same id."""
    route = wire.net.ipv4.route(PEER)
    for length in (4000, 100):
        head = bytes(TCP())[:20]
        wire.net.ipv4.send(route, 6, head, (bytes(length),), csum_offset=16, gso_size=1000 * (length > 1000))
    ids = [packet.packet[IP].id for frame in wire.frames() for packet in split(frame)]
    assert len(ids) == len(set(ids)) == 5


def test_ipv4_packet_for_the_kernel_beside_us_has_no_length_where_there_is_no_number_for_it(wire):
    """Linux's BIG TCP: 0, and the frame's length counts."""
    route = wire.net.ipv4.route(PEER)
    sent = wire.net.interfaces[1].tx_bytes
    for length in (65_515 - 20, 65_516 - 20, 200_000):
        wire.net.ipv4.send(route, 6, bytes(TCP())[:20], (bytes(length),), 20 + length, csum_offset=16, gso_size=1000)
    frames = wire.frames()
    assert [len(frame) - 14 - 40 for frame in frames] == [65_495, 65_496, 200_000]
    assert [int.from_bytes(frame.head[16:18], "big") for frame in frames] == [65_535, 0, 0]
    for frame in frames:
        assert finish(partial_sum(frame.head[14:34])) == 0
    assert wire.net.interfaces[1].tx_bytes - sent == sum(map(len, frames))


def test_ipv4_transport_checksum_leaves_open(wire):
    udp_to(wire)
    frame = wire.frames()[0]
    assert (frame.csum, frame.csum_start, frame.csum_offset) == (CSUM_PARTIAL, 34, 6)
    open_field = int.from_bytes(frame.data[40:42], "big")
    assert open_field == pseudo_sum(ip("10.0.0.1"), PEER, 17, 13)


def test_ipv4_large_datagram_leaves_in_fragments_as_scapy_cuts_it(wire):
    data = bytes(range(256)) * 40
    udp_to(wire, data=data)
    left = wire.out()
    whole = wire.tx(UDP(sport=5000, dport=9) / data, id=left[0].id)
    assert [bytes(packet) for packet in left] == [bytes(piece) for piece in fragment(whole, 1480)]


def test_ipv4_ping_of_60000_leaves_in_41_fragments(wire):
    wire.net.icmp.ping(PEER, 1, 1, bytes(60_000))
    left = wire.out()
    whole = wire.tx(ICMP(id=1, seq=1) / bytes(60_000), id=left[0].id)
    assert [bytes(packet) for packet in left] == [bytes(piece) for piece in fragment(whole, 1480)]


@pytest.mark.parametrize("size", [1472, 1473, 1480, 2952, 2953, 65_507])
def test_ipv4_fragments_at_the_edges_join_to_the_datagram(wire, size):
    udp_to(wire, data=b"x" * size)
    left = wire.out()
    assert sum(len(packet[IP].payload) for packet in left) == size + 8
    assert [bool(packet[IP].flags.MF) for packet in left] == [True] * (len(left) - 1) + [False]
    assert all(packet[IP].len <= 1500 for packet in left)
    assert len(left) == -(-(size + 8) // 1480)


def test_ipv4_df_datagram_over_the_mtu_is_reported_not_sent(wire):
    route = wire.net.ipv4.route(PEER)
    told = []
    wire.net.ipv4.register(200, type("Spy", (), {"icmp_error": lambda self, error: told.append(error)})())
    wire.net.ipv4.send(route, 200, bytes(1481), df=True)
    wire.poll()
    wire.expect()
    assert [(error.errno, error.mtu, error.local, error.dst) for error in told] == [(errno.EMSGSIZE, 1500, True, PEER)]


def test_ipv4_broadcast_and_multicast_need_no_arp(strange):
    udp_to(strange, ip("255.255.255.255"), broadcast=True)
    udp_to(strange, ip("10.0.0.255"), broadcast=True)
    udp_to(strange, ip("239.1.2.3"))
    datagram = UDP(sport=5000, dport=9) / b"hello"
    strange.expect(
        strange.tx(datagram, dst="255.255.255.255", to=BROADCAST),
        strange.tx(datagram, dst="10.0.0.255", to=BROADCAST),
        strange.tx(datagram, dst="239.1.2.3", to="01:00:5e:01:02:03", ttl=1),  # RFC 1112 section 6.1
    )


def test_ipv4_options_stand_in_the_header(wire):
    udp_to(wire, options=bytes(IPOption_RR(length=7, pointer=4, routers=["0.0.0.0"])))
    wire.expect(
        wire.tx(UDP(sport=5000, dport=9) / b"hello", options=[IPOption_RR(length=7, pointer=4, routers=["0.0.0.0"])])
    )


def test_ipv4_only_copied_options_stand_in_later_fragments(wire):
    both = bytes(IPOption_RR(length=7, pointer=4, routers=["0.0.0.0"])) + b"\x94\4\0\0"  # router alert is copied
    udp_to(wire, data=bytes(3000), options=both)
    first, second, third = wire.out()
    assert bytes(first)[34:46] == both + b"\0"
    assert [bytes(packet)[34:38] for packet in (second, third)] == [b"\x94\4\0\0"] * 2
    assert [packet[IP].ihl for packet in (first, second, third)] == [8, 6, 6]
    for packet in (first, second, third):
        again = packet.copy()
        del again[IP].chksum
        assert bytes(again) == bytes(packet)


def test_ipv4_source_route_of_ours_goes_by_its_first_hop(wire):
    """MUST-51: the hops between are given; on the wire the destination stands last."""
    wire.net.add_route("default", via="10.0.0.4")
    udp_to(wire, ip("192.0.2.9"), options=b"\x83\x0b\4" + ip("10.0.0.5") + ip("10.9.9.9"))
    (packet,) = wire.out()
    assert (packet.dst, packet[IP].dst) == (wire.mac("10.0.0.5"), "10.0.0.5")
    assert packet[IP].options[0].fields["routers"] == ["10.9.9.9", "192.0.2.9"]
    assert isinstance(packet[IP].options[0], IPOption_LSRR)


def test_ipv4_super_segment_leaves_whole_and_is_cut_right():
    wire = Wire(gso_max=65_000)
    data = bytes(range(256)) * 40
    route = wire.net.ipv4.route(PEER)
    head = bytes(TCP(sport=1, dport=2, seq=100, flags="PA", chksum=pseudo_sum(route.src, PEER, 6, 20 + len(data))))
    wire.net.ipv4.send(route, 6, head, (data,), csum_offset=16, gso_size=1448, df=True)
    (frame,) = wire.frames()
    assert (len(frame), frame.gso_size, frame.csum) == (54 + 10_240, 1448, CSUM_PARTIAL)
    pieces = [bytes(piece.data) for piece in split(frame)]
    assert len(pieces) == 8
    first = wire.tx(TCP(sport=1, dport=2, seq=100, flags="A") / data[:1448], flags="DF", id=0)
    assert pieces[0] == bytes(first)


def test_ipv4_source_route_to_nowhere_is_counted(wire):
    udp_to(wire, options=b"\x83\x07\4" + ip("192.0.2.9"))
    wire.expect()
    assert wire.drops() == {"ip.drop.no_route": 1}


def test_ipv4_with_options_a_super_segment_still_leaves_whole():
    wire = Wire(gso_max=65_000)
    data = bytes(5_000)
    head = bytes(TCP(sport=1, dport=2, flags="A", chksum=pseudo_sum(ip("10.0.0.1"), PEER, 6, 20 + len(data))))
    route = wire.net.ipv4.route(PEER)
    wire.net.ipv4.send(route, 6, head, (data,), csum_offset=16, gso_size=1440, df=True, options=b"\x94\4\0\0")
    (frame,) = wire.frames()
    assert (frame.gso_size, frame.csum_start) == (1440, 38)
    first = wire.tx(TCP(sport=1, dport=2, flags="A") / data[:1440], flags="DF", id=0, options=b"\x94\4\0\0")
    assert bytes(next(iter(split(frame))).data) == bytes(first)


def test_ipv4_ids_are_kept_for_a_bounded_number_of_destinations():
    wire = Wire("10.0.0.1/8")
    for n in range(5_000):
        wire.net.ipv4.next_id(n.to_bytes(4, "big"))
    assert len(wire.net.ipv4._ids) <= 4_096


def test_ipv4_longer_than_a_packet_can_be_is_counted():
    wire = Wire()
    wire.net.ipv4.send(wire.net.ipv4.route(PEER), 200, bytes(65_520))
    wire.poll()
    wire.expect()
    assert wire.drops() == {"ip.drop.too_large": 1}
