"""Loss recovery by SACK, seen from the wire (RFC 6675 as RFC 8985 detects losses and RFC 6937 paces the repair)."""

from __future__ import annotations

import pytest

from scapystack.layers.tcp.state import LOSS, OPEN, RECOVERY
from scapystack.layers.tcp.tcb import NEVER
from tests.harness.flight import MSS, RTT, at, flight, sack, seg
from tests.harness.tcp import Peer

# -- what is lost, and what may go ---------------------------------------------------------------------------


def test_sender_sack_of_a_segment_lets_a_new_one_go() -> None:
    """5681/3.2-b, 6675/4: SetPipe; what was SACKed has left the network, and cwnd stays as it is."""
    wire, c = flight(10, more=10)
    sack(wire, c, 1)
    wire.expect(seg(10))
    sack(wire, c, (1, 3))
    wire.expect(seg(11))
    assert c.board.pipe == c.cc.cwnd == 10 * MSS
    assert c.ca_state == OPEN


def test_sender_block_repeated_tells_nothing_new() -> None:
    """6675/5: a duplicate is an ACK that brings news."""
    wire, c = flight(10, more=10)
    sack(wire, c, 1)
    wire.clear()
    for _ in range(5):
        sack(wire, c, 1)
    wire.expect_nothing()
    assert c.ca_state == OPEN


@pytest.mark.parametrize("blocks", [((1, 4),), (1, 3, 5)], ids=["octets", "ranges"])
def test_sender_three_segments_behind_a_hole_make_it_lost(blocks: tuple[int | tuple[int, int], ...]) -> None:
    """6675/4: IsLost, more than two segments' worth above it or three ranges; 6675/5, step (2)."""
    wire, c = flight(10)
    sack(wire, c, *blocks)
    assert wire.tell(wire.take()[0]).startswith("A seq=1 ")
    assert c.ca_state == RECOVERY


@pytest.mark.parametrize("blocks", [((1, 3),), (1, 3)], ids=["octets", "ranges"])
def test_sender_two_segments_behind_a_hole_do_not_yet(blocks: tuple[int | tuple[int, int], ...]) -> None:
    """6675/4: IsLost."""
    wire, c = flight(10)
    sack(wire, c, *blocks)
    wire.expect_nothing()
    assert c.ca_state == OPEN


def test_sender_in_recovery_fills_holes_from_the_lowest_then_sends_new() -> None:
    """6675/4: NextSeg (1) and (2), what was SACKed is never sent again."""
    wire, c = flight(10, more=3)
    sack(wire, c, 1, 3, 5)
    wire.expect(seg(0))
    sack(wire, c, (5, 10), 3, 1)
    wire.expect(seg(2), seg(4), seg(10), seg(11))


def test_sender_in_recovery_sends_nothing_new_beyond_the_peers_window() -> None:
    """6675/4: NextSeg (2), "and the receiver's advertised window allows"."""
    wire, c = flight(6, more=20)
    sack(wire, c, (1, 6), wnd=6 * MSS >> c.snd_wscale)
    wire.expect(seg(0))
    sack(wire, c, ack=6, wnd=8 * MSS >> c.snd_wscale)
    assert c.flight <= 8 * MSS


def test_sender_window_shrinks_in_recovery_and_the_hole_goes_all_the_same() -> None:
    """SHLD-16, MAY-7: what stands at SND.UNA whatever the window; what lies beyond it waits."""
    wire, c = flight(10)
    sack(wire, c, 1, 3, (5, 8), wnd=2 * MSS >> c.snd_wscale)
    wire.expect(seg(0))
    sack(wire, c, 3, (5, 8), ack=2, wnd=2 * MSS >> c.snd_wscale)
    wire.expect(seg(2))
    sack(wire, c, 3, (5, 8), ack=2, wnd=(4 * MSS >> c.snd_wscale) + 1)
    wire.expect(seg(4))  # and no rescue of the last, which lies outside


