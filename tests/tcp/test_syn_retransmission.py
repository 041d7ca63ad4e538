"""SYNs that are sent again, and SYNs that cross: what they carry, and what is learned of them."""

from __future__ import annotations

import errno
from typing import Any

import pytest

from scapystack.base.types import MILLISECOND
from scapystack.layers.tcp.options import encode_syn
from scapystack.layers.tcp.state import CLOSED, ESTABLISHED, SYN_RECEIVED
from scapystack.layers.tcp.user import Connection
from tests.harness.tcp import PEER_ISS, Peer, TcpWire
from tests.harness.tcp_invariants import check

SECOND = 1000


def stamped(**config: Any) -> TcpWire:
    return TcpWire(timestamps=True, peer=Peer(timestamps=True), **config)


# -- again -------------------------------------------------------------------------------------------------


def test_syn_is_sent_again_at_doubled_intervals_with_the_same_options() -> None:
    """MUST-22, MUST-23, 6298/5.4-5.6; 7323/3.2-b: TSval is the time of each, TSecr zero."""
    wire = stamped(syn_retries=3, syn_linear_timeouts=0)
    c = wire.connect()
    (first,) = wire.expect("S seq=0 mss=1460 ws=7 sackok=True tsecr=0")
    for wait in (1, 2, 4):
        wire.after(ms=wait * SECOND - 1)
        wire.expect_nothing()
        wire.after(ms=1)
        (again,) = wire.expect("S seq=0 mss=1460 ws=7 sackok=True tsecr=0")
        assert again.wnd == first.wnd
        assert again.tsval == (first.tsval or 0) + (2 * wait - 1) * SECOND
    wire.after(ms=8 * SECOND)
    wire.expect_nothing()
    assert (c.state, c.error) == (CLOSED, errno.ETIMEDOUT)


@pytest.mark.parametrize(
    ("retries", "waits"), [(6, [1, 1, 1, 1, 1, 2, 4, 8, 16, 32, 64]), (2, [1, 1, 1, 1, 1]), (0, [1])]
)
def test_first_timeouts_of_a_syn_are_linear_as_linux_has_them(retries: int, waits: list[int]) -> None:
    """RFC 6298 section 5.5 would double each; a lost SYN costs a second less each time, and they come on top."""
    wire = TcpWire(syn_retries=retries)
    c = wire.connect()
    for wait in waits:
        wire.expect("S")
        wire.after(ms=wait * SECOND - 1)
        wire.expect_nothing()
        wire.after(ms=1)
    assert (c.state, c.error) == (CLOSED, errno.ETIMEDOUT)


@pytest.mark.parametrize(("echo", "srtt_ms"), [(0, 0), (SECOND, 40)])
def test_syn_that_was_sent_twice_is_timed_by_the_echo_of_the_last(echo: int, srtt_ms: int) -> None:
    """MUST-18, 6298/3: Linux echoes the first SYN that it saw, whichever it answers."""
    wire = stamped()
    c = wire.connect()
    (first,) = wire.expect("S")
    wire.after(ms=SECOND + 40)
    stamps = (100, (first.tsval or 0) + echo)
    options = encode_syn(1460, 7, True, stamps)
    wire.raw("SA", PEER_ISS, c.snd_nxt, options=options, sport=c.remote_port, dport=c.local_port)
    assert c.state == ESTABLISHED
    assert c.rtt.srtt == srtt_ms * MILLISECOND
    assert (c.rtt.rto >= 3 * SECOND * MILLISECOND) == (srtt_ms == 0)  # 6298/5.7


def test_syn_ack_is_sent_again_at_doubled_intervals_with_the_same_options() -> None:
    """MUST-22."""
    wire = stamped(synack_retries=2)
    wire.listen()
    wire.syn()
    wire.expect("SA seq=0 ack=1 mss=1460 ws=7 sackok=True tsecr=100")
    wire.after(ms=SECOND)
    wire.expect("SA seq=0 ack=1 mss=1460 ws=7 sackok=True tsecr=100")
    wire.after(ms=2 * SECOND)
    wire.expect("SA seq=0 ack=1 mss=1460 ws=7 sackok=True tsecr=100")
    wire.after(ms=4 * SECOND)
    wire.expect_nothing()
    assert not wire.tcp.connections


