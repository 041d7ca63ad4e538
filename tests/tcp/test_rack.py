"""RACK on the wire (RFC 8985 section 6): what was sent before something that has arrived is lost after a while."""

from __future__ import annotations

import pytest

from scapystack.layers.tcp.state import LOSS, OPEN, RECOVERY
from scapystack.layers.tcp.tcb import NEVER
from scapystack.layers.tcp.user import Connection
from tests.harness.flight import MSS, RTT, at, flight, sack, seg
from tests.harness.tcp import Peer, TcpWire

WAIT = RTT // 4
"""The reordering window, as long as no path was seen to reorder."""


def test_sender_segment_overtaken_by_one_waits_for_the_reordering_timer() -> None:
    """8985/6: steps 4 and 5; a quarter of the least round trip, counted from when an ACK of it was due."""
    wire, c = flight(4)
    sack(wire, c, 1)
    wire.after(ms=WAIT - 0.001)
    wire.expect_nothing()
    wire.after(ms=0.001)
    wire.expect(seg(0))
    assert c.ca_state == RECOVERY
    assert c.core.counters["tcp.timeouts"] == 0


def test_sender_segment_that_was_only_late_is_not_sent_again() -> None:
    """8985/6: section 3.2, reordering resilience."""
    wire, c = flight(4)
    sack(wire, c, 1)
    wire.after(ms=WAIT / 2)
    sack(wire, c, ack=2)
    wire.after(ms=WAIT)
    wire.expect_nothing()
    assert (c.ca_state, c.reorder_at) == (OPEN, NEVER)
    assert c.rack.reordering_seen


def test_sender_segments_behind_the_sacked_one_are_not_suspected() -> None:
    """8985/6: step 5, RACK_sent_after: of one burst those with lower numbers."""
    wire, c = flight(6)
    sack(wire, c, (1, 3), 4)
    wire.clear()
    wire.after(ms=2 * WAIT)
    assert [p.start - c.iss for p in c.board.pieces if not p.retransmitted] == [at(5)]


def test_sender_three_segments_sacked_close_the_window_at_once() -> None:
    """8985/6: step 4, DupThresh, on a path that nobody has seen reorder."""
    wire, c = flight(6)
    sack(wire, c, (1, 4))
    wire.expect(seg(0))
    assert c.reorder_at == NEVER


def reordering(segments: int) -> tuple[TcpWire, Connection]:
    """A flight on a path that has been seen to reorder."""
    wire, c = flight(segments)
    c.rack.reordering_seen = True
    return wire, c


def test_sender_on_a_reordering_path_counts_no_duplicates() -> None:
    """8985/6: step 4, "RACK does not trigger fast recovery based on DupThresh"."""
    wire, c = reordering(10)
    sack(wire, c, (1, 8))
    wire.expect_nothing()
    assert c.ca_state == OPEN
    wire.after(ms=WAIT)
    assert wire.tell(wire.take()[0]).startswith("A seq=1 ")
    assert c.ca_state == RECOVERY


def test_sender_dsack_widens_the_window_once_a_round_trip() -> None:
    """8985/6: step 4; a D-SACK says that what was given up had arrived."""
    wire, c = reordering(10)
    for n in (1, 2):  # the second within the same round trip
        sack(wire, c, (0, 1), ack=n)
    sack(wire, c, (5, 9), ack=3)
    wire.after(ms=2 * WAIT - 0.001)
    wire.expect_nothing()
    wire.after(ms=0.001)
    assert wire.tell(wire.take()[0]).startswith(f"A seq={at(3)} ")


def test_sender_window_is_narrow_again_after_sixteen_recoveries() -> None:
    """8985/6: step 4, reo_wnd_persist."""
    wire, c = flight(10)
    sack(wire, c, (0, 1), ack=10)
    for recoveries in range(17):
        assert c.rack.reo_wnd_mult == (2 if recoveries < 16 else 1), recoveries
        wire.after(ms=RTT)
        c.cc.cwnd = 10 * MSS
        c.write(b"y" * MSS * 4)
        wire.flush()
        wire.after(ms=RTT)
        una = c.snd_una - c.iss
        wire.send(c, "A", ack=una, wnd=60_000, sack=((una + MSS, una + 4 * MSS),))
        assert c.ca_state == RECOVERY
        wire.after(ms=RTT)
        wire.send(c, "A", wnd=60_000)
        assert c.ca_state == OPEN


