"""`Driver`: joins one `NetStack` to its links, a clock and the threads that use it.

A round is: read a batch of frames from each link, `receive` them, let applications act on what became
ready, `poll`, write what must go out. `run()` makes rounds for ever, asleep in epoll between them;
`entered()` lets any other thread act on the stack and sends what that produced from the calling thread,
so that a blocking `send` needs no switch to the loop's thread. The lock is held during a round and
never while sleeping.
"""

from __future__ import annotations

import contextlib
import logging
import os
import select
import threading
from collections import deque
from collections.abc import Callable

from scapystack.base.frames import Frame
from scapystack.base.iface import Interface
from scapystack.base.types import MILLISECOND, Nanoseconds
from scapystack.link.base import Link
from scapystack.runtime.clock import Clock, monotonic
from scapystack.stack import NetStack

BATCH = 64
"""Frames read from a link before the stack gets to answer."""
_SETTLE_ROUNDS = 64
_MAX_SLEEP_MS = 3_600_000

log = logging.getLogger("scapystack")


class Entered:
    """The context manager of `Driver.entered`: without state of its own, so that one serves all."""

    __slots__ = ("_driver",)

    def __init__(self, driver: Driver) -> None:
        self._driver = driver

    def __enter__(self) -> NetStack:
        return self._driver._enter()

    def __exit__(self, *error: object) -> None:
        self._driver._leave()


