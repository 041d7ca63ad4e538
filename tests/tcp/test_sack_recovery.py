"""Loss recovery with SACK, seen from the wire: scoreboard, RACK, probes, PRR (RFC 6675, RFC 8985, RFC 6937).

A path of 100 ms: what a test sends was under way that long when the peer answers.
"""

from __future__ import annotations

import pytest

from scapystack.layers.tcp.state import LOSS, OPEN, RECOVERY
from scapystack.layers.tcp.user import Connection
from tests.harness.tcp import TcpWire

MSS = 1460
RTT = 100
MS = 1_000_000


def at(segment: int) -> int:
    """The relative sequence number of the n-th segment, from 0."""
    return 1 + segment * MSS


def sending(segments: int, *, more: int = 0, **config: object) -> tuple[TcpWire, Connection]:
    """So many segments in flight since a round trip, and `more` that wait for the congestion window."""
    wire = TcpWire(initial_cwnd_segments=segments, **config)
    c = wire.established(rtt_ms=RTT)
    c.write(b"x" * MSS * (segments + more))
    wire.flush()
    assert len(wire.take()) == segments
    wire.after(ms=RTT)
    assert wire.take() == []
    return wire, c


def sacks(wire: TcpWire, c: Connection, una: int, *ranges: tuple[int, int]) -> list[int]:
    """An ACK of `una` segments with SACK blocks, in segments; the numbers of the segments that it draws."""
    wire.send(c, "A", ack=at(una), sack=tuple((at(a), at(b)) for a, b in ranges))
    return left(wire, c)


