"""CLOSE, ABORT and half-close: FIN in every order, and what an application learns (RFC 9293 section 3.6)."""

from __future__ import annotations

import errno

import pytest

from scapystack.layers.tcp.state import (
    CLOSE_WAIT,
    CLOSED,
    CLOSING,
    ESTABLISHED,
    FIN_WAIT_1,
    FIN_WAIT_2,
    LAST_ACK,
    SYN_RECEIVED,
    SYN_SENT,
    TIME_WAIT,
)
from tests.harness.tcp import Peer, TcpWire


def test_half_close_goes_on_receiving() -> None:
    """MAY-1."""
    wire = TcpWire()
    c = wire.reach(FIN_WAIT_2)
    wire.after(ms=3_600_000)  # the application holds it: no limit
    wire.send(c, "PA", payload=b"much later")
    assert c.read(100) == b"much later"
    with pytest.raises(OSError, match="Broken pipe"):
        c.write(b"x")
    wire.send(c, "FA")
    assert (c.state, c.eof) == (TIME_WAIT, True)


def test_half_close_by_the_peer_goes_on_sending() -> None:
    """MAY-1."""
    wire = TcpWire()
    c = wire.reach(CLOSE_WAIT)
    c.write(b"answer")
    wire.flush()
    wire.expect("PA seq=1 len=6")
    c.shutdown_write()
    wire.flush()
    wire.expect("FA seq=7")
    assert c.state == LAST_ACK


def test_close_and_abort_look_different_to_the_application() -> None:
    """MUST-12: the end of the stream, or an error."""
    wire = TcpWire()
    c = wire.established()
    wire.send(c, "FA")
    assert (c.eof, c.error, c.read(1)) == (True, 0, b"")
    wire = TcpWire()
    c = wire.established()
    wire.send(c, "R")
    assert (c.eof, c.error) == (False, errno.ECONNRESET)
    with pytest.raises(ConnectionResetError):
        c.read(1)


def test_reset_leaves_what_was_received_readable() -> None:
    """MUST-12: first the text, then the error, once."""
    wire = TcpWire()
    c = wire.established()
    wire.send(c, "PA", payload=b"hello")
    wire.send(c, "R")
    assert c.read(100) == b"hello"
    with pytest.raises(ConnectionResetError):
        c.read(100)
    assert c.read(100) == b""


def test_fin_goes_last_behind_all_that_is_queued() -> None:
    """RFC 9293 section 3.10.4."""
    wire = TcpWire(initial_cwnd_segments=2)
    c = wire.established()
    c.write(b"x" * 4000)
    c.shutdown_write()
    wire.flush()
    wire.expect("A seq=1 len=1460", "A seq=1461 len=1460")
    assert c.state == FIN_WAIT_1
    wire.send(c, "A")
    wire.expect("FPA seq=2921 len=1080")
    wire.send(c, "A")
    assert c.state == FIN_WAIT_2


def test_fin_lost_is_sent_again() -> None:
    wire = TcpWire(min_rto_ms=1000)
    c = wire.reach(FIN_WAIT_1)
    wire.after(ms=1001)
    wire.expect("FA seq=1 len=0")
    wire.send(c, "A")
    assert c.state == FIN_WAIT_2


def test_fin_with_the_last_text_lost_is_sent_again_with_it() -> None:
    wire = TcpWire(min_rto_ms=1000)
    c = wire.established()
    c.write(b"hello")
    c.shutdown_write()
    wire.flush()
    wire.expect("FPA seq=1 len=5")
    wire.after(ms=1001)
    wire.expect("FPA seq=1 len=5")


def test_fin_waits_for_a_window_that_has_room_for_it() -> None:
    """A sequence number past the window would be trimmed by the peer."""
    wire = TcpWire()
    c = wire.established()
    wire.send(c, "A", wnd=0)
    c.shutdown_write()
    wire.flush()
    wire.expect_nothing()
    wire.after(ms=201)
    wire.expect("FA seq=1 len=0")  # the probe
    wire.send(c, "A", ack=1, wnd=10)
    wire.expect("FA seq=1 len=0")
    wire.send(c, "A", ack=2)
    assert c.state == FIN_WAIT_2


