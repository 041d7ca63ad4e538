"""RFC 5961, clause by clause: blind attackers who guess at resets (3.2), SYNs (4.2) and text (5.2), and section 7."""

from __future__ import annotations

from itertools import pairwise

import pytest

from scapystack.base.types import MILLISECOND
from scapystack.layers.tcp.state import (
    CLOSE_WAIT,
    CLOSED,
    CLOSING,
    ESTABLISHED,
    FIN_WAIT_1,
    FIN_WAIT_2,
    LAST_ACK,
    STATE_NAMES,
    SYN_RECEIVED,
    TIME_WAIT,
)
from tests.harness.tcp import PEER_ISS, Peer, TcpWire

STATES = (SYN_RECEIVED, ESTABLISHED, FIN_WAIT_1, FIN_WAIT_2, CLOSE_WAIT, CLOSING, LAST_ACK)
in_every_state = pytest.mark.parametrize("state", STATES, ids=[STATE_NAMES[state] for state in STATES])


# -- section 3.2: RST


@in_every_state
def test_reset_with_the_exact_number_resets(state: int) -> None:
    """5961/3-a."""
    wire = TcpWire()
    c = wire.reach(state)
    wire.send(c, "R")
    assert c.state == CLOSED
    wire.expect_nothing()


@in_every_state
def test_reset_in_the_window_draws_a_challenge_and_stops(state: int) -> None:
    """5961/3-b: <SEQ=SND.NXT><ACK=RCV.NXT><CTL=ACK>; its text goes with it."""
    wire = TcpWire()
    c = wire.reach(state)
    nxt = c.rcv_nxt - c.irs
    for ahead in (1, 1000, c.rcv_wnd - 1):
        wire.send(c, "R", seq=nxt + ahead, payload=b"text")
        wire.expect(f"A seq={c.snd_nxt - c.iss} ack={nxt} len=0")
    assert (c.state, c.available, len(c.ooo)) == (state, 0, 0)


@in_every_state
def test_reset_outside_the_window_is_dropped_in_silence(state: int) -> None:
    """5961/3-c, 5961/errata4845."""
    wire = TcpWire()
    c = wire.reach(state)
    nxt = c.rcv_nxt - c.irs
    for seq in (nxt - 1, nxt - 70_000, nxt + c.rcv_wnd, nxt + c.rcv_wnd + 1, nxt + (1 << 31)):
        wire.send(c, "R", seq=seq)
        wire.send(c, "RA", seq=seq)
    wire.expect_nothing()
    assert c.state == state
    assert wire.core.counters["tcp.drop.rst_outside_window"] == 10


def test_reset_that_was_real_comes_again_with_the_exact_number() -> None:
    """5961/3-b: the challenge tells a peer that is gone what to say."""
    wire = TcpWire()
    c = wire.established()
    wire.send(c, "R", seq=1461)  # behind a segment that was lost
    (challenge,) = wire.take()
    wire.raw("R", challenge.ack, 0, sport=c.remote_port)  # RFC 9293 section 3.10.7.1: SEQ = SEG.ACK
    assert c.state == CLOSED


# -- section 4.2: SYN


@in_every_state
def test_syn_anywhere_draws_a_challenge_and_stops(state: int) -> None:
    """5961/4: irrespective of its number. (In SYN-RECEIVED, RFC 9293 section 3.10.7.4 has rules of its own.)"""
    wire = TcpWire()
    c = wire.reach(state)
    nxt = c.rcv_nxt - c.irs
    beyond = (nxt - 70_000, nxt + (1 << 31))
    for seq in beyond if state == SYN_RECEIVED else (nxt, nxt + 1, nxt + c.rcv_wnd, 0, *beyond):
        wire.send(c, "S", seq=seq, payload=b"text", options=wire.syn_options())
        wire.expect(f"A seq={c.snd_nxt - c.iss} ack={nxt} len=0")
    assert (c.state, c.available, len(c.ooo)) == (state, 0, 0)


def test_syn_of_a_peer_that_restarted_gets_through_by_its_reset() -> None:
    """5961/4: challenge, RST with an exact number, and then the SYN again opens a new connection."""
    wire = TcpWire()
    old = wire.established()
    wire.syn(seq=777_777)
    (challenge,) = wire.take()
    assert (challenge.flags, challenge.seq, challenge.ack) == (0x10, old.snd_nxt, old.rcv_nxt)
    wire.raw("R", challenge.ack, 0)
    assert old.state == CLOSED
    wire.syn(seq=777_777)
    wire.expect("SA seq=0 ack=1")
    assert wire.connection() is not old


