"""ICMP: echo both ways, and errors received: parsed, judged, handed to whom they concern."""

import errno

import pytest
from scapy.layers.inet import ICMP, IP, TCP, UDP, IPOption_LSRR, IPOption_RR, fragment

from scapystack.base.addr import ip
from scapystack.layers.icmp import EchoError
from tests.harness.ip import BROADCAST, Wire, errno_of

PEER = ip("10.0.0.2")


# -- echo


@pytest.mark.parametrize("data", [b"", b"a", b"abc", bytes(range(256)) * 5, b"\xff" * 1472])
def test_icmp_echo_answered_with_the_same_data(wire, data):
    """1122/3.2.2.6."""
    wire.send(wire.rx(ICMP(id=1, seq=2) / data, tos=0x28, ttl=3))
    wire.expect(wire.tx(ICMP(type=0, id=1, seq=2) / data, tos=0x28))


def test_icmp_echo_answered_from_the_address_that_was_asked(wire):
    """1122/3.2.2.6."""
    wire.net.add_address(wire.eth[0], "10.0.0.99/24")
    wire.send(wire.rx(ICMP(id=1, seq=2), dst="10.0.0.99"))
    wire.expect(wire.tx(ICMP(type=0, id=1, seq=2), src="10.0.0.99"))


def test_icmp_echo_of_zeros_has_the_right_checksum(wire):
    """All zero but the type: the reply's sum is zero, its checksum is not."""
    wire.send(wire.rx(ICMP(id=0, seq=0) / bytes(8)))
    wire.expect(wire.tx(ICMP(type=0, id=0, seq=0) / bytes(8)))


@pytest.mark.parametrize("word", [0xF7FF, 0xF7FE, 0xF800, 0xFFFF, 0x0800])
def test_icmp_echo_checksum_at_its_turning_points(wire, word):
    wire.send(wire.rx(ICMP(id=word, seq=0)))
    wire.expect(wire.tx(ICMP(type=0, id=word, seq=0)))


def test_icmp_echo_with_a_code_answered_with_code_zero(wire):
    wire.send(wire.rx(ICMP(code=9, id=1, seq=2) / b"abc"))
    wire.expect(wire.tx(ICMP(type=0, id=1, seq=2) / b"abc"))


def test_icmp_echo_to_a_broadcast_ignored_unless_asked_for(wire):
    request = wire.rx(ICMP(id=1), dst="10.0.0.255", to=BROADCAST)
    wire.send(request)
    wire.expect()
    wire.net.config.icmp.echo_broadcast = True
    wire.send(request)
    wire.expect(wire.tx(ICMP(type=0, id=1)))


def test_icmp_echo_off(wire):
    wire.net.config.icmp.echo = False
    wire.send(wire.rx(ICMP(id=1)))
    wire.expect()
    assert wire.drops() == {"icmp.drop.echo": 1}


def test_icmp_echo_record_route_comes_back_with_us_in_it(wire):
    """RFC 1122 section 3.2.2.6."""
    sent = IPOption_RR(length=11, pointer=4, routers=["0.0.0.0", "0.0.0.0"])
    back = IPOption_RR(length=11, pointer=8, routers=["10.0.0.1", "0.0.0.0"])
    wire.send(wire.rx(ICMP(id=1), options=[sent]))
    wire.expect(wire.tx(ICMP(type=0, id=1), options=[back]))


def test_icmp_echo_full_timestamp_that_cannot_count_on_is_left_out(wire):
    wire.send(wire.rx(ICMP(id=1), options=b"\x44\x08\x09\xf0" + bytes(4)))
    wire.expect(wire.tx(ICMP(type=0, id=1)))


def test_icmp_echo_source_route_goes_back_reversed(wire):
    wire.net.config.ip.source_route = True
    options = [IPOption_LSRR(length=11, pointer=12, routers=["10.9.9.9", "10.0.0.5"])]
    wire.send(wire.rx(ICMP(id=1), by="10.0.0.5", options=options))
    (packet,) = wire.out()
    assert (packet.dst, packet[IP].dst) == (wire.mac("10.0.0.5"), "10.0.0.5")
    assert packet[IP].options[0].routers == ["10.9.9.9", "10.0.0.2"]
    assert packet[ICMP].type == 0


@pytest.mark.parametrize(("chksum", "length", "reason"), [(1, None, "checksum"), (None, 27, "truncated")])
def test_icmp_wrong_message_dropped(wire, chksum, length, reason):
    wire.send(wire.rx(ICMP(chksum=chksum), len=length))
    wire.expect()
    assert wire.drops() == {f"icmp.drop.{reason}": 1}


