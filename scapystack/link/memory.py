"""`MemoryLink`: two ends joined by queues, for two stacks in one process (or one stack and a test).

What arrives is what would be on a wire: finished checksums and segments cut to size; with `offload`
the frames pass as the stack made them, super-segments whole. With `delay` a frame can be read only
that much later, by the clock that the pair was given.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Sequence

from scapystack.base.frames import Frame
from scapystack.base.iface import Interface
from scapystack.base.offload import split
from scapystack.base.types import Mac, Nanoseconds

GSO_MAX = 65_000


class MemoryLink:
    """One end. Made in pairs by `MemoryLink.pair`; frames written to one are read from the other."""

    def __init__(
        self, name: str, mac: Mac, mtu: int, offload: bool, delay: Nanoseconds, clock: Callable[[], Nanoseconds] | None
    ) -> None:
        self.name = name
        self.mac = mac
        self.mtu = mtu
        self.offload = offload
        self.gso_max = GSO_MAX if offload else 0
        self.delay = delay
        self.clock = clock
        self.iface: Interface | None = None
        self.on_input: Callable[[], None] | None = None
        self.peer: MemoryLink | None = None
        self._lock = threading.Lock()
        self._queue: deque[tuple[Nanoseconds, Frame]] = deque()

    @classmethod
    def pair(
        cls,
        names: tuple[str, str] = ("mem0", "mem0"),
        macs: tuple[Mac, Mac] = (b"\2\0\0\0\0\1", b"\2\0\0\0\0\2"),
        *,
        mtu: int = 1500,
        offload: bool = False,
        delay: Nanoseconds = 0,
        clock: Callable[[], Nanoseconds] | None = None,
    ) -> tuple[MemoryLink, MemoryLink]:
        """Two joined ends. A `delay` (ns) needs the `clock` that both drivers run by."""
        if delay and clock is None:
            raise ValueError("a delay needs a clock")
        a, b = (cls(name, mac, mtu, offload, delay, clock) for name, mac in zip(names, macs, strict=True))
        a.peer, b.peer = b, a
        return a, b

    def fileno(self) -> int | None:
        """None: there is no descriptor; `on_input` tells."""
        return None

    def read(self, limit: int = 64) -> list[Frame]:
        """Frames of the other end whose delay is over."""
        if not self._queue:
            return []
        frames: list[Frame] = []
        now = self.clock() if self.clock else 0
        with self._lock:
            while self._queue and len(frames) < limit and self._queue[0][0] <= now:
                frame = self._queue.popleft()[1]
                frame.iface = self.iface
                frames.append(frame)
            left = bool(self._queue)
        if left and not self.delay and self.on_input is not None:
            self.on_input()  # more than one batch: the driver must not sleep on the rest
        return frames

    def write(self, frames: Sequence[Frame]) -> None:
        """Put frames before the other end."""
        peer = self.peer
        if peer is None:
            return
        at = self.clock() + self.delay if self.clock else 0
        with peer._lock:
            for frame in frames:
                for out in (frame,) if self.offload else split(frame):
                    arrived = Frame(out.data, (), None, out.csum, out.csum_start, out.csum_offset, out.gso_size)
                    peer._queue.append((at, arrived))
        if peer.on_input is not None:
            peer.on_input()

    def next_at(self) -> Nanoseconds | None:
        """When the first frame that is still on its way arrives."""
        queue = self._queue
        return queue[0][0] if queue else None

    def close(self) -> None:
        """Part the two ends; what is on its way is lost."""
        peer, self.peer = self.peer, None
        if peer is not None:
            peer.peer = None
        self._queue.clear()
