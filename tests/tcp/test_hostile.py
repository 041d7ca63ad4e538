"""Hostile peers and strangers: the reaction to each trick, and a connection beside it that goes on (RFC 5961)."""

from __future__ import annotations

import random
from collections.abc import Iterator

import pytest

from scapystack.layers.tcp.state import CLOSE_WAIT, CLOSED, ESTABLISHED
from scapystack.layers.tcp.user import Connection
from tests.harness.tcp import MASK, PEER_ISS, Peer, TcpWire
from tests.harness.tcp_invariants import check


@pytest.fixture
def beside() -> Iterator[tuple[TcpWire, Connection]]:
    """A wire and a victim; another connection of the same listener passes text when the test is over."""
    wire = TcpWire()
    listener = wire.listen(backlog=100)
    wire.syn(sport=9)
    other = wire.connection(9)
    wire.send(other, "A")
    victim = wire.established(listener=_skip_one(listener))
    yield wire, victim
    wire.flush()
    check(wire.tcp)
    wire.send(other, "PA", payload=b"still here")
    assert other.read(100) == b"still here"
    other.write(b"so am I")
    wire.flush()
    assert any(bytes(seg.payload) == b"so am I" for seg in wire.take())


def _skip_one(listener):  # type: ignore[no-untyped-def]
    listener.accept()
    return listener


def test_challenge_acks_are_limited_for_each_connection(beside: tuple[TcpWire, Connection]) -> None:
    """5961/7, hostile/challenge: a limit that all share would tell strangers of others' connections (CVE-2016-5696)."""
    wire, c = beside
    for _ in range(50):
        wire.send(c, "R", seq=100)
        wire.send(c, "S", seq=7)
    assert wire.config.tcp.challenge_acks / 2 <= len(wire.take()) <= wire.config.tcp.challenge_acks
    wire.send(wire.connection(9), "R", seq=100)
    assert len(wire.take()) == 1
    wire.after(ms=2 * wire.config.tcp.challenge_period_ms)
    wire.send(c, "S", seq=7)
    assert len(wire.take()) == 1


def test_blind_resets_across_the_sequence_space_miss(beside: tuple[TcpWire, Connection]) -> None:
    """5961/3-a, 5961/3-b, 5961/3-c, 5961/errata4845, hostile/challenge: only the one exact number resets."""
    wire, c = beside
    for guess in range(0, 1 << 32, 1 << 26):
        if guess:
            wire.send(c, "R", seq=1 + guess)
    for near in (0, 2, c.rcv_wnd, c.rcv_wnd + 1):
        wire.send(c, "R", seq=near)
    assert c.state == ESTABLISHED
    wire.send(c, "R", seq=1)
    assert c.state == CLOSED
    wire.clear()


@pytest.mark.parametrize(("seq", "reaction"), [(1, "reset"), (2, "challenge"), (65_535, "challenge"), (65_536, "")])
def test_reset_at_the_edges_of_the_window(seq: int, reaction: str) -> None:
    """5961/3-c, 5961/errata4845: RCV.NXT + RCV.WND is outside, and draws nothing."""
    wire = TcpWire(rcvbuf=65_535)
    c = wire.established()
    wire.send(c, "R", seq=seq)
    wire.expect(*(["A seq=1 ack=1"] if reaction == "challenge" else []))
    assert (c.state == CLOSED) == (reaction == "reset")


@pytest.mark.parametrize(("flags", "acceptable"), [("R", False), ("RA", True)])
def test_reset_of_an_open_needs_an_acceptable_ack(flags: str, acceptable: bool) -> None:
    """5961/3-d, hostile/opening-ack."""
    wire = TcpWire()
    c = wire.connect()
    wire.raw(flags, 0, c.snd_nxt + 5, sport=c.remote_port, dport=c.local_port)
    assert c.state != CLOSED
    wire.raw(flags, 0, c.snd_nxt, sport=c.remote_port, dport=c.local_port)
    assert (c.state == CLOSED) == acceptable


