"""Forwarding: what a router passes on, changes, reports and drops (RFC 1812)."""

import pytest
from scapy.layers.inet import ICMP, IP, TCP, UDP, IPOption_LSRR, IPOption_RR, IPOption_SSRR, fragment
from scapy.layers.l2 import ARP

from scapystack.base.addr import ip
from scapystack.base.checksum import pseudo_sum
from scapystack.base.frames import CSUM_PARTIAL, Frame
from scapystack.base.offload import split
from tests.harness.ip import Wire
from tests.unit.layers.conftest import forwarding

FAR = {"src": "10.0.0.2", "dst": "10.0.1.2"}
DATAGRAM = UDP(sport=5, dport=7) / b"hello"


def passed(router, payload=DATAGRAM, i=1, **fields):
    """What leaves on eth<i> for a packet from 10.0.0.2 that came in with these fields."""
    return router.tx(payload, **{**FAR, **fields}, i=i)


def test_forward_packet_leaves_with_one_ttl_less(router):
    router.send(router.rx(DATAGRAM, dst="10.0.1.2", ttl=9, tos=0xB8, id=77, flags="DF"))
    router.expect(passed(router, ttl=8, tos=0xB8, id=77, flags="DF"))
    assert router.count("ip.forwarded") == 1


def test_forward_by_a_gateway(router):
    router.net.add_route("192.0.2.0/24", via="10.0.1.5")
    router.send(router.rx(DATAGRAM, dst="192.0.2.9", id=3))
    router.expect(passed(router, dst="192.0.2.9", by="10.0.1.5", ttl=63, id=3))


def test_forward_off_by_default(wire):
    wire.net.add_route("192.0.2.0/24", via="10.0.0.5")
    wire.send(wire.rx(DATAGRAM, dst="192.0.2.9"))
    wire.expect()
    assert wire.drops() == {"ip.drop.not_ours": 1}


@pytest.mark.parametrize("ttl", [0, 1])
def test_forward_ttl_used_up_reports_time_exceeded(router, ttl):
    """Manual test 5 of tapip: never forwarded, and the error leaves with a TTL of its own."""
    packet = router.rx(DATAGRAM, dst="10.0.1.2", ttl=ttl)
    router.send(packet)
    router.expect(router.tx(ICMP(type=11, code=0) / bytes(packet[IP]), tos=0xC0))


def test_forward_without_a_route_reports_net_unreachable(router):
    packet = router.rx(DATAGRAM, dst="192.0.2.9")
    router.send(packet)
    router.expect(router.tx(ICMP(type=3, code=0) / bytes(packet[IP]), tos=0xC0))


def test_forward_out_of_the_same_interface_redirects_and_forwards(router):
    """Manual test 5 of tapip: a host route to 10.0.0.3 by us."""
    packet = router.rx(DATAGRAM, dst="10.0.0.3", id=1)
    router.send(packet)
    router.expect(
        router.tx(ICMP(type=5, code=1, gw="10.0.0.3") / bytes(packet[IP]), tos=0xC0),
        passed(router, i=0, dst="10.0.0.3", ttl=63, id=1),
    )


def test_forward_redirects_name_the_gateway_in_use(router):
    router.net.add_route("192.0.2.0/24", via="10.0.0.5")
    router.send(router.rx(DATAGRAM, dst="192.0.2.9"))
    redirect, forwarded = router.out()
    assert (redirect[ICMP].gw, forwarded.dst) == ("10.0.0.5", router.mac("10.0.0.5"))


def test_forward_no_redirect_when_off_or_for_a_stranger(router):
    router.net.add_route("192.0.2.0/24", via="10.0.0.5")
    router.send(router.rx(DATAGRAM, dst="10.0.0.3", src="192.0.2.1", by="10.0.0.5", id=1))
    router.expect(router.tx(DATAGRAM, src="192.0.2.1", dst="10.0.0.3", ttl=63, id=1))
    router.net.config.ip.redirects = False
    router.send(router.rx(DATAGRAM, dst="10.0.0.3", id=1))
    router.expect(passed(router, i=0, dst="10.0.0.3", ttl=63, id=1))


@pytest.mark.parametrize("dst", ["10.0.1.255", "169.254.1.1", "224.1.2.3", "240.1.1.1", "127.0.0.1"])
def test_forward_what_must_not_be_forwarded_is_dropped(router, dst):
    router.net.add_route("default", via="10.0.1.2")
    router.send(router.rx(DATAGRAM, dst=dst))
    router.expect()
    assert sum(router.drops().values()) == 1


