"""`Scoreboard` against a model that knows each octet by itself: any sending, any ACKs, with SACK and without.

The model is as slow and plain as can be: a dictionary of octets, every rule a loop over all of them.
"""

from __future__ import annotations

from dataclasses import dataclass

from hypothesis import assume, given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from scapystack.layers.tcp.scoreboard import MASK, Scoreboard
from tests.harness.tcp_invariants import check_scoreboard

MS = 1_000_000
MSS = 10


@dataclass
class Octet:
    sent_at: int
    retransmitted: bool = False
    lost: bool = False
    sacked: bool = False


class Model:
    """Every octet from SND.UNA on, and what RACK remembers (RFC 8985 section 6.2), octet by octet."""

    def __init__(self, start: int) -> None:
        self.una = self.nxt = self.fack = self.end_seq = start
        self.octets: dict[int, Octet] = {}
        self.xmit_at = 0
        self.rtt = 0
        self.delivered = 0
        self.lost_total = 0
        self.begin(None, 0)

    def begin(self, echo_ms: int | None, min_rtt: int) -> None:
        self.echo_ms = echo_ms
        self.min_rtt = min_rtt
        self.reordered = False
        self.originals: list[int] = []
        self.resent_at: int | None = None
        self.original: int | None = None

    def sent(self, n: int, now: int) -> None:
        for at in range(self.nxt, self.nxt + n):
            self.octets[at] = Octet(now)
        self.nxt += n

    def resend(self, start: int, n: int, now: int) -> None:
        for at in range(start, start + n):
            self.octets[at] = Octet(now, retransmitted=True)
        self.nxt = max(self.nxt, start + n)

    def deliver(self, at: int, now: int, cumulative: bool) -> None:
        o = self.octets[at]
        self.delivered += 1
        if o.retransmitted:
            self.fack = max(self.fack, at + 1)
            if cumulative:
                proven = self.echo_ms is not None and self.echo_ms >= o.sent_at // MS
                self.resent_at = max(self.resent_at or 0, o.sent_at) if proven else 0
                if self.echo_ms is not None and not proven:
                    return
            if now - o.sent_at < self.min_rtt:
                return
        else:
            self.originals.append(o.sent_at)
            if o.lost:
                self.original = max(self.original or 0, at + 1)
            self.reordered |= at + 1 < self.fack
            self.fack = max(self.fack, at + 1)
        if (o.sent_at, at + 1) > (self.xmit_at, self.end_seq):
            self.xmit_at, self.end_seq, self.rtt = o.sent_at, at + 1, now - o.sent_at

    def ack(self, n: int, now: int) -> None:
        for at in range(self.una, self.una + n):
            if not self.octets[at].sacked:
                self.deliver(at, now, True)
            del self.octets[at]
        self.una += n
        self.fack = max(self.fack, self.una)

    def sack(self, left: int, right: int, now: int) -> None:
        for at in range(left, right):
            if not self.octets[at].sacked:
                self.deliver(at, now, False)
                self.octets[at] = Octet(0, sacked=True)

    def lose(self, at: int) -> None:
        o = self.octets[at]
        if not o.sacked and not o.lost:
            o.lost = True
            self.lost_total += 1

    def lose_overtaken(self, wait: int, now: int) -> int | None:
        due = None
        for at, o in self.octets.items():
            if o.sacked or o.lost or (self.xmit_at, self.end_seq) <= (o.sent_at, at + 1):
                continue
            if o.sent_at + wait > now:
                due = min(due or 1 << 62, o.sent_at + wait)
            else:
                self.lose(at)
        return due

    def where(self, what: str) -> list[int]:
        return [at for at, o in sorted(self.octets.items()) if getattr(o, what)]


