"""The table of hostile input (docs/hostile.md), the rows of Ethernet, ARP, IP and ICMP.

Each test names its row, and the connection beside the attack must pass text when it is over. What a layer
does with each of these by itself stands in the tests of that layer.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator

import pytest

from scapystack.base.addr import ip
from scapystack.base.checksum import checksum
from tests.fuzz.octets import ICMP, TCP, UDP, icmp_message, ip_packet, tcp_segment, udp_datagram
from tests.harness.siege import CLOSED_PORT, ECHO, FOE, FOE_MAC, NOBODY, OPEN, OURS, Siege, bits

BROADCASTS = [ip("10.0.0.255"), ip("255.255.255.255"), ip("224.0.0.1"), ip("239.1.2.3")]
ALL = b"\xff" * 6
DF = 2


@pytest.fixture
def siege() -> Iterator[Siege]:
    made = Siege()
    yield made
    made.goes_on()


def hello(src: bytes = FOE, dst: bytes = OURS, port: int = ECHO) -> bytes:
    return udp_datagram(src, dst, 9, port, b"hello")


# --- IP


@pytest.mark.parametrize(
    ("at", "value", "reason"),
    [(0, 0x55, "version"), (0, 0x65, "version"), (0, 0x05, "version"), (0, 0x44, "ihl"), (0, 0x40, "ihl"),
     (0, 0x4F, "truncated"), (2, 0xFF, "truncated"), (3, 34, "truncated"), (3, 19, "length"), (3, 0, "length")],
)  # fmt: skip
def test_ip_version_or_length_that_cannot_be_dropped(siege: Siege, at: int, value: int, reason: str) -> None:
    """hostile/ip-lengths."""
    packet = bytearray(ip_packet(FOE, OURS, UDP, hello()))
    packet[at] = value
    packet[10:12] = b"\0\0"
    packet[10:12] = checksum(bytes(packet[: max(20, (packet[0] & 15) * 4)])).to_bytes(2, "big")
    assert siege.frame(bytes(packet)) == []
    assert siege.dropped() == {"ip.drop." + reason: 1}
    assert siege.udp.recv() is None


@pytest.mark.parametrize("padding", [1, 18, 1400])
def test_ip_packet_shorter_than_its_frame_loses_the_padding(siege: Siege, padding: int) -> None:
    """hostile/ip-lengths: total length below the frame."""
    assert siege.frame(ip_packet(FOE, OURS, UDP, hello()) + b"\xaa" * padding) == []
    assert siege.udp.recv() == (b"hello", FOE, 9)
    foe = siege.open()
    text = tcp_segment(FOE, OURS, foe.port, OPEN, foe.iss + 1, foe.c.snd_nxt, bits("PA"), 500, payload=b"text")
    siege.frame(ip_packet(FOE, OURS, TCP, text) + b"\xaa" * padding)
    assert foe.c.read(5000) == b"text"
    assert siege.dropped() == {}


def test_bad_checksum_of_any_layer_dropped_and_counted(siege: Siege) -> None:
    """hostile/checksums."""
    foe = siege.open()
    text = tcp_segment(FOE, OURS, foe.port, OPEN, foe.iss + 1, foe.c.snd_nxt, bits("PA"), 500, payload=b"text")
    good = [
        ("ip", 10, ip_packet(FOE, OURS, UDP, hello())),
        ("tcp", 20 + 16, ip_packet(FOE, OURS, TCP, text)),
        ("tcp", 20 + 20, ip_packet(FOE, OURS, TCP, text)),
        ("udp", 20 + 6, ip_packet(FOE, OURS, UDP, hello())),
        ("icmp", 20 + 2, ip_packet(FOE, OURS, ICMP, icmp_message(8, 0, bytes(12)))),
    ]
    for layer, at, packet in good:
        for bit in (1, 0x80):
            before = siege.dropped().get(layer + ".drop.checksum", 0)
            assert siege.frame(packet[:at] + bytes([packet[at] ^ bit]) + packet[at + 1 :]) == []
            assert siege.dropped()[layer + ".drop.checksum"] == before + 1
    assert (siege.udp.recv(), foe.c.available) == (None, 0)


@pytest.mark.parametrize(
    "option",
    [b"\x82\0", b"\x82\1", b"\x82\x0c", b"\x07\0\4", b"\x07\1\4", b"\x07\x29\4", b"\x07\3\0", b"\x07\7\3\0\0\0\0",
     b"\x44\4\4\0", b"\x44\0\5\0", b"\x44\x24\5\0", b"\x44\5\5", b"\x83\7\5\0\0\0\0", b"\x83\2", b"\x07"],
    ids=bytes.hex,
)  # fmt: skip
def test_ip_option_that_cannot_be_dropped_and_parsing_ends(siege: Siege, option: bytes) -> None:
    """hostile/ip-options: length 0, 1, past the header; a pointer out of range."""
    options = b"\1" * (-len(option) % 4) + option  # at the very end, so that a length may reach past it
    answers = siege.ip(UDP, hello(), options=options)
    assert siege.udp.recv() is None
    assert siege.dropped() == {"ip.drop.option": 1}
    assert [(packet[9], packet[20]) for packet in answers] == [(ICMP, 12)]  # a parameter problem is all it draws


@pytest.mark.parametrize(
    "source",
    ["255.255.255.255", "10.0.0.255", "224.0.0.1", "239.255.255.255", "240.0.0.1", "0.0.0.0", "0.1.2.3", "127.0.0.1",
     "127.255.255.255", "10.0.0.1"],
)  # fmt: skip
def test_source_that_nobody_can_have_draws_no_answer(siege: Siege, source: str) -> None:
    """hostile/sources: the last one is ourselves (land)."""
    src = ip(source)
    for packet in (
        ip_packet(src, OURS, TCP, tcp_segment(src, OURS, OPEN, OPEN, 1, 0, bits("S"), 500)),
        ip_packet(src, OURS, TCP, tcp_segment(src, OURS, OPEN, CLOSED_PORT, 1, 1, bits("A"), 500)),
        ip_packet(src, OURS, UDP, hello(src)),
        ip_packet(src, OURS, UDP, hello(src, port=99)),
        ip_packet(src, OURS, ICMP, icmp_message(8, 0, bytes(12))),
        ip_packet(src, OURS, 99, b"no such protocol"),
        ip_packet(src, OURS, UDP, hello(src), flags=1),
    ):
        assert siege.frame(packet) == []
    assert siege.dropped() == {"ip.drop.source": 7}
    assert siege.udp.recv() is None
    assert len(siege.stack.tcp.connections) == 1
    siege.after(61_000)
    assert siege.answers() == []


@pytest.mark.parametrize("dst", BROADCASTS, ids=["subnet", "limited", "all hosts", "no member"])
@pytest.mark.parametrize("link", [ALL, b"\1\0\x5e\0\0\1", b""], ids=["to all", "to a group", "to us"])
def test_syn_or_datagram_to_many_draws_no_answer(siege: Siege, dst: bytes, link: bytes) -> None:
    """hostile/casts: nor do a ping, and a protocol that is not there."""
    for packet in (
        ip_packet(FOE, dst, TCP, tcp_segment(FOE, dst, 5, OPEN, 1, 0, bits("S"), 500)),
        ip_packet(FOE, dst, TCP, tcp_segment(FOE, dst, 5, CLOSED_PORT, 1, 0, bits("S"), 500)),
        ip_packet(FOE, dst, TCP, tcp_segment(FOE, dst, 5, CLOSED_PORT, 1, 1, bits("A"), 500)),
        ip_packet(FOE, dst, UDP, hello(dst=dst, port=99)),
        ip_packet(FOE, dst, ICMP, icmp_message(8, 0, bytes(12))),
        ip_packet(FOE, dst, 99, b"no such protocol"),
    ):
        assert siege.frame(packet, to=link) == []
    assert len(siege.stack.tcp.connections) == 1
    assert sum(siege.dropped().values()) >= 6


def test_unicast_packet_in_a_broadcast_frame_draws_no_answer(siege: Siege) -> None:
    """hostile/casts."""
    segment = tcp_segment(FOE, OURS, 5, OPEN, 1, 0, bits("S"), 500)
    assert siege.frame(ip_packet(FOE, OURS, TCP, segment), to=ALL) == []
    assert siege.frame(ip_packet(FOE, OURS, UDP, hello(port=99)), to=ALL) == []
    assert siege.dropped() == {"ip.drop.link_cast": 2}


# --- fragments

BODY = bytes(range(256)) * 3


def piece(offset: int, data: bytes, *, more: bool = True, proto: int = UDP, ident: int = 7) -> bytes:
    return ip_packet(FOE, OURS, proto, data, ident=ident, flags=int(more), offset=offset // 8)


BAD_FRAGMENTS = {
    "overlap with other octets": ([piece(0, BODY[:64]), piece(56, b"\xee" * 16)], "overlap"),
    "overlap within": ([piece(0, BODY[:64]), piece(8, b"\xee" * 8)], "overlap"),
    "past 65,535": ([piece(65_528, BODY[:16], more=False)], "too_long"),
    "empty": ([piece(0, b"")], "empty"),
    "empty end": ([piece(0, BODY[:8]), piece(8, b"", more=False)], "empty"),
    "no multiple of 8": ([piece(0, BODY[:13])], "length"),
    "two ends": ([piece(64, BODY[:16], more=False), piece(64, BODY[:24], more=False)], "end"),
    "an end before what came": ([piece(64, BODY[:16]), piece(8, BODY[:8], more=False)], "end"),
    "more behind the end": ([piece(64, BODY[:16], more=False), piece(80, BODY[:8])], "end"),
    "tiny first one": ([piece(0, BODY[:8], proto=TCP)], "tiny"),
    "second one over the first's header": ([piece(8, BODY[:64], proto=TCP)], "tiny"),
}


@pytest.mark.parametrize("case", BAD_FRAGMENTS)
def test_fragments_that_cannot_be_discard_the_datagram(siege: Siege, case: str) -> None:
    """hostile/fragments: and what is missing does not bring it back."""
    packets, reason = BAD_FRAGMENTS[case]
    for packet in packets:
        assert siege.frame(packet) == []
    assert siege.dropped() == {"ip.drop.fragment_" + reason: 1}
    proto = packets[0][9]
    whole = tcp_segment(FOE, OURS, 5, OPEN, 1, 0, bits("S"), 500, payload=BODY) if proto == TCP else hello() + BODY
    for at in range(0, len(whole), 24):
        assert siege.frame(piece(at, whole[at : at + 24], more=at + 24 < len(whole), proto=proto)) == []
    assert siege.udp.recv() is None
    assert siege.stack.ipv4.reassembly.held == 0
    siege.after(61_000)
    assert (siege.answers(), len(siege.stack.ipv4.reassembly)) == ([], 0)


def test_fragments_that_never_become_whole_bounded_and_gone_after_a_minute() -> None:
    """hostile/fragments: the oldest goes first; after 60 s the first fragment's sender is told, as far as the limit."""
    siege = Siege(ip_reassembly_max_datagrams=50, ip_reassembly_max_bytes=40_000)
    table = siege.stack.ipv4.reassembly
    for n in range(500):
        siege.frame(piece(0, bytes(800), ident=1000 + n))
        assert len(table) <= 50
        assert table.held <= 40_000
    assert siege.dropped()["ip.drop.reassembly_full"] > 400
    siege.frame(piece(0, hello() + bytes(3), ident=1499))  # the youngest is still there: the same octets, or none
    assert len(table) > 1
    siege.goes_on()
    siege.after(59_000)
    assert len(table) > 1
    siege.answers()
    siege.after(2_000)
    assert (len(table), table.held) == (0, 0)
    told = siege.answers()
    assert 0 < len(told) <= siege.stack.config.icmp.peer_errors_burst
    assert {(packet[9], packet[20], packet[21]) for packet in told} == {(ICMP, 11, 1)}
    siege.goes_on()


