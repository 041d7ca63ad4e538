"""UDP: who gets what, what an application may send, errors, bounds, binding."""

import errno

import pytest
from scapy.layers.inet import ICMP, IP, UDP

from scapystack.base.addr import ANY4, ip
from tests.harness.ip import BROADCAST, Wire, errno_of

OURS, PEER, OTHER = ip("10.0.0.1"), ip("10.0.0.2"), ip("10.0.0.3")


def datagram(wire, data=b"hello", sport=5, dport=7, **fields):
    return wire.rx(UDP(sport=sport, dport=dport) / data, **fields)


def test_udp_datagram_there_and_back(wire):
    endpoint = wire.net.udp.bind(ANY4, 7)
    wire.send(datagram(wire))
    data, src, port = endpoint.recv()
    assert endpoint.send(data.upper(), src, port) == 5
    wire.expect(wire.tx(UDP(sport=7, dport=5) / b"HELLO"))
    assert endpoint.recv() is None


def test_udp_answer_leaves_from_the_address_that_was_asked(wire):
    """RFC 1122 section 4.1.3.5: a server at several addresses answers from the right one."""
    wire.net.add_address(wire.net.interfaces[1], "10.0.0.7/24")
    endpoint = wire.net.udp.bind(ANY4, 7)
    wire.send(datagram(wire, dst="10.0.0.7"))
    message = endpoint.recv_message()
    endpoint.send(b"yes", message.src, message.port, message.dst)
    wire.expect(wire.tx(UDP(sport=7, dport=5) / b"yes", src="10.0.0.7"))


def test_udp_answer_to_a_broadcast_leaves_from_our_address(wire):
    endpoint = wire.net.udp.bind(ANY4, 7)
    wire.send(datagram(wire, dst="10.0.0.255"))
    message = endpoint.recv_message()
    endpoint.send(b"yes", message.src, message.port, message.dst)
    wire.expect(wire.tx(UDP(sport=7, dport=5) / b"yes"))


def test_udp_empty_datagram_is_a_datagram(wire):
    endpoint = wire.net.udp.bind(ANY4, 7)
    wire.send(datagram(wire, b""))
    assert endpoint.recv() == (b"", PEER, 5)
    endpoint.send(b"", PEER, 5)
    wire.expect(wire.tx(UDP(sport=7, dport=5)))


def test_udp_first_line_typed_is_not_lost(strange):
    """The transcript of tapip: it waits for ARP."""
    endpoint = strange.net.udp.bind(ANY4, 5_000)
    endpoint.connect(PEER, 12_345)
    endpoint.send(b"one\n")
    endpoint.send(b"two\n")
    strange.expect(strange.who_has("10.0.0.2"))
    strange.send(strange.is_at("10.0.0.2"))
    strange.expect(*(strange.tx(UDP(sport=5000, dport=12345) / line) for line in (b"one\n", b"two\n")))


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"chksum": 1}, "checksum"),
        ({"len": 7}, "length"),
        ({"len": 0}, "length"),
        ({"len": 14}, "truncated"),
    ],
)
def test_udp_wrong_header_dropped(wire, change, reason):
    """1122/4.1, hostile/checksums."""
    endpoint = wire.net.udp.bind(ANY4, 7)
    packet = datagram(wire)
    for name, value in change.items():
        setattr(packet[UDP], name, value)
    wire.send(packet)
    wire.expect()
    assert endpoint.recv() is None
    assert wire.drops() == {f"udp.drop.{reason}": 1}


def test_udp_checksum_zero_is_none_and_accepted(wire):
    endpoint = wire.net.udp.bind(ANY4, 7)
    packet = datagram(wire)
    packet[UDP].chksum = 0
    wire.send(packet)
    assert endpoint.recv() == (b"hello", PEER, 5)


def test_udp_length_below_the_packets_cuts_the_data(wire):
    endpoint = wire.net.udp.bind(ANY4, 7)
    packet = datagram(wire, b"hello")
    packet[UDP].len = 11
    packet[UDP].chksum = 0
    wire.send(packet)
    assert endpoint.recv() == (b"hel", PEER, 5)


