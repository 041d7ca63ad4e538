"""The table of hostile input (docs/hostile.md), the rows of TCP that concern a connection that stands.

Each test names its row, and the connection beside the attack must pass text when it is over. The numbers of
`foe.send` count from the initial ones: its next octet is 1, and 1 acknowledges our SYN.
"""

from __future__ import annotations

import itertools
import random
from collections.abc import Iterator

import pytest

from scapystack.layers.tcp.isn import IsnGenerator
from scapystack.layers.tcp.options import encode, encode_syn, encode_timestamps
from scapystack.layers.tcp.state import CLOSE_WAIT, CLOSED, ESTABLISHED, TIME_WAIT
from tests.harness.siege import MASK, Foe, Heard, Siege

ACK = Heard("A", 1, 1)


@pytest.fixture
def siege() -> Iterator[Siege]:
    made = Siege()
    yield made
    made.goes_on()


# --- sequence and acknowledgement numbers


@pytest.mark.parametrize(
    ("flags", "seq", "ack"),
    [("R", 2, 1), ("R", 64_000, 1), ("RA", 2, 1), ("S", 0, 0), ("S", 1, 0), ("S", 1 << 31, 0), ("SA", 1, 1),
     ("A", 1, 2), ("A", 1, 1 << 31), ("A", 1, -(1 << 24))],
)  # fmt: skip
def test_challenge_ack_is_all_that_it_draws_and_not_often(siege: Siege, flags: str, seq: int, ack: int) -> None:
    """hostile/challenge: RST not exact, SYN, ACK above SND.NXT or too old."""
    foe = siege.open()
    drawn = [each for _ in range(100) for each in foe.send(flags, seq=seq, ack=ack, payload=b"injected")]
    assert drawn == [ACK] * len(drawn)
    assert 1 <= len(drawn) <= siege.stack.config.tcp.challenge_acks
    assert (foe.c.state, foe.c.available, foe.c.ooo.size) == (ESTABLISHED, 0, 0)
    other = siege.open()
    assert len(other.send(flags, seq=seq, ack=ack)) == 1, "one connection's limit is not another's"
    siege.after(2 * siege.stack.config.tcp.challenge_period_ms)
    assert foe.send(flags, seq=seq, ack=ack) == [ACK]


def in_time_wait(siege: Siege, options: bytes | None = None) -> Foe:
    """A connection that we have closed first: the next octet of either side is 2."""
    foe = siege.open(options=options)
    siege.net.enter(siege.host)
    foe.c.close()
    siege.net.collect(siege.host)
    assert [each.flags for each in foe.heard()] == ["FA"]
    stamps = encode_timestamps(foe.c.ts_recent, foe.c.ts_now()) if foe.c.ts_ok else b""
    assert foe.send("FA", ack=2, options=stamps) == [Heard("A", 2, 2)]
    assert foe.c.state == TIME_WAIT
    return foe


def test_reset_in_time_wait_ignored(siege: Siege) -> None:
    """hostile/time-wait: the exact one too (RFC 1337)."""
    foe = in_time_wait(siege)
    for seq in (2, 3, 1, 60_000):
        assert foe.send("R", seq=seq) == []
        assert foe.send("RA", seq=seq) == []
    assert foe.c.state == TIME_WAIT


def test_old_text_in_time_wait_acknowledged_and_the_wait_goes_on(siege: Siege) -> None:
    """hostile/time-wait."""
    foe = in_time_wait(siege)
    assert foe.send("PA", seq=1, ack=2, payload=b"x") == [Heard("A", 2, 2)]
    siege.after(59_000)
    assert foe.c.state == TIME_WAIT
    assert foe.send("FA", seq=1, ack=2) == [Heard("A", 2, 2)]
    siege.after(59_000)
    assert foe.c.state == TIME_WAIT  # the FIN came again: twice the lifetime from there
    siege.after(2_000)
    assert foe.c.state == CLOSED


