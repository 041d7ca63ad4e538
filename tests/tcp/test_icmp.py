"""ICMP errors about segments of ours: which count, and what they may do (section 3.9.2.2, RFC 5927, RFC 1191)."""

from __future__ import annotations

import errno

import pytest

from scapystack.base.datagram import IcmpError
from scapystack.layers.tcp.state import (
    CLOSE_WAIT,
    CLOSED,
    ESTABLISHED,
    FIN_WAIT_1,
    SYN_RECEIVED,
    SYN_SENT,
    TIME_WAIT,
)
from tests.harness.tcp import OURS, PEER, TcpWire

SOFT = [(3, 0), (3, 1), (3, 5), (11, 0), (11, 1), (12, 0)]
HARD = [(3, 2), (3, 3)]


@pytest.mark.parametrize(("type_", "code"), SOFT)
@pytest.mark.parametrize("state", [SYN_SENT, SYN_RECEIVED, ESTABLISHED])
def test_soft_error_aborts_nothing_and_is_shown(type_: int, code: int, state: int) -> None:
    """MUST-54, MUST-56, SHLD-25, MUST-47: an open goes on trying, too."""
    wire = TcpWire()
    c = wire.reach(state)
    c.on_ready = lambda: None
    if state == ESTABLISHED:
        c.write(b"hello")
        wire.flush()
    wire.clear()
    wire.icmp(c, type_, code, errno.EHOSTUNREACH)
    wire.expect_nothing()
    assert (c.state, c.error, c.soft_error) == (state, 0, errno.EHOSTUNREACH)
    assert c.info().soft_error == errno.EHOSTUNREACH
    assert c in wire.core.ready


def test_error_reaches_the_connection_that_it_quotes_and_no_other() -> None:
    """MUST-54."""
    wire = TcpWire()
    listener = wire.listen()
    connections = []
    for sport in (1, 2, 3):
        wire.syn(sport=sport)
        wire.send(wire.connection(sport), "A")
        connections.append(listener.accept())
    for c in connections:
        c.write(b"hello")
    wire.flush()
    wire.icmp(connections[1], 3, 1, errno.EHOSTUNREACH)
    assert [c.soft_error for c in connections] == [0, errno.EHOSTUNREACH, 0]


def test_soft_errors_wake_nobody_who_does_not_want_them() -> None:
    """SHLD-20."""
    wire = TcpWire()
    c = wire.reach(SYN_SENT)
    c.on_ready = lambda: None
    c.options.report_errors = False
    wire.icmp(c, 3, 1, errno.EHOSTUNREACH)
    assert c not in wire.core.ready


def test_soft_error_is_what_an_open_that_never_succeeds_reports() -> None:
    """SHLD-25."""
    wire = TcpWire(syn_retries=1)
    c = wire.connect()
    wire.icmp(c, 3, 1, errno.EHOSTUNREACH)
    wire.after(ms=60_000)
    assert (c.state, c.error) == (CLOSED, errno.EHOSTUNREACH)


@pytest.mark.parametrize(("type_", "code"), HARD)
@pytest.mark.parametrize("state", [SYN_SENT, SYN_RECEIVED])
def test_hard_error_fails_an_open(type_: int, code: int, state: int) -> None:
    """SHLD-26."""
    wire = TcpWire()
    c = wire.reach(state)
    wire.icmp(c, type_, code, errno.ECONNREFUSED, hard=True)
    wire.expect_nothing()
    assert (c.state, c.error) == (CLOSED, errno.ECONNREFUSED)


@pytest.mark.parametrize(("type_", "code"), HARD)
@pytest.mark.parametrize("state", [ESTABLISHED, FIN_WAIT_1, CLOSE_WAIT])
def test_hard_error_is_soft_for_a_synchronised_connection(type_: int, code: int, state: int) -> None:
    """SHLD-26 as 5927 has it: no abort of what both sides know."""
    wire = TcpWire()
    c = wire.reach(state)
    if state != FIN_WAIT_1:
        c.write(b"hello")
        wire.flush()
    wire.icmp(c, type_, code, errno.ECONNREFUSED, hard=True)
    assert (c.state, c.error, c.soft_error) == (state, 0, errno.ECONNREFUSED)


def test_source_quench_is_dropped_in_silence() -> None:
    """MUST-55."""
    wire = TcpWire()
    c = wire.established()
    c.write(b"x" * 14_600)
    wire.flush()
    wire.clear()
    cwnd = c.cc.cwnd
    wire.icmp(c, 4, 0, errno.EHOSTUNREACH)
    wire.expect_nothing()
    assert (c.cc.cwnd, c.soft_error) == (cwnd, 0)


@pytest.mark.parametrize("seq", [0, 6, 7, 1 << 31])
def test_error_about_what_is_not_in_flight_is_ignored(seq: int) -> None:
    """5927: whoever cannot see the connection cannot know what is."""
    wire = TcpWire()
    c = wire.established()
    c.write(b"hello")
    wire.flush()
    wire.icmp(c, 3, 1, errno.EHOSTUNREACH, seq=seq)
    assert c.soft_error == 0
    wire.icmp(c, 3, 1, errno.EHOSTUNREACH, seq=5)
    assert c.soft_error == errno.EHOSTUNREACH