# --- ICMP


def quoted(src: bytes = OURS, dst: bytes = FOE, *, sport: int = OPEN, dport: int = 20_000, seq: int = 0) -> bytes:
    """The head of a segment that is said to be ours, as a router quotes it."""
    return ip_packet(src, dst, TCP, struct.pack("!HHI", sport, dport, seq & 0xFFFFFFFF), flags=DF)


ERRORS = [(3, 0), (3, 1), (3, 2), (3, 3), (3, 4), (3, 5), (3, 13), (4, 0), (11, 0), (11, 1), (12, 0)]


@pytest.mark.parametrize(("kind", "code"), ERRORS)
def test_icmp_error_about_what_is_not_under_way_ignored(siege: Siege, kind: int, code: int) -> None:
    """hostile/icmp-strangers: no connection, a listener, sequence numbers outside the flight."""
    foe = siege.open()
    foe.write(b"x" * 100)
    mss, cwnd = foe.c.snd_mss, foe.c.cc.cwnd
    for quote in (
        quoted(sport=9, dport=9),
        quoted(dport=9),
        quoted(dst=NOBODY, dport=foe.port, seq=foe.c.snd_una),
        quoted(dport=foe.port, seq=foe.c.snd_una - 1),
        quoted(dport=foe.port, seq=foe.c.snd_nxt + 1),
        quoted(dport=foe.port, seq=foe.c.snd_una + (1 << 31)),
    ):
        assert siege.icmp(kind, code, quote, word=600) == []
    assert (foe.c.connected, foe.c.soft_error, foe.c.snd_mss, foe.c.cc.cwnd) == (True, 0, mss, cwnd)
    assert sum(siege.dropped().values()) == 6