def test_syn_of_time_wait_that_is_not_newer_draws_a_challenge() -> None:
    """5961/4: TIME-WAIT is a synchronised state."""
    wire = TcpWire()
    c = wire.reach(TIME_WAIT)
    wire.send(c, "S", seq=-100)
    wire.expect("A")
    assert c.state == TIME_WAIT


# -- section 5.2: the ACK of what is injected


@pytest.mark.parametrize("scale", [None, 3])
@pytest.mark.parametrize("flags", ["PA", "FPA"])
def test_ack_in_the_acceptable_range_and_just_outside(scale: int | None, flags: str) -> None:
    """5961/5, MAY-12: SND.UNA - MAX.SND.WND <= SEG.ACK <= SND.NXT, or else discarded and an ACK sent; FINs too."""
    wire = TcpWire(peer=Peer(wscale=scale))
    c = wire.established(wnd=4_000)
    largest = 65_535  # the SYN said so, unscaled; then 4,000, scaled
    assert c.max_snd_wnd == largest
    c.write(b"x" * 1_000)
    wire.flush()
    wire.clear()
    nxt = c.snd_nxt - c.iss
    for ack in (nxt + 1, nxt + 1_000, 1 - largest - 1, 1 - (1 << 30)):
        wire.send(c, flags, ack=ack, payload=b"injected", wnd=4_000)
        wire.expect("A seq=1001 ack=1 len=0")
        assert (c.state, c.available, c.snd_una - c.iss) == (ESTABLISHED, 0, 1)
    for n, ack in enumerate((1 - largest, 0, 1, nxt)):
        wire.send(c, "PA", ack=ack, payload=b"genuine!", wnd=4_000)
        assert c.available == 8 * (n + 1)
    assert c.flight == 0


def test_largest_window_is_remembered_scaled() -> None:
    """5961/5: MAX.SND.WND is the largest that the peer has ever offered."""
    wire = TcpWire(peer=Peer(wscale=3))
    c = wire.established(wnd=20_000)
    assert c.max_snd_wnd == 160_000
    wire.send(c, "A", wnd=0)
    wire.send(c, "PA", ack=1 - 160_000, payload=b"genuine!", wnd=0)
    assert c.available == 8
    wire.send(c, "PA", ack=0 - 160_000, payload=b"injected", wnd=0)
    assert c.available == 8


# -- section 7: throttling


def storm(wire: TcpWire, seconds: float, burst: int = 100) -> list[int]:
    """A hundred SYNs, or so many, every 50 ms into a connection; how many challenges each burst drew."""
    c = wire.established()
    drawn = []
    for _ in range(int(seconds * 20)):
        for _ in range(burst):
            wire.send(c, "S", seq=7)
        drawn.append(len(wire.take()))
        wire.after(ms=50)
    return drawn


def periods(drawn: list[int]) -> list[int]:
    """From one burst that drew challenges to the next, in bursts."""
    return [b - a for a, b in pairwise(i for i, n in enumerate(drawn) if n)]


def test_challenges_are_throttled_by_a_number_and_a_time_that_can_be_set() -> None:
    """5961/7: both tunable."""
    drawn = storm(TcpWire(challenge_acks=8, challenge_period_ms=5_000), 60, 20)
    given = [n for n in drawn if n]
    gaps = periods(drawn)
    assert all(4 <= n <= 8 for n in given)
    assert all(5_000 <= gap * 50 <= 10_050 for gap in gaps)
    assert 5 <= len(given) <= 12
    assert storm(TcpWire(challenge_acks=0), 3) == [0] * 60


def test_challenges_are_throttled_without_a_rhythm() -> None:
    """5961/7, CVE-2016-5696: neither their number nor the time is the same twice, but by the seed they are."""
    drawn = storm(TcpWire(challenge_acks=100, challenge_period_ms=500), 60)
    assert len(set(periods(drawn))) > 5
    assert len({n for n in drawn if n}) > 20
    start = drawn[: 10 * 20]
    assert start == storm(TcpWire(challenge_acks=100, challenge_period_ms=500), 10)
    assert start != storm(TcpWire(challenge_acks=100, challenge_period_ms=500, seed=2), 10)


def test_resets_to_strangers_are_throttled_without_a_rhythm() -> None:
    """5961/7: theirs is shared by all, so who counts what he gets must learn nothing of what others got."""
    wire = TcpWire(rsts_per_second=100)
    answered = []
    for _ in range(40):
        for sport in range(1, 200):
            wire.raw("A", PEER_ISS, 1, sport=sport)
        answered.append(len(wire.take()))
        wire.after(ms=2_000)
    assert all(50 <= n <= 100 for n in answered)
    assert len(set(answered)) > 15
    assert wire.core.now % (1_000 * MILLISECOND) == 0, "always at the same place of a second"
