"""The table of hostile input (docs/hostile.md), the rows of TCP that concern headers, options and opening.

Each test names its row, and the connection beside the attack must pass text when it is over.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator

import pytest

from scapystack.layers.tcp.state import CLOSED, ESTABLISHED, SYN_RECEIVED, SYN_SENT
from scapystack.layers.tcp.user import Connection
from tests.fuzz.octets import TCP, ip_packet, repaired, tcp_segment
from tests.harness.siege import CLOSED_PORT, FOE, OPEN, OURS, Foe, Heard, Siege, bits, parsed

FLAGS = ["".join(pick) or "." for n in range(7) for pick in itertools.combinations("FSRPAU", n)]
LINK = bytes(12) + b"\x08\0"
MSS_1000 = b"\2\4\3\xe8"


@pytest.fixture
def siege() -> Iterator[Siege]:
    made = Siege()
    yield made
    made.goes_on()


# --- headers and options


@pytest.mark.parametrize("offset", [0, 1, 4, 8, 15])
def test_data_offset_under_five_or_past_the_segment_dropped(siege: Siege, offset: int) -> None:
    """hostile/tcp-offset: to a connection, a listener, a closed port."""
    foe = siege.open()
    for sport, dport, flags in ((foe.port, OPEN, "PA"), (5, OPEN, "S"), (5, CLOSED_PORT, "S")):
        numbers = (foe.iss + 1, foe.c.snd_nxt, bits(flags), 500)
        packet = bytearray(ip_packet(FOE, OURS, TCP, tcp_segment(FOE, OURS, sport, dport, *numbers, payload=b"12345")))
        packet[20 + 12] = offset << 4
        assert siege.frame(repaired(LINK + bytes(packet))[14:]) == []
    assert siege.dropped() == {"tcp.drop.dataofs": 3}
    assert (foe.c.available, foe.c.state) == (0, ESTABLISHED)


@pytest.mark.parametrize(
    "options",
    [b"\x08\0", b"\x08\1", b"\x08\x0b", b"\x08", b"\x03\0", b"\x05\x29", b"\x05\x0b" + bytes(9), b"\x05\2",
     b"\x08\x09" + bytes(7), b"\x08\x0c" + bytes(10), b"\xfe\x02", b"\xff\0", b"\0" * 40, b"\1" * 40,
     b"\x13\x12" + bytes(16)],
    ids=bytes.hex,
)  # fmt: skip
def test_option_of_a_wrong_length_leaves_the_segment_standing(siege: Siege, options: bytes) -> None:
    """hostile/tcp-options: 0, 1, past the header, not its kind's; beside text, and in a SYN behind an MSS."""
    foe = siege.open()
    foe.send("PA", payload=b"text", options=options)
    assert foe.c.read(100) == b"text"
    other = siege.open(options=(MSS_1000 + options)[:40])
    assert (other.c.snd_mss, other.c.ts_ok, other.c.sack_ok) == (1000, False, False)
    assert siege.dropped() == {}


def test_options_of_a_syn_outside_of_one_ignored(siege: Siege) -> None:
    """hostile/tcp-options: MSS, SACK-permitted and window scale change nothing; the text is taken."""
    foe = siege.open(options=b"")
    c = foe.c
    foe.send("PA", payload=b"text", options=b"\2\4\0\x64\4\2\3\3\7", wnd=500)
    assert c.read(100) == b"text"
    assert (c.snd_mss, c.peer_mss, c.sack_ok, c.ws_ok, c.snd_wnd) == (536, 536, False, False, 500)


@pytest.mark.parametrize(("offered", "used"), [(0, 536), (1, 88), (20, 88), (88, 88), (89, 89), (65_535, 1460)])
def test_mss_has_a_floor(siege: Siege, offered: int, used: int) -> None:
    """hostile/mss-wscale: nobody makes us send headers only."""
    foe = siege.open(options=b"\2\4" + offered.to_bytes(2, "big"))
    assert foe.c.snd_mss == used
    assert max(each.length for each in foe.write(b"x" * 5_000)) == used


@pytest.mark.parametrize("shift", [15, 16, 31, 32, 128, 255])
def test_window_scale_above_14_is_14(siege: Siege, shift: int) -> None:
    """hostile/mss-wscale."""
    foe = siege.open(options=MSS_1000 + bytes((3, 3, shift)), wnd=3)
    assert foe.c.snd_wnd == 3 << 14


# --- flags


@pytest.mark.parametrize("flags", FLAGS)
def test_flags_of_every_kind_to_a_closed_port(siege: Siege, flags: str) -> None:
    """hostile/flags: a RST as RFC 9293 section 3.10.7.1 has it, and never to a RST."""
    drawn = siege.tcp(flags, dport=CLOSED_PORT, seq=100, ack=7_000, payload=b"abc")
    if "R" in flags:
        assert drawn == []
    elif "A" in flags:
        assert drawn == [Heard("R", 7_000, 0)]
    else:
        assert drawn == [Heard("RA", 0, 100 + 3 + ("S" in flags) + ("F" in flags))]


@pytest.mark.parametrize("flags", FLAGS)
def test_flags_of_every_kind_to_a_listener(siege: Siege, flags: str) -> None:
    """hostile/flags: only a SYN without FIN, RST and ACK opens; only an ACK draws a RST."""
    drawn = siege.tcp(flags, seq=100, ack=7_000)
    if "R" in flags:
        assert drawn == []
    elif "A" in flags:
        assert drawn == [Heard("R", 7_000, 0)]
    elif "S" in flags and "F" not in flags:
        assert [(each.flags, each.ack) for each in drawn] == [("SA", 101)]
    else:
        assert drawn == []
    assert len(siege.listener.half_open) == (drawn != [] and drawn[0].flags == "SA")
    assert not siege.listener.queue


