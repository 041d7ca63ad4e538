"""`Scoreboard`: what was sent and is not acknowledged, piece by piece, and what became of it. A leaf.

A piece is what one call of the output pass sent: up to a super-segment of 64 KB. Pieces that were
delivered (acknowledged, or SACKed: RFC 2018, RFC 6675 section 4) leave the board, so that what is
left is either in the network or lost; a piece that was delivered in part is cut. Sequence numbers
are unwrapped to integers that never wrap, counted from where the board began.

All is kept sorted, so that an ACK costs some bisections: by sequence (`pieces`), and by time of sending
(originals are in that order already, and retransmissions stand in `_again`), which is what makes
the loss detection of `rack` independent of the size of the window. While nothing is lost, an ACK of
one piece costs 1.5 us, `sent` 0.5 us; an ACK with SACK of a flight of 20,000 pieces, 5% of them lost, 6 us.

What one ACK told stands in the attributes below "the last ACK" until the next `begin_ack`.
"""

from __future__ import annotations

from bisect import bisect_left, insort
from typing import cast

from scapystack.base.types import Nanoseconds
from scapystack.layers.tcp.ranges import NO_RANGES, RangeSet

MASK = 0xFFFFFFFF
HALF = 0x80000000
_LEAST_APART = 256
"""So many octets of flight allow one more SACKed range. A peer that tells of every other octet, and each of them
splits a piece, would have 4 MB of flight cost 1 GB of memory, and each retransmission be one octet."""
_LEAST_RANGES = 64
# of a board to which nothing has happened; tuples, so that nobody can put into one list what is another board's
_NOTHING = cast("list[int]", ())
_NEVER_AGAIN = cast("list[tuple[Nanoseconds, int, int]]", ())


class Piece:
    """[start, end) of the sequence space, sent at one time.

    The last four are of the connection at the time of sending, for the delivery rate (`rate`).
    """

    __slots__ = (
        "app_limited", "delivered", "delivered_at", "end", "first_sent_at", "lost", "retransmitted", "sent_at", "start",
    )  # fmt: skip

    def __init__(self, start: int, end: int, sent_at: Nanoseconds) -> None:
        self.start = start
        self.end = end
        self.sent_at = sent_at
        self.retransmitted = False
        self.lost = False
        self.delivered = 0
        self.delivered_at: Nanoseconds = 0
        self.first_sent_at: Nanoseconds = 0
        self.app_limited = False

    def tail(self, at: int) -> Piece:
        """Cut at `at`, which lies inside; the second part."""
        piece = Piece(at, self.end, self.sent_at)
        piece.retransmitted = self.retransmitted
        piece.lost = self.lost
        piece.delivered = self.delivered
        piece.delivered_at = self.delivered_at
        piece.first_sent_at = self.first_sent_at
        piece.app_limited = self.app_limited
        self.end = at
        return piece

    def __repr__(self) -> str:
        marks = "lost " * self.lost + "again " * self.retransmitted
        return f"<Piece {self.start}..{self.end} {marks}at {self.sent_at}>"