def test_sender_rescues_the_end_of_the_flight_once() -> None:
    """6675/4: NextSeg (4), with nothing better to send the highest that is not SACKed goes, once a recovery."""
    wire, c = flight(10)
    sack(wire, c, (1, 8))
    wire.expect(seg(0), "P" + seg(9))
    assert c.core.counters["tcp.rescues"] == 1
    for _ in range(3):
        sack(wire, c, (1, 8))
    wire.expect_nothing()


def test_sender_with_new_data_rescues_nothing() -> None:
    """6675/4: NextSeg (2) is asked before (4)."""
    wire, c = flight(10, more=5)
    sack(wire, c, (1, 8))
    assert all((s.seq - c.iss) in (1, at(10), at(11), at(12)) for s in wire.take())
    assert c.core.counters["tcp.rescues"] == 0


def test_sender_rescue_is_acknowledged_before_any_timeout() -> None:
    """6675/4: the last segment was lost, and nothing behind it could tell."""
    wire, c = flight(10)
    sack(wire, c, (1, 8))
    wire.clear()
    wire.after(ms=RTT)
    sack(wire, c, ack=10)
    assert (c.ca_state, c.flight, c.rtx_at) == (OPEN, 0, NEVER)
    assert c.core.counters["tcp.timeouts"] == 0


# -- how long ------------------------------------------------------------------------------------------------


def test_sender_recovery_ends_at_the_recovery_point_and_not_before() -> None:
    """6675/5: (4.1) and (A)."""
    wire, c = flight(10, more=10)
    sack(wire, c, (1, 4))
    assert c.episode is not None
    assert c.episode.recover == c.iss + at(10)
    sack(wire, c, ack=9)
    assert c.ca_state == RECOVERY
    sack(wire, c, ack=10)
    assert c.ca_state == OPEN
    assert c.cc.cwnd == c.cc.ssthresh == 5 * MSS


def test_sender_second_loss_of_one_flight_reduces_no_further() -> None:
    """6675/5: (4.2) is done once a recovery."""
    wire, c = flight(20, more=10)
    sack(wire, c, (1, 4))
    threshold = c.cc.ssthresh
    sack(wire, c, (5, 9), (1, 4))
    assert c.ca_state == RECOVERY
    assert c.cc.ssthresh == threshold
    assert c.core.counters["tcp.fast_retransmits"] == 1


def test_sender_loss_behind_the_recovery_point_is_another_recovery() -> None:
    """6675/5: (A), what is known of numbers above it is not cleared when the first recovery ends."""
    wire, c = flight(10, more=20)
    sack(wire, c, (1, 10))
    sent = len(wire.take()) - 1
    assert sent >= 4
    wire.after(ms=RTT)
    sack(wire, c, (11, 10 + sent), ack=10)
    assert c.core.counters["tcp.fast_retransmits"] == 2
    assert c.ca_state == RECOVERY
    assert wire.tell(wire.take()[0]).startswith(f"A seq={at(10)} ")


