"""Recoveries that were begun for nothing, and are taken back: F-RTO, Eifel, D-SACK (RFC 5682, 3522, 3708, 4015)."""

from __future__ import annotations

from typing import Any

import pytest

from scapystack.layers.tcp.recovery import on_ecn_echo
from scapystack.layers.tcp.state import CWR, LOSS, OPEN, RECOVERY
from scapystack.layers.tcp.user import Connection
from tests.harness.flight import MSS, RTT, flight, sack, seg
from tests.harness.tcp import Peer, TcpWire

KINDS = pytest.mark.parametrize("peer", [Peer(), Peer(sack=False)], ids=["SACK", "basic"])


def timed_out(segments: int = 10, *, more: int = 10, **how: Any) -> tuple[TcpWire, Connection]:
    """A flight that a timeout has given up; its first segment has just gone again. No timestamps."""
    wire, c = flight(segments, more=more, **how)
    wire.after(ms=c.rtt.rto / 1e6 - RTT)
    assert [s.seq - c.iss for s in wire.take()] == [1]
    assert (c.ca_state, c.cc.cwnd) == (LOSS, MSS)
    return wire, c


def undone(c: Connection, cwnd: int) -> bool:
    """Whether the windows are what they were, with `cwnd` as it was."""
    return c.ca_state == OPEN and c.cc.cwnd >= cwnd and c.cc.ssthresh > cwnd and not c.board.lost_octets


# -- F-RTO (RFC 5682) ----------------------------------------------------------------------------------------


@KINDS
def test_sender_late_acks_of_the_originals_show_a_spurious_timeout(peer: Peer) -> None:
    """5681/3.1-c: RFC 5682 sections 2.1 and 3.1: new data in place of old, and the next ACK is of what was given up."""
    wire, c = timed_out(peer=peer)
    wire.send(c, "A", ack=1 + MSS, wnd=60_000)
    wire.expect(seg(10), seg(11))
    wire.send(c, "A", ack=1 + 2 * MSS, wnd=60_000)
    assert undone(c, 10 * MSS)
    assert c.core.counters["tcp.spurious_timeouts"] == 1
    assert not any(s.seq - c.iss < 1 + 10 * MSS for s in wire.take())


@KINDS
def test_sender_late_acks_in_one_burst_show_it_too(peer: Peer) -> None:
    """RFC 5682: before any new data could leave; the evidence is the same."""
    wire, c = timed_out(peer=peer)
    for n in range(1, 10):
        wire.send(c, "A", ack=1 + n * MSS, wnd=60_000, flush=False)
    wire.flush()
    assert undone(c, 10 * MSS)
    assert not any(s.seq - c.iss < 1 + 10 * MSS for s in wire.take())


@KINDS
def test_sender_loss_that_was_real_is_mended_after_new_data(peer: Peer) -> None:
    """RFC 5682 sections 2.1 and 3.1, step 3a: what the new data draws is a duplicate, or tells of itself alone."""
    wire, c = timed_out(peer=peer)
    wire.send(c, "A", ack=1 + MSS, wnd=60_000)
    wire.expect(seg(10), seg(11))
    if peer.sack:
        sack(wire, c, 10, ack=1)
    else:
        wire.send(c, "A", ack=1 + MSS, wnd=60_000)
    assert c.ca_state == LOSS
    assert wire.tell(wire.take()[0]).startswith(f"A seq={1 + MSS} ")


def test_sender_basic_variant_takes_a_duplicate_for_a_real_loss() -> None:
    """RFC 5682 section 2.1 step 2a."""
    wire, c = timed_out(peer=Peer(sack=False))
    wire.send(c, "A", ack=1, wnd=60_000)
    wire.clear()
    wire.send(c, "A", ack=1 + MSS, wnd=60_000)
    wire.expect(seg(1), seg(2))


def test_sender_sack_variant_waits_while_duplicates_arrive() -> None:
    """RFC 5682 section 3.1 step 2: "stay in step 2 and wait for the next new acknowledgment"."""
    wire, c = timed_out()
    sack(wire, c, 1)
    wire.clear()
    sack(wire, c, ack=2)
    assert wire.tell(wire.take()[0]).startswith(f"A seq={1 + 10 * MSS} ")