def test_fin_behind_a_gap_counts_once_the_gap_is_filled() -> None:
    """SHLD-31: remembered at its place."""
    wire = TcpWire()
    c = wire.established()
    wire.send(c, "FA", seq=6, payload=b"world")
    wire.expect("A ack=1")
    assert c.state == ESTABLISHED
    wire.send(c, "A", seq=1, payload=b"hello")
    wire.expect("A ack=12")
    assert c.state == CLOSE_WAIT
    assert c.read(100) == b"helloworld"
    assert c.eof


def test_text_behind_the_fin_is_never_delivered() -> None:
    """The stream ends at the FIN, whatever was held before it came and whatever comes later."""
    wire = TcpWire()
    c = wire.established()
    wire.send(c, "A", seq=6, payload=b"HELD BEHIND")
    wire.send(c, "FA", seq=4, payload=b"lo")
    wire.send(c, "FA", seq=20, payload=b"another end")
    wire.send(c, "A", seq=1, payload=b"hel")
    wire.send(c, "A", payload=b"after")
    assert c.read(100) == b"hello"
    assert (c.state, c.eof) == (CLOSE_WAIT, True)


def test_text_behind_a_fin_that_waits_is_answered() -> None:
    """RFC 9293 section 3.10.7.4: as any segment that is of no use, so that a confused peer learns where we are."""
    wire = TcpWire()
    c = wire.established()
    wire.send(c, "FA", seq=6, payload=b"world")
    wire.expect("A ack=1")
    wire.send(c, "A", seq=50, payload=b"behind it")
    wire.expect("A seq=1 ack=1")
    assert c.ooo.size == 5


def test_simultaneous_close() -> None:
    """RFC 9293 section 3.6, case 3."""
    wire = TcpWire()
    c = wire.reach(FIN_WAIT_1)
    wire.send(c, "FA", ack=1)
    wire.expect("A seq=2 ack=2")
    assert c.state == CLOSING
    wire.send(c, "A")
    wire.expect_nothing()
    assert c.state == TIME_WAIT


def test_fin_that_acknowledges_ours_goes_straight_to_time_wait() -> None:
    wire = TcpWire()
    c = wire.reach(FIN_WAIT_1)
    wire.send(c, "FA")
    wire.expect("A seq=2 ack=2")
    assert c.state == TIME_WAIT


def test_close_with_unread_text_resets() -> None:
    """SHLD-3."""
    wire = TcpWire()
    c = wire.established()
    wire.send(c, "PA", payload=b"nobody reads me")
    c.close()
    wire.flush()
    wire.expect("RA seq=1 ack=16")
    assert c.state == CLOSED


@pytest.mark.parametrize("state", [FIN_WAIT_1, FIN_WAIT_2])
def test_text_after_close_resets(state: int) -> None:
    """SHLD-3."""
    wire = TcpWire()
    c = wire.reach(ESTABLISHED)
    c.close()
    wire.flush()
    if state == FIN_WAIT_2:
        wire.send(c, "A")
    assert c.state == state
    wire.clear()
    wire.send(c, "PA", payload=b"nobody is there")
    wire.expect("R seq=2 wnd=0")  # the number that its ACK has asked for
    assert not wire.tcp.connections


def test_linger_zero_resets() -> None:
    wire = TcpWire()
    c = wire.established()
    c.options.linger_s = 0
    c.write(b"dropped")
    c.close()
    wire.flush()
    wire.expect("RA seq=1 ack=1")
    assert not wire.tcp.connections


@pytest.mark.parametrize("state", [SYN_RECEIVED, ESTABLISHED, FIN_WAIT_1, FIN_WAIT_2, CLOSE_WAIT, CLOSING, LAST_ACK])
def test_abort_resets_a_peer_that_knows_of_us(state: int) -> None:
    """RFC 9293 section 3.10.5."""
    wire = TcpWire()
    c = wire.reach(state)
    c.abort()
    (rst,) = wire.expect("RA len=0")
    assert rst.seq == c.snd_nxt
    assert (c.state, c.error) == (CLOSED, errno.ECONNABORTED)
    assert wire.deadline_ms() is None


@pytest.mark.parametrize("state", [SYN_SENT, TIME_WAIT])
def test_abort_where_nobody_would_understand_is_silent(state: int) -> None:
    """RFC 9293 section 3.10.5."""
    wire = TcpWire()
    wire.reach(state).abort()
    wire.expect_nothing()
    assert not wire.tcp.connections