def test_sender_lost_retransmission_is_found_without_a_timeout() -> None:
    """8985/6: section 3.1; something sent after it has arrived, and it has not."""
    wire, c = flight(10, more=10)
    sack(wire, c, (1, 5))
    wire.expect(seg(0))
    wire.after(ms=1)
    for n in range(6, 11):
        sack(wire, c, (1, n))
    behind = wire.take()
    assert [(s.seq - c.iss - 1) // MSS for s in behind] == list(range(10, 10 + len(behind)))
    wire.after(ms=RTT)
    sack(wire, c, (1, 11))
    assert wire.tell(wire.take()[0]).startswith("A seq=1 ")
    assert c.core.counters["tcp.timeouts"] == 0
    assert c.core.counters["tcp.fast_retransmits"] == 1
    assert c.rtx_at != NEVER


def test_sender_lost_head_of_a_super_segment_sent_again_is_found() -> None:
    """8985/6: one retransmission at one time; its tail arrives."""
    wire, c = flight(10)
    c.route.iface.gso_max = 64_000
    sack(wire, c, (6, 10))
    wire.expect(seg(0, 5))
    wire.after(ms=RTT)
    sack(wire, c, (6, 10), (2, 5))
    assert [(s.seq - c.iss - 1) // MSS for s in wire.take()] == [0, 5]
    assert c.core.counters["tcp.timeouts"] == 0


def test_sender_sack_of_a_retransmission_within_the_least_round_trip_proves_nothing() -> None:
    """8985/6: step 2; it must be of the original, and says nothing of what left with the retransmission."""
    wire, c = flight(10)
    sack(wire, c, (4, 10))
    sent = [(s.seq - c.iss - 1) // MSS for s in wire.take()]
    assert sent == [0, 1, 2, 3]
    wire.after(ms=RTT / 4)
    sack(wire, c, (3, 10))
    wire.expect_nothing()
    assert c.board.lost_octets == 0


def test_sender_timeout_gives_up_the_first_and_what_is_old() -> None:
    """8985/6: section 6.3; what was sent within a round trip may still arrive."""
    wire, c = flight(4)
    sack(wire, c, ack=1)
    wire.after(ms=c.rtt.rto / 1e6 - RTT + 1)
    c.write(b"y" * MSS)
    wire.flush()
    wire.expect("P" + seg(4))
    wire.after(ms=RTT - 1)
    wire.expect(seg(1))
    assert c.ca_state == LOSS
    assert [p.lost for p in c.board.pieces] == [False, True, True, False]


@pytest.mark.parametrize("sacks", [True, False])
def test_sender_reordering_timer_never_outlives_what_it_was_for(sacks: bool) -> None:
    """8985/6, RFC 8985 section 8."""
    wire, c = flight(4, peer=Peer(sack=sacks))
    sack(wire, c, 1)
    assert (c.reorder_at != NEVER) == sacks
    wire.send(c, "A")
    assert wire.deadline_ms() is None or c.next_at() is None


def test_sender_old_recovery_that_is_over_does_not_close_the_window() -> None:
    """8985/6: step 4, the window is 0 "both upon entering and during" a recovery, and not after."""
    wire, c = flight(10, more=10)
    sack(wire, c, (1, 4))
    wire.after(ms=RTT)
    sack(wire, c, ack=10)
    assert c.ca_state == OPEN
    wire.after(ms=RTT)
    n = (c.snd_nxt - c.iss - 1) // MSS
    assert n >= 12
    wire.clear()
    sack(wire, c, 11, ack=10)
    assert c.reorder_at != NEVER
    assert not any(s.seq - c.iss == at(10) for s in wire.take())
