"""`ReceiveQueue`: in-order octets that wait for the application. A leaf.

Received octets are views of the frame they came in, and a view keeps the whole frame alive. A view
that is small, or a small part of its frame, is therefore copied when it is kept (`owned`); many
small ones in a row share one buffer, so that a peer that sends octet by octet cannot make the
stack's own bookkeeping outgrow the window it advertised.
"""

from __future__ import annotations

from collections import deque

from scapystack.base.types import Buffer
from scapystack.layers.tcp.memory import Memory

_SMALL = 2048
_TAIL_MAX = 65_536
_NONE: deque[Buffer] = deque(maxlen=0)
"""The chunks of every queue that is empty: a deque of its own takes 760 octets, and few queues hold anything."""


def owned(data: Buffer) -> Buffer:
    """`data` in a form that is cheap to keep: itself, or a copy of it.

    Up to 2,048 octets a copy takes 0.12 us, no more than finding out whether it is needed, and is
    the smaller of the two (a memoryview alone takes 184 octets, and its frame stays). A larger view
    is copied only where it holds back more than it shows, as one trimmed from a 64 KB super-segment
    may (5 us). A bytearray is always copied: somebody else may change it.
    """
    if type(data) is bytes:
        return data
    n = len(data)
    if n > _SMALL and type(data) is memoryview and n * 2 >= len(data.obj):  # type: ignore[arg-type]
        return data
    return bytes(data)


class ReceiveQueue:
    """Octets in order, in the pieces they came in. `len(queue)` is how many wait."""

    __slots__ = ("_chunks", "_head", "_memory", "_size")

    # A chunk is bytes, a memoryview, or (only at the tail, only made here) a bytearray that still
    # grows. No view of a growing chunk is ever handed out: a bytearray with views cannot be resized.

    def __init__(self, memory: Memory | None = None) -> None:
        self._memory = memory or Memory()
        self._chunks = _NONE
        self._head = 0  # octets of the first chunk that were read
        self._size = 0

    def __len__(self) -> int:
        return self._size

    def append(self, data: Buffer) -> None:
        """Add octets at the end. The caller must not change them afterwards."""
        n = len(data)
        if not n:
            return
        self._size += n
        self._memory.received += n
        chunks = self._chunks
        if n <= _SMALL and chunks:
            last = chunks[-1]
            if type(last) is bytearray:
                if len(last) < _TAIL_MAX:
                    last += data
                    return
            elif len(last) <= _SMALL:
                tail = bytearray(last)
                tail += data
                chunks[-1] = tail
                return
        if chunks is _NONE:
            chunks = self._chunks = deque()
        chunks.append(owned(data))

    def read(self, n: int) -> bytes:
        """Take up to `n` octets from the front; `b""` where there are none."""
        chunks = self._chunks
        if not self._head and len(chunks) == 1 and self._size <= n:
            # the common case: one segment came, the application reads all of it
            self._memory.received -= self._size
            self._size = 0
            self._chunks = _NONE
            data = chunks[0]
            return data if type(data) is bytes else bytes(data)
        parts = self.views(n)
        return parts[0] if len(parts) == 1 and type(parts[0]) is bytes else b"".join(parts)

    def views(self, n: int) -> list[Buffer]:
        """Take up to `n` octets from the front without copying them, in pieces that stay as they are."""
        chunks = self._chunks
        out: list[Buffer] = []
        n = min(n, self._size)
        if n <= 0:
            return out
        self._size -= n
        self._memory.received -= n
        head = self._head
        while n:
            chunk = chunks[0]
            left = len(chunk) - head
            if left <= n:
                out.append(memoryview(chunk)[head:] if head else chunk)
                chunks.popleft()
                head = 0
                n -= left
            else:
                if type(chunk) is bytearray:
                    chunk = chunks[0] = bytes(chunk)
                out.append(memoryview(chunk)[head : head + n])
                head += n
                n = 0
        self._head = head
        if not chunks:
            self._chunks = _NONE
        return out

    def read_into(self, view: memoryview) -> int:
        """Take octets from the front into `view` (of format B); returns how many."""
        at = 0
        for part in self.views(len(view)):
            view[at : at + len(part)] = part
            at += len(part)
        return at

    def peek(self, n: int) -> bytes:
        """The first `n` octets or fewer; they stay."""
        out: list[Buffer] = []
        head = self._head
        for chunk in self._chunks:
            if n <= 0:
                break
            # slices of a growing chunk are copies, so no view of one is left behind
            part = (chunk if type(chunk) is not bytes else memoryview(chunk))[head : head + n]
            out.append(part)
            n -= len(part)
            head = 0
        return b"".join(out)

    def discard(self, n: int) -> int:
        """Drop up to `n` octets from the front without copying; returns how many."""
        n = max(0, min(n, self._size))
        self._size -= n
        self._memory.received -= n
        left = n + self._head
        chunks = self._chunks
        while chunks and left >= len(chunks[0]):
            left -= len(chunks.popleft())
        self._head = left
        if not chunks:
            self._chunks = _NONE
        return n

    def __deepcopy__(self, memo: dict[int, object]) -> ReceiveQueue:
        """The same octets for another stack, in one piece."""
        memory = memo.get(id(self._memory))
        made = ReceiveQueue(memory if isinstance(memory, Memory) else None)
        made.append(self.peek(self._size))
        return made

    def clear(self) -> None:
        """Drop everything."""
        self._memory.received -= self._size
        self._chunks = _NONE
        self._head = 0
        self._size = 0

    def detach(self) -> None:
        """What is held no longer counts as the stack's: the connection has ended, and who has it may read on."""
        if self._size:
            self._memory.received -= self._size
            self._memory = Memory()
            self._memory.received = self._size
