"""Fragments: cutting a datagram for a small MTU, and putting one together again (RFC 791 section 3.2).

A datagram under reassembly takes its pieces in any order. What overlaps must agree octet for octet,
else the whole datagram is discarded and stays so until its time is over (RFC 1858, RFC 3128, and
RFC 5722 in spirit); so is one with two ends, a tiny first fragment, or more than 65,535 octets.
The table is bounded in datagrams and octets: the oldest goes first. Time is one timer a datagram,
from its first fragment on (RFC 1122 section 3.3.2: 60 s).
"""

from __future__ import annotations

from bisect import bisect_right
from collections import OrderedDict
from collections.abc import Callable, Iterator

from scapystack.base.core import Core
from scapystack.base.datagram import PROTO_TCP
from scapystack.base.iface import Interface
from scapystack.base.types import MILLISECOND, Address, Nanoseconds

Key = tuple[Address, Address, int, int]
"""src, dst, proto, id (RFC 791): what fragments of one datagram share"""

MAX_PACKET = 65_535
_MIN_FIRST_TCP = 16  # RFC 1858 section 3.2.2: up to the flags at least
_PIECE_COST = 128  # charged for each piece beside its octets
_QUOTE = 576  # of the first fragment, kept for the time exceeded message
_CE = 3  # RFC 3168 section 5


def cut(data: memoryview, first_room: int, room: int) -> Iterator[tuple[int, memoryview, bool]]:
    """Offset, octets and "more follow" of the pieces of `data`, for that much room behind each header.

    All but the last are a multiple of 8 long. `first_room` is the first one's, whose header may
    carry more options.
    """
    at = 0
    size = first_room & ~7
    while len(data) - at > (room if at else first_room):
        yield at, data[at : at + size], True
        at += size
        size = room & ~7
    yield at, data[at:], False


class Pending:
    """One datagram under reassembly."""

    __slots__ = (
        "bytes_held", "cast", "dead", "deadline", "ecn", "first", "iface", "lead", "pieces", "received", "starts",
        "total",
    )  # fmt: skip

    def __init__(self, iface: Interface, cast: int, deadline: Nanoseconds) -> None:
        self.iface = iface
        self.cast = cast
        self.deadline = deadline
        self.starts: list[int] = []  # of pieces, sorted; pieces do not overlap
        self.pieces: list[bytes] = []
        self.received = 0
        self.total = -1  # known once the last fragment is here
        self.lead = b""  # the first fragment's IP header
        self.first = b""  # and what an ICMP error quotes of it
        self.ecn = -1
        self.bytes_held = 0
        self.dead = False

    def end(self) -> int:
        """One past the highest octet received."""
        return self.starts[-1] + len(self.pieces[-1]) if self.starts else 0

    def insert(self, start: int, data: bytes) -> bool:
        """Take a piece; False if it contradicts what is here already. What is here twice is kept once."""
        starts, pieces = self.starts, self.pieces
        if not starts or start >= self.end():
            starts.append(start)
            pieces.append(data)
            self.received += len(data)
            return True
        stop = start + len(data)
        at = start
        i = bisect_right(starts, start)
        if i and starts[i - 1] + len(pieces[i - 1]) > start:
            i -= 1
        while at < stop:
            if i >= len(starts) or starts[i] >= stop:
                self._put(i, at, data[at - start :])
                break
            if at < starts[i]:
                self._put(i, at, data[at - start : starts[i] - start])
                i += 1
                at = starts[i]
            held = pieces[i]
            low = at - starts[i]
            both = min(stop - at, len(held) - low)
            if held[low : low + both] != data[at - start : at - start + both]:
                return False
            at += both
            i += 1
        return True

    def _put(self, i: int, start: int, data: bytes) -> None:
        self.starts.insert(i, start)
        self.pieces.insert(i, data)
        self.received += len(data)