def test_abort_while_the_window_is_closed_is_one_that_the_peer_takes() -> None:
    """RFC 5961 section 3.2: a RST counts at RCV.NXT alone, and the octet of a probe was not taken."""
    wire = TcpWire(peer=Peer(wscale=None), min_rto_ms=1000)
    c = wire.established(wnd=0)
    c.write(b"x" * 100)
    wire.flush()
    wire.after(ms=wire.deadline_ms() or 0)
    wire.expect("A seq=1 len=1")
    c.abort()
    wire.expect("RA seq=1")


def test_close_in_syn_sent_is_silent() -> None:
    """RFC 9293 section 3.10.4."""
    wire = TcpWire()
    c = wire.reach(SYN_SENT)
    c.close()
    wire.flush()
    wire.expect_nothing()
    assert (c.state, wire.deadline_ms()) == (CLOSED, None)


def test_orphan_in_fin_wait_2_does_not_wait_for_ever() -> None:
    wire = TcpWire(fin_wait_2_ms=5_000)
    c = wire.established()
    c.close()
    wire.flush()
    wire.send(c, "A")
    wire.after(ms=4_999)
    assert c.state == FIN_WAIT_2
    wire.after(ms=2)
    assert c.state == CLOSED
    assert len(wire.tcp.orphans) == 0


def test_connection_let_go_in_fin_wait_2_does_not_wait_for_ever() -> None:
    wire = TcpWire(fin_wait_2_ms=5_000)
    c = wire.reach(FIN_WAIT_2)
    c.close()
    wire.after(ms=5_001)
    assert c.state == CLOSED


@pytest.mark.parametrize(("most", "left"), [(1, ["FA", "RA", "FA"]), (0, ["RA", "RA"])])
def test_orphans_are_bounded_the_oldest_are_reset(most: int, left: list[str]) -> None:
    """It has had the most time, and who makes orphans on purpose has none of others' reset."""
    wire = TcpWire(max_orphans=most)
    listener = wire.listen()
    ends = []
    for sport in (1, 2):
        wire.syn(sport=sport)
        wire.send(wire.connection(sport), "A")
        ends.append(listener.accept())
    wire.clear()
    for c in ends:
        assert c is not None
        c.close()
        wire.flush()
    wire.expect(*left)
    assert list(wire.tcp.orphans) == ends[1 : 1 + most]
    assert wire.core.counters["tcp.drop.orphans"] == 2 - most


def test_orphans_in_time_wait_reset_nobody() -> None:
    """They have nothing left to send: however many wait for 2 MSL, a later close still sends its text and FIN."""
    wire = TcpWire(max_orphans=1)
    listener = wire.listen()
    for sport in (1, 2, 3):
        wire.syn(sport=sport)
        wire.send(wire.connection(sport), "A")
        c = listener.accept()
        assert c is not None
        wire.clear()
        c.write(b"last words")
        c.close()
        wire.flush()
        wire.expect("FPA len=10")
        wire.send(c, "A")
        assert len(wire.tcp.orphans) == 1
        wire.send(c, "FA")
        assert (c.state, len(wire.tcp.orphans)) == (TIME_WAIT, 0)
    wire.after(ms=60_001)
    assert (len(wire.tcp.connections), len(wire.tcp.orphans)) == (0, 0)


def test_shutdown_read_drops_what_comes_and_acknowledges_it() -> None:
    wire = TcpWire()
    c = wire.established()
    wire.send(c, "PA", payload=b"hello")
    c.shutdown_read()
    assert (c.eof, c.read(10)) == (True, b"")
    wire.send(c, "PA", payload=b"x" * 1460)
    wire.expect("A ack=1466")
    assert c.available == 0


def test_shutdown_before_the_handshake_is_an_error() -> None:
    wire = TcpWire()
    c = wire.connect()
    with pytest.raises(OSError, match="not connected"):
        c.shutdown_write()
    with pytest.raises(OSError, match="not connected"):
        c.shutdown_read()


def test_close_twice_is_once() -> None:
    wire = TcpWire()
    c = wire.established()
    c.close()
    c.close()
    wire.flush()
    wire.expect("FA")
    assert len(wire.tcp.orphans) == 1