@pytest.mark.parametrize("code", [2, 3])
def test_icmp_hard_error_about_a_connection_is_only_noted(siege: Siege, code: int) -> None:
    """hostile/icmp-hard."""
    foe = siege.open()
    foe.write(b"x" * 100)
    assert siege.icmp(3, code, quoted(dport=foe.port, seq=foe.c.snd_una)) == []
    assert foe.c.connected
    assert (foe.c.soft_error != 0, foe.c.error) == (True, 0)
    assert foe.send("A") == []
    foe.send("PA", payload=b"alive")
    assert foe.c.read(100) == b"alive"


@pytest.mark.parametrize("code", [2, 3])
def test_icmp_hard_error_about_an_open_fails_it(siege: Siege, code: int) -> None:
    """hostile/icmp-hard: in SYN-SENT."""
    siege.net.enter(siege.host)
    c = siege.stack.tcp.connect(FOE, 5)
    siege.net.collect(siege.host)
    assert len(siege.answers()) == 1
    siege.icmp(3, code, quoted(sport=c.local_port, dport=5, seq=c.iss))
    assert not c.connected
    with pytest.raises(OSError, match=r"refused|unreachable|not available"):
        c.read(1)


@pytest.mark.parametrize(
    ("told", "mtu"),
    [(0, 1492), (1, 552), (68, 552), (551, 552), (552, 552), (1400, 1400), (1500, 1500), (65_535, 1500)],
)
def test_icmp_fragmentation_needed_lowers_to_the_floor_and_never_raises(siege: Siege, told: int, mtu: int) -> None:
    """hostile/icmp-mtu: MTU 0 is an old router's, whose next plateau is taken (RFC 1191 section 7)."""
    foe = siege.open()
    foe.write(b"x" * 1460)
    sent = struct.pack("!HHI", OPEN, foe.port, foe.c.snd_una) + bytes(1472)
    siege.icmp(3, 4, ip_packet(OURS, FOE, TCP, sent, flags=DF), word=told)
    assert (foe.c.snd_mss, siege.stack.ipv4.route(FOE).mtu) == (mtu - 40, mtu)
    siege.icmp(3, 4, quoted(dport=foe.port, seq=foe.c.snd_una), word=1500)
    assert foe.c.snd_mss == mtu - 40