@pytest.mark.parametrize("quote", [b"", b"\0\x50\x9c\x40", b"\0" * 7])
def test_error_that_quotes_too_little_is_ignored(quote: bytes) -> None:
    wire = TcpWire()
    wire.established()
    wire.tcp.icmp_error(IcmpError(3, 1, PEER, OURS, PEER, 6, quote, errno.EHOSTUNREACH))
    assert wire.core.counters["tcp.drop.icmp_short"] == 1


def test_error_about_no_connection_a_listener_or_time_wait_is_ignored() -> None:
    wire = TcpWire()
    c = wire.reach(TIME_WAIT)
    wire.icmp(c, 3, 3, errno.ECONNREFUSED, hard=True)
    quote = (80).to_bytes(2, "big") + bytes(6)
    wire.tcp.icmp_error(IcmpError(3, 3, PEER, OURS, PEER, 6, quote, errno.ECONNREFUSED, True))
    wire.expect_nothing()
    assert c.state == TIME_WAIT
    assert wire.core.counters["tcp.drop.icmp_no_connection"] == 2


def test_no_answer_to_arp_fails_an_open_soon() -> None:
    """1122/2.3.2.1: an error of our own making; a synchronised connection only notes it."""
    wire = TcpWire()
    c = wire.connect()
    quote = c.local_port.to_bytes(2, "big") + c.remote_port.to_bytes(2, "big") + c.iss.to_bytes(4, "big")
    error = IcmpError(3, 1, OURS, OURS, PEER, 6, quote, errno.EHOSTUNREACH, local=True)
    wire.tcp.icmp_error(error)
    assert (c.state, c.error) == (CLOSED, errno.EHOSTUNREACH)
    c = wire.reach(ESTABLISHED)
    quote = c.local_port.to_bytes(2, "big") + c.remote_port.to_bytes(2, "big") + c.iss.to_bytes(4, "big")
    wire.tcp.icmp_error(IcmpError(3, 1, OURS, OURS, PEER, 6, quote, errno.EHOSTUNREACH, local=True))
    assert (c.state, c.soft_error) == (ESTABLISHED, errno.EHOSTUNREACH)


# -- path MTU ----------------------------------------------------------------------------------------------------


def test_fragmentation_needed_sends_again_at_once_and_smaller() -> None:
    """1191/6-8201/4: what did not fit was not lost to congestion."""
    wire = TcpWire()
    c = wire.established()
    c.write(b"x" * 2920)
    wire.flush()
    wire.clear()
    cwnd = c.cc.cwnd
    wire.icmp(c, 3, 4, errno.EMSGSIZE, mtu=1000)
    wire.expect("A seq=1 len=960", "A seq=961 len=960", "A seq=1921 len=960", "PA seq=2881 len=40")
    assert (c.cc.cwnd, c.state, c.soft_error) == (cwnd, ESTABLISHED, 0)


@pytest.mark.parametrize("mtu", [1500, 9000, 65_535])
def test_fragmentation_needed_never_raises_the_size(mtu: int) -> None:
    """1191/6-8201/4: it may only lower."""
    wire = TcpWire()
    c = wire.established()
    c.write(b"x" * 1460)
    wire.flush()
    wire.clear()
    wire.icmp(c, 3, 4, errno.EMSGSIZE, mtu=mtu)
    wire.expect_nothing()
    assert c.snd_mss == 1460


@pytest.mark.parametrize("mtu", [0, 1, 68, 551])
def test_fragmentation_needed_has_a_floor(mtu: int) -> None:
    """1191/6-8201/4, 5927: nobody makes us send crumbs."""
    wire = TcpWire()
    c = wire.established()
    c.write(b"x" * 1460)
    wire.flush()
    wire.icmp(c, 3, 4, errno.EMSGSIZE, mtu=mtu)
    assert c.snd_mss == 512


def test_fragmentation_needed_about_what_is_not_in_flight_is_ignored() -> None:
    """5927."""
    wire = TcpWire()
    c = wire.established()
    wire.icmp(c, 3, 4, errno.EMSGSIZE, mtu=600, seq=1)
    assert c.snd_mss == 1460


def test_route_that_changes_is_asked_for_again() -> None:
    """And where there is none any more it is a soft error, not an abort."""
    wire = TcpWire()
    c = wire.established()
    wire.ip.fresh = lambda route: False  # type: ignore[method-assign]
    wire.ip.error = errno.ENETUNREACH
    c.write(b"hello")
    wire.flush()
    wire.expect_nothing()
    assert (c.state, c.soft_error) == (ESTABLISHED, errno.ENETUNREACH)
    wire.ip.error = 0
    wire.after(ms=c.rtt.rto / 1e6)
    wire.expect("PA seq=1 len=5")


@pytest.mark.parametrize(("before", "after"), [(1500, 1400), (1400, 1500)])
def test_mss_follows_the_mtu_of_a_route_that_changes(before: int, after: int) -> None:
    """MUST-16, RFC 1191 section 6.3: what another connection learned of the path, or what was forgotten in time."""
    wire = TcpWire(mtu=before)
    c = wire.established()
    wire.ip.mtu = after
    wire.ip.fresh = lambda route: route.mtu == after  # type: ignore[method-assign]
    wire.send(c, "PA", payload=b"x")
    wire.after(ms=40)
    wire.expect("A ack=2")
    c.write(b"y" * 2000)
    wire.flush()
    assert len(wire.take()[0].payload) == after - 40
