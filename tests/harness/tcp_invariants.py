"""What must hold for a TCP layer whatever has happened to it: called after every step of a random test.

`check` looks at a layer between two output passes, when nothing is marked and every deadline is armed.
`Edges` watches what leaves, for a window that is taken back.
"""

from __future__ import annotations

from collections import Counter

from scapystack.base.segment import ACK, RST, SYN, Segment
from scapystack.layers.tcp.demux import Tcp
from scapystack.layers.tcp.memory import SHARE
from scapystack.layers.tcp.reassembly import NOTHING
from scapystack.layers.tcp.scoreboard import Scoreboard
from scapystack.layers.tcp.state import (
    CLOSE_WAIT,
    CLOSED,
    CLOSING,
    ESTABLISHED,
    FIN_WAIT_1,
    FIN_WAIT_2,
    FLUSHES,
    LAST_ACK,
    STATE_NAMES,
    SYN_RECEIVED,
    SYN_SENT,
    TIME_WAIT,
)
from scapystack.layers.tcp.tcb import NEVER, Tcb

MASK = 0xFFFFFFFF
HALF = 1 << 31
_OUR_FIN = {FIN_WAIT_1, FIN_WAIT_2, CLOSING, LAST_ACK, TIME_WAIT}
_THEIR_FIN = {CLOSE_WAIT, CLOSING, LAST_ACK, TIME_WAIT}


def check(tcp: Tcp) -> None:
    """Every invariant of the layer's tables and of each of its connections."""
    connections = tcp.connections
    assert not tcp.dirty
    assert tcp.ports == Counter(c.local_port for c in connections.values())
    assert len(tcp.orphans) == sum(not c.held and c.state != TIME_WAIT for c in connections.values())
    assert set(tcp.time_wait) == {key for key, c in connections.items() if c.state == TIME_WAIT}
    _memory(tcp)
    waiting = {key: c for key, c in connections.items() if c.listener is not None}
    assert tcp.half_open == sum(len(listener.half_open) for listener in tcp.listeners.values())
    assert tcp.waiting == sum(len(listener.queue) for listener in tcp.listeners.values())
    assert tcp.half_open <= tcp.config.max_half_open
    for listener in tcp.listeners.values():
        assert len(listener.queue) <= listener.backlog
        assert len(listener.half_open) <= tcp.config.max_syn_backlog
        for key, c in [*listener.half_open.items(), *((c.key, c) for c in listener.queue)]:
            assert waiting.pop(key) is c
            assert c.listener is listener
        assert all(c.state == SYN_RECEIVED and not c.early for c in listener.half_open.values())
        assert all(c.state != SYN_RECEIVED or c.early for c in listener.queue)
    assert not waiting
    for key, c in connections.items():
        assert c.key == key
        try:
            check_connection(c)
        except AssertionError as error:
            raise AssertionError(f"{c!r}: {error}\n{describe(c)}") from error


def _memory(tcp: Tcp) -> None:
    """What the stack counts is what its connections hold, and within its bounds but for everybody's share."""
    held = tcp.connections.values()
    memory, config = tcp.memory, tcp.config
    assert memory.sending == sum(len(c.sendbuf) for c in held)
    assert memory.received == sum(len(c.recvq) for c in held)
    assert memory.out_of_order == sum(c.ooo.cost for c in held)
    assert NOTHING.cost == 0
    assert memory.sending <= config.max_send_bytes + len(held) * SHARE
    assert memory.out_of_order <= config.max_out_of_order_bytes


def check_connection(c: Tcb) -> None:
    """One connection, not CLOSED."""
    assert c.state != CLOSED
    assert c.fastopen is None or c.state in (SYN_SENT, SYN_RECEIVED)
    assert c.held or c.state != SYN_SENT
    _send_side(c)
    _receive_side(c)
    _timers(c)


def _send_side(c: Tcb) -> None:
    opening = c.state in (SYN_SENT, SYN_RECEIVED)
    syn = int(opening and c.snd_nxt != c.iss)
    if c.fastopen is not None and syn:
        syn += c.fastopen.data  # what our SYN carried, until it is answered
    assert 0 <= c.flight < HALF
    sending = not opening or c.early
    assert c.flight <= len(c.sendbuf) + c.fin_sent if sending else c.flight == syn, "flight is what the buffer holds"
    assert len(c.sendbuf) <= max(c.options.sndbuf, 0), "send buffer within its bound"
    assert c.fin_sent <= c.fin_queued <= c.write_shut
    assert opening or c.fin_queued == (c.state in _OUR_FIN), "the state says whether we have closed"
    if not opening:
        check_board(c)
    assert c.cc.cwnd >= 1
    assert c.snd_mss >= 48


def check_board(c: Tcb) -> None:
    """The scoreboard of a connection, and the state of recovery beside it."""
    board = c.board
    assert board.una & MASK == c.snd_una
    assert board.nxt & MASK == c.snd_nxt
    check_scoreboard(board)
    assert c.ca_state in (0, 2, 3, 4)
    if c.ca_state:
        assert c.episode is not None
        assert board.una < c.episode.recover or board.una == board.nxt