def test_udp_checksum_that_comes_out_as_zero_leaves_as_ones(wire):
    """1122/4.1."""
    endpoint = wire.net.udp.bind(ANY4, 7)
    probe = UDP(bytes(wire.tx(UDP(sport=7, dport=5) / b"\0\0")[UDP]))
    endpoint.send(probe.chksum.to_bytes(2, "big"), PEER, 5)
    (packet,) = wire.out()
    assert packet[UDP].chksum == 0xFFFF


def test_udp_without_checksums_when_configured(wire):
    wire.net.config.udp.checksum = False
    wire.net.udp.bind(ANY4, 7).send(b"hello", PEER, 5)
    wire.expect(wire.tx(UDP(sport=7, dport=5, chksum=0) / b"hello"))


def test_udp_and_ip_count_what_comes_and_leaves(wire):
    endpoint = wire.net.udp.bind(ANY4, 7)
    wire.send(datagram(wire), datagram(wire))
    endpoint.send(b"x", PEER, 5)
    assert (wire.net.udp.datagrams_in, wire.net.udp.datagrams_out) == (2, 1)
    assert (wire.net.ipv4.packets_in, wire.net.ipv4.packets_out) == (2, 1)


def test_udp_reconnected_socket_speaks_from_the_address_of_the_new_way(router):
    endpoint = router.net.udp.bind(ANY4, 7)
    endpoint.connect(PEER, 5)
    assert endpoint.local_addr == OURS
    endpoint.connect(ip("10.0.1.2"), 5)
    assert endpoint.local_addr == ip("10.0.1.1")


# -- who gets what


def test_udp_connected_before_bound_before_any(wire):
    udp = wire.net.udp
    anyone = udp.bind(ANY4, 7, reuse=True)
    bound = udp.bind(OURS, 7, reuse=True)
    connected = udp.bind(OURS, 7, reuse=True)
    connected.connect(PEER, 5)
    wire.send(datagram(wire, b"1"), datagram(wire, b"2", sport=6), datagram(wire, b"3", src="10.0.0.3"))
    assert connected.recv()[0] == b"1"
    assert [bound.recv()[0], bound.recv()[0]] == [b"2", b"3"]
    bound.close()
    wire.send(datagram(wire, b"4", sport=6))
    assert anyone.recv()[0] == b"4"
    assert (connected.recv(), anyone.recv()) == (None, None)


def test_udp_connected_hears_nobody_else(wire):
    endpoint = wire.net.udp.bind(ANY4, 7)
    endpoint.connect(PEER, 5)
    assert endpoint.local_addr == OURS
    wire.send(datagram(wire, sport=6))
    assert endpoint.recv() is None
    assert wire.drops() == {"udp.drop.no_port": 1}
    endpoint.connect(None)
    assert endpoint.local_addr == ANY4
    wire.send(datagram(wire, sport=6))
    assert endpoint.recv()


def test_udp_newest_of_sharing_sockets_gets_a_unicast(wire):
    old, new = (wire.net.udp.bind(ANY4, 7, reuse=True) for _ in range(2))
    wire.send(datagram(wire))
    assert (old.recv(), new.recv()[0]) == (None, b"hello")


@pytest.mark.parametrize("dst", ["10.0.0.255", "255.255.255.255", "224.0.0.1"])
def test_udp_broadcast_and_multicast_reach_all_that_match(wire, dst):
    udp = wire.net.udp
    takers = [udp.bind(ANY4, 7, reuse=True), udp.bind(ANY4, 7, reuse=True), udp.bind(ip(dst), 7, reuse=True)]
    others = [udp.bind(OURS, 7, reuse=True), udp.bind(ANY4, 8)]
    to = "01:00:5e:00:00:01" if dst.startswith("224") else BROADCAST
    wire.send(datagram(wire, dst=dst, to=to))
    assert [endpoint.recv() for endpoint in takers] == [(b"hello", PEER, 5)] * 3
    assert [endpoint.recv() for endpoint in others] == [None] * 2


def test_udp_broadcast_to_no_port_gets_no_answer(wire):
    """hostile/casts."""
    wire.send(datagram(wire, dst="10.0.0.255", to=BROADCAST))
    wire.expect()


def test_udp_closed_port_answered_with_port_unreachable(wire):
    packet = datagram(wire)
    wire.send(packet)
    wire.expect(wire.tx(ICMP(type=3, code=3) / bytes(packet[IP]), tos=0xC0))