def test_sender_timeout_in_recovery_keeps_the_highest_number_as_recovery_point() -> None:
    """6675/5.1: no new fast recovery before HighACK has reached it; SACKs say all the same what has to go."""
    wire, c = flight(10, more=10)
    sack(wire, c, (2, 5))
    wire.clear()
    wire.after(ms=c.rtt.rto / 1e6)
    wire.expect(seg(0))
    assert c.ca_state == LOSS
    assert c.episode is not None
    point = c.episode.recover
    assert point == c.board.nxt
    threshold = c.cc.ssthresh
    wire.after(ms=RTT)
    sack(wire, c, (2, 5), ack=1)
    sent = [(s.seq - c.iss - 1) // MSS for s in wire.take()]
    assert sent == [1, 5]
    wire.after(ms=RTT)
    sack(wire, c, (7, 10), ack=6)
    assert c.ca_state == LOSS
    assert c.cc.ssthresh == threshold
    assert c.core.counters["tcp.fast_retransmits"] == 1
    wire.send(c, "A")
    assert c.ca_state == OPEN


def test_sender_sacks_outlive_one_timeout_and_not_two() -> None:
    """2018/8, as RFC 6675 section 5.1 tempers it."""
    wire, c = flight(4)
    sack(wire, c, 2)
    wire.after(ms=c.rtt.rto / 1e6 + RTT)
    assert (c.retransmits, c.board.sacked.size) == (1, MSS)
    wire.after(ms=c.rtt.rto / 1e6)
    assert (c.retransmits, c.board.sacked.size) == (2, 0)
    wire.clear()
    wire.send(c, "A", ack=at(1))
    wire.expect(seg(1), seg(2))


# -- how much (RFC 6937) -------------------------------------------------------------------------------------


def test_sender_in_recovery_sends_every_other_ack_down_to_ssthresh() -> None:
    """6675/5: step (C), by the proportional part of RFC 6937, not in half a round trip of silence."""
    wire, c = flight(20, more=40)
    sack(wire, c, (1, 4))
    wire.clear()
    sent = []
    for n in range(5, 21):
        sack(wire, c, (1, n))
        sent.append(len(wire.take()))
    assert set(sent) == {0, 1}
    assert sent[:8] == [1, 0] * 4
    assert c.board.pipe == c.cc.ssthresh == 10 * MSS


def test_sender_that_lost_most_of_the_flight_doubles_what_the_acks_tell() -> None:
    """6675/5: step (C), by the slow start reduction bound of RFC 6937: no burst of all that was lost."""
    wire, c = flight(20, more=40)
    sack(wire, c, (17, 20))
    sent = len(wire.take())
    assert 3 <= sent <= 4  # delivered, and one segment
    assert c.board.pipe < c.cc.ssthresh


def test_sender_acks_divided_let_no_more_go_than_ssthresh() -> None:
    """5681/3.1-b: a thousand SACKs of an octet each."""
    wire, c = flight(20, more=60)
    sack(wire, c, (1, 4))
    for n in range(1, 1001):
        wire.send(c, "A", ack=1, wnd=60_000, sack=((at(1), at(4) + n),))
        assert c.board.pipe <= max(c.cc.ssthresh + MSS, 17 * MSS)
    assert c.cc.cwnd == 10 * MSS


# -- pieces of other sizes -----------------------------------------------------------------------------------


def test_sender_sends_of_a_super_segment_only_what_is_missing() -> None:
    """6675/4: Update goes by octets; the edge had cut it."""
    wire, c = flight(10, gso_max=64_000)
    sack(wire, c, (1, 3), (4, 6), 9)
    wire.expect(seg(0), seg(3), seg(6, 3))
    wire.after(ms=RTT)
    sack(wire, c, (4, 6), (7, 10), ack=3)
    wire.expect(seg(3), seg(6))


def test_sender_holes_side_by_side_go_as_one_super_segment() -> None:
    """6675/4: NextSeg (1); the edge will cut it, as far as the window goes."""
    wire, c = flight(10)
    c.route.iface.gso_max = 64_000
    sack(wire, c, (6, 10))
    wire.expect(seg(0, 5))
    sack(wire, c, (6, 10), ack=1)
    wire.expect(seg(5))


def test_sender_retransmits_in_the_segments_of_a_lowered_mss() -> None:
    """RFC 1191 section 6.4: what was sent larger goes again in smaller ones, what was SACKed does not."""
    wire, c = flight(4)
    sack(wire, c, 2)
    wire.clear()
    wire.icmp(c, 3, 4, 90, mtu=1000)
    assert c.snd_mss == 960
    sent = [(s.seq - c.iss - 1, len(s.payload)) for s in wire.take()]
    assert sent == [(0, 960), (960, 960), (1920, 960), (2880, 40), (4380, 960), (5340, 500)]


def test_sender_goes_on_when_the_mss_falls_in_the_middle_of_recovery() -> None:
    wire, c = flight(6)
    sack(wire, c, (2, 5))
    wire.clear()
    wire.icmp(c, 3, 4, 90, mtu=1000)
    assert all(len(s.payload) <= 960 for s in wire.take())
    for _ in range(20):
        wire.after(ms=RTT)
        sack(wire, c, (2, 5), ack=0) if c.snd_una == c.iss + 1 else wire.send(c, "A")
        if not c.flight:
            break
        wire.send(c, "A", ack=at(6))
    assert c.flight == 0


def test_sender_fin_that_was_sacked_stays_at_home() -> None:
    """6675/4: a peer may SACK our FIN, which came in a segment of its own; the text before it goes alone."""
    wire, c = flight(4)
    c.shutdown_write()
    wire.flush()
    wire.expect("FA len=0")
    wire.after(ms=RTT)
    wire.send(c, "A", ack=1, sack=((at(1), at(3)), (at(4), at(4) + 1)))
    wire.expect(seg(0), "P" + seg(3))
    assert c.board.pipe == 2 * MSS
    wire.send(c, "A", ack=at(4) + 1)
    assert c.flight == 0


def test_sender_fin_that_was_lost_goes_with_the_text_before_it() -> None:
    wire, c = flight(4)
    c.shutdown_write()
    wire.flush()
    wire.clear()
    wire.send(c, "A", ack=at(3))
    wire.after(ms=c.rtt.rto / 1e6)
    wire.expect(f"FPA seq={at(3)} len={MSS}")


# -- peers that say what cannot be ---------------------------------------------------------------------------


def test_sender_block_of_what_its_own_ack_says_is_missing_is_ignored() -> None:
    """2018/8: taken and forgotten again, each such ACK would have drawn the flight anew."""
    wire, c = flight(10)
    for _ in range(20):
        sack(wire, c, (0, 10))
    wire.expect_nothing()
    assert c.board.sacked.size == 0


def test_sender_reneging_again_and_again_draws_a_segment_a_timeout() -> None:
    """2018/8."""
    wire, c = flight(10)
    octets = 0
    for n in range(1, 100):
        wire.send(c, "A", ack=n, sack=((n + 1, at(10)),))
        wire.send(c, "A", ack=n + 1)
        octets += sum(len(s.payload) for s in wire.take())
    assert octets <= 2 * 10 * MSS


def test_sender_reneging_with_the_window_closed_gets_all_when_it_opens() -> None:
    """2018/8, MUST-35: a timer runs at every moment of it."""
    wire, c = flight(4)
    sack(wire, c, (1, 4), wnd=0)
    wire.clear()
    sack(wire, c, ack=1, wnd=0)
    wire.after(ms=5_000)
    assert c.rtx_at != NEVER or c.persist_at != NEVER
    wire.clear()
    sack(wire, c, ack=1)
    wire.after(ms=1_000)
    assert wire.tell(wire.take()[0]).startswith(f"A seq={at(1)} ")


def test_sender_window_closed_in_recovery_is_probed_and_opens_again() -> None:
    """6675/5, MUST-35, SHLD-17."""
    wire, c = flight(10)
    sack(wire, c, (1, 4))
    sack(wire, c, (1, 4), wnd=0)
    wire.clear()
    wire.after(ms=3_000)
    assert c.core.counters["tcp.window_probes"] > 1
    wire.clear()
    sack(wire, c, (1, 4))
    assert wire.tell(wire.take()[0]).startswith("A seq=1 ")
    wire.send(c, "A")
    assert (c.flight, c.ca_state, c.unsent) == (0, OPEN, 0)


def test_sender_without_sack_ack_of_a_part_of_what_went_again_draws_nothing() -> None:
    """6582/3.2: a partial ACK says that the next hole is lost; one inside of what was just sent again says nothing."""
    wire, c = flight(10, peer=Peer(sack=False))
    for _ in range(3):
        wire.send(c, "A", ack=1, wnd=60_000)
    wire.expect(seg(0))
    for n in range(2, at(1)):
        wire.send(c, "A", ack=n, wnd=60_000)
    wire.expect_nothing()
    wire.send(c, "A", ack=at(1), wnd=60_000)
    wire.expect(seg(1))