@pytest.mark.parametrize("flags", FLAGS)
def test_flags_of_every_kind_in_a_connection(siege: Siege, flags: str) -> None:
    """hostile/flags, hostile/no-ack: behind the number that is due, so that no RST is exact."""
    foe = siege.open()
    drawn = foe.send(flags, seq=2, payload=b"x")
    assert foe.c.state == ESTABLISHED
    assert foe.c.available == 0
    if "R" in flags or "S" in flags:
        assert drawn == [Heard("A", 1, 1)]  # a challenge
    else:
        assert [each.flags for each in drawn] == (["A"] if "A" in flags else [])
        assert foe.c.ooo.size == (1 if "A" in flags else 0)


def test_segment_without_ack_in_a_connection_dropped(siege: Siege) -> None:
    """hostile/no-ack: text, FIN, URG or nothing."""
    foe = siege.open()
    for flags in (".", "F", "P", "U", "FPU"):
        assert foe.send(flags, payload=b"text", up=3) == []
    assert (foe.c.available, foe.c.state, foe.c.rcv_up) == (0, ESTABLISHED, None)
    assert siege.dropped() == {"tcp.drop.no_ack": 5}


# --- opening


def test_text_in_a_syn_not_delivered_before_the_handshake_is_done(siege: Siege) -> None:
    """hostile/syn-data: what the SYN and ACK acknowledges is what is kept, and the peer's text arrives once."""
    (answer,) = siege.tcp("SP", seq=100, payload=b"early text")
    c = siege.stack.tcp.connections[(OURS, OPEN, FOE, 4_000)]
    kept = answer.ack - 101
    assert (answer.flags, kept in (0, 10)) == ("SA", True)
    assert (c.state, siege.listener.accept()) == (SYN_RECEIVED, None)
    assert c.available == 0
    siege.tcp("PA", seq=101 + kept, ack=answer.seq + 1, payload=b"early text"[kept:])
    assert siege.listener.accept() is c
    assert c.read(100) == b"early text"
    siege.tcp("PA", seq=101, ack=answer.seq + 1, payload=b"early text")
    assert c.available == 0


def opened(siege: Siege) -> tuple[Connection, int]:
    """A connection of ours to port 5 of the attacker, in SYN-SENT; its initial sequence number."""
    siege.net.enter(siege.host)
    c = siege.stack.tcp.connect(FOE, 5, local_port=999)
    siege.net.collect(siege.host)
    siege.answers()
    return c, c.iss


@pytest.mark.parametrize("wrong", [0, 2, 1000, 1 << 31, -1])
@pytest.mark.parametrize("flags", ["A", "SA", "PA", "FA"])
def test_wrong_ack_to_an_open_draws_a_reset(siege: Siege, flags: str, wrong: int) -> None:
    """hostile/opening-ack: with SEQ=SEG.ACK, and the state stays SYN-SENT."""
    c, iss = opened(siege)
    ack = (iss + wrong) & 0xFFFFFFFF
    assert siege.tcp(flags, sport=5, dport=999, seq=50, ack=ack) == [Heard("R", ack, 0)]
    assert c.state == SYN_SENT
    drawn = siege.tcp("SA", sport=5, dport=999, seq=50, ack=iss + 1)
    assert (c.state, [(each.flags, each.ack) for each in drawn]) == (ESTABLISHED, [("A", 51)])


@pytest.mark.parametrize(("flags", "ack"), [("R", 1), ("RA", 0), ("RA", 2), ("RA", 1 << 31), ("RS", 0), ("RSA", 7)])
def test_reset_of_an_open_without_an_acceptable_ack_ignored(siege: Siege, flags: str, ack: int) -> None:
    """hostile/opening-ack: and one with it refuses the connection."""
    c, iss = opened(siege)
    assert siege.tcp(flags, sport=5, dport=999, seq=0, ack=iss + ack) == []
    assert c.state == SYN_SENT
    assert siege.tcp("RA", sport=5, dport=999, seq=0, ack=iss + 1) == []
    assert c.state == CLOSED


@pytest.mark.parametrize("wrong", [0, 2, 1000, 1 << 31])
def test_wrong_ack_of_our_syn_and_ack_draws_a_reset(siege: Siege, wrong: int) -> None:
    """hostile/opening-ack: and the state stays SYN-RECEIVED."""
    foe = Foe(siege, 4_000, 100, b"")
    (answer,) = siege.tcp("S", seq=100)
    foe.c = siege.stack.tcp.connections[(OURS, OPEN, FOE, 4_000)]
    ack = (answer.seq + wrong) & 0xFFFFFFFF
    assert siege.tcp("PA", seq=101, ack=ack, payload=b"x") == [Heard("R", ack, 0)]
    assert (foe.c.state, foe.c.available) == (SYN_RECEIVED, 0)
    assert foe.send("A", ack=1) == []
    assert foe.c.state == ESTABLISHED


def test_options_that_a_syn_draws_answer_only_what_was_offered(siege: Siege) -> None:
    """hostile/tcp-options: a SYN of junk gets a plain SYN and ACK."""
    segment = tcp_segment(FOE, OURS, 5, OPEN, 1, 0, bits("S"), 500, options=b"\4\3\1\3\4\7\1\x08\3\1")
    (packet,) = siege.frame(ip_packet(FOE, OURS, TCP, segment))
    answer = parsed(packet)
    assert (answer.mss, answer.sack_permitted, answer.wscale, answer.tsval) == (1460, False, None, None)