def test_forward_link_local_stays_on_its_link(router):
    router.net.add_route("default", via="10.0.1.2")
    router.send(router.rx(DATAGRAM, src="169.254.7.7", dst="10.0.1.2", by="10.0.0.2"))
    router.expect()
    assert router.drops() == {"ip.drop.link_local": 1}


def test_forward_to_a_route_by_the_loopback_is_a_black_hole(router):
    router.net.add_route("192.0.2.0/24", iface=router.net.interfaces[0])
    router.send(router.rx(DATAGRAM, dst="192.0.2.1"))
    router.expect()
    assert router.drops() == {"ip.drop.cast": 1}


def test_forward_full_timestamp_that_cannot_count_on_is_an_error(router):
    packet = router.rx(DATAGRAM, dst="10.0.1.2", options=b"\x44\x08\x09\xf0" + bytes(4))
    router.send(packet)
    router.expect(router.tx(ICMP(type=12, ptr=23) / bytes(packet[IP]), tos=0xC0))


def narrow(codec="compiled"):
    """A router whose second link takes 576 octets."""
    router = Wire("10.0.0.1/24", "10.0.1.1/24", codec=codec, configure=forwarding)
    router.eth[1].mtu = 576
    return router


def test_forward_too_large_with_df_reports_the_mtu():
    router = narrow()
    packet = router.rx(UDP(sport=5, dport=7) / bytes(1000), dst="10.0.1.2", flags="DF")
    router.send(packet)
    router.expect(router.tx(ICMP(type=3, code=4, nexthopmtu=576) / bytes(packet[IP])[:548], tos=0xC0))


def test_forward_too_large_is_fragmented_as_scapy_cuts_it():
    router = narrow()
    packet = router.rx(UDP(sport=5, dport=7) / (bytes(range(250)) * 6), dst="10.0.1.2", id=9)
    router.send(packet)
    whole = passed(router, packet[UDP], ttl=63, id=9)
    router.expect(*fragment(whole, 552))


def test_forward_fragment_is_fragmented_again():
    router = narrow()
    data = bytes(range(250)) * 4
    router.send(router.rx(data, dst="10.0.1.2", id=9, frag=100, flags="MF", proto=17))
    left = router.out()
    assert [(p[IP].frag, bool(p[IP].flags.MF)) for p in left] == [(100, True), (169, True)]
    assert b"".join(bytes(p[IP].payload) for p in left) == data


def test_forward_open_checksum_stays_open():
    router = Wire("10.0.0.1/24", "10.0.1.1/24", configure=forwarding)
    packet = router.rx(DATAGRAM, dst="10.0.1.2", id=1)
    packet[UDP].chksum = pseudo_sum(ip("10.0.0.2"), ip("10.0.1.2"), 17, 13)
    router.net.receive(Frame(bytes(packet), (), router.eth[0], CSUM_PARTIAL, 34, 6), router.now)
    (frame,) = router.net.core.outbox
    assert (frame.csum, frame.csum_start, frame.csum_offset) == (CSUM_PARTIAL, 34, 6)
    router.expect(passed(router, ttl=63, id=1))


def test_forward_open_checksum_is_finished_before_fragments():
    router = narrow()
    packet = router.rx(UDP(sport=5, dport=7) / bytes(1000), dst="10.0.1.2", id=1)
    whole = passed(router, packet[UDP].copy(), ttl=63, id=1)
    packet[UDP].chksum = pseudo_sum(ip("10.0.0.2"), ip("10.0.1.2"), 17, 1008)
    router.net.receive(Frame(bytes(packet), (), router.eth[0], CSUM_PARTIAL, 34, 6), router.now)
    router.expect(*fragment(whole, 552))


@pytest.mark.parametrize(
    ("packet", "gso_size"),
    [
        (ICMP(id=1) / bytes(64), 0),
        (UDP(sport=5, dport=7) / bytes(4000), 1448),
        (TCP(dataofs=4) / bytes(4000), 1448),
        (TCP(dataofs=15) / b"short", 1448),
        (bytes(7), 0),
    ],
    ids=["no such checksum", "no such segments", "offset too small", "offset past the end", "no header"],
)
def test_forward_open_work_that_no_link_could_finish_is_dropped(packet, gso_size):
    router = Wire("10.0.0.1/24", "10.0.1.1/24", configure=forwarding)
    proto = {} if not isinstance(packet, bytes) else {"proto": 17}
    data = bytes(router.rx(packet, dst="10.0.1.2", **proto))
    router.net.receive(Frame(data, (), router.eth[0], CSUM_PARTIAL, 34, 16, gso_size), router.now)
    router.expect()
    assert router.drops() == {"ip.drop.offload": 1}


