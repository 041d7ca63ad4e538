"""Text both ways: order, windows, delayed ACK, Nagle."""

from __future__ import annotations

from scapystack.layers.tcp.state import CLOSE_WAIT, CLOSED, FIN_WAIT_2, LAST_ACK, TIME_WAIT
from tests.harness.tcp import Peer, TcpWire


def test_data_arrives_in_order_acked_after_delay() -> None:
    wire = TcpWire()
    c = wire.established()
    wire.send(c, "PA", payload=b"hello")
    wire.expect_nothing()
    assert c.read(100) == b"hello"
    wire.after(ms=40)
    wire.expect("A seq=1 ack=6 len=0")


def test_data_two_segments_acked_at_once() -> None:
    """SHLD-19."""
    wire = TcpWire()
    c = wire.established()
    wire.send(c, "A", payload=b"x" * 1460)
    wire.expect_nothing()
    wire.send(c, "A", payload=b"x" * 1460)
    wire.expect("A seq=1 ack=2921 len=0")


def test_data_gap_answered_at_once_and_filled() -> None:
    wire = TcpWire()
    c = wire.established()
    wire.send(c, "A", seq=6, payload=b"world")
    wire.expect("A ack=1 len=0")
    wire.send(c, "A", seq=1, payload=b"hello")
    wire.expect("A ack=11 len=0")
    assert c.read(100) == b"helloworld"


def test_write_sends_and_ack_frees() -> None:
    wire = TcpWire()
    c = wire.established()
    assert c.write(b"x" * 3000) == 3000
    wire.flush()
    wire.expect("A seq=1 len=1460", "A seq=1461 len=1460")
    wire.send(c, "A")
    wire.expect("PA seq=2921 len=80")
    wire.send(c, "A")
    wire.expect_nothing()
    assert wire.deadline_ms() is None


def test_close_both_ways_ends_in_time_wait() -> None:
    wire = TcpWire(msl_ms=1000)
    c = wire.established()
    c.shutdown_write()
    wire.flush()
    wire.expect("FA seq=1 ack=1")
    wire.send(c, "A")
    assert c.state == FIN_WAIT_2
    wire.send(c, "FA")
    wire.expect("A seq=2 ack=2")
    assert c.state == TIME_WAIT
    wire.after(ms=2001)
    assert c.state == CLOSED
    assert not wire.tcp.connections


def test_fin_received_then_close() -> None:
    wire = TcpWire()
    c = wire.established()
    wire.send(c, "FA", payload=b"bye")
    wire.expect("A ack=5")
    assert c.state == CLOSE_WAIT
    assert c.read(10) == b"bye"
    assert c.eof
    c.close()
    wire.flush()
    wire.expect("FA seq=1 ack=5")
    assert c.state == LAST_ACK
    wire.send(c, "A")
    assert c.state == CLOSED


def test_retransmission_timeout_backs_off() -> None:
    wire = TcpWire(min_rto_ms=1000)
    c = wire.established()
    c.write(b"hello")
    wire.flush()
    wire.expect("PA seq=1 len=5")
    wire.after(ms=1001)
    wire.expect("PA seq=1 len=5")
    wire.after(ms=1999)
    wire.expect_nothing()
    wire.after(ms=5)
    wire.expect("PA seq=1 len=5")


def test_third_duplicate_ack_retransmits() -> None:
    wire = TcpWire(peer=Peer(sack=False))
    c = wire.established()
    c.write(b"x" * 14600)
    wire.flush()
    assert len(wire.take()) == 10
    for _ in range(3):
        wire.send(c, "A", ack=1)
    wire.expect("A seq=1 len=1460")
    wire.send(c, "A")
    wire.expect_nothing()


def test_window_closed_is_probed_and_reopens() -> None:
    wire = TcpWire()
    c = wire.established()
    wire.send(c, "A", wnd=0)
    c.write(b"x" * 100)
    wire.flush()
    wire.expect_nothing()
    wire.after(ms=201)
    wire.expect("A seq=1 len=1")
    wire.send(c, "A", ack=1, wnd=0)
    wire.expect_nothing()
    wire.send(c, "A", ack=1, wnd=1000)
    wire.expect("PA seq=1 len=100")


def test_write_that_fills_the_buffer_exactly_tells_when_there_is_room() -> None:
    wire = TcpWire()
    c = wire.established()
    c.on_ready = lambda: None
    c.options.sndbuf = 3000
    assert c.write(b"x" * 3000) == 3000
    assert c.write_space == 0
    assert not c.writable
    wire.flush()
    wire.expect("A seq=1 len=1460", "A seq=1461 len=1460")
    wire.send(c, "A")
    assert c in wire.core.ready
