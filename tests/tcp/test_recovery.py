"""Slow start, congestion avoidance, fast retransmit and NewReno, seen from the wire (RFC 5681, 6582, 3042)."""

from __future__ import annotations

import pytest

from scapystack.layers.tcp.congestion import names
from scapystack.layers.tcp.scoreboard import Scoreboard
from scapystack.layers.tcp.state import OPEN, RECOVERY
from scapystack.layers.tcp.user import Connection
from tests.harness.tcp import MASK, Peer, TcpWire

MSS = 1460
NO_SACK = Peer(sack=False)


def sending(segments: int, *, more: int = 0, **config: object) -> tuple[TcpWire, Connection]:
    """A connection with so many segments in flight, and `more` that wait for the congestion window."""
    wire = TcpWire(peer=NO_SACK, initial_cwnd_segments=segments, **config)
    c = wire.established()
    c.write(b"x" * MSS * (segments + more))
    wire.flush()
    assert len(wire.take()) == segments
    return wire, c


def at(segment: int) -> int:
    """The relative sequence number of the n-th segment, from 0."""
    return 1 + segment * MSS


def duplicates(wire: TcpWire, c: Connection, n: int, segment: int = 0) -> None:
    for _ in range(n):
        wire.send(c, "A", ack=at(segment))


# -- windows ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("mss", "segments"), [(1460, 10), (536, 10), (8960, 2)])
def test_initial_window_is_ten_segments_at_most(mss: int, segments: int) -> None:
    """5681/3.1-a, as RFC 6928 has it."""
    wire = TcpWire(mtu=9000, peer=Peer(mss=mss))
    c = wire.established()
    c.write(b"x" * 50_000)
    wire.flush()
    assert len(wire.take()) == segments


def test_slow_start_grows_by_what_was_acknowledged() -> None:
    """5681/3.1-b, MUST-19: two segments for each one that is acknowledged."""
    wire, c = sending(4, more=20)
    wire.send(c, "A", ack=at(1))
    wire.expect("A len=1460", "A len=1460")
    wire.send(c, "A", ack=at(3))
    assert len(wire.take()) == 4
    assert c.cc.cwnd == 7 * MSS