class Reassembly:
    """The table of datagrams under reassembly, for all interfaces of a stack.

    `expired` is called with each datagram whose time is over and whose first fragment was seen.
    """

    __slots__ = ("_held", "_table", "core", "expired", "heap_at")

    def __init__(self, core: Core) -> None:
        self.core = core
        self.expired: Callable[[Pending], None] = lambda pending: None
        self.heap_at: Nanoseconds | None = None
        self._table: OrderedDict[Key, Pending] = OrderedDict()
        self._held = 0

    def __len__(self) -> int:
        return len(self._table)

    @property
    def held(self) -> int:
        """Octets held, with what each piece costs beside them."""
        return self._held

    def add(
        self,
        key: Key,
        offset: int,
        more: bool,
        packet: memoryview,
        header: int,
        ecn: int,
        iface: Interface,
        cast: int,
    ) -> tuple[bytes, bytes, int] | None:
        """Take a fragment that starts `offset` octets into its datagram.

        When it was the last one missing: the first fragment's IP header, the datagram's data, and
        the ECN field that the whole has; else None.
        """
        pending = self._table.get(key)
        if pending is None:
            pending = self._open(key, iface, cast)
        if pending.dead:
            self.core.counters["ip.drop.fragment_of_discarded"] += 1
            return None
        size = len(packet) - header
        reason = self._judge(pending, key, offset, size, more, header)
        if not reason and not pending.insert(offset, bytes(packet[header:])):
            reason = "overlap"
        if not reason and not _merge_ecn(pending, ecn):
            reason = "ecn"
        if reason:
            self._discard(pending, "fragment_" + reason)
            return None
        cost = pending.received + _PIECE_COST * len(pending.pieces)
        self._held += cost - pending.bytes_held
        pending.bytes_held = cost
        if not offset:
            pending.lead = bytes(packet[:header])
            pending.first = bytes(packet[:_QUOTE])
        if pending.received == pending.total:
            return self._complete(key, pending)
        self._bound(pending)
        return None

    def _judge(self, pending: Pending, key: Key, offset: int, size: int, more: bool, header: int) -> str:
        """Why the datagram of this fragment can be none; "" if it still can. Notes the end."""
        if size == 0:
            return "empty"
        end = offset + size
        # the whole has the first fragment's header, whose options may come after the end was seen
        first = len(pending.lead) if offset else header
        if end + header > MAX_PACKET or max(end, pending.end()) + first > MAX_PACKET:
            return "too_long"
        if more:
            if size & 7:
                return "length"
            if pending.total >= 0 and end > pending.total:
                return "end"
        elif pending.total not in (-1, end) or pending.end() > end:
            return "end"
        else:
            pending.total = end
        if key[2] == PROTO_TCP and (offset == 8 or (offset == 0 and size < _MIN_FIRST_TCP)):
            return "tiny"  # RFC 1858 sections 3 and 4
        if len(pending.pieces) >= self.core.config.ip.reassembly_max_fragments:
            return "too_many"
        return ""

    def _open(self, key: Key, iface: Interface, cast: int) -> Pending:
        core = self.core
        while len(self._table) >= max(1, core.config.ip.reassembly_max_datagrams):
            self._evict()
        deadline = core.now + core.config.ip.reassembly_ms * MILLISECOND
        pending = self._table[key] = Pending(iface, cast, deadline)
        core.timers.arm(self, deadline)
        core.counters["ip.reassembly.started"] += 1
        return pending

    def _complete(self, key: Key, pending: Pending) -> tuple[bytes, bytes, int]:
        del self._table[key]
        self._held -= pending.bytes_held
        self.core.counters["ip.reassembly.ok"] += 1
        return pending.lead, b"".join(pending.pieces), pending.ecn

    def _discard(self, pending: Pending, reason: str) -> None:
        """Free what is held; the entry stays until its time is over, so that the rest is refused too."""
        self.core.counters["ip.drop." + reason] += 1
        self.core.counters["ip.reassembly.failed"] += 1
        pending.dead = True
        self._held -= pending.bytes_held
        pending.bytes_held = 0
        pending.starts.clear()
        pending.pieces.clear()

    def _bound(self, newest: Pending) -> None:
        limit = self.core.config.ip.reassembly_max_bytes
        while self._held > limit and len(self._table) > 1:
            self._evict()
        if self._held > limit:
            self._discard(newest, "reassembly_full")

    def _evict(self) -> None:
        _, oldest = self._table.popitem(last=False)
        if not oldest.dead:
            self._discard(oldest, "reassembly_full")

    def next_at(self) -> Nanoseconds | None:
        """When the oldest datagram's time is over."""
        return next(iter(self._table.values())).deadline if self._table else None

    def expire(self, now: Nanoseconds) -> None:
        """Discard what is not complete in time, and report it (RFC 1122 section 3.3.2)."""
        while self._table:
            oldest = next(iter(self._table.values()))
            if oldest.deadline > now:
                return
            self._table.popitem(last=False)
            if oldest.dead:
                continue
            self._discard(oldest, "reassembly_timeout")
            if oldest.first:
                self.expired(oldest)


def _merge_ecn(pending: Pending, ecn: int) -> bool:
    """RFC 3168 section 5.3: one CE marks the whole; CE beside not-ECT is an error."""
    held = pending.ecn
    if held in (-1, ecn):
        pending.ecn = ecn
    elif _CE in (held, ecn):
        if 0 in (held, ecn):
            return False
        pending.ecn = _CE
    return True