def test_forward_open_checksum_in_a_fragment_is_dropped():
    router = Wire("10.0.0.1/24", "10.0.1.1/24", configure=forwarding)
    data = bytes(router.rx(UDP() / bytes(64), dst="10.0.1.2", flags="MF"))
    router.net.receive(Frame(data, (), router.eth[0], CSUM_PARTIAL, 34, 6), router.now)
    router.expect()
    assert router.drops() == {"ip.drop.offload": 1}


def test_forward_place_of_an_open_checksum_is_told_anew():
    """What a link said of it is not trusted: the next one will write there."""
    router = Wire("10.0.0.1/24", "10.0.1.1/24", configure=forwarding)
    packet = router.rx(DATAGRAM, dst="10.0.1.2", id=1)
    router.net.receive(Frame(bytes(packet), (), router.eth[0], CSUM_PARTIAL, 9, 9), router.now)
    (frame,) = router.frames()
    assert (frame.csum_start, frame.csum_offset) == (34, 6)


def super_segment(router, **fields):
    data = bytes(range(250)) * 40
    chksum = pseudo_sum(ip("10.0.0.2"), ip("10.0.1.2"), 6, 20 + len(data))
    packet = router.rx(TCP(sport=1, dport=2, seq=7, flags="PA", chksum=chksum) / data, dst="10.0.1.2", id=50, **fields)
    router.net.receive(Frame(bytes(packet), (), router.eth[0], CSUM_PARTIAL, 34, 16, 1448), router.now)
    return data, packet


def test_forward_super_segment_passes_whole():
    router = Wire("10.0.0.1/24", "10.0.1.1/24", configure=forwarding)
    data, _ = super_segment(router, flags="DF")
    (frame,) = router.frames()
    assert (len(frame), frame.gso_size, frame.csum) == (54 + len(data), 1448, CSUM_PARTIAL)
    first = next(iter(split(frame)))
    expected = passed(router, TCP(sport=1, dport=2, seq=7, flags="A") / data[:1448], ttl=63, id=50, flags="DF")
    assert bytes(first.data) == bytes(expected)


def test_forward_super_segment_too_large_for_the_link_reports_its_mtu():
    router = narrow()
    super_segment(router, flags="DF")
    (packet,) = router.out()
    assert (packet[ICMP].type, packet[ICMP].code, packet[ICMP].nexthopmtu) == (3, 4, 576)


def test_forward_super_segment_without_df_is_cut_and_fragmented():
    router = narrow()
    data, packet = super_segment(router)
    left = router.out()
    assert all(p[IP].len <= 576 and p[IP].ttl == 63 for p in left)
    assert sum(len(p[IP].payload) for p in left) == len(data) + 7 * 20
    assert {p[IP].id for p in left} == set(range(50, 57))
    assert packet[IP].id == 50


def test_forward_record_route_names_the_interface_it_leaves_by(router):
    empty = IPOption_RR(length=11, pointer=4, routers=["0.0.0.0", "0.0.0.0"])
    router.send(router.rx(DATAGRAM, dst="10.0.1.2", id=1, options=[empty]))
    filled = IPOption_RR(length=11, pointer=8, routers=["10.0.1.1", "0.0.0.0"])
    router.expect(passed(router, ttl=63, id=1, options=[filled]))


def test_forward_impossible_option_reported_with_its_place(router):
    packet = router.rx(DATAGRAM, dst="10.0.1.2", options=b"\1\x07\0\4")
    router.send(packet)
    router.expect(router.tx(ICMP(type=12, ptr=22) / bytes(packet[IP]), tos=0xC0))
    assert router.drops() == {"ip.drop.option": 1}


LSRR = IPOption_LSRR(length=7, pointer=4, routers=["10.0.1.2"])


def test_forward_source_route_dropped_by_default(router):
    router.send(
        router.rx(DATAGRAM, dst="10.0.0.1", options=[LSRR]), router.rx(DATAGRAM, dst="10.0.1.2", options=[LSRR])
    )
    router.expect()
    assert router.drops() == {"ip.drop.source_route": 2}


