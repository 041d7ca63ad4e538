"""The queues of a listener: bounded, first in first out, and what happens when they are full (4987)."""

from __future__ import annotations

import pytest

from scapystack.base.addr import ANY4, ip
from scapystack.layers.tcp.state import CLOSED, ESTABLISHED, SYN_RECEIVED
from tests.harness.tcp import OURS, PORT, TcpWire
from tests.harness.tcp_invariants import check


def complete(wire: TcpWire, sport: int) -> None:
    wire.syn(sport=sport)
    wire.send(wire.connection(sport), "A")
    wire.clear()


def test_accept_is_first_in_first_out() -> None:
    wire = TcpWire()
    listener = wire.listen()
    for sport in (3, 1, 2):
        wire.syn(sport=sport)
    for sport in (2, 3, 1):
        wire.send(wire.connection(sport), "A")
    assert [c.remote_port for _ in range(3) if (c := listener.accept())] == [2, 3, 1]
    assert listener.accept() is None


def test_syn_ack_that_was_asked_for_twice_is_not_timed() -> None:
    """MUST-18: which of the two the ACK answers, nobody knows."""
    wire = TcpWire()
    wire.listen()
    wire.syn()
    wire.after(ms=400)
    wire.syn()
    wire.expect("SA", "SA")
    c = wire.connection()
    wire.send(c, "A")
    assert c.state == ESTABLISHED
    assert c.rtt.srtt == 0


def test_accept_queue_full_drops_syns_until_there_is_room() -> None:
    """4987: `backlog` bounds it; the peer tries again."""
    wire = TcpWire()
    listener = wire.listen(backlog=2)
    complete(wire, 1)
    complete(wire, 2)
    wire.syn(sport=3)
    wire.expect_nothing()
    assert wire.core.counters["tcp.drop.accept_queue"] == 1
    listener.accept()
    wire.syn(sport=3)
    wire.expect("SA")


def test_accept_queue_full_ignores_the_last_ack_and_asks_again() -> None:
    """4987: the child stays in SYN-RECEIVED, its SYN-ACK is sent again, and then there is room."""
    wire = TcpWire()
    listener = wire.listen(backlog=1)
    wire.syn(sport=1)
    wire.syn(sport=2)
    wire.clear()
    wire.send(wire.connection(1), "A")
    wire.send(wire.connection(2), "PA", payload=b"hello")
    wire.expect_nothing()
    second = wire.connection(2)
    assert second.state == SYN_RECEIVED
    assert listener.accept() is wire.connection(1)
    wire.after(ms=1000)
    wire.expect("SA seq=0 ack=1")
    wire.send(second, "A")
    assert listener.accept() is second


def test_syn_queue_is_bounded() -> None:
    """4987: a flood costs so much memory and no more; connections that stand are not touched."""
    wire = TcpWire(max_syn_backlog=5)
    listener = wire.listen(backlog=100)
    complete(wire, 999)
    c = wire.connection(999)
    for sport in range(1, 100):
        wire.syn(sport=sport)
    assert len(listener.half_open) == wire.tcp.half_open == 5
    assert len(wire.tcp.connections) == 6
    assert len(wire.take()) == 99
    assert wire.core.counters["tcp.syncookies_sent"] == 94
    wire.send(c, "PA", payload=b"hello")
    assert c.read(10) == b"hello"


def test_syn_queue_without_cookies_recycles_the_oldest() -> None:
    """4987: section 3.4; whoever answers sooner than the flood fills the queue gets through."""
    wire = TcpWire(max_syn_backlog=5, syn_cookies="off")
    listener = wire.listen(backlog=100)
    for sport in range(1, 100):
        wire.syn(sport=sport)
    assert [c.remote_port for c in listener.half_open.values()] == [95, 96, 97, 98, 99]
    assert wire.core.counters["tcp.half_open_recycled"] == 94
    wire.send(wire.connection(95), "A")
    accepted = listener.accept()
    assert accepted is not None
    assert accepted.remote_port == 95
    check(wire.tcp)


def test_syn_queue_of_the_stack_is_bounded() -> None:
    """4987: however many listeners; without cookies one that has nothing to give drops the SYN."""
    wire = TcpWire(max_half_open=6, syn_cookies="off")
    listeners = [wire.listen(port) for port in (80, 81, 82)]
    for sport in range(1, 7):
        wire.syn(sport=sport, dport=80 + sport % 2)
    wire.syn(sport=7, dport=80)
    wire.syn(sport=8, dport=82)
    assert [len(listener.half_open) for listener in listeners] == [3, 3, 0]
    assert wire.tcp.half_open == 6
    assert wire.core.counters["tcp.drop.syn_queue"] == 1
    wire.config.tcp.syn_cookies = "on"
    wire.clear()
    wire.syn(sport=9, dport=82)
    wire.expect("SA")
    assert wire.tcp.half_open == 6
    listeners[0].close()
    assert wire.tcp.half_open == 3
    check(wire.tcp)