@pytest.mark.parametrize("ack", [2, 1000, 1 << 31, -(1 << 24)])
def test_injected_text_needs_an_acceptable_ack(beside: tuple[TcpWire, Connection], ack: int) -> None:
    """5961/5, MAY-12, hostile/challenge: else it is dropped, and the peer asked."""
    wire, c = beside
    wire.send(c, "PA", ack=ack, payload=b"injected")
    wire.expect("A seq=1 ack=1")
    assert c.available == 0


def test_text_with_an_old_but_acceptable_ack_is_taken() -> None:
    """5961/5: within the largest window the peer has ever offered."""
    wire = TcpWire(peer=Peer(wscale=None))
    c = wire.established()
    c.write(b"x" * 5000)
    wire.flush()
    wire.send(c, "A")
    wire.send(c, "PA", ack=1, payload=b"reordered")
    assert c.read(100) == b"reordered"
    wire.clear()
    wire.send(c, "PA", ack=c.snd_una - c.iss - 65_536, payload=b"too old")
    wire.expect("A")
    assert c.available == 0


@pytest.mark.parametrize("flags", ["S", "SA", "SF", "SU"])
def test_syn_in_a_connection_is_challenged_wherever_it_stands(beside: tuple[TcpWire, Connection], flags: str) -> None:
    """5961/4, hostile/challenge."""
    wire, c = beside
    for seq in (1, 5, -1, 1 << 31):
        wire.send(c, flags, seq=seq)
        wire.expect("A seq=1 ack=1 len=0")
    assert c.state == ESTABLISHED


def test_resets_to_strangers_are_limited() -> None:
    """hostile/storms: a port scan or an ACK storm gets so many answers a second."""
    wire = TcpWire(rsts_per_second=10)
    for sport in range(1, 100):
        wire.raw("A", 1, 1, sport=sport)
    answered = len(wire.take())
    assert 5 <= answered <= 10
    assert wire.core.counters["tcp.drop.rst_limit"] == 99 - answered
    wire.after(ms=2000)
    wire.raw("A", 1, 1)
    assert len(wire.take()) == 1


def test_bare_acks_outside_the_window_are_answered_so_often_a_second() -> None:
    """5961/7: two ends that find each other's ACKs unacceptable would answer for ever."""
    wire = TcpWire()
    c = wire.established()
    for _ in range(100):
        wire.send(c, "A", seq=-5)
    assert 0 < len(wire.take()) <= wire.config.tcp.challenge_acks


def test_segments_of_one_octet_in_reverse_order_by_the_thousand(beside: tuple[TcpWire, Connection]) -> None:
    """SHLD-31, hostile/overlaps: bounded, and each the cost of a bisection."""
    wire, c = beside
    text = random.Random(1).randbytes(6000)
    for n in range(5999, 0, -1):
        wire.send(c, "A", seq=1 + n, payload=text[n : n + 1], flush=False)
    assert len(c.ooo) <= wire.config.tcp.max_out_of_order_segments
    wire.flush()
    wire.clear()
    held = c.ooo.size
    wire.send(c, "A", seq=1, payload=text[:1])
    assert c.read(10_000) == text[: held + 1]


def test_overlap_with_other_octets_the_first_copy_stays(beside: tuple[TcpWire, Connection]) -> None:
    """hostile/overlaps."""
    wire, c = beside
    wire.send(c, "A", seq=3, payload=b"cde")
    wire.send(c, "A", seq=2, payload=b"XXXXX")
    wire.send(c, "A", seq=1, payload=b"YYY")
    assert c.read(100) == b"YXcdeX"
    wire.clear()


def test_text_past_the_window_costs_no_memory(beside: tuple[TcpWire, Connection]) -> None:
    """hostile/overlaps."""
    wire, c = beside
    for n in range(100):
        wire.send(c, "A", seq=(1 << 24) + n * 1460, payload=b"x" * 1460)
    assert (c.ooo.size, len(c.recvq)) == (0, 0)
    wire.clear()