@pytest.mark.parametrize(
    ("ahead", "opens"), [(1, True), (1 << 20, True), (0, False), (-1, False), (1 - (1 << 31), False)]
)
def test_syn_in_time_wait_opens_if_its_number_is_newer(siege: Siege, ahead: int, opens: bool) -> None:
    """hostile/time-wait."""
    foe = in_time_wait(siege, options=b"")
    (answer,) = foe.send("S", seq=2 + ahead)
    if opens:
        fresh = next(iter(siege.listener.half_open.values()))
        assert (answer.flags, answer.ack, foe.c.state) == ("SA", 3 + ahead, CLOSED)
        assert (fresh.iss - foe.c.snd_nxt) & MASK < 1 << 31, "behind all numbers of the old one"
        siege.tcp("RA", sport=foe.port, seq=foe.iss + 3 + ahead, ack=fresh.iss + 1)
    else:
        assert (answer, foe.c.state) == (Heard("A", 2, 2), TIME_WAIT)


@pytest.mark.parametrize(("newer", "opens"), [(1, True), (1 << 20, True), (0, False), (-1, False)])
def test_syn_in_time_wait_opens_if_its_timestamp_is_newer(siege: Siege, newer: int, opens: bool) -> None:
    """hostile/time-wait: whatever its number (RFC 6191)."""
    foe = in_time_wait(siege, options=encode_syn(1460, 7, True, (1_000, 0)))
    syn = encode_syn(1460, 7, True, (1_000 + newer, 0))
    (answer,) = foe.send("S", seq=-5_000, options=syn)
    assert (answer.flags == "SA", foe.c.state == CLOSED) == (opens, opens)
    if opens:
        siege.tcp("RA", sport=foe.port, seq=foe.iss - 4_999, ack=foe.c.iss + answer.seq + 1)


# --- urgent


@pytest.mark.parametrize("wnd", [0, 65_535])
@pytest.mark.parametrize("up", [0, 1, 4, 5, 1_000, 65_535])
def test_urgent_pointer_anywhere_harms_nothing(siege: Siege, up: int, wnd: int) -> None:
    """hostile/urgent: zero, past the segment; whatever the peer's own window is."""
    foe = siege.open()
    foe.send("PAU", payload=b"text", up=up, wnd=wnd)
    assert foe.c.urgent_left >= 0
    text = b"".join(foe.c.read(100) for _ in range(3))
    octet = foe.c.read_urgent()
    assert text == (b"text" if octet is None else b"text"[: up - 1] + b"text"[up:])
    assert (octet is not None) == (1 <= up <= 4)
    assert foe.c.urgent_left >= 0


@pytest.mark.parametrize("seq", [1, 2, 5, -3])
def test_urgent_pointer_behind_what_was_received_ignored(siege: Siege, seq: int) -> None:
    """hostile/urgent: no underflow, and the application is told nothing."""
    foe = siege.open()
    foe.send("PA", payload=b"text")
    foe.send("AU", seq=seq, up=max(0, 5 - seq))
    assert (foe.c.rcv_up, foe.c.urgent_left, foe.c.at_mark) == (None, 0, False)
    assert foe.c.read(100) == b"text"


def test_urgent_pointer_and_reset_count_while_our_window_is_closed() -> None:
    """hostile/urgent."""
    siege = Siege(tcp_rcvbuf=4_096)
    foe = siege.open()
    for n in range(5):
        foe.send("PA", seq=1 + n * 1_000, payload=b"x" * 1_000)
    foe.after(500)
    assert (foe.c.available, foe.c.rcv_wnd) == (4_096, 0)
    foe.send("PAU", seq=4_097, payload=b"!", up=1)
    assert (foe.c.rcv_up is not None, foe.c.available) == (True, 4_096)
    siege.goes_on()
    assert foe.send("R", seq=4_097) == []
    assert foe.c.state == CLOSED
    siege.goes_on()


# --- text and FIN


def test_text_past_the_window_trimmed(siege: Siege) -> None:
    """hostile/overlaps."""
    foe = siege.open()
    foe.send("A", seq=5, payload=b"!")  # the ACK that it draws opens the window to the scaled size
    foe.send("A", payload=b"text")
    window = foe.c.rcv_wnd
    for seq in (window, window + 1, 1 << 30, (1 << 31) - 1):
        foe.send("PA", seq=6 + seq, payload=b"x" * 1_000)
    assert (foe.c.ooo.size, foe.c.read(100), foe.c.rcv_wnd) == (0, b"text!", window)
    assert foe.send("FPA", seq=6 + window - 10, payload=b"y" * 1_000) == [Heard("A", 1, 6)]
    assert (foe.c.ooo.size, foe.c.fin_at_seq) == (10, None)