class Boards(RuleBasedStateMachine):
    """Any sending and any ACKs, with time passing at each step; numbers wrap at 2**32 on the way."""

    def __init__(self) -> None:
        super().__init__()
        self.now = 1_000 * MS
        self.left_out = False

    @initialize(start=st.sampled_from([0, 1, (1 << 32) - 60, (1 << 31) - 30, (1 << 33) + 5]))
    def begin(self, start: int) -> None:
        self.board = Scoreboard(start)
        self.model = Model(start)

    def pass_time(self, ms: int = 1) -> int:
        self.now += ms * MS
        return self.now

    def same_number(self, seq: int) -> int:
        return seq & MASK

    # -- sending -----------------------------------------------------------------------------------------

    @precondition(lambda self: self.board.nxt - self.board.una < 400)
    @rule(sizes=st.lists(st.integers(1, 3 * MSS), min_size=1, max_size=4), ms=st.integers(0, 5))
    def send(self, sizes: list[int], ms: int) -> None:
        """One burst, at one time."""
        now = self.pass_time(1 + ms)
        for n in sizes:
            self.board.sent(n, now)
            self.model.sent(n, now)

    @precondition(lambda self: self.board.lost_octets)
    @rule(limit=st.integers(1, 4 * MSS), times=st.integers(1, 4), more=st.sampled_from([0, 0, 0, 5]))
    def send_lost_again(self, limit: int, times: int, more: int) -> None:
        """As `output.retransmit` does; a part at the end may take new octets with it."""
        now = self.pass_time()
        for _ in range(times):
            start, n = self.board.next_lost(limit)
            lost = self.model.where("lost")
            if not lost:
                assert n == 0
                return
            assert start == lost[0]
            together = next((k for k, at in enumerate(lost) if at != start + k), len(lost))
            assert n == min(together, limit)
            if start + n == self.board.nxt:
                n += more
            self.board.resend(start, n, now)
            self.model.resend(start, n, now)

    @precondition(lambda self: self.board.pieces)
    @rule(n=st.integers(1, 2 * MSS))
    def send_the_end_again(self, n: int) -> None:
        """A loss probe, or a rescue (RFC 6675 section 4, NextSeg (4))."""
        now = self.pass_time()
        last = self.board.pieces[-1]
        start = max(last.end - n, last.start)
        n = last.end - start
        self.board.resend(start, n, now)
        self.model.resend(start, n, now)

    # -- what arrives ------------------------------------------------------------------------------------

    @rule(
        part=st.sampled_from([0.0, 0.0, 0.1, 0.3, 0.5, 1.0]),
        blocks=st.lists(st.tuples(st.floats(0, 1), st.integers(1, 40)), max_size=4),
        echo_ago=st.one_of(st.none(), st.integers(0, 12)),
        min_rtt_ms=st.sampled_from([0, 0, 3]),
        ms=st.integers(1, 6),
    )
    def an_ack(
        self, part: float, blocks: list[tuple[float, int]], echo_ago: int | None, min_rtt_ms: int, ms: int
    ) -> None:
        now = self.pass_time(ms)
        board, model = self.board, self.model
        echo = None if echo_ago is None else now // MS - echo_ago
        board.begin_ack(echo, min_rtt_ms * MS)
        model.begin(echo, min_rtt_ms * MS)
        n = int(part * (board.nxt - board.una))
        if n:
            board.ack(n, now)
            model.ack(n, now)
        una, nxt = board.una, board.nxt
        wire = []
        for where, length in blocks:
            left = una + 1 + int(where * (nxt - una))
            wire.append((left, min(left + length, nxt)))
        wire = [(left, right) for left, right in wire if left < right]
        assume(len(wire) < 2 or not wire[1][0] <= wire[0][0] < wire[0][1] <= wire[1][1])
        delivered = model.delivered
        news = board.sack(tuple((self.same_number(a), self.same_number(b)) for a, b in wire), now)
        for left, right in sorted(wire):
            model.sack(left, right, now)
        assert news == model.delivered - delivered
        assert board.dsack is None
        assert (board.reordered > 0, board.resent_at, board.original) == (
            model.reordered, model.resent_at, model.original,
        )  # fmt: skip
        assert board.oldest_at == min(model.originals, default=None)
        assert board.newest_at == max(model.originals, default=None)

    @rule(
        edges=st.tuples(st.integers(-300, 700), st.integers(-300, 700)),
        far=st.sampled_from([0, 1 << 31, -(1 << 30)]),
    )
    def blocks_that_cannot_be(self, edges: tuple[int, int], far: int) -> None:
        """Reversed, empty, of what is not in flight, of what the ACK itself says is missing."""
        una, nxt = self.board.una, self.board.nxt
        left, right = una + edges[0] + far, una + edges[1] + far
        assume(left >= right or right > nxt or left <= una)
        before = self.board.delivered
        self.board.begin_ack(None, 0)
        assert self.board.sack(((self.same_number(left), self.same_number(right)),), self.now) == 0
        assert self.board.delivered == before

    # -- losses ------------------------------------------------------------------------------------------

    @rule(wait_ms=st.integers(0, 20), ms=st.integers(0, 10))
    def rack(self, wait_ms: int, ms: int) -> None:
        now = self.pass_time(ms)
        assert self.board.lose_overtaken(wait_ms * MS, now) == self.model.lose_overtaken(wait_ms * MS, now)

    @precondition(lambda self: self.board.pieces)
    @rule(data=st.data())
    def lose_one(self, data: st.DataObject) -> None:
        """Only what was sent again may be marked out of turn: originals are given up in order."""
        board = self.board
        piece = data.draw(st.sampled_from([p for p in board.pieces if p.retransmitted] or board.pieces[:1]))
        board.lose(piece)
        for at in range(piece.start, piece.end):
            self.model.lose(at)

    @rule()
    def lose_all(self) -> None:
        self.board.lose_all()
        for at in self.model.octets:
            self.model.lose(at)

    @rule(ago_ms=st.integers(0, 30))
    def lose_older(self, ago_ms: int) -> None:
        """RFC 8985 section 6.3, at a timeout."""
        before = self.now - ago_ms * MS
        first = range(self.board.pieces[0].start, self.board.pieces[0].end) if self.board.pieces else ()
        self.board.lose_older(before)
        for at, o in self.model.octets.items():
            if at in first or (not o.sacked and o.sent_at <= before):
                self.model.lose(at)

    @rule()
    def find_none_lost(self) -> None:
        self.board.find_none_lost()
        for o in self.model.octets.values():
            o.lost = False

    @rule()
    def forget_sacks(self) -> None:
        """RFC 2018 section 8."""
        model = self.model
        assert self.board.reneged == bool(model.octets and model.octets[model.una].sacked)
        self.board.forget_sacks()
        for at in model.where("sacked"):
            model.octets[at] = Octet(0, retransmitted=True)
            model.lose(at)

    # -- always ------------------------------------------------------------------------------------------

    @invariant()
    def agree(self) -> None:
        if not hasattr(self, "board"):
            return
        board, model = self.board, self.model
        assert (board.una, board.nxt, board.fack) == (model.una, model.nxt, model.fack)
        assert (board.xmit_at, board.end_seq, board.xmit_rtt) == (model.xmit_at, model.end_seq, model.rtt)
        assert (board.delivered, board.lost_total) == (model.delivered, model.lost_total)
        for piece in board.pieces:
            for at in range(piece.start, piece.end):
                o = model.octets[at]
                assert (piece.sent_at, piece.retransmitted, piece.lost) == (o.sent_at, o.retransmitted, o.lost)
        lost = model.where("lost")
        sacked = model.where("sacked")
        assert board.lost_octets == len(lost)
        assert board.sacked.size == len(sacked)
        assert [at for at in range(model.una, model.nxt) if at in board.sacked] == sacked
        assert board.pipe == len(model.octets) - len(lost) - len(sacked)
        assert board.resent == sum(o.retransmitted and not o.lost for o in model.octets.values())
        check_scoreboard(board)