@KINDS
def test_sender_with_nothing_new_to_send_goes_on_as_ever(peer: Peer) -> None:
    """RFC 5682 section 2.1 step 2b: skip step 3."""
    wire, c = timed_out(more=0, peer=peer)
    wire.send(c, "A", ack=1 + MSS, wnd=60_000)
    wire.expect(seg(1), seg(2))
    assert c.ca_state == LOSS


@KINDS
def test_sender_ack_of_everything_tells_nothing(peer: Peer) -> None:
    """RFC 5682 section 2.1 step 2a: it may be the retransmission that has filled the only hole."""
    wire, c = timed_out(more=0, peer=peer)
    wire.send(c, "A", wnd=60_000)
    assert c.ca_state == OPEN
    assert c.cc.ssthresh == 5 * MSS
    assert c.core.counters["tcp.spurious_timeouts"] == 0


@KINDS
def test_sender_asks_again_after_a_second_timeout_of_the_same_segment(peer: Peer) -> None:
    """RFC 5682 section 2.2: a delay longer than the RTO and its back-off."""
    wire, c = timed_out(peer=peer)
    wire.after(ms=c.rtt.rto / 1e6)
    wire.expect(seg(0))
    wire.send(c, "A", ack=1 + MSS, wnd=60_000)
    wire.expect(seg(10), seg(11))
    wire.send(c, "A", ack=1 + 2 * MSS, wnd=60_000)
    assert undone(c, 10 * MSS)


@KINDS
def test_sender_timeout_out_of_a_recovery_is_not_asked_about(peer: Peer) -> None:
    """RFC 5682 section 3.1 step 1: what was sent again before could answer in its place."""
    wire, c = flight(10, more=10, peer=peer)
    for n in range(1, 4):
        sack(wire, c, (1, 1 + n)) if peer.sack else wire.send(c, "A", ack=1, wnd=60_000)
    assert c.ca_state == RECOVERY
    wire.after(ms=c.rtt.rto / 1e6)
    wire.clear()
    wire.send(c, "A", ack=1 + 4 * MSS, wnd=60_000)
    assert all(s.seq - c.iss < 1 + 12 * MSS for s in wire.take())
    assert c.ca_state == LOSS


def test_sender_what_was_on_its_way_at_the_timeout_proves_nothing() -> None:
    """RFC 5682 section 3.1 step 3b: only an ACK of what the timeout had given up does."""
    wire, c = flight(4)
    sack(wire, c, ack=1)
    wire.after(ms=c.rtt.rto / 1e6 - 1)
    c.write(b"y" * MSS * 8)
    wire.flush()
    wire.expect(seg(4))
    wire.after(ms=1)
    assert [s.seq - c.iss for s in wire.take()] == [1 + MSS]
    wire.after(ms=RTT - 2)
    sack(wire, c, ack=2)
    wire.expect(seg(5), seg(6))
    wire.after(ms=1)
    sack(wire, c, 4, ack=2)
    assert c.ca_state == LOSS
    assert c.core.counters["tcp.spurious_timeouts"] == 0


@KINDS
def test_sender_after_an_undone_timeout_takes_duplicates_for_a_loss(peer: Peer) -> None:
    """RFC 5682 section 2.1 step 3b: "recover" is SND.UNA, so that fast retransmit works (6582/3.2)."""
    wire, c = timed_out(peer=peer)
    wire.send(c, "A", ack=1 + MSS, wnd=60_000)
    wire.send(c, "A", ack=1 + 2 * MSS, wnd=60_000)
    assert c.ca_state == OPEN
    wire.after(ms=RTT)
    wire.send(c, "A", ack=1 + 3 * MSS, wnd=60_000)
    wire.clear()
    for n in range(1, 4):
        sack(wire, c, (4, 4 + n), ack=3) if peer.sack else wire.send(c, "A", ack=1 + 3 * MSS, wnd=60_000)
    assert c.ca_state == RECOVERY
    assert 1 + 3 * MSS in [s.seq - c.iss for s in wire.take()]