@pytest.mark.parametrize("kind", [1, 2, 7, 13, 17, 30, 40, 255])
def test_icmp_unknown_type_dropped(wire, kind):
    """1122/3.2.2-b."""
    wire.send(wire.rx(bytes(ICMP(type=kind, chksum=0xFFFF - (kind << 8)))[:4] + bytes(20), proto=1))
    wire.expect()
    assert wire.drops() == {"icmp.drop.type": 1}


# -- ping


def test_icmp_ping_and_its_reply(wire):
    endpoint = wire.net.icmp.open(0x1234)
    endpoint.send(PEER, 5, b"hello", ttl=9)
    wire.expect(wire.tx(ICMP(id=0x1234, seq=5) / b"hello", ttl=9))
    wire.send(wire.rx(ICMP(type=0, id=0x1234, seq=5) / b"hello", ttl=61))
    reply = endpoint.recv()
    assert (reply.src, reply.seq, reply.ttl, reply.data, reply.at) == (PEER, 5, 61, b"hello", wire.now)
    assert endpoint.recv() is None


def test_icmp_ping_of_6000_octets_there_and_back(wire):
    """Manual test 2 of tapip."""
    endpoint = wire.net.icmp.open(7)
    endpoint.send(PEER, 1, bytes(6000))
    assert len(wire.out()) == 5
    wire.send(*fragment(wire.rx(ICMP(type=0, id=7, seq=1) / bytes(6000), id=3), 1480))
    assert len(endpoint.recv().data) == 6000


def test_icmp_reply_that_nobody_asked_for_dropped(wire):
    wire.send(wire.rx(ICMP(type=0, id=9)))
    assert wire.drops() == {"icmp.drop.nobody_asked": 1}


def test_icmp_ping_identifiers_are_each_their_own():
    wire = Wire()
    first = wire.net.icmp.open(5)
    with pytest.raises(OSError, match="in use"):
        wire.net.icmp.open(5)
    assert wire.net.icmp.open().ident not in (0, 5)
    first.close()
    first.close()
    wire.net.icmp.open(5)


def test_icmp_ping_that_cannot_be_sent_raises():
    wire = Wire()
    endpoint = wire.net.icmp.open()
    for arguments, number in (
        ((PEER, 1, bytes(65_508)), errno.EMSGSIZE),
        ((PEER, 1, bytes(1473), 0, True), errno.EMSGSIZE),
        ((ip("192.0.2.1"), 1), errno.ENETUNREACH),
    ):
        assert errno_of(endpoint.send, *arguments) == number


def test_icmp_ping_queue_is_bounded():
    wire = Wire()
    endpoint = wire.net.icmp.open(7)
    wire.send(*[bytes(wire.rx(ICMP(type=0, id=7)))] * 1_100)
    assert sum(endpoint.recv() is not None for _ in range(1_100)) == 1_024
    assert wire.drops() == {"icmp.drop.queue_full": 76}


# -- errors received


def error_about(wire, payload, kind=3, code=1, src="10.0.0.1", dst="10.0.0.2", by="10.0.0.9", gw=None, mtu=0, **fields):
    """An ICMP error of a router's about a packet of ours."""
    icmp = ICMP(type=kind, code=code)
    if gw is not None:
        icmp.gw = gw
    if mtu:
        icmp.nexthopmtu = mtu
    return wire.rx(icmp / bytes(IP(src=src, dst=dst, ttl=1, **fields) / payload), src=by)


@pytest.mark.parametrize(
    ("kind", "code", "number"),
    [
        (3, 0, errno.ENETUNREACH),
        (3, 1, errno.EHOSTUNREACH),
        (3, 2, errno.ENOPROTOOPT),
        (3, 3, errno.ECONNREFUSED),
        (3, 13, errno.EHOSTUNREACH),
        (11, 0, errno.EHOSTUNREACH),
        (12, 0, errno.EPROTO),
    ],
)
def test_icmp_error_reaches_the_ping_it_is_about(wire, kind, code, number):
    endpoint = wire.net.icmp.open(7)
    wire.send(error_about(wire, ICMP(id=7, seq=3) / b"abc", kind, code))
    error = endpoint.recv()
    assert isinstance(error, EchoError)
    assert (error.reporter, error.dst, error.type, error.code, error.seq, error.errno, error.local) == (
        ip("10.0.0.9"), PEER, kind, code, 3, number, False,
    )  # fmt: skip


def test_icmp_error_reaches_the_tcp_layer_parsed(wire):
    told = []
    wire.net.ipv4.register(6, type("Spy", (), {"icmp_error": lambda self, error: told.append(error)})())
    wire.send(error_about(wire, TCP(sport=5, dport=80, seq=99), 3, 3))
    (error,) = told
    assert (error.src, error.dst, error.hard, error.quote[:8]) == (ip("10.0.0.1"), PEER, True, b"\0\5\0\x50\0\0\0\x63")