def check_scoreboard(board: Scoreboard) -> None:
    """What is on it and what was SACKed make up the flight without overlap, and its lists agree with one another."""
    assert board._starts == [p.start for p in board.pieces]
    at = board.una
    for start, end in sorted(
        [(p.start, p.end) for p in board.pieces] + list(zip(board.sacked.lefts, board.sacked.rights, strict=True))
    ):
        assert start == at < end, "no gap, no overlap"
        at = end
    assert at == board.nxt
    lost = [p for p in board.pieces if p.lost]
    assert list(board._lost) == [p.start for p in lost]
    assert board.lost_octets == sum(p.end - p.start for p in lost)
    assert board.sacked.size == sum(board.sacked.rights) - sum(board.sacked.lefts)
    assert 0 <= board.pipe <= board.nxt - board.una
    assert board.una <= board.seen <= board.nxt
    again = list(board._again)
    for piece in board.pieces:
        if piece.retransmitted and not piece.lost:
            assert any(at == piece.sent_at and a <= piece.start < b for at, a, b in again), "nobody looks for it"
        assert piece.start >= board.seen or piece.lost or piece.retransmitted, "nobody looks for it"
    assert again == sorted(again, key=lambda entry: entry[0])


def _receive_side(c: Tcb) -> None:
    if c.state == SYN_SENT:
        return
    assert c.rcv_wnd < HALF, "RCV.NXT is not past the advertised edge"
    assert c.fin_received == (c.state in _THEIR_FIN), "the state says whether the peer has closed"
    assert not (c.fin_received and c.ooo)
    assert c.ooo.size <= c.rcv_wnd + 65_535
    assert len(c.ooo) <= c.ooo.max_segments
    assert len(c.recvq) <= max(c.options.rcvbuf, 0xFFFF) + (1 << c.rcv_wscale), "receive queue within its bound"


def _timers(c: Tcb) -> None:
    now = c.core.now
    opening = c.state in (SYN_SENT, SYN_RECEIVED)
    assert not c.ack_now, "an ACK that was due has left"
    if c.flight:
        assert c.rtx_at != NEVER or c.persist_at != NEVER, "something in flight and no timer"
    elif c.state in FLUSHES and (c.sendbuf or c.fin_queued):
        waits = c.persist_at != NEVER or c.pace_at != NEVER
        assert waits or not (c.sendbuf or not c.fin_sent), "something queued and no timer"
    if c.state == TIME_WAIT:
        assert c.wait_at != NEVER
        assert c.rtx_at == c.persist_at == c.keepalive_at == NEVER
    if c.state == FIN_WAIT_2 and not c.held:
        assert c.wait_at != NEVER
    if c.options.keepalive and c.state in (ESTABLISHED, CLOSE_WAIT, FIN_WAIT_2) and c.held:
        assert c.keepalive_at != NEVER, "keep-alive asked for and not armed"
    assert not opening or c.rtx_at != NEVER or c.deferred
    at = c.next_at()
    if at is not None:
        assert at >= now, "a deadline that is due was not acted on"
        assert c.heap_at is not None
        assert c.heap_at <= at, "the heap asks too late"


def describe(c: Tcb) -> str:
    """The variables that a failing invariant is about."""
    una = c.iss
    return (
        f"state={STATE_NAMES[c.state]} una={(c.snd_una - una) & MASK} nxt={(c.snd_nxt - una) & MASK} wnd={c.snd_wnd} "
        f"buf={len(c.sendbuf)} cwnd={c.cc.cwnd} mss={c.snd_mss} pieces={c.board.pieces} sacked={c.board.sacked.size} "
        f"ca={c.ca_state} fin={c.fin_queued}/{c.fin_sent} rtx_at={c.rtx_at != NEVER} "
        f"persist={c.persist_at != NEVER} max_wnd={c.max_snd_wnd} options={c.options}"
    )


class Edges:
    """The right edge of the window in every ACK that left, by connection: it must not move back (SHLD-14).

    RFC 7323 section 2.4 allows it to seem to, by less than one unit of the scaled field.
    """

    def __init__(self) -> None:
        self._edges: dict[tuple[int, ...], int] = {}

    def see(self, c: Tcb, seg: Segment) -> None:
        """Note what `c` has sent."""
        if seg.flags & (RST | SYN) or not seg.flags & ACK:
            return
        edge = (seg.ack + (seg.wnd << c.rcv_wscale)) & MASK
        key = (c.local_port, c.remote_port, c.iss, c.irs)
        before = self._edges.get(key, edge)
        back = (before - edge) & MASK
        assert back >= HALF or back < 1 << c.rcv_wscale, f"the window was taken back by {back}"
        if (edge - before) & MASK < HALF:
            self._edges[key] = edge