# -- Eifel (RFC 3522) ----------------------------------------------------------------------------------------


def stamped(peer: Peer | None = None) -> tuple[TcpWire, Connection, int]:
    """Ten segments in flight with timestamps, and what they carried."""
    wire, c = flight(10, more=10, timestamps=True, peer=peer)
    return wire, c, (c.ts_now() - RTT) & 0xFFFFFFFF


def test_sender_echo_of_the_original_takes_a_timeout_back() -> None:
    """RFC 3522 section 3.2 and RFC 4015: at the first ACK, which a timestamp tells apart."""
    wire, c, original = stamped()
    cwnd = c.cc.cwnd
    wire.after(ms=c.rtt.rto / 1e6)
    assert c.ca_state == LOSS
    wire.clear()
    wire.send(c, "A", ack=1 + MSS, wnd=60_000, tsecr=original)
    assert undone(c, cwnd)
    assert not any(s.seq - c.iss < 1 + 10 * MSS for s in wire.take())


def test_sender_echo_of_the_retransmission_takes_nothing_back() -> None:
    """RFC 3522 section 3.2 step 5."""
    wire, c, _ = stamped()
    wire.after(ms=c.rtt.rto / 1e6 - RTT)
    resent = c.ts_now()
    wire.after(ms=RTT)
    wire.send(c, "A", ack=1 + MSS, wnd=60_000, tsecr=resent)
    assert c.ca_state == LOSS
    assert c.core.counters["tcp.spurious_timeouts"] == 0


@KINDS
def test_sender_echo_of_the_original_takes_a_fast_retransmit_back(peer: Peer) -> None:
    """RFC 3522, RFC 4015 section 3: reordering, and three duplicates that told of no loss."""
    wire, c, original = stamped(peer)
    cwnd = c.cc.cwnd
    for n in range(2, 5):
        blocks = ((1 + MSS, 1 + n * MSS),) if peer.sack else ()
        wire.send(c, "A", ack=1, wnd=60_000, tsecr=original, sack=blocks)
    assert c.ca_state == RECOVERY
    wire.after(ms=1)
    wire.send(c, "A", ack=1 + 4 * MSS, wnd=60_000, tsecr=original)
    assert undone(c, cwnd)
    assert c.core.counters["tcp.spurious_recoveries"] == 1


def test_sender_echo_of_the_original_with_other_holes_left_is_no_proof() -> None:
    """RFC 3522: of the first hole it is; the second may be a loss, for which the window had to shrink."""
    wire, c, original = stamped()
    blocks = ((1 + 5 * MSS, 1 + 9 * MSS), (1 + MSS, 1 + 4 * MSS))
    wire.send(c, "A", ack=1, wnd=60_000, tsecr=original, sack=blocks)
    assert c.ca_state == RECOVERY
    wire.after(ms=1)
    wire.send(c, "A", ack=1 + 4 * MSS, wnd=60_000, tsecr=original, sack=blocks[:1])
    assert c.ca_state == RECOVERY


# -- D-SACK (RFC 3708) ---------------------------------------------------------------------------------------


def test_sender_dsack_of_the_fast_retransmit_takes_it_back() -> None:
    """2883/4: RFC 3708 section 3; a round trip after the recovery has ended."""
    wire, c = flight(10)
    sack(wire, c, (1, 4))
    assert (c.ca_state, c.cc.ssthresh) == (RECOVERY, 5 * MSS)
    wire.after(ms=1)
    sack(wire, c, ack=10)
    assert (c.ca_state, c.cc.cwnd) == (OPEN, 5 * MSS)
    wire.after(ms=RTT)
    sack(wire, c, 0, ack=10)
    assert undone(c, 10 * MSS)
    assert c.core.counters["tcp.dsacks_received"] == 1