@pytest.mark.parametrize("length", range(8, 36))
def test_icmp_error_with_a_short_quote_dropped(length):
    """hostile/icmp-quotes."""
    wire = Wire()
    quote = bytes(IP(src="10.0.0.1", dst="10.0.0.2", proto=17) / bytes(8))
    wire.send(wire.rx(ICMP(type=3, code=1) / quote[: length - 8]))
    assert wire.drops() == {"icmp.drop.quote": 1}


@pytest.mark.parametrize("change", [{"version": 6}, {"ihl": 4}, {"ihl": 15}, {"frag": 1}])
def test_icmp_error_with_an_impossible_quote_dropped(wire, change):
    """hostile/icmp-quotes."""
    wire.send(error_about(wire, UDP(sport=5, dport=7), **change))
    assert wire.drops() == {"icmp.drop.quote": 1}


def test_icmp_error_about_an_error_dropped(wire):
    """hostile/icmp-quotes."""
    wire.send(error_about(wire, ICMP(type=3, code=1) / bytes(28)))
    assert wire.drops() == {"icmp.drop.about_error": 1}


def test_icmp_error_about_a_packet_that_was_not_ours_dropped(wire):
    """hostile/icmp-strangers."""
    wire.send(error_about(wire, UDP(sport=5, dport=7), src="10.0.0.3"))
    assert wire.drops() == {"icmp.drop.not_our_packet": 1}


@pytest.mark.parametrize(("src", "dst"), [("127.0.0.1", "127.0.0.1"), ("10.0.0.1", "10.0.0.1")])
def test_icmp_error_from_a_wire_about_what_we_sent_ourselves_dropped(wire, src, dst):
    wire.send(error_about(wire, UDP(sport=5, dport=7), src=src, dst=dst))
    assert wire.drops() == {"icmp.drop.not_our_packet": 1}


def test_icmp_error_that_was_broadcast_dropped(wire):
    packet = error_about(wire, UDP(sport=5, dport=7))
    packet[IP].dst = "10.0.0.255"
    del packet[IP].chksum
    wire.send(packet)
    assert wire.drops() == {"icmp.drop.cast": 1}


def test_icmp_error_about_an_unknown_protocol_dropped(wire):
    wire.send(error_about(wire, bytes(8), proto=200))
    assert wire.drops() == {"icmp.drop.no_transport": 1}


def test_icmp_source_quench_ignored(wire):
    """MUST-55, RFC 6633."""
    wire.send(error_about(wire, UDP(sport=5, dport=7), 4, 0))
    assert wire.drops() == {"icmp.drop.source_quench": 1}


# -- path MTU


def too_big(wire, mtu, total=None):
    return error_about(wire, ICMP(id=7, seq=1) / bytes(28), 3, 4, mtu=mtu, len=total, flags="DF")


@pytest.mark.parametrize(
    ("mtu", "learned"), [(1400, 1400), (600, 600), (552, 552), (500, 552), (68, 552), (1, 552), (9000, 1500)]
)
def test_icmp_fragmentation_needed_lowers_the_path_mtu_to_its_floor(wire, mtu, learned):
    """hostile/icmp-mtu: 1191/6-8201/4."""
    endpoint = wire.net.icmp.open(7)
    wire.send(too_big(wire, mtu))
    assert wire.net.ipv4.route(PEER).mtu == learned
    assert endpoint.recv().mtu == mtu


@pytest.mark.parametrize(("total", "learned"), [(1500, 1492), (1492, 1006), (1006, 552), (65_535, 1500)])
def test_icmp_fragmentation_needed_without_mtu_takes_the_next_plateau(wire, total, learned):
    """hostile/icmp-mtu."""
    wire.net.icmp.open(7)
    quote = bytes(IP(src="10.0.0.1", dst="10.0.0.2", len=total, flags="DF") / ICMP(id=7, seq=1) / bytes(28))
    wire.send(wire.rx(ICMP(type=3, code=4) / quote))
    assert wire.net.ipv4.route(PEER).mtu == learned


def test_icmp_fragmentation_needed_never_raises_the_path_mtu(wire):
    """hostile/icmp-mtu."""
    wire.net.icmp.open(7)
    wire.send(too_big(wire, 1000), too_big(wire, 1400))
    assert wire.net.ipv4.route(PEER).mtu == 1000


def test_icmp_fragmentation_needed_about_nothing_of_ours_ignored(wire):
    wire.send(too_big(wire, 1000))
    assert wire.net.ipv4.route(PEER).mtu == 1500


