"""What links bring, on its way into the stack: batches, taps and hooks, segments that are joined.

The driver's, which calls it under its lock. Read `link.base` first.
"""

from __future__ import annotations

import select

from scapystack.base.coalesce import coalesce
from scapystack.base.datagram import PROTO_TCP
from scapystack.base.frames import Frame
from scapystack.base.iface import Interface
from scapystack.base.types import Nanoseconds
from scapystack.link.base import JoiningLink, Link
from scapystack.runtime.guard import Guard
from scapystack.stack import NetStack

BATCH = 64
"""Frames read from a link before the stack gets to answer."""
_BULK = 4 * BATCH
"""The same where most are joined, and one answer serves many. Measured, 24 MB from the kernel's BBR: at 5% loss 90 MB/s
and not 69, at 1% 164 and not 141. To send on 256 ACKs at once costs more than on 64: 75 out without offload, not 88."""
_SINGLE = 16
"""Rounds that read one frame each before more is tried again."""


class Port:
    """A link with a descriptor, as its driver sees it.

    `limit` is how much to read at once: after a batch of one frame only one, because the read that
    would find nothing costs as much as the frame; every `_SINGLE` rounds a whole batch is tried. After a
    whole batch that was joined to a few frames, four times as much.
    """

    __slots__ = ("_poll", "fd", "iface", "joining", "limit", "link", "singles")

    def __init__(self, link: Link, iface: Interface) -> None:
        self.link = link
        self.iface = iface
        self.fd = link.fileno()
        self.joining = link if isinstance(link, JoiningLink) else None
        self.limit = BATCH
        self.singles = 0
        self._poll: select.poll | None = None

    def waits(self) -> bool:
        """Whether the descriptor has more to read. 0.6 us, for whoever has read a full batch."""
        poll = self._poll
        if poll is None:
            if self.fd is None:
                return False
            poll = self._poll = select.poll()
            poll.register(self.fd, select.POLLIN)
        return any(event & select.POLLIN for _, event in poll.poll(0))

    def adapt(self, count: int, frames: int) -> None:
        """The last batch was of so many frames, joined to so many."""
        if self.limit == 1:
            self.singles += 1
            if self.singles == _SINGLE:
                self.limit = BATCH
        elif count == 1:
            self.limit = 1
            self.singles = 0
        else:
            self.limit = _BULK if count >= BATCH and count > 4 * frames else BATCH


class Intake:
    """The way from a link's `read` to `NetStack.accept`. Raises nothing, unless the guard is strict.

    `more` is set by a batch that was full where more frames wait behind it.
    """

    __slots__ = ("_guard", "_stack", "more")

    def __init__(self, stack: NetStack, guard: Guard) -> None:
        self._stack = stack
        self._guard = guard
        self.more = False

    def read(self, port: Port, now: Nanoseconds) -> bool:
        """Take one batch; False where there was nothing.

        Where nobody looks at frames, a link that can joins segments while it reads them.
        """
        stack = self._stack
        joining = port.joining
        if joining is not None and self._may_join() and not (stack.taps or stack.hooks.rx or stack.recorded):
            frames = joining.read(port.limit, True)
            count = joining.found
            self._accept(frames, now)
        else:
            frames = port.link.read(port.limit)
            count = len(frames)
            self.take(frames, now)
        if count == port.limit > 1 and not self.more:
            self.more = port.waits()
        port.adapt(count, len(frames))
        return count > 0

    def take(self, frames: list[Frame], now: Nanoseconds) -> None:
        """Have taps, hooks and then the layers see what was read."""
        stack = self._stack
        if stack.taps or stack.hooks.rx:
            frames = self._admit(frames, now)
        if len(frames) > 1 and self._may_join():
            frames = coalesce(frames)
        self._accept(frames, now)

    def _may_join(self) -> bool:
        """Whether nobody but TCP takes the segments: what a router passes on has the PSH flags and IP ids that it
        came with, and a raw socket sees each segment with its own header and checksum."""
        stack = self._stack
        config = stack.config
        return config.tcp.coalesce and not config.ip.forward and PROTO_TCP not in stack.raw.endpoints

    def _admit(self, frames: list[Frame], now: Nanoseconds) -> list[Frame]:
        """What taps and hooks leave of them."""
        admitted: list[Frame] = []
        for frame in frames:
            try:
                admitted += self._stack.admit(frame, now)
            except Exception as error:
                self._guard.report(error, "while a frame was received")
        return admitted

    def _accept(self, frames: list[Frame], now: Nanoseconds) -> None:
        accept = self._stack.accept
        for frame in frames:
            try:
                accept(frame, now)
            except Exception as error:  # an observer: the core itself raises nothing
                self._guard.report(error, "while a frame was received")