def test_octets_in_reverse_order_with_lies_between_the_first_copy_stays(siege: Siege) -> None:
    """hostile/overlaps: by the thousand, bounded, each the cost of a bisection."""
    foe = siege.open()
    text = random.Random(1).randbytes(6_000)
    for n in range(5_999, 0, -1):
        foe.send("A", seq=1 + n, payload=text[n : n + 1])
        if n % 500 == 0:
            foe.send("A", seq=1 + n, payload=b"\xee" * 20)  # lies about what is there, and the truth about nothing
    assert len(foe.c.ooo) <= siege.stack.config.tcp.max_out_of_order_segments
    held = foe.c.ooo.size
    foe.send("A", seq=1, payload=text[:1])
    got = foe.c.read(10_000)
    assert len(got) == 1 + held
    assert got == text[: 1 + held]


def test_fin_out_of_order_waits_at_its_place(siege: Siege) -> None:
    """hostile/fin: text behind it, and a second FIN elsewhere, are nothing."""
    foe = siege.open()
    foe.send("FPA", seq=11, payload=b"world")
    foe.send("PA", seq=16, payload=b"behind the end")
    foe.send("FA", seq=30)
    foe.send("FA", seq=13)
    assert foe.c.state == ESTABLISHED
    assert foe.send("PA", seq=1, payload=b"hello, my ") == [Heard("A", 1, 17)]
    assert (foe.c.read(100), foe.c.eof, foe.c.state) == (b"hello, my world", True, CLOSE_WAIT)
    foe.send("FPA", seq=17, payload=b"more")
    foe.send("FA", seq=17)
    assert (foe.c.available, foe.c.rcv_nxt, foe.c.state) == (0, foe.iss + 17, CLOSE_WAIT)


# --- acknowledgements


SACKS = {
    "below": [(-2_000, -1_000)], "above": [(20_000, 21_000)], "half above": [(14_000, 50_000)],
    "reversed": [(6_000, 3_000)], "empty": [(3_000, 3_000)], "overlapping": [(3_000, 6_000), (4_000, 5_000)],
    "everything": [(-(1 << 30), 1 << 30)], "half of the space": [(1, 1 + (1 << 31))],
    "D-SACK": [(-1_460, 1)], "D-SACK inside": [(2_000, 2_500), (1_500, 4_000)], "the first octet": [(1, 1_461)],
}  # fmt: skip


@pytest.mark.parametrize("case", SACKS)
def test_sack_blocks_that_cannot_be_do_not_make_us_forget(siege: Siege, case: str) -> None:
    """hostile/sack: the data is kept until the cumulative ACK, and all of it can be had again."""
    foe = siege.open()
    text = random.Random(2).randbytes(14_600)
    first = foe.write(text)
    assert sum(each.length for each in first) == 14_600
    blocks = [((foe.c.iss + a) & MASK, (foe.c.iss + b) & MASK) for a, b in SACKS[case]]
    cwnd = foe.c.cc.cwnd
    for _ in range(20):
        foe.emit("A", ack=1, options=encode(None, blocks))
    assert (foe.c.unsent, foe.c.snd_una) == (14_600, (foe.c.iss + 1) & MASK)
    assert foe.c.cc.cwnd <= cwnd + 20 * 1_460
    siege.answers()
    assert foe.take(len(text)) == text


def test_reneging_receiver_gets_everything_again(siege: Siege) -> None:
    """hostile/sack: it has told of all but the first segment, and then knows nothing of it."""
    foe = siege.open()
    text = random.Random(3).randbytes(14_600)
    foe.write(text)
    for n in range(1, 10):
        block = ((foe.c.iss + 1_461) & MASK, (foe.c.iss + 1_461 + n * 1_460) & MASK)
        foe.emit("A", ack=1, options=encode(None, [block]))
    siege.answers()
    siege.after(10)
    siege.answers()
    assert foe.take(len(text)) == text


