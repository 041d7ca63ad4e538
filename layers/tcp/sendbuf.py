"""`SendBuffer`: the octets from SND.UNA to the end of what the application wrote. A leaf.

What is handed out are views, and they leave the core in frames that somebody may hold for long. So
memory that was handed out is never changed and never resized: large writes stay the immutable
`bytes` they came as, and small ones are gathered in blocks of fixed size, each octet written once.
Offsets within count from the first octet ever appended and never wrap; the caller's count from
SND.UNA.
"""

from __future__ import annotations

from bisect import bisect_right

from scapystack.base.types import Buffer
from scapystack.layers.tcp.memory import Memory

_SMALL = 4096
_BLOCK_MIN = 8192
_BLOCK_MAX = 65_536
_NO_BLOCK = bytearray()
_NO_VIEW = memoryview(_NO_BLOCK)


class SendBuffer:
    """`len(buffer)` octets that were written and are not acknowledged, sent or not."""

    __slots__ = ("_block", "_chunks", "_cursor", "_end", "_fill", "_memory", "_open", "_starts", "_una", "_view")

    def __init__(self, memory: Memory | None = None) -> None:
        self._memory = memory or Memory()
        self._una = 0
        self._end = 0
        # chunk i holds the octets from _starts[i] to the next start (or _end); a block's chunk is a
        # view that reaches on to the end of the block, into what is not written yet
        self._chunks: list[Buffer] = []
        self._starts: list[int] = []
        self._cursor = 0  # the chunk where the last slice ended
        self._block = _NO_BLOCK
        self._view = _NO_VIEW
        self._fill = 0
        self._open = False  # whether the last chunk is the block's

    def __len__(self) -> int:
        return self._end - self._una

    @property
    def acked(self) -> int:
        """Octets that were acknowledged, ever."""
        return self._una

    def append(self, data: Buffer) -> None:
        """Add octets at the end.

        `bytes`, and views of `bytes`, are kept without a copy unless they are small and others wait
        before them; what could still change (bytearray, views of it) is copied.
        """
        n = len(data)
        if not n:
            return
        self._memory.sending += n
        if n < _SMALL and self._chunks:
            self._gather(data, n)
            return
        if type(data) is not bytes and not (
            type(data) is memoryview and n >= _SMALL and type(data.obj) is bytes and data.c_contiguous
        ):
            data = bytes(data)
        self._chunks.append(data)
        self._starts.append(self._end)
        self._end += n
        self._open = False

    def _gather(self, data: Buffer, n: int) -> None:
        """Copy a small write behind the others in the block."""
        fill = self._fill
        if fill + n > len(self._block):
            size = min(max(2 * (self._end - self._una), _BLOCK_MIN), _BLOCK_MAX)
            self._block = bytearray(size)
            self._view = memoryview(self._block).toreadonly()
            self._open = False
            fill = 0
        if not self._open:
            self._chunks.append(self._view[fill:])
            self._starts.append(self._end)
            self._open = True
        # of equal length on both sides: nothing is resized, which views would forbid
        self._block[fill : fill + n] = data
        self._fill = fill + n
        self._end += n

    def ack(self, n: int) -> None:
        """Drop `n` octets from the front (no more than there are)."""
        n = min(n, self._end - self._una)
        self._memory.sending -= n
        una = self._una = self._una + n
        chunks = self._chunks
        if una == self._end:
            chunks.clear()
            self._starts.clear()
            self._cursor = 0
            if self._fill:  # a connection that has nothing to send holds no block
                self._block = _NO_BLOCK
                self._view = _NO_VIEW
                self._fill = 0
                self._open = False
            return
        starts = self._starts
        if len(starts) > 1 and starts[1] <= una:
            gone = bisect_right(starts, una) - 1
            del chunks[:gone]
            del starts[:gone]
            self._cursor = max(self._cursor - gone, 0)

    def slice(self, offset: int, length: int) -> tuple[Buffer, ...]:
        """Views of up to `length` octets from `offset` behind SND.UNA, in order; they stay as they are.

        Sending on from where the last slice ended finds its place at once (0.5 us for 64 KB out of
        one chunk); any other place takes a bisection.
        """
        at = self._una + offset
        end = min(at + length, self._end)
        if at >= end:
            return ()
        starts = self._starts
        i = self._cursor
        last = len(starts) - 1
        if starts[i] > at or (i < last and starts[i + 1] <= at):
            i = bisect_right(starts, at) - 1
        start = starts[i]
        chunk = self._chunks[i]
        stop = starts[i + 1] if i < last else self._end
        if end <= stop:
            # the next slice begins behind this one, maybe in the next chunk
            self._cursor = i + 1 if end == stop and i < last else i
            if at == start and end - at == len(chunk):
                return (chunk,)
            return (memoryview(chunk)[at - start : end - start],)
        parts: list[Buffer] = [memoryview(chunk)[at - start : stop - start]]
        while stop < end:
            i += 1
            start = stop
            stop = min(starts[i + 1], end) if i < last else end
            chunk = self._chunks[i]
            parts.append(chunk if stop - start == len(chunk) else memoryview(chunk)[: stop - start])
        self._cursor = i
        return tuple(parts)

    def cut(self, length: int) -> None:
        """Drop what stands behind `length` octets from SND.UNA on."""
        kept = b"".join(self.slice(0, length))
        self._memory.sending -= len(self) - len(kept)
        self._end = self._una + len(kept)
        self._chunks = [kept] if kept else []
        self._starts = [self._una] if kept else []
        self._cursor = 0
        self._block, self._view, self._fill, self._open = _NO_BLOCK, _NO_VIEW, 0, False

    def __deepcopy__(self, memo: dict[int, object]) -> SendBuffer:
        """The same octets for another stack, in one piece."""
        memory = memo.get(id(self._memory))
        made = SendBuffer(memory if isinstance(memory, Memory) else None)
        made._una = made._end = self._una
        made.append(b"".join(self.slice(0, len(self))))
        return made

    def clear(self) -> None:
        """Drop everything."""
        self.ack(self._end - self._una)
