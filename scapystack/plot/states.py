"""Which way a side took through the states of TCP: told by a trace, or followed from what a capture shows.

In a capture a segment counts as received when it passed, a FIN when it is acknowledged, so that times may be off by
half a round trip. A move that the table of transitions does not have is not made. Read `layers.tcp.state` first.
"""

from __future__ import annotations

from dataclasses import dataclass

from scapystack.base.segment import ACK, FIN, RST, SYN
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
    SYN_SENT,
    TIME_WAIT,
    TRANSITIONS,
)  # fmt: skip
from scapystack.plot.flow import Flow, Seen


@dataclass(frozen=True, slots=True)
class Move:
    """A change of state: when (s), from which, to which."""

    at: float
    old: int
    new: int


def path(flow: Flow, side: int) -> list[Move]:
    """The moves of a side, in order."""
    if flow.traced == side:
        return [
            Move(at, STATE_NAMES.index(event["from"]), STATE_NAMES.index(event["to"]))
            for at, event in flow.events
            if event["event"] == "state"
        ]
    walk = _Walk()
    for seen in flow.seen:
        if seen.side == side:
            walk.sent(seen)
        else:
            walk.received(seen)
    return walk.moves


class _Walk:
    """One side, followed segment by segment."""

    def __init__(self) -> None:
        self.state = CLOSED
        self.moves: list[Move] = []
        self.syn_came = False  # without an ACK
        self.fin = 0  # past our FIN, once it was sent
        self.peer_fin = 0  # past the peer's
        self.over = False

    def move(self, at: float, ways: dict[int, int]) -> None:
        """Go where `ways` leads from the present state."""
        new = ways.get(self.state)
        if new is not None and new in TRANSITIONS[self.state] and not self.over:
            self.moves.append(Move(at, self.state, new))
            self.state = new
            self.over = new == CLOSED

    def reset(self, at: float) -> None:
        if self.state != CLOSED:
            self.move(at, {self.state: CLOSED})

    def sent(self, seen: Seen) -> None:
        if seen.flags & RST:
            self.reset(seen.at)
            return
        if seen.flags & SYN:
            answers = SYN_RECEIVED if seen.flags & ACK else SYN_SENT
            self.move(seen.at, {CLOSED: answers, SYN_SENT: answers})
            return
        if self.peer_fin and (seen.ack or 0) >= self.peer_fin:
            self.move(seen.at, {ESTABLISHED: CLOSE_WAIT, FIN_WAIT_1: CLOSING, FIN_WAIT_2: TIME_WAIT})
        if seen.flags & FIN:
            self.fin = seen.end
            self.move(seen.at, {ESTABLISHED: FIN_WAIT_1, SYN_RECEIVED: FIN_WAIT_1, CLOSE_WAIT: LAST_ACK})

    def received(self, seen: Seen) -> None:
        if seen.flags & RST:
            self.reset(seen.at)
            return
        if seen.flags & SYN:
            # a SYN without ACK that passed before ours has crossed it: a simultaneous open
            self.syn_came = self.syn_came or not seen.flags & ACK
            self.move(seen.at, {SYN_SENT: SYN_RECEIVED if self.syn_came else ESTABLISHED})
        ack = seen.ack or 0
        if self.fin and ack >= self.fin and self.peer_fin:
            self.move(seen.at, {FIN_WAIT_1: CLOSING})  # the FIN was sent before this, and so it came before
        if seen.flags & FIN:
            self.peer_fin = seen.end
        if ack >= 1:
            self.move(seen.at, {SYN_RECEIVED: ESTABLISHED})
        if self.fin and ack >= self.fin:
            self.move(seen.at, {FIN_WAIT_1: FIN_WAIT_2, CLOSING: TIME_WAIT, LAST_ACK: CLOSED})