def test_duplicate_acks_by_the_thousand_open_no_window(siege: Siege) -> None:
    """hostile/ack-games: with SACK agreed on they tell nothing, and no more leaves than cwnd and what they repaired."""
    foe = siege.open()
    foe.write(b"x" * 200_000)
    cwnd = foe.c.cc.cwnd
    sent = sum(each.length for _ in range(2_000) for each in foe.send("A", ack=1))
    assert sent <= cwnd + 3 * 1_460
    assert foe.c.flight <= 2 * cwnd + 3 * 1_460


def test_ack_division_grows_the_window_by_what_is_acknowledged(siege: Siege) -> None:
    """hostile/ack-games: 1,460 ACKs of one octet are one segment."""
    foe = siege.open()
    foe.write(b"x" * 200_000)
    before = foe.c.cc.cwnd
    for n in range(1_460):
        foe.send("A", ack=2 + n)
    assert before < foe.c.cc.cwnd <= before + 1_460


def test_optimistic_acks_open_nothing(siege: Siege) -> None:
    """hostile/ack-games: of what was never sent they are challenged; of what was they cost the peer its own text."""
    foe = siege.open()
    foe.write(b"x" * 2_000_000)
    before = foe.c.cc.cwnd
    for n in range(1, 100):
        foe.send("A", ack=1 + foe.c.flight + n * 1_460)
    assert (foe.c.cc.cwnd, foe.c.snd_una) == (before, (foe.c.iss + 1) & MASK)
    acknowledged = foe.c.flight
    foe.send("A", ack=1 + acknowledged)
    assert foe.c.cc.cwnd <= before + acknowledged


# --- timestamps


def stamped(siege: Siege) -> Foe:
    return siege.open(options=encode_syn(1460, 7, True, (1_000, 0)))


@pytest.mark.parametrize("off", [1, 1_000, 1 << 20, (1 << 31) - 1, 1 << 31, -(1 << 22), -(1 << 30)])
def test_tsecr_never_sent_gives_no_sample(siege: Siege, off: int) -> None:
    """hostile/timestamps: from the future, or from longer ago than the connection lives."""
    foe = stamped(siege)
    foe.write(b"first")
    siege.after(20)
    siege.answers()
    foe.send("A", options=encode_timestamps(1_001, foe.c.ts_now()))
    for n in range(20):
        foe.write(b"x" * 10)
        siege.after(20)
        siege.answers()
        foe.send("A", options=encode_timestamps(1_001 + n, (foe.c.ts_now() + off) & MASK))
    assert foe.c.rtt.srtt <= 25_000_000
    assert foe.c.rtt.rto <= 1_100_000_000
    assert foe.c.unsent == 0


@pytest.mark.parametrize("jump", [-1, -1_000, -(1 << 30), 1 << 31])
def test_tsval_that_goes_back_is_dropped_and_answered(siege: Siege, jump: int) -> None:
    """hostile/timestamps: PAWS."""
    foe = stamped(siege)
    assert foe.send("PA", payload=b"old", options=encode_timestamps((1_000 + jump) & MASK, 0)) == [ACK]
    assert (foe.c.available, foe.c.state, foe.c.ts_recent) == (0, ESTABLISHED, 1_000)
    foe.send("PA", payload=b"new", options=encode_timestamps(1_001, foe.c.ts_now()))
    assert foe.c.read(100) == b"new"


def test_tsval_that_leaps_ahead_from_outside_the_window_shuts_nobody_out(siege: Siege) -> None:
    """hostile/timestamps: a stranger's guess does not move TS.Recent."""
    foe = stamped(siege)
    for seq, ack in ((1 << 30, 1), (1, 1 << 30), (-(1 << 30), 1)):
        foe.send("PA", seq=seq, ack=ack, payload=b"x", options=encode_timestamps(1_000 + (1 << 30), 0))
    foe.send("PA", payload=b"new", options=encode_timestamps(1_001, foe.c.ts_now()))
    assert foe.c.read(100) == b"new"