def test_icmp_path_mtu_lowered_again_is_kept_ten_minutes_from_then(wire):
    """1191/6-8201/4: no attempt at more within 5 minutes of an error."""
    wire.net.icmp.open(7)
    wire.send(too_big(wire, 1400))
    wire.after(ms=500_000)
    wire.send(too_big(wire, 1000))
    wire.after(ms=599_999)
    assert wire.net.ipv4.route(PEER).mtu == 1000
    wire.after(ms=1)
    assert wire.net.ipv4.route(PEER).mtu == 1500
    wire.send(too_big(wire, 1000))
    wire.after(ms=599_999)
    assert wire.net.ipv4.route(PEER).mtu == 1000


def test_icmp_path_mtu_is_kept_as_long_as_is_set(wire):
    wire.net.config.set("ip.pmtu_expire_ms", "3_600_000")
    wire.net.icmp.open(7)
    wire.send(too_big(wire, 1000))
    wire.after(ms=3_599_999)
    assert wire.net.ipv4.route(PEER).mtu == 1000
    wire.after(ms=1)
    assert wire.net.ipv4.route(PEER).mtu == 1500


def test_icmp_path_mtu_forgotten_after_ten_minutes(wire):
    """1191/6-8201/4."""
    wire.net.icmp.open(7)
    wire.send(too_big(wire, 1000))
    held = wire.net.ipv4.route(PEER)
    wire.after(ms=599_999)
    assert wire.net.ipv4.fresh(held)
    wire.after(ms=1)
    assert not wire.net.ipv4.fresh(held)
    assert wire.net.ipv4.route(PEER).mtu == 1500


def test_icmp_path_mtu_at_the_floor_lets_routers_fragment(wire):
    """Below 552 we do not believe: without DF the path can cut our packets itself."""
    wire.net.icmp.open(7)
    wire.send(too_big(wire, 100))
    wire.net.icmp.ping(PEER, 7, 1, bytes(100), df=True)
    (packet,) = wire.out()
    assert not packet[IP].flags.DF


def test_icmp_path_mtu_makes_fragments_of_that_size(wire):
    wire.net.icmp.open(7)
    wire.send(too_big(wire, 1000))
    wire.net.icmp.ping(PEER, 7, 1, bytes(3000))
    assert max(packet[IP].len for packet in wire.out()) <= 1000


def test_icmp_path_mtus_are_bounded():
    wire = Wire()
    wire.net.add_route("default", via="10.0.0.3")
    for n in range(3_000):
        wire.net.ipv4.update_pmtu(ip(f"192.{n >> 8}.{n & 255}.1"), 1000)
    assert len(wire.net.ipv4.paths._pmtu) == 1_024
    assert wire.net.ipv4.route(ip("192.11.183.1")).mtu == 1000
    assert wire.net.ipv4.route(ip("192.0.0.1")).mtu == 1500


# -- redirects received


def redirected(wire, gw="10.0.0.4", by="10.0.0.3", dst="192.0.2.1", code=1, **fields):
    wire.net.add_route("default", via="10.0.0.3")
    wire.send(error_about(wire, UDP(sport=5, dport=7), 5, code, dst=dst, by=by, gw=gw, **fields))
    return wire.net.ipv4.route(ip("192.0.2.1")).hop


def test_icmp_redirect_of_the_gateway_in_use_believed(wire):
    """1122/3.3.1."""
    assert redirected(wire) == ip("10.0.0.4")
    assert wire.net.ipv4.route(ip("192.0.2.2")).hop == ip("10.0.0.3")


def test_icmp_redirect_forgotten_after_ten_minutes(wire):
    redirected(wire)
    wire.after(ms=600_000)
    assert wire.net.ipv4.route(ip("192.0.2.1")).hop == ip("10.0.0.3")


def test_icmp_redirect_to_a_dead_gateway_dropped_again(strange):
    assert redirected(strange) == ip("10.0.0.4")
    strange.net.icmp.ping(ip("192.0.2.1"), 1, 1)
    strange.after(ms=4_000)
    assert strange.net.ipv4.route(ip("192.0.2.1")).hop == ip("10.0.0.3")


@pytest.mark.parametrize(
    "lie",
    [
        {"by": "10.0.0.5"},
        {"gw": "192.0.2.7"},
        {"gw": "10.0.0.1"},
        {"gw": "10.0.0.255"},
        {"gw": "224.0.0.1"},
        {"gw": "0.0.0.0"},
        {"code": 4},
        {"dst": "10.0.0.3"},
        {"src": "10.0.0.7"},
    ],
    ids=str,
)
def test_icmp_redirect_that_cannot_be_true_ignored(wire, lie):
    assert redirected(wire, **lie) == ip("10.0.0.3")
    assert sum(wire.drops().values()) == 1


def test_icmp_redirect_ignored_by_a_router_and_when_refused():
    for setting, value in (("forward", True), ("accept_redirects", False)):
        wire = Wire()
        setattr(wire.net.config.ip, setting, value)
        assert redirected(wire) == ip("10.0.0.3")