TestBoards = Boards.TestCase
TestBoards.settings = settings(max_examples=200, stateful_step_count=30)


# -- without SACK --------------------------------------------------------------------------------------------

STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("send"), st.integers(1, 4 * MSS)),
        st.tuples(st.just("duplicate"), st.integers(1, 6)),
        st.tuples(st.just("head"), st.integers(1, MSS)),
        st.tuples(st.just("again"), st.integers(1, 3)),
        st.tuples(st.just("ack"), st.integers(1, 5 * MSS)),
        st.tuples(st.just("timeout"), st.just(0)),
    ),
    max_size=60,
)


@given(STEPS)
def test_without_sack_any_duplicates_leave_pipe_and_delivered_within_the_flight(steps):
    """5681/3.2-c: what duplicates say has arrived is counted once, and never more than there was.

    A timeout believes them no more, and counts again what is acknowledged.
    """
    board = Scoreboard(7)
    now = MS
    sent = acked = twice = 0
    for name, n in steps:
        now += MS
        delivered = board.delivered
        board.begin_ack(None, 0)
        if name == "send":
            board.sent(n, now)
            sent += n
        elif name == "duplicate":
            board.expect_duplicates()
            for _ in range(n):
                pipe = board.pipe
                board.duplicate(MSS)
                assert 0 <= pipe - board.pipe <= MSS
            assert board.pipe >= min(pipe, MSS)  # the hole itself has not arrived
        elif name == "head":
            before = board.lost_octets
            assert board.lose_head(n) == board.lost_octets - before
            assert all(p.lost for p in board.pieces if p.end <= board.una + n)
        elif name == "again":
            for _ in range(n):
                start, length = board.next_lost(MSS)
                if length:
                    board.resend(start, length, now)
        elif name == "timeout":
            twice += board.dup_octets
            board.lose_all()
            assert board.pipe == 0
        else:
            octets = min(n, board.nxt - board.una)
            if octets:
                board.ack(octets, now)
            acked += octets
            if not board.pieces:
                assert board.delivered - twice <= acked == sent
        assert board.delivered >= delivered
        assert acked <= board.delivered <= sent + twice
        assert 0 <= board.pipe <= board.nxt - board.una
        check_scoreboard(board)
