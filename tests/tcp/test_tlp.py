"""Tail loss probes on the wire (RFC 8985 section 7): when an ACK is overdue one segment draws one out."""

from __future__ import annotations

from typing import Any

import pytest

from scapystack.layers.tcp.state import LOSS, OPEN, RECOVERY
from scapystack.layers.tcp.tcb import NEVER
from scapystack.layers.tcp.user import Connection
from tests.harness.flight import MSS, RTT, at, flight, sack, seg
from tests.harness.tcp import Peer, TcpWire

PTO = 2 * RTT + 2
"""Twice the smoothed round trip; the two are for schedulers."""


def probing(segments: int, **more: Any) -> tuple[TcpWire, Connection]:
    """A flight sent a round trip ago, loss probes on; the probe is due in PTO - RTT."""
    return flight(segments, loss_probes=True, **more)


# -- when ----------------------------------------------------------------------------------------------------


def test_sender_probe_goes_two_round_trips_after_the_last_new_segment() -> None:
    """8985/7: PTO = 2 * SRTT, long before the RTO."""
    wire, c = probing(5)
    wire.after(ms=PTO - RTT - 0.001)
    wire.expect_nothing()
    wire.after(ms=0.001)
    wire.expect("P" + seg(4))
    assert c.core.counters["tcp.loss_probes"] == 1
    assert (c.retransmits, c.ca_state) == (0, OPEN)


def test_sender_ack_of_something_new_starts_the_probes_timer_again() -> None:
    """8985/7: section 7.2."""
    wire, c = probing(5)
    sack(wire, c, ack=1)
    wire.after(ms=PTO - 0.001)
    wire.expect_nothing()
    wire.after(ms=0.001)
    wire.expect("P" + seg(4))


def test_sender_single_segment_gives_a_delayed_ack_its_time() -> None:
    """8985/7: FlightSize of one segment, TLP.max_ack_delay; but no later than the RTO, in whose place it goes."""
    wire, _ = probing(1, min_rto_ms=1_000)
    wire.after(ms=PTO - RTT + 200 - 0.001)
    wire.expect_nothing()
    wire.after(ms=0.001)
    wire.expect("P" + seg(0))


def test_sender_probe_goes_in_place_of_a_timeout_that_is_due_sooner() -> None:
    """8985/7: "TCP_RTO_expiration() - Now()"; the RTO follows a whole one later."""
    wire, c = probing(1)
    rto = c.rtt.rto / 1e6
    assert rto < PTO + 200
    wire.after(ms=rto - RTT)
    wire.expect("P" + seg(0))
    assert (c.core.counters["tcp.loss_probes"], c.core.counters["tcp.timeouts"]) == (1, 0)
    wire.after(ms=rto - 0.001)
    wire.expect_nothing()
    wire.after(ms=0.001)
    wire.expect("P" + seg(0))
    assert c.ca_state == LOSS


def test_sender_that_knows_no_round_trip_probes_after_a_second() -> None:
    """8985/7: section 7.2, when there is no SRTT."""
    wire = TcpWire(loss_probes=True, initial_rto_ms=3_000)
    wire.listen()
    wire.syn()
    c = wire.connection()
    wire.after(ms=3_000)  # the SYN-ACK goes again, and nobody can time its ACK
    wire.send(c, "A")
    assert c.rtt.srtt == 0
    c.cc.cwnd = 2 * MSS
    c.write(b"x" * 2 * MSS)
    wire.flush()
    wire.clear()
    wire.after(ms=999.999)
    wire.expect_nothing()
    wire.after(ms=0.001)
    wire.expect("P" + seg(1))


@pytest.mark.parametrize("why", ["no SACK agreed on", "something SACKed", "recovery", "switched off", "all arrived"])
def test_sender_probe_is_not_sent_where_others_help_or_it_cannot(why: str) -> None:
    """8985/7: section 7.2."""
    wire, c = flight(5, loss_probes=why != "switched off", peer=Peer(sack=why != "no SACK agreed on"))
    if why == "something SACKed":
        c.rack.reordering_seen = True
        sack(wire, c, (1, 2))
    elif why == "recovery":
        sack(wire, c, (1, 4))
    elif why == "all arrived":
        wire.send(c, "A")
    wire.after(ms=PTO + 20)
    assert c.core.counters["tcp.loss_probes"] == 0


def test_sender_probe_beyond_a_shrunken_window_is_not_sent() -> None:
    """SHLD-16, 8985/7: and the RTO is armed all the same."""
    wire, c = probing(5)
    sack(wire, c, ack=1, wnd=2 * MSS >> c.snd_wscale)
    wire.after(ms=PTO + 1)
    wire.expect_nothing()
    assert c.rtx_at != NEVER


# -- what ----------------------------------------------------------------------------------------------------


def test_sender_probe_is_new_data_where_there_is_some() -> None:
    """8985/7: section 7.3, one segment beyond cwnd."""
    wire, c = probing(5, more=3)
    wire.after(ms=PTO - RTT)
    wire.expect(seg(5))
    assert c.flight == 6 * MSS > c.cc.cwnd


def test_sender_probe_is_old_data_where_the_peers_window_is_full() -> None:
    """8985/7: section 7.3, "and the receiver window allows"."""
    wire, c = probing(5, more=3)
    sack(wire, c, wnd=5 * MSS >> c.snd_wscale)
    c.snd_wnd = 5 * MSS
    wire.after(ms=PTO - RTT)
    wire.expect(seg(4))