@pytest.mark.parametrize("size", [0, 8, 19, 20, 24, 27])
def test_icmp_error_that_quotes_too_little_dropped(siege: Siege, size: int) -> None:
    """hostile/icmp-quotes."""
    foe = siege.open()
    foe.write(b"x")
    for kind, code in ERRORS:
        assert siege.icmp(kind, code, quoted(dport=foe.port, seq=foe.c.snd_una)[:size]) == []
    assert (foe.c.soft_error, foe.c.snd_mss, foe.c.connected) == (0, 1460, True)
    assert sum(siege.dropped().values()) == len(ERRORS)


def test_icmp_error_about_an_icmp_error_dropped(siege: Siege) -> None:
    """hostile/icmp-quotes: of ours it would be; and none is sent about one."""
    for kind, code in ERRORS:
        about = ip_packet(OURS, FOE, ICMP, icmp_message(kind, code, bytes(32)))
        assert siege.icmp(3, 1, about) == []
    assert sum(siege.dropped().values()) == len(ERRORS)
    for kind, code in ERRORS:  # a first fragment whose rest never comes would draw one, were it not an error itself
        assert siege.ip(ICMP, icmp_message(kind, code, quoted() + bytes(8)), flags=1, ident=kind << 8 | code) == []
    siege.after(61_000)
    assert siege.answers() == []


# --- storms


def test_port_scan_answers_limited() -> None:
    """hostile/storms: TCP and UDP."""
    siege = Siege(tcp_rsts_per_second=20)
    scan = [ip_packet(FOE, OURS, TCP, tcp_segment(FOE, OURS, 5, port, 1, 0, bits("S"), 1)) for port in range(100, 600)]
    siege.burst(scan)
    answered = len(siege.answers())
    assert 10 <= answered <= 20
    siege.burst([ip_packet(FOE, OURS, UDP, hello(port=port)) for port in range(100, 600)])
    assert len(siege.answers()) == siege.stack.config.icmp.peer_errors_burst
    assert siege.dropped()["tcp.drop.rst_limit"] == 500 - answered
    siege.goes_on()
    siege.after(2_000)
    siege.burst(scan[:100])
    assert 10 <= len(siege.answers()) <= 20
    siege.goes_on()