def test_udp_message_tells_all_about_it(wire):
    """1122/4.1."""
    endpoint = wire.net.udp.bind(ANY4, 7)
    wire.send(datagram(wire, ttl=9, tos=8))
    message = endpoint.recv_message()
    assert message == (b"hello", PEER, 5, OURS, 9, 8, b"", wire.eth[0])


def test_udp_peek_leaves_it_there(wire):
    endpoint = wire.net.udp.bind(ANY4, 7)
    assert endpoint.peek() is None
    wire.send(datagram(wire))
    assert endpoint.peek() == endpoint.recv() == (b"hello", PEER, 5)


# -- bounds and readiness


def test_udp_receive_bound_drops_what_comes_beyond(wire):
    endpoint = wire.net.udp.bind(ANY4, 7)
    endpoint.rcvbuf = 10_000
    wire.send(*[datagram(wire, bytes(1000))] * 20)
    taken = 0
    while endpoint.recv():
        taken += 1
    assert taken == 8
    assert wire.drops() == {"udp.drop.rcvbuf": 12}
    wire.send(datagram(wire))
    assert endpoint.recv()


def test_udp_empty_datagrams_are_bounded_too():
    wire = Wire()
    endpoint = wire.net.udp.bind(ANY4, 7)
    endpoint.rcvbuf = 12_800
    wire.send(*[bytes(datagram(wire, b""))] * 1_000)
    assert sum(endpoint.recv() is not None for _ in range(1_000)) == 100


def test_udp_datagram_larger_than_the_bound_fits_an_empty_queue(wire):
    endpoint = wire.net.udp.bind(ANY4, 7)
    endpoint.rcvbuf = 100
    wire.send(datagram(wire, bytes(1000)))
    assert len(endpoint.recv()[0]) == 1000


def test_udp_marked_ready_once_a_burst(wire):
    endpoint = wire.net.udp.bind(ANY4, 7)
    endpoint.on_ready = lambda: None
    wire.send(datagram(wire), datagram(wire))
    assert endpoint.readable
    assert wire.net.take_ready() == [endpoint]
    assert wire.net.take_ready() == []
    wire.send(datagram(wire))
    assert wire.net.take_ready() == [endpoint]


# -- errors


def refused(wire, sport, dport=9, dst="10.0.0.2", kind=3, code=3, **fields):
    quote = bytes(IP(src="10.0.0.1", dst=dst, **fields) / UDP(sport=sport, dport=dport))
    return wire.rx(ICMP(type=kind, code=code) / quote, src=dst)


def test_udp_refusal_raised_once_on_a_connected_socket(wire):
    """1122/4.1."""
    endpoint = wire.net.udp.bind(ANY4, 0)
    endpoint.connect(PEER, 9)
    wire.send(refused(wire, endpoint.local_port))
    assert endpoint.readable
    assert endpoint.error == errno.ECONNREFUSED
    assert errno_of(endpoint.recv) == errno.ECONNREFUSED
    assert endpoint.recv() is None
    wire.send(refused(wire, endpoint.local_port))
    assert errno_of(endpoint.send, b"x") == errno.ECONNREFUSED
    endpoint.send(b"x")


def test_udp_refusal_of_another_peer_or_for_an_unconnected_socket_ignored(wire):
    endpoint = wire.net.udp.bind(ANY4, 5_000)
    wire.send(refused(wire, 5_000))
    endpoint.connect(PEER, 9)
    wire.send(refused(wire, 5_000, dport=10), refused(wire, 5_000, dst="10.0.0.3"), refused(wire, 5_001))
    assert endpoint.recv() is None
    assert wire.count("udp.drop.icmp_error") == 3


def too_big(wire, mtu, flags="DF"):
    packet = refused(wire, 5_000, code=4, flags=flags)
    packet[ICMP].nexthopmtu = mtu
    return packet


def test_udp_fragmentation_needed_lowers_the_mtu_and_fails_the_socket(wire):
    """1191/6-8201/4."""
    endpoint = wire.net.udp.bind(ANY4, 5_000)
    endpoint.connect(PEER, 9)
    endpoint.df = True
    wire.send(too_big(wire, 1000))
    assert errno_of(endpoint.recv) == errno.EMSGSIZE
    assert errno_of(endpoint.send, bytes(1400)) == errno.EMSGSIZE
    endpoint.df = False
    endpoint.send(bytes(1400))
    assert len(wire.out()) == 2