def test_sender_probe_may_be_the_fin() -> None:
    """8985/7: the highest sequence number sent is the FIN's."""
    wire, c = probing(3)
    c.shutdown_write()
    wire.flush()
    wire.expect("FA len=0")
    wire.after(ms=PTO)
    wire.expect(f"FPA seq={at(2)} len={MSS}")
    wire.send(c, "A", ack=at(3) + 1)
    assert c.flight == 0


def test_sender_sends_one_probe_and_then_waits_for_the_rto() -> None:
    """8985/7: section 7.3, no other probe in flight; the RTO is armed anew, not the PTO."""
    wire, c = probing(5)
    wire.after(ms=PTO - RTT)
    wire.clear()
    wire.after(ms=c.rtt.rto / 1e6 - 0.001)
    wire.expect_nothing()
    wire.after(ms=0.001)
    wire.expect(seg(0))
    assert c.core.counters["tcp.loss_probes"] == 1


def test_sender_needs_a_new_round_trip_sample_for_another_probe() -> None:
    """8985/7: section 7.3; else a path that has become slower would never be measured."""
    wire, c = probing(1)
    wire.after(ms=c.rtt.rto / 1e6 - RTT)
    wire.expect("P" + seg(0))
    wire.send(c, "A")  # of which copy?
    c.write(b"y" * 3 * MSS)
    wire.flush()
    wire.clear()
    wire.after(ms=PTO + 10)
    wire.expect_nothing()
    assert c.rack.probe_end is None or c.rack.probe_end <= c.board.una
    wire.send(c, "A", ack=at(2))  # timed
    wire.after(ms=2 * c.rtt.srtt / 1e6 + 3)
    assert c.core.counters["tcp.loss_probes"] == 2


# -- what its ACK says ---------------------------------------------------------------------------------------


def test_sender_sack_of_the_probe_shows_what_was_lost_before_it() -> None:
    """8985/7: section 7.4.1; the whole tail of the flight was lost, and no timeout was needed."""
    wire, c = probing(5)
    sack(wire, c, ack=2)
    wire.after(ms=PTO)
    wire.expect("P" + seg(4))
    wire.after(ms=RTT)
    sack(wire, c, 4, ack=2)
    wire.after(ms=RTT / 4)
    assert wire.tell(wire.take()[0]).startswith(f"A seq={at(2)} ")
    assert c.ca_state == RECOVERY
    assert c.core.counters["tcp.timeouts"] == 0


def probed(**more: Any) -> tuple[TcpWire, Connection]:
    """The last of five segments has gone again as a probe, and an ACK covers all of them."""
    wire, c = probing(5, **more)
    sack(wire, c, ack=4)
    wire.after(ms=300)
    assert [s.seq - c.iss for s in wire.take()] == [at(4)]
    assert c.core.counters["tcp.loss_probes"] == 1
    wire.after(ms=RTT)
    sack(wire, c, ack=5)
    c.write(b"y" * MSS)
    wire.flush()
    wire.clear()
    return wire, c


def test_sender_loss_that_the_probe_has_mended_halves_the_window_all_the_same() -> None:
    """8985/7: section 7.4.2, "Repaired the single loss"."""
    wire, c = probed()
    window = c.cc.cwnd
    wire.after(ms=RTT)
    sack(wire, c, ack=6)
    assert c.cc.cwnd < window
    assert c.core.counters["tcp.loss_probe_recoveries"] == 1
    assert c.ca_state == OPEN


def test_sender_dsack_of_the_probe_says_that_nothing_was_lost() -> None:
    """8985/7: section 7.4.2, case 1."""
    wire, c = probed()
    window = c.cc.cwnd
    sack(wire, c, (4, 5), ack=5)
    wire.after(ms=RTT)
    sack(wire, c, ack=6)
    assert c.cc.cwnd >= window
    assert c.core.counters["tcp.loss_probe_recoveries"] == 0


def test_sender_duplicate_after_the_probe_says_that_nothing_was_lost() -> None:
    """8985/7: section 7.4.2, case 2, a peer without D-SACK."""
    wire, c = probed()
    window = c.cc.cwnd
    sack(wire, c, ack=5)
    wire.after(ms=RTT)
    sack(wire, c, ack=6)
    assert c.cc.cwnd >= window
    assert c.core.counters["tcp.loss_probe_recoveries"] == 0


def test_sender_probe_of_new_data_acknowledged_tells_nothing() -> None:
    """8985/7: section 7.4.2, TLP.is_retrans."""
    wire, c = probing(5, more=3)
    wire.after(ms=PTO - RTT)
    wire.clear()
    window = c.cc.cwnd
    wire.after(ms=RTT)
    sack(wire, c, ack=6)
    assert c.cc.cwnd >= window
    assert c.rack.probe_end is None
    assert c.core.counters["tcp.loss_probe_recoveries"] == 0


def test_sender_timeout_after_a_probe_forgets_it() -> None:
    """8985/7: section 7.1."""
    wire, c = probing(5)
    wire.after(ms=PTO - RTT)
    assert c.rack.probe_end is not None
    wire.after(ms=c.rtt.rto / 1e6)
    assert (c.ca_state, c.rack.probe_end, c.probe_at) == (LOSS, None, NEVER)