def test_storm_of_resets_and_icmp_errors_draws_nothing(siege: Siege) -> None:
    """hostile/storms: at a connection, at its neighbour, at nothing."""
    foe = siege.open()
    foe.write(b"x")
    for n in range(1_000):
        siege.burst([
            ip_packet(FOE, OURS, TCP, tcp_segment(FOE, OURS, foe.port, OPEN, foe.iss + 2 + n, 0, bits("R"), 1)),
            ip_packet(FOE, OURS, TCP, tcp_segment(FOE, OURS, n, n, n, n, bits("RA"), 1)),
            ip_packet(FOE, OURS, ICMP, icmp_message(3, 3, bytes(4) + quoted(dport=foe.port, seq=foe.c.iss + 10 + n))),
        ])  # fmt: skip
    assert len(siege.answers()) <= siege.stack.config.tcp.challenge_acks + 1
    assert foe.c.connected
    assert sum(siege.dropped().values()) > 2_900


# --- ARP


def arp(op: int, sha: bytes, spa: bytes, tpa: bytes, *, kind: tuple[int, int, int, int] = (1, 0x0800, 6, 4)) -> bytes:
    return struct.pack("!HHBBH6s4s6s4s", *kind, op, sha, spa, bytes(6), tpa)


@pytest.mark.parametrize(
    ("packet", "answers"),
    [
        (arp(1, FOE_MAC, NOBODY, OURS, kind=(1, 0x0800, 5, 4)), 0),
        (arp(1, FOE_MAC, NOBODY, OURS, kind=(1, 0x0800, 6, 16)), 0),
        (arp(1, FOE_MAC, NOBODY, OURS, kind=(7, 0x0800, 6, 4)), 0),
        (arp(1, FOE_MAC, NOBODY, OURS, kind=(1, 0x86DD, 6, 4)), 0),
        (arp(1, FOE_MAC, NOBODY, OURS)[:27], 0),
        (arp(9, FOE_MAC, NOBODY, OURS), 0),
        (arp(1, b"\1\0\x5e\0\0\1", NOBODY, OURS), 0),
        (arp(1, ALL, NOBODY, OURS), 0),
        (arp(1, bytes(6), NOBODY, OURS), 0),
        (arp(1, b"\2\0\0\0\0\1", NOBODY, OURS), 0),
        (arp(1, FOE_MAC, ip("10.0.0.255"), OURS), 0),
        (arp(1, FOE_MAC, ip("255.255.255.255"), OURS), 0),
        (arp(1, FOE_MAC, ip("224.0.0.1"), OURS), 0),
        (arp(1, FOE_MAC, bytes(4), OURS), 1),
        (arp(2, FOE_MAC, NOBODY, OURS), 0),
        (arp(2, FOE_MAC, NOBODY, NOBODY), 0),
        (arp(1, FOE_MAC, NOBODY, NOBODY), 0),
    ],
    ids=["hlen", "plen", "hrd", "pro", "short", "op", "group MAC", "all MAC", "no MAC", "our MAC", "broadcast",
         "limited broadcast", "multicast", "probe", "unasked reply", "gratuitous reply", "gratuitous request"],
)  # fmt: skip
def test_arp_packet_that_cannot_be_teaches_nothing(siege: Siege, packet: bytes, answers: int) -> None:
    """hostile/arp: only a probe is answered, and not cached either."""
    before = siege.stack.arp.entries()
    assert len(siege.frame(packet, kind=0x0806, to=ALL)) == answers
    assert siege.stack.arp.entries() == before


def test_arp_claims_of_every_kind_leave_known_neighbours_alone_but_for_their_own_word(siege: Siege) -> None:
    """hostile/arp: a flood of requests, replies and announcements; the table is bounded and the friend stays in it."""
    entries = siege.stack.config.arp.max_entries
    packets = []
    for n in range(3 * entries):
        claimed = b"\x0a\0\0" + bytes([4 + n % 250])
        packets.append(arp(1 + n % 2, b"\2" + n.to_bytes(5, "big"), claimed, OURS if n % 3 else claimed))
    siege.burst(packets, kind=0x0806, to=ALL)
    assert len(siege.stack.arp.table) <= min(entries, 256)
    assert siege.stack.arp.lookup(siege.host.iface, FOE) is not None
    assert siege.stack.arp.lookup(siege.host.iface, siege.friend.address) is not None
