"""`MemoryLink`: two ends joined by queues, for two stacks in one process (or one stack and a test).

What arrives is what would be on a wire: finished checksums, segments cut to size, the octets in one
piece. With `offload` frames pass as the stack made them, super-segments whole. With a `delay` a frame
can be read only that much later; the drivers of both ends tell the time (`advance`). Two threads may
serve the two ends. Read `link.base` first.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from typing import Self

from scapystack.base.frames import CSUM_PARTIAL, Frame
from scapystack.base.offload import split
from scapystack.base.types import Mac, Nanoseconds
from scapystack.link.base import SUPER_SEGMENT, BaseLink

QUEUE_FRAMES = 65_536
"""Frames on their way to one end; what comes on top is lost, and counted by the sender's `tx_dropped`."""


class MemoryLink(BaseLink):
    """One end. Made in pairs by `MemoryLink.pair`; frames written to one are read from the other."""

    def __init__(self, name: str, mac: Mac, mtu: int, offload: bool, delay: Nanoseconds) -> None:
        super().__init__(name, mac, mtu, SUPER_SEGMENT)
        self.offload = offload
        self.delay = delay
        self.timed = True
        self.peer: Self | None = None
        self._now: Nanoseconds = 0
        # of (time of arrival, frame); append and popleft are atomic, so the ends need no lock
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
    ) -> tuple[Self, Self]:
        """Two joined ends; `delay` (ns) holds each way."""
        a, b = (cls(name, mac, mtu, offload, delay) for name, mac in zip(names, macs, strict=True))
        a.peer, b.peer = b, a
        return a, b

    def advance(self, now: Nanoseconds) -> None:
        """What time it is at this end."""
        self._now = now

    def next_at(self) -> Nanoseconds | None:
        """When the first frame on its way arrives; 0 without a delay."""
        queue = self._queue
        return queue[0][0] if queue else None

    def read(self, limit: int = 64) -> list[Frame]:
        """Frames of the other end whose delay is over."""
        queue = self._queue
        frames: list[Frame] = []
        while queue and len(frames) < limit and queue[0][0] <= self._now:
            frame = queue.popleft()[1]
            frame.iface = self.iface
            frames.append(frame)
        return frames

    def write(self, frames: Sequence[Frame]) -> None:
        """Put frames before the other end; to a closed one they are lost."""
        peer = self.peer
        if peer is None:
            self.tx_dropped += len(frames)
            return
        queue = peer._queue
        at = self._now + self.delay if self.delay else 0
        for frame in frames:
            if self.offload or not (frame.gso_size or frame.csum == CSUM_PARTIAL):
                parts: Sequence[Frame] = (frame,)
            else:
                parts = split(frame)
            for part in parts:
                if len(queue) >= QUEUE_FRAMES:
                    self.tx_dropped += 1
                    continue
                # a frame of its own: the sender's may still be looked at (taps, captures)
                arrived = Frame(part.data, (), None, part.csum, part.csum_start, part.csum_offset, part.gso_size)
                queue.append((at, arrived))
        if peer.on_input is not None:
            peer.on_input()

    def close(self) -> None:
        """Part the two ends; what is on its way is lost."""
        peer, self.peer = self.peer, None
        if peer is not None:
            peer.peer = None
            peer.broken = f"{peer.name}: the other end was closed"
        self._queue.clear()