def test_ack_division_does_not_grow_the_window_faster() -> None:
    """5681/3.1-b: a segment acknowledged in a hundred pieces counts once."""
    wire, c = sending(4, more=20)
    for n in range(1, 101):
        wire.send(c, "A", ack=1 + n * MSS // 100)
    assert c.cc.cwnd <= 5 * MSS


def test_optimistic_ack_grows_nothing() -> None:
    """5961/5: an ACK of what was never sent is challenged."""
    wire, c = sending(4, more=20)
    for n in range(5):
        wire.send(c, "A", ack=at(5 + n))
    wire.expect(*["A len=0"] * 5)
    assert c.cc.cwnd == 4 * MSS


def test_congestion_avoidance_grows_one_segment_a_window() -> None:
    """5681/3.1-b, MUST-19."""
    wire, c = sending(10, more=40)
    c.cc.ssthresh = 10 * MSS
    for n in range(1, 10):
        wire.send(c, "A", ack=at(n))
    assert c.cc.cwnd == 10 * MSS
    wire.send(c, "A", ack=at(10))
    assert c.cc.cwnd == 11 * MSS


def test_window_that_was_not_used_does_not_grow() -> None:
    wire = TcpWire(peer=NO_SACK)
    c = wire.established()
    for _ in range(20):
        c.write(b"x" * 100)
        wire.flush()
        wire.send(c, "A")
    assert c.cc.cwnd == 10 * MSS


def test_idle_connection_starts_again_with_the_restart_window() -> None:
    """5681/4.1."""
    wire, c = sending(10, more=100)
    while c.flight:
        wire.send(c, "A")
    assert c.cc.cwnd > 20 * MSS
    wire.clear()
    wire.after(ms=60_000)
    c.write(b"x" * MSS * 30)
    wire.flush()
    assert len(wire.take()) == 10


def test_write_soon_after_a_recovery_is_no_restart() -> None:
    """5681/4.1 speaks of a sender that was idle; one that was sending again was not."""
    wire, c = sending(10)
    wire.after(ms=c.rtt.rto / 1e6)  # everything was lost: sent again, by slow start
    while c.flight:
        wire.after(ms=10)
        wire.send(c, "A", ack=(max(p.end for p in c.board.pieces if not p.lost) - c.iss) & MASK)
    cwnd = c.cc.cwnd
    wire.after(ms=250)
    c.cc.initial_window = MSS
    c.write(b"x")
    assert c.cc.cwnd == cwnd


def test_congestion_control_changed_keeps_the_windows() -> None:
    wire, c = sending(10, more=10)
    while c.flight:
        wire.send(c, "A")
    cwnd, initial = c.cc.cwnd, c.cc.initial_window
    c.options.congestion = "cubic"
    c.options_changed()
    assert (c.cc.name, c.cc.cwnd, c.cc.initial_window) == ("cubic", cwnd, initial)


def test_congestion_control_changed_in_a_recovery_that_has_no_threshold_goes_by_the_window() -> None:
    """BBR sets none: whoever takes over would open the window to whatever the peer allows when recovery ends."""
    wire = TcpWire(congestion="bbr")
    c = wire.established(rtt_ms=20)
    c.write(b"x" * 40 * MSS)
    wire.flush()
    wire.after(ms=30)
    for count in (1, 2, 3, 4):
        wire.send(c, "A", ack=1, sack=((1 + MSS, 1 + (1 + count) * MSS),))
    assert c.ca_state == RECOVERY
    window = c.cc.cwnd
    c.options.congestion = "cubic"
    c.options_changed()
    wire.after(ms=40)
    wire.send(c, "A")
    assert c.ca_state == OPEN
    assert c.cc.cwnd < 2 * window


def test_congestion_control_is_chosen_by_name() -> None:
    """MAY-18."""
    assert "reno" in names()
    wire = TcpWire()
    c = wire.established()
    c.options_changed()
    assert c.info().congestion == c.options.congestion


# -- fast retransmit ---------------------------------------------------------------------------------------------


def test_first_two_duplicates_let_one_new_segment_go_each() -> None:
    """5681/3.2-b: limited transmit, and cwnd stays as it is."""
    wire, c = sending(10, more=10)
    duplicates(wire, c, 2)
    wire.expect(f"A seq={at(10)} len=1460", f"A seq={at(11)} len=1460")
    assert c.cc.cwnd == 10 * MSS


def test_third_duplicate_resends_the_first_and_halves_the_window() -> None:
    """5681/3.2-c: ssthresh is half the flight without limited transmit's part; RFC 6937 says how cwnd gets there."""
    wire, c = sending(10, more=10)
    duplicates(wire, c, 2)
    wire.clear()
    duplicates(wire, c, 1)
    wire.expect("A seq=1 len=1460")
    assert c.flight == 12 * MSS
    assert c.cc.ssthresh == 5 * MSS
    assert c.cc.cwnd == 5 * MSS


def test_more_duplicates_inflate_the_window_until_new_text_goes() -> None:
    """5681/3.2-c: each says that a segment has left the network."""
    wire, c = sending(10, more=10)
    duplicates(wire, c, 3)
    wire.clear()
    duplicates(wire, c, 4)  # 12 in flight, of which 7 have left: as many as ssthresh
    wire.expect_nothing()
    duplicates(wire, c, 1)
    wire.expect(f"A seq={at(12)} len=1460")


def test_full_ack_ends_recovery_and_deflates() -> None:
    """6582/3.2, 5681/3.2-c."""
    wire, c = sending(10)
    duplicates(wire, c, 9)
    wire.clear()
    wire.send(c, "A")
    assert c.ca_state != RECOVERY
    assert c.cc.cwnd == c.cc.ssthresh == 5 * MSS
    assert wire.deadline_ms() is None


def test_partial_ack_resends_the_next_hole() -> None:
    """6582/3.2: without waiting for duplicates, and recovery goes on."""
    wire, c = sending(10)
    duplicates(wire, c, 7)
    wire.expect("A seq=1 len=1460")
    wire.send(c, "A", ack=at(4))
    wire.expect(f"A seq={at(4)} len=1460")
    wire.send(c, "A", ack=at(6))
    wire.expect(f"A seq={at(6)} len=1460")
    assert c.ca_state == RECOVERY
    wire.send(c, "A", ack=at(10))
    assert c.ca_state != RECOVERY


def test_timeout_in_recovery_goes_back_and_resends_by_slow_start() -> None:
    """6582/3.2 step 4, 6298/5.4-5.6, 5681/3.1-c."""
    wire, c = sending(10)
    duplicates(wire, c, 5)
    wire.clear()
    wire.after(ms=c.rtt.rto / 1e6)
    wire.expect("A seq=1 len=1460")
    assert c.cc.cwnd == MSS
    wire.send(c, "A", ack=at(1))
    wire.expect(f"A seq={at(1)} len=1460", f"A seq={at(2)} len=1460")
    wire.send(c, "A", ack=at(10))
    assert wire.deadline_ms() is None


def test_timeout_in_recovery_does_not_raise_ssthresh() -> None:
    """5681/3.1-c: what duplicates let into flight is not what the path carries."""
    wire, c = sending(10, more=40)
    duplicates(wire, c, 9)
    threshold = c.cc.ssthresh
    assert c.flight // 2 > threshold
    wire.after(ms=c.rtt.rto / 1e6)
    assert c.cc.ssthresh <= threshold


def test_timeout_while_a_timeout_is_being_mended_lowers_ssthresh_no_further() -> None:
    """5681/3.1-c: what was in flight then has been paid for."""
    wire, c = sending(10)
    wire.after(ms=c.rtt.rto / 1e6)
    assert c.cc.ssthresh == 5 * MSS
    wire.after(ms=10)
    wire.send(c, "A", ack=at(1))
    wire.after(ms=c.rtt.rto / 1e6)
    assert (c.core.counters["tcp.timeouts"], c.cc.ssthresh) == (2, 5 * MSS)


def test_timeout_lowers_ssthresh_once_for_one_segment() -> None:
    """5681/3.1-c."""
    wire, c = sending(10)
    wire.after(ms=c.rtt.rto / 1e6)
    assert (c.cc.ssthresh, c.cc.cwnd) == (5 * MSS, MSS)
    wire.after(ms=c.rtt.rto / 1e6)
    assert (c.cc.ssthresh, c.cc.cwnd) == (5 * MSS, MSS)


def test_duplicates_after_a_timeout_start_no_fast_retransmit() -> None:
    """6582/3.2: `recover`; they are the echo of what is sent again."""
    wire, c = sending(10)
    wire.after(ms=c.rtt.rto / 1e6)
    wire.clear()
    duplicates(wire, c, 6)
    wire.expect_nothing()
    assert c.ca_state != RECOVERY


def recovered(leap: int) -> tuple[TcpWire, Connection]:
    """Past a timeout whose last ACK covered `leap` segments up to `recover`; ten new ones are in flight."""
    wire, c = sending(10, more=20)
    wire.after(ms=c.rtt.rto / 1e6)
    wire.send(c, "A", ack=at(10 - leap))
    wire.send(c, "A", ack=at(10))
    while c.flight < 4 * MSS:
        c.cc.cwnd += MSS
        c.mark_dirty()
        wire.flush()
    wire.clear()
    return wire, c


def test_duplicates_of_recover_itself_after_a_leap_are_an_echo() -> None:
    """6582/4: the ACK heuristic against several fast retransmits."""
    wire, c = recovered(leap=8)
    duplicates(wire, c, 3, 10)
    assert c.ca_state != RECOVERY


def test_duplicates_of_recover_itself_without_a_leap_are_a_loss() -> None:
    """6582/4."""
    wire, c = recovered(leap=2)
    duplicates(wire, c, 3, 10)
    assert c.ca_state == RECOVERY
    assert f"seq={at(10)}" in wire.tell(wire.take()[-1])


@pytest.mark.parametrize("what", ["text", "window", "FIN", "nothing in flight"])
def test_what_looks_like_a_duplicate_and_is_none(what: str) -> None:
    """5681/3.2-c: section 2 says what a duplicate ACK is."""
    wire, c = sending(10)
    if what == "nothing in flight":
        wire.send(c, "A")
    for n in range(1, 4):
        wire.send(
            c,
            "FA" if what == "FIN" and n == 3 else "A",
            ack=at(10) if what == "nothing in flight" else at(0),
            payload=b"y" if what == "text" or (what == "FIN" and n < 3) else b"",
            wnd=65_535 - n if what == "window" else 65_535,
        )
    assert c.ca_state != RECOVERY


def test_fast_retransmit_still_works_after_two_gigabytes() -> None:
    """6582/3.2: `recover` is drawn along, and never seems to lie ahead."""
    wire, c = sending(10, more=10)
    wire.send(c, "A")
    far = c.snd_nxt - c.snd_una
    jump = (1 << 31) + 12_345
    for name in ("snd_una", "snd_nxt", "snd_wl2", "iss"):
        setattr(c, name, (getattr(c, name) + jump) & MASK)
    c.board = Scoreboard(c.snd_una)
    c.board.sent(far, c.core.now)
    assert c.snd_nxt - c.snd_una == far
    wire.send(c, "A", ack=at(16))
    wire.clear()
    duplicates(wire, c, 3, 16)
    assert c.ca_state == RECOVERY


def test_sack_reneging_peer_is_given_everything_again() -> None:
    """2018/8: what was only SACKed stays in the send buffer, and goes again after a while by slow start."""
    wire = TcpWire(initial_cwnd_segments=4)
    c = wire.established()
    c.write(b"x" * MSS * 4)
    wire.flush()
    wire.clear()
    wire.send(c, "A", ack=1, sack=((at(1), at(4)),))
    wire.expect("A seq=1 len=1460")
    assert c.unsent == 4 * MSS
    wire.after(ms=c.rtt.rto / 1e6)
    wire.expect("A seq=1 len=1460")
    wire.send(c, "A", ack=at(1))  # and no further, though the peer has said that it has those
    wire.expect_nothing()
    wire.after(ms=10)
    wire.expect(f"A seq={at(1)} len=1460")
    wire.send(c, "A", ack=at(2))
    wire.expect(f"A seq={at(2)} len=1460", f"PA seq={at(3)} len=1460")
    assert c.core.counters["tcp.sack_reneging"] == 1


@pytest.mark.parametrize("edges", [((5, 3),), ((1 << 30, (1 << 30) + 5),), ((-100, -50),), ((1, 3), (2, 5))])
def test_sack_blocks_that_cannot_be_are_ignored(edges: tuple[tuple[int, int], ...]) -> None:
    """2018/8: reversed, outside the flight, below SND.UNA, overlapping."""
    wire = TcpWire()
    c = wire.established()
    c.write(b"hello")
    wire.flush()
    wire.clear()
    wire.send(c, "A", ack=1, sack=edges)
    assert (c.flight, c.unsent) == (5, 5)
    wire.send(c, "A")
    assert c.flight == 0


def test_super_segment_is_resent_one_segment_at_a_time() -> None:
    """5681/3.2-c: what was sent whole may have been lost in part."""
    wire = TcpWire(peer=NO_SACK, gso_max=64_000)
    c = wire.established()
    c.write(b"x" * MSS * 10)
    wire.flush()
    wire.expect("PA seq=1 len=14600")
    duplicates(wire, c, 3)
    wire.expect("A seq=1 len=1460")


def test_text_written_later_rides_on_a_short_retransmission() -> None:
    """SHLD-28: the segment is made anew, and as full as the window allows."""
    wire = TcpWire()
    c = wire.established()
    c.write(b"a")
    wire.flush()
    c.write(b"bcd")
    wire.flush()
    wire.expect("PA seq=1 len=1")
    wire.after(ms=c.rtt.rto / 1e6)
    wire.expect("PA seq=1 len=4")


def test_storm_of_duplicates_frees_no_more_than_what_was_in_flight() -> None:
    """5681/3.2-c: section 5, a receiver that invents duplicates does not get a larger window."""
    wire, c = sending(10, more=500)
    duplicates(wire, c, 1000)
    assert len(wire.take()) <= 2 + 1 + 10
    assert c.cc.cwnd <= 6 * MSS + 3 * MSS + 12 * MSS


def test_limited_transmit_ends_with_an_ack_of_something_new() -> None:
    """5681/3.2-b: what it lent is given back."""
    wire, c = sending(10, more=20)
    c.cc.ssthresh = c.cc.cwnd
    duplicates(wire, c, 2)
    assert len(wire.take()) == 2
    wire.send(c, "A", ack=at(1))
    wire.expect_nothing()
    assert c.flight == 11 * MSS


def test_limited_transmit_is_given_back_at_a_timeout() -> None:
    wire, c = sending(10, more=20)
    duplicates(wire, c, 2)
    wire.after(ms=c.rtt.rto / 1e6)
    wire.clear()
    wire.send(c, "A", ack=at(12))
    assert len(wire.take()) == 2