class Driver:
    """Drives `stack` by `clock`. Every method may be called by any thread."""

    def __init__(self, stack: NetStack, clock: Clock = monotonic) -> None:
        self.stack = stack
        self.clock = clock
        self.lock = threading.RLock()
        self.links: dict[int, Link] = {}
        self._depth = 0
        self._entered = Entered(self)
        self._calls: deque[Callable[[], None]] = deque()
        self._wake_fd = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)
        self._epoll = select.epoll()
        self._epoll.register(self._wake_fd, select.EPOLLIN)
        self._by_fd: dict[int, Link] = {}
        self._sleeps_until: Nanoseconds | None = None  # while the loop sleeps: its deadline
        self._sleeping = False
        self._stopping = False
        self._closed = False
        self._reported: set[str] = set()

    # -- links -----------------------------------------------------------------------------------------

    def attach(self, link: Link) -> Interface:
        """Give the stack an interface for `link` and drive it. Raises ConfigError (a name twice)."""
        with self.lock:
            iface = self.stack.add_interface(link.name, link.mac, link.mtu, link.gso_max)
            link.iface = iface
            self.links[iface.index] = link
            fd = link.fileno()
            if fd is not None:
                self._by_fd[fd] = link
                self._epoll.register(fd, select.EPOLLIN)
            link.on_input = self.wake
            return iface

    def detach(self, link: Link) -> None:
        """Take the interface away and close the link."""
        with self.lock:
            iface = link.iface
            if iface is None or self.links.get(iface.index) is not link:
                return
            fd = link.fileno()
            if fd is not None and self._by_fd.pop(fd, None) is not None:
                with contextlib.suppress(OSError, ValueError):
                    self._epoll.unregister(fd)
            del self.links[iface.index]
            self.stack.remove_interface(iface)
            link.close()

    # -- the loop --------------------------------------------------------------------------------------

    def run(self) -> None:
        """Make rounds until `stop()`; a KeyboardInterrupt passes through between two rounds."""
        self._stopping = False
        while not self._stopping:
            self.round()
            self._sleep()

    def stop(self) -> None:
        """Have `run()` return after its round."""
        self._stopping = True
        self.wake()

    def wake(self) -> None:
        """End the loop's sleep."""
        if not self._closed:
            os.eventfd_write(self._wake_fd, 1)

    def call_soon(self, call: Callable[[], None]) -> None:
        """Have the loop call `call` in its next round, under the lock."""
        self._calls.append(call)
        self.wake()

    def close(self) -> None:
        """Close every link; the driver is of no more use."""
        with self.lock:
            if self._closed:
                return
            self._closed = True
            self._stopping = True
            for link in list(self.links.values()):
                self.detach(link)
            self._epoll.close()
            os.close(self._wake_fd)

    def round(self) -> bool:
        """One iteration, without sleeping. Whether any frame was read."""
        with self.lock:
            self._depth += 1
            try:
                busy = self._read()
                while self._calls:
                    self._guarded(self._calls.popleft())
                self._settle()
                self._write()
            finally:
                self._depth -= 1
            return busy

    def _read(self) -> bool:
        stack = self.stack
        busy = False
        now = self.clock()
        stack.enter(now)
        for link in self.links.values():
            frames = link.read(BATCH)
            if frames:
                busy = True
                for frame in frames:
                    stack.receive(frame, now)
        return busy

    def _settle(self) -> None:
        """Applications, timers and output, until nobody has anything left to do (bounded)."""
        stack = self.stack
        for _ in range(_SETTLE_ROUNDS):
            for endpoint in stack.take_ready():
                if endpoint.on_ready is not None:
                    self._guarded(endpoint.on_ready)
            stack.poll(self.clock())
            if not stack.core.ready:
                return

    def _guarded(self, call: Callable[[], None]) -> None:
        """Run an application's code; what it raises is reported once and kills nobody else."""
        try:
            call()
        except Exception as error:
            self.stack.counters["driver.application_errors"] += 1
            where = f"{type(error).__name__}: {error}"
            if where not in self._reported:
                self._reported.add(where)
                log.exception("an application of the stack failed: %s", where)

    def _write(self) -> None:
        frames = self.stack.take_frames()
        if not frames:
            return
        links = self.links
        if len(links) == 1:
            next(iter(links.values())).write(frames)
            return
        batches: dict[int, list[Frame]] = {}
        for frame in frames:
            if frame.iface is not None:
                batches.setdefault(frame.iface.index, []).append(frame)
        for index, batch in batches.items():
            link = links.get(index)
            if link is not None:
                link.write(batch)

    def next_at(self) -> Nanoseconds | None:
        """The next deadline of the stack or of a link that delays frames."""
        at = self.stack.next_deadline()
        for link in self.links.values():
            due = link.next_at()
            if due is not None and (at is None or due < at):
                at = due
        return at

    def _sleep(self) -> None:
        with self.lock:
            if self._calls or self._stopping:
                timeout_ms: float = 0
            else:
                at = self.next_at()
                self._sleeps_until = at
                self._sleeping = True
                # rounded up: a wake-up before the deadline would only find nothing to do
                timeout_ms = -1 if at is None else max(0, -(-(at - self.clock()) // MILLISECOND))
        try:
            events = self._epoll.poll(min(timeout_ms, _MAX_SLEEP_MS) / 1000 if timeout_ms >= 0 else -1)
        finally:
            self._sleeping = False
        for fd, _ in events:
            if fd == self._wake_fd:
                with contextlib.suppress(BlockingIOError):
                    os.eventfd_read(fd)

    # -- other threads -----------------------------------------------------------------------------------

    def entered(self) -> Entered:
        """Act on the stack from any thread: `with driver.entered() as stack: ...`.

        Takes the lock and sets the time; at the end applications are told, and what has to leave is
        sent from this thread. May be nested; the outermost one sends.
        """
        return self._entered

    def _enter(self) -> NetStack:
        self.lock.acquire()
        self._depth += 1
        if self._depth == 1:
            self.stack.enter(self.clock())
        return self.stack

    def _leave(self) -> None:
        try:
            if self._depth == 1 and not self._closed:
                self._settle()
                self._write()
                self._wake_if_earlier()
        finally:
            self._depth -= 1
            self.lock.release()

    def _wake_if_earlier(self) -> None:
        """The loop must not sleep past a deadline that has just been set."""
        if self._sleeping:
            at = self.next_at()
            until = self._sleeps_until
            if at is not None and (until is None or at < until):
                self.wake()