def test_syn_that_came_again_is_answered_with_its_own_timestamp() -> None:
    """7323/4.3: our SYN and ACK was lost; the peer would take the time-out for the round trip."""
    wire = stamped()
    wire.listen()
    wire.syn()
    wire.expect("SA tsecr=100")
    wire.peer_ts = 1100
    wire.syn()
    wire.expect("SA tsecr=1100")
    wire.peer_ts = 500
    wire.syn()
    wire.expect("SA tsecr=1100")  # one that the network has delayed


def test_syn_that_came_again_without_options_changes_nothing_agreed_on() -> None:
    """Some peers try so, behind a box that drops options: the first SYN stands."""
    wire = stamped()
    wire.listen()
    wire.syn()
    wire.clear()
    wire.syn(options=b"")
    wire.expect("SA mss=1460 ws=7 sackok=True tsecr=100")


# -- crossing ------------------------------------------------------------------------------------------------


def crossed(wire: TcpWire) -> Connection:
    """Both SYNs have crossed; our SYN and ACK not looked at."""
    c = wire.connect()
    wire.clear()
    wire.syn(dport=c.local_port, sport=c.remote_port)
    assert c.state == SYN_RECEIVED
    return c


@pytest.mark.parametrize(
    ("peer", "line"),
    [
        (Peer(timestamps=True), "SA seq=0 ack=1 mss=1460 ws=7 sackok=True ts=True tsecr=100"),
        (Peer(wscale=None, sack=False), "SA seq=0 ack=1 mss=1460 ws=None sackok=False ts=False tsecr=None"),
        (Peer(mss=None), "SA seq=0 ack=1 mss=1460 ws=None sackok=False ts=False tsecr=None"),
    ],
)
def test_crossing_syns_agree_on_what_both_offered(peer: Peer, line: str) -> None:
    """MUST-10, MUST-14, 7323/2.2, 7323/3.2-a: the SYN and ACK that answers holds what the other SYN had."""
    wire = TcpWire(timestamps=True, peer=peer)
    c = crossed(wire)
    wire.expect(line)
    assert (c.ws_ok, c.sack_ok, c.ts_ok) == (peer.wscale is not None and peer.mss is not None, peer.sack and
                                             peer.mss is not None, peer.timestamps)  # fmt: skip
    check(wire.tcp)


def test_crossing_syns_window_is_never_scaled() -> None:
    """7323/2.2: the SYN and ACK that completes a simultaneous open is a SYN, too."""
    wire = TcpWire(peer=Peer(wscale=7, wnd=1000))
    c = crossed(wire)
    wire.raw("SA", PEER_ISS, c.snd_nxt, wnd=1024, options=wire.syn_options(), sport=c.remote_port, dport=c.local_port)
    assert (c.state, c.snd_wnd) == (ESTABLISHED, 1024)
    wire.send(c, "A", wnd=1024)
    assert c.snd_wnd == 1024 << 7


def test_crossing_syns_later_ack_is_scaled() -> None:
    """7323/2.2: it is a plain ACK that ends the handshake where the peer's SYN and ACK was lost."""
    wire = TcpWire(peer=Peer(wscale=7, wnd=1000))
    c = crossed(wire)
    wire.send(c, "A", wnd=1024)
    assert (c.state, c.snd_wnd) == (ESTABLISHED, 1024 << 7)


def test_crossing_syns_lost_syn_ack_is_sent_again() -> None:
    """MUST-10, MUST-22: with its own interval."""
    wire = stamped()
    c = crossed(wire)
    wire.expect("SA seq=0 ack=1")
    wire.after(ms=SECOND)
    wire.expect("SA seq=0 ack=1 mss=1460 ws=7 sackok=True tsecr=100")
    wire.syn(dport=c.local_port, sport=c.remote_port)  # the peer's is lost, too
    wire.expect("SA seq=0 ack=1")
    wire.raw("SA", PEER_ISS, c.snd_nxt, options=wire.syn_options(), sport=c.remote_port, dport=c.local_port)
    wire.flush()
    assert c.state == ESTABLISHED
    check(wire.tcp)
