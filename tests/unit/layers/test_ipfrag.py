"""Reassembly: any order, lies, bounds, time (RFC 791, RFC 1122 section 3.3.2). The model is in tests/property."""

import pytest
from scapy.layers.inet import ICMP, IP, TCP, UDP, IPOption_NOP, fragment

from scapystack.base.addr import ip
from tests.harness.ip import Wire

DATA = bytes(range(256)) * 12


def pieces(wire, data=DATA, size=1000, **fields):
    return fragment(wire.rx(UDP(sport=5, dport=7) / data, id=77, **fields), size)


def listen(wire):
    return wire.net.udp.bind(ip("0.0.0.0"), 7)


def piece(wire, offset, data, more=True, proto=17, ident=77, **fields):
    """One fragment, its data starting at `offset` octets."""
    return wire.rx(data, id=ident, frag=offset // 8, flags="MF" if more else 0, proto=proto, **fields)


ORDERS = {
    "in order": lambda f: f,
    "reversed": lambda f: f[::-1],
    "last first": lambda f: f[-1:] + f[:-1],
    "each twice": lambda f: [x for y in f for x in (y, y)],
    "middle last": lambda f: [f[0], *f[2:], f[1]],
}


@pytest.mark.parametrize("order", ORDERS.values(), ids=ORDERS)
def test_ipfrag_any_order_makes_the_datagram(wire, order):
    endpoint = listen(wire)
    wire.send(*order(pieces(wire)))
    assert endpoint.recv() == (DATA, ip("10.0.0.2"), 5)
    assert endpoint.recv() is None
    assert wire.count("ip.reassembly.ok") == 1
    assert wire.drops() == {}


def test_ipfrag_ping_of_60000_octets_answered(wire):
    request = wire.rx(ICMP(id=1, seq=2) / bytes(60_000), id=9)
    wire.send(*fragment(request, 1480))
    left = wire.out()
    reply = wire.tx(ICMP(type=0, id=1, seq=2) / bytes(60_000), id=left[0].id)
    assert [bytes(packet) for packet in left] == [bytes(part) for part in fragment(reply, 1480)]


def test_ipfrag_datagrams_with_different_keys_do_not_mix(wire):
    endpoint = listen(wire)
    a, b = pieces(wire, b"a" * 1500), pieces(wire, b"b" * 1500, src="10.0.0.3")
    wire.send(a[0], b[0], a[1], b[1])
    assert [endpoint.recv()[0][:1], endpoint.recv()[0][:1]] == [b"a", b"b"]


def test_ipfrag_first_fragment_gives_header_and_options(wire):
    endpoint = listen(wire)
    first, second = pieces(wire, bytes(1200), ttl=9, tos=8)
    second[IP].ttl = 200
    wire.send(second, first)
    message = endpoint.recv_message()
    assert (len(message.data), message.ttl, message.tos) == (1200, 9, 8)


def test_ipfrag_overlap_with_the_same_octets_agrees(wire):
    endpoint = listen(wire)
    whole = bytes(wire.rx(UDP(sport=5, dport=7) / DATA)[UDP])
    spans = [(800, 1600), (0, 1000), (2400, len(whole)), (1200, 2560), (0, 2000)]
    wire.send(*(piece(wire, a, whole[a:b], more=b < len(whole)) for a, b in spans))
    assert endpoint.recv() == (DATA, ip("10.0.0.2"), 5)


@pytest.mark.parametrize("at", [0, 992, 1000, 1992])
def test_ipfrag_overlap_with_other_octets_discards_the_datagram(wire, at):
    """hostile/fragments."""
    endpoint = listen(wire)
    first, second, *rest = pieces(wire)
    wire.send(second, piece(wire, at, b"\xff" * 16), first, *rest)
    assert endpoint.recv() is None
    assert wire.count("ip.drop.fragment_overlap") == 1
    wire.send(first, second, *rest)  # and it stays so until its time is over
    assert endpoint.recv() is None
    assert wire.net.ipv4.reassembly.held == 0


def wrong(wire, *bad):
    """Send something impossible, then a whole datagram of the same id: it must be refused."""
    endpoint = listen(wire)
    wire.send(*bad, *pieces(wire))
    wire.expect()
    assert endpoint.recv() is None
    return {name.removeprefix("ip.drop.fragment_") for name in wire.drops()} - {"of_discarded"}


def test_ipfrag_empty_fragment_discards(wire):
    """hostile/fragments."""
    assert wrong(wire, piece(wire, 800, b"")) == {"empty"}


def test_ipfrag_length_no_multiple_of_eight_discards(wire):
    """hostile/fragments."""
    assert wrong(wire, piece(wire, 0, bytes(801))) == {"length"}


def test_ipfrag_over_65535_discards(wire):
    """hostile/fragments: the ping of death."""
    assert wrong(wire, piece(wire, 65_528, bytes(8), more=False)) == {"too_long"}
    assert wire.count("ip.drop.fragment_too_long") == 1


def test_ipfrag_options_of_a_first_fragment_that_comes_last_count_too(wire):
    """Each piece fits behind its own header, but the whole does not fit behind the first one's."""
    end = 65_515
    rest = [piece(wire, at, bytes(min(1480, end - at)), more=at + 1480 < end) for at in range(8, end, 1480)]
    wire.send(*rest, piece(wire, 0, bytes(8), options=[IPOption_NOP()] * 40))
    assert wire.drops() == {"ip.drop.fragment_too_long": 1}


def test_ipfrag_two_ends_discard(wire):
    """hostile/fragments."""
    assert wrong(wire, piece(wire, 5000, bytes(8), more=False)) == {"end"}


def test_ipfrag_end_before_what_was_received_discards(wire):
    """hostile/fragments."""
    assert wrong(wire, piece(wire, 8000, bytes(8)), piece(wire, 4000, bytes(8), more=False)) == {"end"}


def test_ipfrag_more_behind_the_end_discards(wire):
    """hostile/fragments."""
    assert wrong(wire, piece(wire, 4000, bytes(8), more=False), piece(wire, 8000, bytes(8))) == {"end"}


def test_ipfrag_tiny_first_fragment_of_tcp_discards(wire):
    """hostile/fragments: RFC 1858: flags that a filter would have looked for stand in the second fragment."""
    header = bytes(TCP(dport=80))
    wire.net.tcp.listen(ip("0.0.0.0"), 80, 5)
    wire.send(piece(wire, 0, header[:8], proto=6), piece(wire, 8, header[8:] + bytes(4), more=False, proto=6))
    wire.send(piece(wire, 8, header[8:16], proto=6, ident=78))
    wire.expect()
    assert wire.count("ip.drop.fragment_tiny") == 2


def test_ipfrag_too_many_pieces_discard(wire):
    """hostile/fragments."""
    wire.net.config.ip.reassembly_max_fragments = 10
    assert wrong(wire, *(piece(wire, 16 * n, bytes(8)) for n in range(11))) == {"too_many"}


def test_ipfrag_timeout_reported_if_the_first_was_seen(wire):
    """1122/3.2.1.4, hostile/fragments; manual test 6 of tapip."""
    first = pieces(wire)[0]
    wire.send(first)
    wire.after(ms=59_999)
    wire.expect()
    wire.after(ms=1)
    wire.expect(wire.tx(ICMP(type=11, code=1) / bytes(first[IP])[:548], tos=0xC0))
    assert wire.drops() == {"ip.drop.reassembly_timeout": 1}
    assert len(wire.net.ipv4.reassembly) == 0


def test_ipfrag_timeout_without_the_first_is_silent(wire):
    wire.send(*pieces(wire)[1:])
    wire.after(ms=60_000)
    wire.expect()
    assert wire.drops() == {"ip.drop.reassembly_timeout": 1}


def test_ipfrag_timeout_of_a_broadcast_is_silent(wire):
    wire.send(pieces(wire, dst="10.0.0.255", to="ff:ff:ff:ff:ff:ff")[0])
    wire.after(ms=60_000)
    wire.expect()


def test_ipfrag_time_runs_from_the_first_fragment_on(wire):
    endpoint = listen(wire)
    parts = pieces(wire)
    for part in parts[:-1]:
        wire.send(part)
        wire.after(ms=25_000)
    wire.send(parts[-1])
    assert endpoint.recv() is None


def test_ipfrag_flood_is_bounded_in_datagrams_and_the_oldest_goes(wire):
    """hostile/fragments."""
    wire.net.config.ip.reassembly_max_datagrams = 16
    endpoint = listen(wire)
    old, *rest_of_old = pieces(wire)
    wire.send(old)
    wire.send(*(piece(wire, 0, bytes(64), ident=1000 + n) for n in range(100)))
    assert len(wire.net.ipv4.reassembly) == 16
    assert wire.count("ip.drop.reassembly_full") == 85
    wire.send(*rest_of_old)
    assert endpoint.recv() is None
    wire.send(*pieces(wire, b"new" * 500))
    assert endpoint.recv() is None  # the same id: its first fragment was forgotten, its rest was not
    fresh = fragment(wire.rx(UDP(sport=5, dport=7) / DATA, id=5), 1000)
    wire.send(*fresh)
    assert endpoint.recv() == (DATA, ip("10.0.0.2"), 5)


def test_ipfrag_flood_is_bounded_in_octets():
    """hostile/fragments."""
    wire = Wire()
    wire.net.config.ip.reassembly_max_bytes = 50_000
    wire.send(*(piece(wire, 800 * (n % 50), bytes(800), ident=n // 50) for n in range(500)))
    assert wire.net.ipv4.reassembly.held <= 50_000
    assert wire.count("ip.drop.reassembly_full") > 0


def test_ipfrag_datagram_larger_than_the_bound_discarded():
    wire = Wire()
    wire.net.config.ip.reassembly_max_bytes = 2_000
    wire.send(*pieces(wire))
    wire.expect()
    assert wire.net.ipv4.reassembly.held <= 2_000
    assert wire.count("ip.drop.reassembly_full") == 1


@pytest.mark.parametrize(("marks", "result"), [((1, 1, 1), 1), ((2, 3, 2), 3), ((1, 2, 1), 1), ((0, 0, 0), 0)])
def test_ipfrag_one_congestion_mark_marks_the_whole(wire, marks, result):
    """RFC 3168 section 5.3."""
    endpoint = listen(wire)
    parts = pieces(wire, bytes(2500))
    for part, mark in zip(parts, marks, strict=True):
        part[IP].tos = mark
    wire.send(*parts)
    assert endpoint.recv_message().tos == result


def test_ipfrag_congestion_mark_beside_not_ect_discards(wire):
    endpoint = listen(wire)
    first, *rest = pieces(wire, bytes(2500))
    first[IP].tos = 3
    wire.send(first, *rest)
    assert endpoint.recv() is None
    assert wire.count("ip.drop.fragment_ecn") == 1


def test_ipfrag_transport_checksum_of_the_whole_is_verified(wire):
    endpoint = listen(wire)
    parts = pieces(wire)
    broken = bytearray(bytes(parts[1]))
    broken[-1] ^= 1
    wire.send(parts[0], bytes(broken), *parts[2:], csum=2)  # no link can vouch for a piece
    assert endpoint.recv() is None
    assert wire.drops() == {"udp.drop.checksum": 1}