@pytest.mark.parametrize(
    ("df", "quoted", "reason"), [(False, "DF", "udp.drop.icmp_error"), (True, 0, "icmp.drop.fragmentable")]
)
def test_udp_fragmentation_needed_of_what_may_be_fragmented_ignored(wire, df, quoted, reason):
    """1191/6-8201/4: a lie, by which anybody who guesses a port would slow all that goes to the peer."""
    endpoint = wire.net.udp.bind(ANY4, 5_000)
    endpoint.connect(PEER, 9)
    endpoint.df = df
    wire.send(too_big(wire, 1000, quoted))
    assert endpoint.recv() is None
    assert wire.net.ipv4.route(PEER).mtu == 1500
    assert wire.count(reason) == 1


def test_udp_send_that_cannot_be(wire):
    endpoint = wire.net.udp.bind(ANY4, 7)
    assert errno_of(endpoint.send, b"x") == errno.EDESTADDRREQ
    assert errno_of(endpoint.send, bytes(65_508), PEER, 9) == errno.EMSGSIZE
    assert errno_of(endpoint.send, b"x", ip("10.0.0.255"), 9) == errno.EACCES
    assert errno_of(endpoint.send, b"x", ip("255.255.255.255"), 9) == errno.EACCES
    assert errno_of(endpoint.send, b"x", ip("192.0.2.1"), 9) == errno.ENETUNREACH
    assert errno_of(endpoint.send, b"x", PEER, 0) == errno.EINVAL
    assert errno_of(endpoint.connect, ip("10.0.0.255"), 9) == errno.EACCES
    endpoint.close()
    assert errno_of(endpoint.send, b"x", PEER, 9) == errno.EBADF
    wire.expect()


def test_udp_largest_datagram_there_and_back(wire):
    endpoint = wire.net.udp.bind(ANY4, 7)
    endpoint.send(bytes(65_507), OURS, 7)
    wire.poll()
    assert endpoint.recv() == (bytes(65_507), OURS, 7)


def test_udp_connected_socket_follows_a_change_of_routes(router):
    endpoint = router.net.udp.bind(ANY4, 7)
    router.net.add_route("192.0.2.0/24", via="10.0.0.5")
    endpoint.connect(ip("192.0.2.1"), 9)
    router.net.remove_route("192.0.2.0/24")
    router.net.add_route("192.0.2.0/24", via="10.0.1.5")
    endpoint.send(b"hello")
    router.expect(router.tx(UDP(sport=7, dport=9) / b"hello", dst="192.0.2.1", i=1, by="10.0.1.5"))


# -- binding


def test_udp_bind_conflicts():
    udp = Wire().net.udp
    first = udp.bind(OURS, 7)
    assert errno_of(udp.bind, OURS, 7) == errno.EADDRINUSE
    assert errno_of(udp.bind, ANY4, 7) == errno.EADDRINUSE
    assert errno_of(lambda: udp.bind(OURS, 7, reuse=True)) == errno.EADDRINUSE
    udp.bind(ip("127.0.0.1"), 7)
    first.close()
    first.close()
    udp.bind(OURS, 7)


def test_udp_bind_to_what_is_not_ours():
    udp = Wire().net.udp
    assert errno_of(udp.bind, PEER, 7) == errno.EADDRNOTAVAIL
    assert errno_of(udp.bind, ip("192.0.2.1"), 7) == errno.EADDRNOTAVAIL


def test_udp_ephemeral_ports_are_random_and_run_out():
    wire = Wire(configure=lambda config: setattr(config.udp, "ephemeral_high", 32_770))
    udp = wire.net.udp
    assert {udp.bind(ANY4, 0).local_port for _ in range(3)} == {32_768, 32_769, 32_770}
    assert errno_of(udp.bind, ANY4, 0) == errno.EADDRINUSE
    assert len(udp.endpoints) == 3


def test_udp_same_four_tuple_twice_refused():
    udp = Wire().net.udp
    first, second = (udp.bind(OURS, 7, reuse=True) for _ in range(2))
    first.connect(PEER, 5)
    first.connect(PEER, 5)
    assert errno_of(second.connect, PEER, 5) == errno.EADDRINUSE
    second.connect(OTHER, 5)