def left(wire: TcpWire, c: Connection) -> list[int]:
    """The numbers of the segments that left; each is whole."""
    out = []
    for seg in wire.take():
        offset = (seg.seq - c.iss - 1) & 0xFFFFFFFF
        assert (offset % MSS, len(seg.payload)) == (0, MSS)
        out.append(offset // MSS)
    return out


def timeout(wire: TcpWire, c: Connection) -> None:
    """Time passes up to the next retransmission timeout."""
    before = c.core.counters["tcp.timeouts"]
    while c.core.counters["tcp.timeouts"] == before:
        wire.after(ms=wire.deadline_ms() or 0)


# -- the scoreboard: RFC 6675 section 4 --------------------------------------------------------------------


def test_sacks_on_an_old_ack_are_taken_and_none_of_them_is_a_duplicate() -> None:
    """6675/4, as Linux: an ACK that others have overtaken may alone tell of a range (2018: three fit into one).

    A first block below SND.UNA was above the ACK that it stands on, so nothing came twice (2883/4).
    """
    wire, c = sending(10)
    sacks(wire, c, 4, (9, 10))
    late = wire.core.counters["tcp.dsacks_received"]
    sacks(wire, c, 1, (2, 3), (7, 8), (9, 10))
    assert c.board.sacked.size == 2 * MSS
    assert c.snd_una == c.iss + at(4)
    assert wire.core.counters["tcp.dsacks_received"] == late == 0
    sacks(wire, c, 1, (0, 1))  # that one is below its own ACK
    assert wire.core.counters["tcp.dsacks_received"] == 1


def test_three_segments_sacked_behind_a_hole_make_it_lost() -> None:
    """6675/4: IsLost, by three ranges or by the octets of more than two segments."""
    wire, c = sending(12)
    assert sacks(wire, c, 0, (1, 2)) == []
    assert sacks(wire, c, 0, (3, 4), (1, 2)) == []
    assert sacks(wire, c, 0, (5, 6), (3, 4), (1, 2))[:1] == [0]
    wire, c = sending(12)
    assert sacks(wire, c, 0, (1, 3)) == []
    assert sacks(wire, c, 0, (1, 4)) == [0]
    assert c.ca_state == RECOVERY


def test_pipe_is_what_is_neither_sacked_nor_lost() -> None:
    """6675/4: SetPipe."""
    wire, c = sending(12)
    assert c.board.pipe == 12 * MSS
    sacks(wire, c, 0, (1, 2))
    assert c.board.pipe == 11 * MSS
    assert sacks(wire, c, 0, (1, 4)) == [0]  # lost, and at once sent again
    assert c.board.pipe == 9 * MSS
    sacks(wire, c, 5, (6, 7))
    assert c.board.pipe == 6 * MSS


def test_only_what_is_missing_is_sent_again_lowest_first_and_new_text_behind_it() -> None:
    """6675/4, Update and NextSeg (1) and (2): of twelve segments 0, 4 and 8 were lost."""
    wire, c = sending(12, more=20)
    drawn = [sacks(wire, c, 0, (1, n)) for n in (2, 3, 4)]
    drawn += [sacks(wire, c, 0, (5, n), (1, 4)) for n in (6, 7, 8)]
    drawn += [sacks(wire, c, 0, (9, n), (5, 8), (1, 4)) for n in (10, 11, 12)]
    drawn += [sacks(wire, c, 14)]
    assert drawn[:3] == [[12], [13], [0]]  # limited transmit, RFC 3042, and then the loss
    sent = [n for each in drawn for n in each]
    assert [n for n in sent if n < 12] == [0, 4, 8]
    assert [n for n in sent if n >= 12] == list(range(12, 12 + len(sent) - 3))
    assert sent.index(4) < sent.index(14), "what is lost goes before new text"
    assert c.ca_state == OPEN


def test_end_of_the_flight_lost_is_rescued_without_a_timeout() -> None:
    """6675/4, NextSeg (4): nothing stands behind it whose SACK could tell."""
    wire, c = sending(8)
    drawn = []
    for n in range(2, 7):
        drawn += sacks(wire, c, 0, (1, n))  # 0 and 7 were lost, 1 to 5 arrive
    drawn += sacks(wire, c, 0, (1, 7))
    assert (drawn, c.core.counters["tcp.rescues"]) == ([0, 7], 1)


# -- recovery: RFC 6675 section 5, RFC 6937 ----------------------------------------------------------------


def test_window_is_halved_once_until_all_that_was_in_flight_has_arrived() -> None:
    """6675/5: enter, RecoveryPoint, and no second reduction for another loss of the same flight."""
    wire, c = sending(12, more=30)
    drawn = sacks(wire, c, 0, (1, 4))
    assert (drawn, c.ca_state, c.cc.ssthresh) == ([0], RECOVERY, 6 * MSS)
    drawn = sacks(wire, c, 0, (5, 9), (1, 4))
    assert 4 in drawn + sacks(wire, c, 0, (5, 12), (1, 4))
    assert (c.cc.ssthresh, c.core.counters["tcp.fast_retransmits"]) == (6 * MSS, 1)
    sacks(wire, c, 4, (5, 12))
    assert c.ca_state == RECOVERY, "a partial ACK does not end it"
    sacks(wire, c, 12)
    assert (c.ca_state, 6 <= c.cc.cwnd / MSS <= 7) == (OPEN, True)


def test_what_is_in_the_network_falls_to_half_by_the_end_of_a_round_trip() -> None:
    """6675/5 as RFC 6937 has it: one segment for two that have arrived, no burst and no pause."""
    wire, c = sending(20, more=60)
    drawn = [len(sacks(wire, c, 0, (1, n))) for n in range(2, 21)]
    assert drawn[:3] == [1, 1, 1]  # limited transmit, and the loss
    assert max(drawn) == 1
    assert all(1 <= sum(drawn[k : k + 4]) <= 3 for k in range(3, 16))
    assert c.cc.ssthresh == 10 * MSS
    assert 9 * MSS <= c.board.pipe <= 10 * MSS


def test_timeout_in_recovery_ends_it_and_none_begins_before_its_recovery_point() -> None:
    """6675/5.1."""
    wire, c = sending(12, more=30)
    sacks(wire, c, 0, (1, 4))
    timeout(wire, c)
    assert c.ca_state == LOSS
    end = (c.snd_nxt - c.iss - 1) // MSS
    wire.clear()
    ssthresh = c.cc.ssthresh
    sacks(wire, c, 4, (6, 10))
    sacks(wire, c, 5, (6, 12))
    assert (c.ca_state, c.cc.ssthresh) == (LOSS, ssthresh)
    assert c.core.counters["tcp.fast_retransmits"] == 1
    while c.ca_state == LOSS:
        wire.after(ms=RTT)
        wire.send(c, "A")
    assert c.snd_una - c.iss - 1 >= end * MSS


def test_sacks_survive_one_timeout_and_not_the_second() -> None:
    """2018/8: who renegeds shows it by the ACK, or by answering nothing twice."""
    wire, c = sending(6)
    sacks(wire, c, 0, (1, 3))
    timeout(wire, c)
    assert c.board.sacked.size == 2 * MSS
    wire.clear()
    timeout(wire, c)
    assert c.board.sacked.size == 0
    assert left(wire, c)[:1] == [0]
    assert sacks(wire, c, 1)[:1] == [1]


# -- RACK: RFC 8985 section 6 --------------------------------------------------------------------------------


def test_segment_overtaken_by_one_is_given_a_quarter_of_a_round_trip() -> None:
    """8985/6: the reordering window and its timer."""
    wire, c = sending(4)
    assert sacks(wire, c, 0, (1, 2)) == []
    wire.after(ms=RTT / 4 - 1)
    wire.expect_nothing()
    wire.after(ms=1)
    assert (left(wire, c), c.ca_state) == ([0], RECOVERY)


def test_segment_overtaken_that_comes_in_time_is_no_loss() -> None:
    """8985/6: reordering by less than the window costs nothing."""
    wire, c = sending(4, more=10)
    cwnd = c.cc.cwnd
    sacks(wire, c, 0, (1, 2))
    wire.after(ms=RTT / 5)
    assert sacks(wire, c, 2) != []
    wire.after(ms=RTT / 2)
    assert (c.ca_state, c.total_retrans, c.cc.cwnd >= cwnd) == (OPEN, 0, True)


def test_path_that_reorders_is_given_time_whatever_is_sacked() -> None:
    """8985/6: three SACKed segments are no proof any more, once one was overtaken."""
    wire, c = sending(12, more=40)
    sacks(wire, c, 0, (1, 2))
    sacks(wire, c, 2)
    assert c.rack.reordering_seen
    wire.after(ms=RTT)
    wire.clear()
    assert 2 not in sacks(wire, c, 2, (3, 7))
    sacks(wire, c, 7)
    assert c.total_retrans == 0


def test_retransmission_that_is_lost_is_found_without_a_timeout() -> None:
    """8985/6: by what was sent after it, segment by segment and time by time."""
    wire, c = sending(8, more=20)
    assert sacks(wire, c, 0, (1, 4)) == [0]
    wire.after(ms=10)
    new = sacks(wire, c, 0, (1, 8))
    assert min(new) == 8
    wire.after(ms=RTT)
    wire.clear()
    drawn = sacks(wire, c, 0, (new[0], new[-1] + 1), (1, 8))
    wire.after(ms=RTT / 2)
    assert 0 in drawn + left(wire, c)
    assert c.core.counters["tcp.timeouts"] == 0


def test_duplicates_told_by_dsack_widen_the_reordering_window() -> None:
    """8985/6, step 4: by a quarter of the least round trip, once a round trip."""
    wire, c = sending(12, more=60)
    sacks(wire, c, 0, (1, 2))
    sacks(wire, c, 2)
    assert c.rack.window(False, 0, RTT * MS, RTT * MS) == RTT * MS // 4
    wire.send(c, "A", ack=at(3), sack=((at(0), at(1)),))
    wire.send(c, "A", ack=at(4), sack=((at(1), at(2)),))
    assert c.rack.window(False, 0, RTT * MS, RTT * MS) == RTT * MS // 2


# -- tail loss probes: RFC 8985 section 7 ----------------------------------------------------------------------


def quiet(segments: int, *, more: int = 0) -> tuple[TcpWire, Connection]:
    """As `sending`, with probes, and without the round trip of waiting."""
    wire = TcpWire(initial_cwnd_segments=segments, loss_probes=True)
    c = wire.established(rtt_ms=RTT)
    c.write(b"x" * MSS * (segments + more))
    wire.flush()
    assert len(wire.take()) == segments
    return wire, c


def test_probe_goes_after_two_round_trips_with_new_text_or_the_last_again() -> None:
    """8985/7: PTO = 2 * SRTT, and a little; one probe, whose answer restarts everything."""
    wire, c = quiet(4, more=3)
    wire.after(ms=2 * RTT - 1)
    wire.expect_nothing()
    wire.after(ms=5)
    assert left(wire, c) == [4]
    wire, c = quiet(4)
    wire.after(ms=2 * RTT + 4)
    assert (left(wire, c), c.ca_state) == ([3], OPEN)
    assert c.core.counters["tcp.loss_probes"] == 1


def test_probe_of_a_single_segment_allows_for_a_delayed_ack() -> None:
    """8985/7: TLP.max_ack_delay; and the RTO, which is 300 ms here, comes no earlier."""
    wire, c = quiet(1)
    wire.after(ms=2 * RTT + 10)
    wire.expect_nothing()
    wire.after(ms=RTT)
    assert left(wire, c) == [0]
    assert (c.ca_state, c.core.counters["tcp.timeouts"]) == (OPEN, 0)


def test_probe_is_one_and_then_the_timeout_comes() -> None:
    """8985/7: no second one before an answer."""
    wire, c = quiet(4)
    wire.after(ms=2 * RTT + 4)
    assert left(wire, c) == [3]
    wire.after(ms=c.rtt.rto / MS - 5)
    wire.expect_nothing()
    wire.after(ms=5)
    assert (left(wire, c), c.ca_state) == ([0], LOSS)


def test_sack_of_the_probe_shows_what_was_lost_before_it() -> None:
    """8985/7: the whole tail was lost, and no timeout is needed."""
    wire, c = quiet(6)
    wire.send(c, "A", ack=at(2))
    wire.clear()
    wire.after(ms=2 * RTT + 4)
    assert left(wire, c) == [5]
    wire.after(ms=RTT)
    drawn = sacks(wire, c, 2, (5, 6))
    wire.after(ms=RTT / 2)
    drawn += left(wire, c)
    assert drawn[0] == 2
    wire.after(ms=RTT)
    sacks(wire, c, 4, (5, 6))
    sacks(wire, c, 6)
    assert (c.flight, c.core.counters["tcp.timeouts"]) == (0, 0)


def test_no_second_probe_before_a_round_trip_was_measured() -> None:
    """8985/7, section 7.3: the answer to the first is no sample, for nobody knows which copy drew it."""
    wire, c = quiet(1)
    wire.after(ms=3 * RTT)
    assert left(wire, c) == [0]
    wire.send(c, "A", ack=at(1))
    wire.send(c, "A", ack=at(1))  # both copies have arrived, and the peer says so without SACK
    c.write(b"y" * MSS)
    wire.flush()
    assert left(wire, c) == [1]
    wire.after(ms=3 * RTT + 50)
    wire.expect_nothing()
    timeout(wire, c)
    assert (left(wire, c), c.core.counters["tcp.loss_probes"]) == ([1], 1)


@pytest.mark.parametrize("arrived", [True, False])
def test_probe_that_repaired_a_loss_counts_as_one(arrived: bool) -> None:
    """8985/7, section 7.4: without a D-SACK the last segment was lost, and the window pays for it."""
    wire, c = quiet(4)
    wire.after(ms=2 * RTT + 4)
    assert left(wire, c) == [3]
    cwnd = c.cc.cwnd
    wire.send(c, "A", ack=at(4))
    if arrived:
        wire.send(c, "A", ack=at(4), sack=((at(3), at(4)),))
    c.write(b"y" * MSS)
    wire.flush()
    wire.send(c, "A", ack=at(5))
    assert (c.cc.cwnd < cwnd, c.ca_state) == (not arrived, OPEN)


# -- D-SACK from us: RFC 2883 ----------------------------------------------------------------------------------


def test_segment_that_came_twice_is_told_first_and_once() -> None:
    """2883/4: below the cumulative ACK, above it, and in part."""
    wire = TcpWire()
    c = wire.established()
    wire.send(c, "A", seq=1, payload=b"x" * 100)
    wire.send(c, "A", seq=201, payload=b"y" * 100)
    wire.clear()
    wire.send(c, "A", seq=1, payload=b"x" * 100)
    assert relative(wire, c) == [(1, 101), (201, 301)]
    wire.send(c, "A", seq=201, payload=b"y" * 100)
    assert relative(wire, c) == [(201, 301), (201, 301)]
    wire.send(c, "A", seq=401, payload=b"z")
    assert relative(wire, c) == [(401, 402), (201, 301)]
    wire.send(c, "A", seq=51, payload=b"x" * 150)
    assert relative(wire, c) == [(51, 101), (401, 402)]


def relative(wire: TcpWire, c: Connection) -> list[tuple[int, int]]:
    (ack,) = wire.expect("A len=0")
    return [(a - c.irs, b - c.irs) for a, b in ack.sack]