@pytest.mark.parametrize("flags", ["A", "PA", "FA"])
def test_segment_without_its_timestamp_dropped_and_nothing_aborted(siege: Siege, flags: str) -> None:
    """hostile/timestamps."""
    foe = stamped(siege)
    assert foe.send(flags, payload=b"text") == []
    assert (foe.c.state, foe.c.available) == (ESTABLISHED, 0)
    assert siege.dropped() == {"tcp.drop.no_timestamp": 1}


# --- windows


def test_window_closed_for_ever_costs_the_send_buffer_and_ever_fewer_probes() -> None:
    """hostile/zero-window: for six hours, every probe answered."""
    siege = Siege(tcp_sndbuf=20_000)
    foe = siege.open()
    foe.send("A", wnd=0)
    foe.write(b"x" * 100_000)
    probes = 0
    times = []
    for _ in range(6 * 360):
        heard = foe.after(10_000)
        if heard:
            probes += len(heard)
            times.append(siege.net.now)
            foe.emit("A", ack=1, wnd=0)
    assert (foe.c.state, foe.c.unsent) == (ESTABLISHED, 20_000)
    assert 100 < probes < 300  # every two minutes in the end, as max_rto has it
    gaps = [b - a for a, b in itertools.pairwise(times)]
    assert max(gaps) >= 4 * gaps[0]
    siege.goes_on()


def test_window_shrunk_below_what_was_sent_never_underflows(siege: Siege) -> None:
    """hostile/zero-window: nothing new leaves, and what is inside the window does."""
    foe = siege.open()
    text = random.Random(4).randbytes(40_000)
    foe.write(text)
    flight = foe.c.flight
    for wnd in (20, 5, 1, 0):
        assert foe.send("A", ack=1, wnd=wnd) == []
        assert foe.c.flight == flight
    for _ in range(30):
        for each in foe.after(1_000):
            assert each.seq + each.length <= 1 + flight
        foe.emit("A", ack=1, wnd=0)
    siege.answers()
    foe.emit("A", ack=1, wnd=65_535)
    assert foe.take(len(text)) == text


class FixedIsn(IsnGenerator):
    """Not to be guessed, but known to the test."""

    def isn(self, *_: object) -> int:
        return self.number

    number = 0


@pytest.mark.parametrize("iss", [0xFFFFFFFF, 0xFFFFFFF0, 0x7FFFFFFF, 0x80000000, 0x7FFFFFF0, 0])
def test_sequence_numbers_wrap_with_gaps_and_fin(siege: Siege, iss: int) -> None:
    """hostile/wrap: 2**32 and 2**31 in both directions."""
    siege.stack.tcp.isns = FixedIsn(bytes(32))
    siege.stack.tcp.isns.number = ours = iss ^ 0x7FFFFFF0
    foe = siege.open(iss=iss)
    assert foe.c.iss == ours
    foe.send("FPA", seq=21, payload=b"c" * 10)
    foe.send("PA", seq=11, payload=b"b" * 10)
    for jump in (1 << 31, (1 << 31) + 1, -(1 << 31) + 1, 1 << 30):
        foe.send("PA", seq=1 + jump, payload=b"z" * 10)
    foe.send("PA", payload=b"a" * 10)
    assert (foe.c.read(100), foe.c.eof) == (b"a" * 10 + b"b" * 10 + b"c" * 10, True)
    text = random.Random(5).randbytes(8_000)
    foe.write(text)  # lost, all of it
    assert foe.take(8_000, seq=32) == text
    assert foe.c.unsent == 0


def test_sequence_numbers_half_a_space_away_change_nothing(siege: Siege) -> None:
    """hostile/wrap: jumps of 2**31 in SEQ, ACK and the urgent pointer."""
    foe = siege.open()
    foe.write(b"x" * 1_000)
    half = 1 << 31
    for flags in ("A", "PA", "FA", "UA", "R", "S"):
        for seq, ack in (
            (1 + half, 1),
            (half, half),
            (1 + half, 1 + half),
            (half + 2, 1),
            *([(1, half + 1)] * (flags != "R")),
        ):
            assert foe.send(flags, seq=seq, ack=ack, payload=b"zzz", up=9) in ([], [Heard("A", 1_001, 1)])
    assert (foe.c.state, foe.c.unsent, foe.c.available, foe.c.rcv_up) == (ESTABLISHED, 1_000, 0, None)