class Scoreboard:
    """The send sequence space from SND.UNA (`una`) to SND.NXT (`nxt`), both unwrapped."""

    __slots__ = (
        "_again", "_lost", "_starts", "app_limited", "delivered", "delivered_at", "dsack", "dup_limit", "dup_octets",
        "echo_ms", "end_seq", "fack", "first_sent_at", "lost_octets", "lost_total", "min_rtt", "newest_at", "nxt",
        "oldest_at", "original", "pieces", "rate_app_limited", "rate_delivered", "rate_interval", "rate_piece",
        "reordered", "resent_at", "sacked", "seen", "una", "xmit_at", "xmit_rtt",
    )  # fmt: skip

    def __init__(self, start: int = 0) -> None:
        self.una = start
        self.nxt = start
        self.pieces: list[Piece] = []
        self._starts: list[int] = []  # of each piece, for bisection
        self.sacked = NO_RANGES
        self._lost = _NOTHING  # the starts of the pieces that are lost and not sent again yet
        self.lost_octets = 0
        self.lost_total = 0  # octets ever marked lost
        self._again = _NEVER_AGAIN  # retransmissions: when, start, end
        self.seen = start  # no original piece before this is in flight: all are lost, sent again or gone
        self.dup_octets = 0  # without SACK: what duplicates say has arrived, somewhere
        self.dup_limit = 0
        self.fack = start  # the highest end that was delivered (RACK.fack)
        # delivery rate: see `rate`
        self.delivered = 0  # octets, ever
        self.delivered_at: Nanoseconds = 0
        self.first_sent_at: Nanoseconds = 0
        self.rate_delivered = 0  # the last rate, for `info`
        self.rate_interval: Nanoseconds = 0
        self.rate_app_limited = True
        self.app_limited = -1  # until so many are delivered, samples say less than the path can carry
        # the most recently sent piece that was delivered (RACK.xmit_ts, RACK.end_seq), and its round trip
        self.xmit_at: Nanoseconds = 0
        self.xmit_rtt = 0
        self.end_seq = start
        # the last ACK
        self.echo_ms: int | None = None
        self.min_rtt = 0
        self.resent_at: Nanoseconds | None = None  # when the copy left that came of what was sent twice; 0: unknown
        self.oldest_at: Nanoseconds | None = None  # when the first of the originals delivered was sent, None: none
        self.newest_at: Nanoseconds | None = None  # and the last
        self.original: int | None = None  # the highest end of the originals delivered that had counted as lost
        self.reordered = 0  # how far an original lay behind one that was delivered before it, at most
        self.rate_piece: Piece | None = None
        self.dsack: tuple[int, int] | None = None

    # -- sizes -----------------------------------------------------------------------------------------

    @property
    def pipe(self) -> int:
        """Octets in the network, as far as is known (6675/4, SetPipe)."""
        return self.nxt - self.una - self.sacked.size - self.lost_octets - self.dup_octets

    @property
    def resent(self) -> int:
        """Octets that were sent again and are in the network (Linux's retrans_out); not for the path of a packet."""
        return sum(p.end - p.start for p in self.pieces if p.retransmitted and not p.lost)

    def unwrap(self, seq: int) -> int:
        """The number on the board that a sequence number means: the one nearest to `una`."""
        return self.una + ((seq - self.una + HALF) & MASK) - HALF

    # -- sending ---------------------------------------------------------------------------------------

    def sent(self, length: int, now: Nanoseconds) -> None:
        """New octets (a SYN or FIN among them) have left, from `nxt` on."""
        start = self.nxt
        piece = Piece(start, start + length, now)
        if not self.pieces:
            self.first_sent_at = self.delivered_at = now  # nothing was in flight: a new sample begins
        piece.delivered = self.delivered
        piece.delivered_at = self.delivered_at
        piece.first_sent_at = self.first_sent_at
        piece.app_limited = self.delivered <= self.app_limited
        self.nxt = piece.end
        self.pieces.append(piece)
        self._starts.append(start)

    def next_lost(self, limit: int) -> tuple[int, int]:
        """What to send again first (6675/4, NextSeg (1)): a start and a length of up to `limit`, 0 for nothing.

        Pieces that lie together go together: what left in many small segments comes back in few.
        """
        if not self._lost:
            return self.una, 0
        start = self._lost[0]
        i = bisect_left(self._starts, start)
        pieces = self.pieces
        n = len(pieces)
        end = pieces[i].end
        while end - start < limit:
            i += 1
            if i == n or not (piece := pieces[i]).lost or piece.start != end:
                break
            end = piece.end
        return start, min(end - start, limit)

    def resend(self, start: int, length: int, now: Nanoseconds) -> None:
        """[start, start + length) has been sent again; what of it lies behind `nxt` is new and goes with it."""
        end = start + length
        if end > self.nxt:
            self.sent(end - self.nxt, now)
        i, j = self._cut_out(start, end)
        first = self.pieces[i]
        for piece in self.pieces[i:j]:
            self._unmark(piece)
        first.end = end
        del self.pieces[i + 1 : j]
        del self._starts[i + 1 : j]
        first.retransmitted = True
        first.sent_at = now
        first.delivered = self.delivered
        first.delivered_at = self.delivered_at
        first.first_sent_at = self.first_sent_at
        first.app_limited = self.delivered <= self.app_limited
        if self._again:
            self._again.append((now, start, end))
        else:
            self._again = [(now, start, end)]

    # -- what arrives ----------------------------------------------------------------------------------

    def begin_ack(self, echo_ms: int | None, min_rtt: int) -> None:
        """Forget what the last ACK told. `echo_ms`: when what the timestamp echoes was sent, in ms."""
        self.echo_ms = echo_ms
        self.min_rtt = min_rtt
        self.resent_at = self.oldest_at = self.newest_at = self.original = self.rate_piece = self.dsack = None
        self.reordered = 0

    def ack(self, octets: int, now: Nanoseconds) -> None:
        """A cumulative ACK moves `una` on by `octets`."""
        una = self.una = self.una + octets
        pieces = self.pieces
        before = self.delivered
        i = self._cut(una)
        for piece in pieces[:i]:
            self._deliver(piece, now, True)
        del pieces[:i]
        del self._starts[:i]
        if self.sacked.size:
            self.sacked.cut(una)
        self.fack = max(self.fack, una)
        self.seen = max(self.seen, una)
        again = self._again
        if again:  # where nobody looks for lost retransmissions they would stay for ever
            gone = next((k for k, (_, _, end) in enumerate(again) if end > una), len(again))
            del again[:gone]
        if self.dup_octets:
            # RFC 6937 section 2: what duplicates have told of already is not delivered again
            known = min(self.dup_octets, octets)
            self.dup_octets -= known
            self.delivered = max(self.delivered - known, before)

    def sack(self, blocks: tuple[tuple[int, int], ...], now: Nanoseconds, late: int = 0) -> int:
        """6675/4, Update: take SACK blocks (RFC 2018, after the `ack` of the same segment); the octets that are news.

        `late`: how far the ACK that they stand on lies before `una`.

        Blocks that cannot be (reversed, outside the flight, of what the ACK itself says is missing) are ignored;
        a first block that tells of a duplicate (2883/4) is left in `dsack`, unwrapped.
        """
        una = self.una
        sacked = self.sacked
        good = []
        for index, (left_seq, right_seq) in enumerate(blocks):
            left = self.unwrap(left_seq)
            right = self.unwrap(right_seq)
            if left >= right or right > self.nxt:
                continue
            if index == 0 and self._is_dsack(left, right, blocks, una - late):
                self.dsack = (left, right)
                continue
            if left > una:
                good.append((left, right))
        if len(good) > 1:
            good.sort()  # the newest stand first, and what came before them is none that came late
        if sacked is NO_RANGES and good:
            self.sacked = sacked = RangeSet()
        most = max((self.nxt - una) // _LEAST_APART, _LEAST_RANGES)
        new = 0
        for left, right in good:
            if len(sacked) < most or sacked.touches(left, right):
                for a, b in sacked.add(left, right):
                    self._take(a, b, now)
                    new += b - a
        return new

    def _is_dsack(self, left: int, right: int, blocks: tuple[tuple[int, int], ...], acked: int) -> bool:
        """RFC 2883 section 4: below the cumulative ACK, or inside of the second block."""
        if right <= acked:
            return True
        if len(blocks) < 2:
            return False
        return self.unwrap(blocks[1][0]) <= left and right <= self.unwrap(blocks[1][1])

    def _take(self, left: int, right: int, now: Nanoseconds) -> None:
        """[left, right) was SACKed: its pieces leave the board."""
        i, j = self._cut_out(left, right)
        for piece in self.pieces[i:j]:
            self._deliver(piece, now, False)
        del self.pieces[i:j]
        del self._starts[i:j]

    def _deliver(self, piece: Piece, now: Nanoseconds, cumulative: bool) -> None:
        """8985/6: section 6.2 steps 2 and 3, for one piece; the caller takes it off the board."""
        end = piece.end
        sent_at = piece.sent_at
        self.delivered += end - piece.start
        self.delivered_at = now
        if piece.lost:
            self._unmark(piece)
            if not piece.retransmitted and (self.original is None or end > self.original):
                self.original = end
        rated = self.rate_piece
        if rated is None or sent_at > rated.sent_at or (sent_at == rated.sent_at and end > rated.end):
            self.rate_piece = piece
        if piece.retransmitted:
            self.fack = max(self.fack, end)
            # which copy was it? RFC 8985 section 6.2: by the timestamp, which a hole before it holds back, or by time
            proven = cumulative and self.echo_ms is not None and self.echo_ms >= sent_at // 1_000_000
            if cumulative:
                self.resent_at = max(self.resent_at or 0, sent_at) if proven else 0
                if self.echo_ms is not None and not proven:
                    return
            if now - sent_at < self.min_rtt:
                return
        else:
            if self.oldest_at is None or sent_at < self.oldest_at:
                self.oldest_at = sent_at
            if self.newest_at is None or sent_at > self.newest_at:
                self.newest_at = sent_at
            if end > self.fack:
                self.fack = end
            elif end < self.fack:
                self.reordered = max(self.reordered, self.fack - piece.start)
        if sent_at > self.xmit_at or (sent_at == self.xmit_at and end > self.end_seq):
            self.xmit_at = sent_at
            self.end_seq = end
            self.xmit_rtt = now - sent_at

    def expect_duplicates(self) -> None:
        """RFC 5681 section 5: no more duplicates count than there are segments; who sends others wants a window."""
        self.dup_limit = self.nxt - self.una

    def duplicate(self, octets: int) -> None:
        """Without SACK: a duplicate ACK says that `octets` have arrived, not those of the hole itself."""
        octets = max(min(octets, self.pipe - octets, self.dup_limit - self.dup_octets - octets), 0)
        self.dup_octets += octets
        self.delivered += octets

    # -- losses ----------------------------------------------------------------------------------------

    def lose(self, piece: Piece) -> None:
        """The piece counts as lost."""
        if not piece.lost:
            piece.lost = True
            n = piece.end - piece.start
            self.lost_octets += n
            self.lost_total += n
            self._note_lost(piece.start)

    def _note_lost(self, start: int) -> None:
        if self._lost:
            insort(self._lost, start)
        else:
            self._lost = [start]

    def lose_head(self, limit: int) -> int:
        """The first `limit` octets count as lost (without SACK nobody can say which others); how many were not yet."""
        if not self.pieces:
            return 0
        i, j = self._cut_out(self.una, min(self.una + limit, self.nxt))
        before = self.lost_total
        for piece in self.pieces[i:j]:
            self.lose(piece)
        return self.lost_total - before

    def lose_all(self) -> None:
        """Everything that is not SACKed counts as lost."""
        for piece in self.pieces:
            self.lose(piece)
        self.seen = self.nxt
        self.dup_octets = 0

    def lose_older(self, before: Nanoseconds) -> None:
        """8985/6: section 6.3: the first piece counts as lost, and all that were sent up to `before`."""
        for i, piece in enumerate(self.pieces):
            if i == 0 or piece.sent_at <= before:
                self.lose(piece)
        self.dup_octets = 0

    def find_none_lost(self) -> None:
        """What counts as lost is under way after all."""
        again = set(self._again)
        for start in self._lost:
            piece = self.pieces[bisect_left(self._starts, start)]
            piece.lost = False
            if piece.retransmitted:
                again.add((piece.sent_at, start, piece.end))
        self._again = sorted(again)
        self._lost = _NOTHING
        self.lost_octets = 0
        self.seen = self.una

    @property
    def reneged(self) -> bool:
        """Whether the peer has thrown away what it had SACKed (RFC 2018 section 8).

        It has SACKed what stands at `una`: had it kept that, its ACK would have covered it.
        """
        return bool(self.sacked.lefts) and self.sacked.lefts[0] <= self.una

    def forget_sacks(self) -> None:
        """All that was SACKed has to go again."""
        missing = list(zip(self.sacked.lefts, self.sacked.rights, strict=True))
        self.sacked = NO_RANGES
        for left, right in missing:
            piece = Piece(left, right, 0)
            piece.retransmitted = True  # nobody can time it
            i = bisect_left(self._starts, left)
            self.pieces.insert(i, piece)
            self._starts.insert(i, left)
            self.lose(piece)

    def lose_overtaken(self, wait: int, now: Nanoseconds) -> Nanoseconds | None:
        """8985/6, section 6.2 step 5: what was sent before something that has arrived is lost after a while.

        The while is `wait` from its sending on. When the next piece will be, or None. (The RFC waits for the
        last of those that are overtaken; with the first each is sent again when its own time has come.)
        """
        pieces = self.pieces
        i = bisect_left(self._starts, self.seen)
        n = len(pieces)
        due = None
        while i < n:
            piece = pieces[i]
            if not (piece.lost or piece.retransmitted):
                if not self._overtaken(piece.sent_at, piece.end):
                    break
                if piece.sent_at + wait > now:
                    due = piece.sent_at + wait
                    break
                self.lose(piece)
            i += 1
        self.seen = pieces[i].start if i < n else self.nxt
        again = self._again
        while again:
            at, start, end = again[0]
            if not self._overtaken(at, start):
                break
            there = self._still_there(at, start, end)
            overtaken = [piece for piece in there if self._overtaken(at, piece.end)]
            if overtaken and at + wait > now:
                due = at + wait if due is None else min(due, at + wait)
                break
            for piece in overtaken:
                self.lose(piece)
            if len(overtaken) < len(there):
                break
            del again[0]
        return due

    def _overtaken(self, sent_at: Nanoseconds, end: int) -> bool:
        """RACK_sent_after: whether something sent later than this was delivered."""
        return self.xmit_at > sent_at or (self.xmit_at == sent_at and self.end_seq > end)

    def _still_there(self, at: Nanoseconds, start: int, end: int) -> list[Piece]:
        """What is in the network of [start, end) as it was sent again at that time."""
        pieces = self.pieces
        i = bisect_left(self._starts, start)
        out = []
        while i < len(pieces) and pieces[i].start < end:
            piece = pieces[i]
            if piece.retransmitted and not piece.lost and piece.sent_at == at:
                out.append(piece)
            i += 1
        return out

    # -- the lists -------------------------------------------------------------------------------------

    def _cut_out(self, left: int, right: int) -> tuple[int, int]:
        """Have pieces begin at `left` and end at `right`; the indices of those between.

        What is in between and on no piece was SACKed.
        """
        i = self._cut(left)
        j = self._cut(right)
        return i, j

    def _cut(self, at: int) -> int:
        """Have no piece reach across `at`; the index of the first that begins there or behind."""
        starts = self._starts
        i = bisect_left(starts, at)
        if i and self.pieces[i - 1].end > at:
            piece = self.pieces[i - 1].tail(at)
            self.pieces.insert(i, piece)
            starts.insert(i, at)
            if piece.lost:
                self._note_lost(at)
        return i

    def _unmark(self, piece: Piece) -> None:
        """The piece is not lost any more."""
        if piece.lost:
            piece.lost = False
            self.lost_octets -= piece.end - piece.start
            del self._lost[bisect_left(self._lost, piece.start)]
