"""Which echoes of our timestamp may be timed (MUST-18, Karn's algorithm beside RFC 7323)."""

from __future__ import annotations

from scapystack.base.types import MILLISECOND
from scapystack.layers.tcp.user import Connection
from tests.harness.tcp import Peer, TcpWire

MSS = 1448


def warm() -> tuple[TcpWire, Connection]:
    """A connection over a path of 10 ms, whose estimator knows it."""
    wire = TcpWire(timestamps=True, peer=Peer(timestamps=True))
    c = wire.established()
    for _ in range(30):
        c.write(b"x" * MSS)
        wire.flush()
        wire.core.now += 10 * MILLISECOND
        wire.send(c, "A")
    wire.clear()
    return wire, c


def test_echo_from_before_the_retransmission_is_not_timed() -> None:
    """MUST-18: the ACK was lost; the retransmission is a duplicate to the peer, which echoes what it echoed then."""
    wire, c = warm()
    rto = c.rtt.rto
    sent_at = c.ts_now()
    c.write(b"y" * MSS)
    wire.flush()
    wire.after(ms=rto / MILLISECOND + 1)
    assert len(wire.take()) == 2
    wire.core.now += 10 * MILLISECOND
    wire.send(c, "A", tsecr=sent_at)
    assert c.snd_una == c.snd_nxt
    assert c.rtt.srtt < 12 * MILLISECOND
    # and the back-off stays until something tells the round trip (RFC 6298 section 5)
    assert c.rtt.rto == 2 * rto


def test_echo_of_the_retransmission_is_timed_and_ends_the_backoff() -> None:
    """MUST-18."""
    wire, c = warm()
    rto = c.rtt.rto
    c.write(b"y" * MSS)
    wire.flush()
    wire.after(ms=rto / MILLISECOND)
    resent_at = c.ts_now()
    wire.core.now += 10 * MILLISECOND
    wire.send(c, "A", tsecr=resent_at)
    assert c.rtt.srtt < 12 * MILLISECOND
    assert c.rtt.rto < 1.1 * rto


def test_new_data_after_an_untimed_ack_ends_the_backoff() -> None:
    wire, c = warm()
    rto = c.rtt.rto
    sent_at = c.ts_now()
    c.write(b"y" * MSS)
    wire.flush()
    wire.after(ms=rto / MILLISECOND + 1)
    wire.send(c, "A", tsecr=sent_at)
    c.write(b"z" * MSS)
    wire.flush()
    wire.core.now += 10 * MILLISECOND
    wire.send(c, "A")
    assert c.rtt.rto < 1.1 * rto


def test_ack_of_what_fast_retransmit_sent_again_is_not_timed() -> None:
    """MUST-18, 6298/3: Karn's rule without timestamps, and not only after a timeout."""
    wire = TcpWire(peer=Peer(sack=False))
    c = wire.established()
    c.write(b"x" * 1460)
    wire.flush()
    wire.after(ms=10)
    wire.send(c, "A")
    srtt = c.rtt.srtt
    c.write(b"y" * 1460 * 5)
    wire.flush()
    wire.clear()
    wire.after(ms=20)
    for _ in range(3):
        wire.send(c, "A", ack=1461)
    assert (wire.take()[0].seq - c.iss) == 1461
    wire.after(ms=100)
    wire.send(c, "A", ack=2921)
    assert c.rtt.srtt == srtt


def test_window_probe_that_was_sent_twice_is_not_timed() -> None:
    """MUST-18: the first was lost, and the ACK comes a long time after it, soon after the last."""
    wire = TcpWire()
    c = wire.established(rtt_ms=10, wnd=0)
    c.write(b"x" * MSS)
    wire.flush()
    wire.after(ms=3_000)
    probes = wire.take()
    assert len(probes) > 2
    assert {len(s.payload) for s in probes} == {1}
    wire.send(c, "A", wnd=60_000)
    assert c.rtt.srtt == 10 * MILLISECOND


def test_window_probe_of_text_in_flight_is_not_timed_either() -> None:
    """MUST-18: what the peer had no room for was sent before its window closed, and the probe is of its first octet."""
    wire = TcpWire()
    c = wire.established(rtt_ms=10)
    c.write(b"x" * 3 * 1460)
    wire.flush()
    wire.send(c, "A", ack=1, wnd=0)
    wire.after(ms=5_000)
    wire.clear()
    wire.send(c, "A", ack=2, wnd=60_000)
    assert c.rtt.srtt == 10 * MILLISECOND
    assert c.board.lost_octets == 0
    assert sum(len(s.payload) for s in wire.take()) == 3 * 1460 - 1