def test_peer_that_never_reads_costs_no_more_than_the_send_buffer(beside: tuple[TcpWire, Connection]) -> None:
    """hostile/zero-window: zero window for ever: persist with back-off, memory bounded."""
    wire, c = beside
    c.options.sndbuf = 10_000
    wire.send(c, "A", wnd=0)
    for _ in range(100):
        c.write(b"x" * 1000)
        wire.flush()
        wire.after(ms=1000)
        wire.send(c, "A", ack=1, wnd=0)
    assert c.unsent == 10_000
    assert len(wire.take()) < 20


def test_window_that_shrinks_and_grows_at_every_ack_keeps_the_numbers_in_order(
    beside: tuple[TcpWire, Connection],
) -> None:
    """MUST-34, hostile/zero-window: the usable window is never negative."""
    wire, c = beside
    c.write(b"x" * 100_000)
    wire.flush()
    r = random.Random(2)
    for _ in range(200):
        wire.send(c, "A", ack=r.randint(c.snd_una - c.iss, c.snd_nxt - c.iss), wnd=r.choice([0, 1, 100, 65_535]))
        check(wire.tcp)
    wire.clear()


@pytest.mark.parametrize("irs", [0xFFFFFFFF, 0xFFFFFFF0, 0x7FFFFFFF, 0x80000000, 0])
def test_sequence_numbers_wrap_anywhere(irs: int) -> None:
    """hostile/wrap: section 3.4: modular everywhere, text, gaps, FIN and all."""
    wire = TcpWire()
    listener = wire.listen()
    wire.raw("S", irs, 0, options=wire.syn_options())
    c = wire.connection()
    c.begin_at(irs ^ 0x7FFFFFF0)
    wire.flush()
    wire.send(c, "A")
    assert listener.accept() is c
    wire.clear()
    c.write(b"a" * 3000)
    wire.flush()
    wire.expect("A seq=1 len=1460", "A seq=1461 len=1460")
    wire.send(c, "A", seq=21, payload=b"later")
    wire.send(c, "FPA", seq=1, payload=b"b" * 20, ack=1461)
    wire.send(c, "A", seq=1, payload=b"b" * 20)
    assert c.read(100).startswith(b"b" * 20)
    wire.send(c, "A")
    assert (c.flight, c.unsent, c.snd_nxt - c.iss & MASK) == (0, 0, 3001)
    assert c.state == CLOSE_WAIT


def test_syn_flood_leaves_the_listener_bounded_and_others_alone(beside: tuple[TcpWire, Connection]) -> None:
    """4987."""
    wire, _ = beside
    for n in range(5000):
        wire.raw("S", n, 0, sport=10_000 + n)
    wire.flush()
    wire.clear()
    assert len(wire.tcp.connections) <= wire.config.tcp.max_syn_backlog + 2
    wire.after(ms=120_000)
    assert len(wire.tcp.connections) == 2
    wire.clear()


def test_garbage_of_every_length_never_raises(beside: tuple[TcpWire, Connection]) -> None:
    wire, c = beside
    r = random.Random(3)
    for n in range(64):
        for _ in range(5):
            wire.arrives(r.randbytes(n))
    ports = c.remote_port.to_bytes(2, "big") + c.local_port.to_bytes(2, "big")
    for _ in range(500):
        wire.arrives(ports + r.randbytes(r.randrange(60)), csum=2)
    wire.flush()
    assert c.state in (ESTABLISHED, CLOSED)
    wire.clear()


def test_land_segment_from_ourselves_opens_nothing_it_should_not() -> None:
    """A SYN that claims to come from the very port it goes to: IP drops it; over the loopback it is an open."""
    wire = TcpWire()
    wire.listen()
    wire.raw("S", PEER_ISS, 0, src=b"\x0a\0\0\1", sport=80)
    wire.flush()
    (seg,) = wire.take()
    wire.raw("SA", seg.seq, PEER_ISS + 1, src=b"\x0a\0\0\1", sport=80)
    wire.flush()
    assert len(wire.take()) <= 1
    check(wire.tcp)