def test_syn_queue_more_than_half_full_gives_the_old_up_sooner() -> None:
    """4987: section 3.3: after 1 + 2 + 4 s instead of 63 s, so that the young have room."""
    wire = TcpWire(max_syn_backlog=4)
    listener = wire.listen()
    for sport in (1, 2):
        wire.syn(sport=sport)
    wire.after(ms=8_000)
    assert len(listener.half_open) == 2
    wire.syn(sport=3)
    wire.after(ms=7_000)  # those of before have been asked three times, and are next asked for at 15 s
    assert [c.remote_port for c in listener.half_open.values()] == [2, 3]
    check(wire.tcp)


def test_accept_queues_of_the_stack_are_bounded() -> None:
    """4987: however many listeners, and whatever their backlog."""
    wire = TcpWire(max_accept_queue=3)
    first, second = wire.listen(80), wire.listen(81)
    for sport in (1, 2, 3):
        complete(wire, sport)
    wire.syn(sport=4, dport=81)
    wire.expect_nothing()
    assert wire.core.counters["tcp.drop.accept_queue"] == 1
    assert wire.tcp.waiting == 3
    first.accept()
    wire.syn(sport=4, dport=81)
    wire.send(wire.connection(4, 81), "A")
    assert second.readable
    first.close()
    assert wire.tcp.waiting == 1
    second.close()
    assert wire.tcp.waiting == 0
    check(wire.tcp)


def test_half_open_connection_is_given_up_after_its_retries() -> None:
    """MUST-22: SYN-ACKs are retransmitted with back-off, and not for ever."""
    wire = TcpWire(synack_retries=2)
    listener = wire.listen()
    wire.syn()
    child = wire.connection()
    wire.expect("SA")
    wire.after(ms=1000)
    wire.expect("SA")
    wire.after(ms=2000)
    wire.expect("SA")
    wire.after(ms=4000)
    wire.expect_nothing()
    assert child.state == CLOSED
    assert not listener.half_open
    assert not wire.tcp.connections


def test_child_reset_before_accept_is_never_accepted() -> None:
    wire = TcpWire()
    listener = wire.listen()
    complete(wire, 1)
    complete(wire, 2)
    wire.send(wire.connection(1), "R")
    c = listener.accept()
    assert c is not None
    assert c.remote_port == 2
    assert listener.accept() is None


def test_listen_address_in_use_is_refused() -> None:
    wire = TcpWire()
    wire.listen()
    for local in (OURS, ANY4):
        with pytest.raises(OSError, match="in use"):
            wire.tcp.listen(local, PORT, 1)


def test_listen_again_over_old_connections_needs_reuse() -> None:
    wire = TcpWire()
    listener = wire.listen()
    complete(wire, 1)
    listener.accept()
    listener.close()
    with pytest.raises(OSError, match="in use"):
        wire.listen()
    wire.tcp.listen(OURS, PORT, 1, reuse=True)
    assert wire.connection(1).state == ESTABLISHED


def test_listen_on_any_address_takes_the_one_that_was_called() -> None:
    """MUST-43, MUST-45."""
    wire = TcpWire()
    listener = wire.tcp.listen(ANY4, PORT, 1)
    wire.syn()
    wire.send(wire.connection(), "A")
    c = listener.accept()
    assert c is not None
    assert c.local_addr == OURS


def test_listen_exact_address_goes_before_any() -> None:
    wire = TcpWire()
    other = ip("10.0.0.9")
    wire.ip.is_local = lambda address: address in (OURS, other)  # type: ignore[method-assign]
    wire.tcp.listeners[(ANY4, PORT)] = wire.tcp.listen(ANY4, 81, 1)
    exact = wire.tcp.listen(other, 82, 1)
    wire.tcp.listeners[(other, PORT)] = exact
    wire.syn(dst=other)
    assert len(exact.half_open) == 1


def test_listen_port_zero_takes_a_free_one() -> None:
    wire = TcpWire(ephemeral_low=50_000, ephemeral_high=50_001)
    ports = {wire.tcp.listen(OURS, 0, 1).local_port for _ in range(2)}
    assert ports == {50_000, 50_001}
    with pytest.raises(OSError, match="in use"):
        wire.tcp.listen(OURS, 0, 1)


def test_accepted_connection_inherits_the_options_and_shares_none() -> None:
    wire = TcpWire()
    listener = wire.listen()
    listener.options.nodelay = True
    listener.options.tos = 0x20
    complete(wire, 1)
    c = listener.accept()
    assert c is not None
    assert (c.options.nodelay, c.options.tos) == (True, 0x20)
    c.options.nodelay = False
    assert listener.options.nodelay