def test_forward_source_route_followed_when_allowed(router):
    router.net.config.ip.source_route = True
    router.send(router.rx(DATAGRAM, dst="10.0.0.1", id=1, options=[LSRR]))
    done = IPOption_LSRR(length=7, pointer=8, routers=["10.0.1.1"])
    expected = router.tx(b"", src="10.0.0.2", dst="10.0.1.2", i=1, ttl=63, id=1, options=[done])
    (packet,) = router.out()
    assert bytes(packet)[:42] == bytes(expected)[:14] + bytes(packet[IP])[:28]
    assert (packet[IP].dst, packet[IP].ttl, packet[IP].options[0].routers) == ("10.0.1.2", 63, ["10.0.1.1"])


def test_forward_strict_source_route_to_no_neighbour_fails(router):
    router.net.config.ip.source_route = True
    router.net.add_route("192.0.2.0/24", via="10.0.1.5")
    options = [IPOption_SSRR(length=7, pointer=4, routers=["192.0.2.1"])]
    packet = router.rx(DATAGRAM, dst="10.0.0.1", options=options)
    router.send(packet)
    router.expect(router.tx(ICMP(type=3, code=5) / bytes(packet[IP]), tos=0xC0))


@pytest.mark.parametrize(
    ("hop", "ttl", "answer"),
    [
        ("10.0.1.2", 1, (11, 0)),
        ("192.0.2.1", 9, (3, 5)),
        ("10.0.1.255", 9, (3, 5)),
        ("127.0.0.1", 9, (3, 5)),
        ("10.0.1.1", 9, (3, 5)),
    ],
)
def test_forward_source_route_that_goes_no_further_is_reported(router, hop, ttl, answer):
    router.net.config.ip.source_route = True
    options = [IPOption_LSRR(length=7, pointer=4, routers=[hop])]
    router.send(router.rx(DATAGRAM, dst="10.0.0.1", ttl=ttl, options=options))
    (packet,) = router.out()
    assert (packet[ICMP].type, packet[ICMP].code) == answer


def test_forward_source_route_of_others_does_not_redirect(router):
    router.net.config.ip.source_route = True
    router.send(router.rx(DATAGRAM, dst="10.0.0.3", id=1, options=[LSRR]))
    (packet,) = router.out()
    assert (packet[IP].dst, packet[IP].ttl) == ("10.0.0.3", 63)


def test_forward_source_route_not_followed_by_a_host(wire):
    wire.net.config.ip.source_route = True
    wire.send(wire.rx(DATAGRAM, options=[IPOption_LSRR(length=7, pointer=4, routers=["10.0.0.3"])]))
    wire.expect()
    assert wire.drops() == {"ip.drop.source_route": 1}


def test_forward_source_route_at_its_end_reaches_the_application(router):
    router.net.config.ip.source_route = True
    endpoint = router.net.udp.bind(ip("0.0.0.0"), 7)
    done = IPOption_LSRR(length=7, pointer=8, routers=["10.9.9.9"])
    # Scapy would sum with the last of the route as the destination, which it is no more
    router.send(router.rx(UDP(sport=5, dport=7, chksum=0) / b"hello", options=[done]))
    assert endpoint.recv_message().options == bytes(done) + b"\0"


def test_forward_asks_arp_and_loses_nothing():
    router = Wire("10.0.0.1/24", "10.0.1.1/24", known=False, configure=forwarding)
    datagrams = [UDP(sport=5, dport=7) / bytes([n]) for n in range(3)]
    router.send(*(router.rx(datagram, dst="10.0.1.2", id=n) for n, datagram in enumerate(datagrams)))
    assert [ARP in packet for packet in router.out()] == [True]
    router.send(router.is_at("10.0.1.2", i=1, to="10.0.1.1"), i=1)
    router.expect(*(passed(router, datagram, ttl=63, id=n) for n, datagram in enumerate(datagrams)))


def test_forward_icmp_error_is_never_answered_with_one(router):
    router.send(router.rx(ICMP(type=5, code=1, gw="10.0.0.3") / bytes(28), dst="10.0.0.3", id=1))
    router.expect(passed(router, ICMP(type=5, code=1, gw="10.0.0.3") / bytes(28), i=0, dst="10.0.0.3", ttl=63, id=1))
    assert router.count("icmp.suppressed.error") == 1