def test_sender_dsacks_of_some_retransmissions_and_not_all_take_nothing_back() -> None:
    """2883/4: the others may have been lost."""
    wire, c = flight(10)
    sack(wire, c, (4, 10))
    wire.expect(seg(0), seg(1), seg(2), seg(3))
    wire.after(ms=1)
    sack(wire, c, ack=10)
    for n in (0, 1, 2):
        sack(wire, c, n, ack=10)
        assert c.cc.cwnd == 5 * MSS
    sack(wire, c, 3, ack=10)
    assert undone(c, 10 * MSS)


def test_sender_dsack_takes_a_timeout_back() -> None:
    """2883/4, 6298/5.4-5.6: the window returns, the back-off stays until a round trip is measured."""
    wire, c = timed_out(1, more=0)
    rto = c.rtt.rto
    wire.send(c, "A", wnd=60_000)
    assert c.rtt.rto == rto
    sack(wire, c, 0, ack=1)
    assert c.cc.cwnd >= MSS
    assert c.cc.ssthresh > 10 * MSS
    assert c.rtt.rto == rto


@pytest.mark.parametrize("block", [(-200, -100), (-1 << 30, 0), (0, 0), (1, 0)])
def test_sender_dsacks_of_nonsense_take_nothing_back(block: tuple[int, int]) -> None:
    """2883/4: of what was never sent again, or before the recovery began."""
    wire, c = flight(10)
    sack(wire, c, (1, 4))
    wire.after(ms=1)
    sack(wire, c, ack=10)
    for _ in range(20):
        wire.send(c, "A", wnd=60_000, sack=((1 + block[0], 1 + block[1]),))
    assert c.cc.cwnd == 5 * MSS
    assert c.board.una == c.board.nxt


def test_sender_dsack_a_long_time_later_takes_nothing_back() -> None:
    """2883/4: the network doubles segments too; what ended more than a round trip ago is settled."""
    wire, c = flight(10, more=30)
    sack(wire, c, (1, 4))
    wire.after(ms=RTT)
    sack(wire, c, ack=10)
    for _ in range(3):
        wire.after(ms=RTT)
        wire.send(c, "A", wnd=60_000)
    threshold = c.cc.ssthresh
    sack(wire, c, 0, ack=(c.snd_nxt - c.iss - 1) // MSS)
    assert c.cc.ssthresh == threshold


def test_sender_loss_found_after_an_undo_is_a_recovery_of_its_own() -> None:
    """2883/4: and nothing that counted as lost before does so still, nor is forgotten."""
    wire, c = flight(10)
    sack(wire, c, (1, 4))
    wire.expect(seg(0))
    wire.after(ms=1)
    sack(wire, c, 0, (5, 9), ack=4)
    assert c.core.counters["tcp.spurious_recoveries"] == 1
    wire.after(ms=3 * RTT)
    assert 1 + 4 * MSS in [s.seq - c.iss for s in wire.take()]
    wire.send(c, "A")
    assert (c.flight, c.ca_state) == (0, OPEN)


def test_sender_reduction_for_ecn_is_not_undone() -> None:
    """RFC 3168: the network has said so; a D-SACK is about something else."""
    wire, c = flight(10)
    on_ecn_echo(c, c.core.now)
    assert c.ca_state == CWR
    sack(wire, c, (1, 4))
    assert (c.ca_state, c.cc.ssthresh) == (RECOVERY, 5 * MSS)
    wire.after(ms=1)
    sack(wire, c, ack=10)
    sack(wire, c, 0, ack=10)
    assert c.cc.cwnd == 5 * MSS


@KINDS
def test_sender_undone_recovery_leaves_no_segment_without_a_timer(peer: Peer) -> None:
    """6298/5.1-5.3: whatever the undo has called off, what is in flight is sent again in the end."""
    wire, c = timed_out(peer=peer)
    wire.send(c, "A", ack=1 + MSS, wnd=60_000)
    wire.send(c, "A", ack=1 + 2 * MSS, wnd=60_000)
    wire.clear()
    wire.after(ms=10 * c.rtt.rto / 1e6)
    assert 1 + 2 * MSS in [s.seq - c.iss for s in wire.take()]
