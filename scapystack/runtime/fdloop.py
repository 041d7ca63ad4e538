"""`FdLoop`: sleeps in epoll until a round is due, and settles which thread makes the rounds.

`run()` is the loop of one thread. A thread that blocks in a socket's call makes the rounds itself (`lead`) where
nobody does: what it waits for then comes to it without a hand-off, as to the callback of a loop. There is one
leader at a time. It steps down when it has what it waits for, or when its round has woken another thread, which
is the one to come back and wait next; the others sleep on a lock (`Waiter`). The loop's own thread steps down
too when it has woken one, and stands by: it takes over where nobody has led for `_GRACE_S`. Measured
(`benchmarks.handoff`), an octet there and back through a thread that blocks took 80 us more than through a
callback on one CPU and 123 on two when the loop handed each over, and takes 24 and 34 now. Read `driver` first.
"""

from __future__ import annotations

import select
from _thread import allocate_lock
from collections.abc import Sequence
from contextlib import suppress
from threading import TIMEOUT_MAX
from typing import TYPE_CHECKING

from scapystack.base.types import Nanoseconds
from scapystack.runtime.host import AWAKE, NEVER
from scapystack.runtime.interrupt import LISTEN_S, hears_signals, may_be_broken_off
from scapystack.runtime.slack import no_timer_slack
from scapystack.runtime.wakeup import Wakeup

if TYPE_CHECKING:
    from scapystack.runtime.driver import Driver

_NS = 1e-9
_SHORT_S = 0.002
"""Sleeps below this end on time to some 50 us; epoll alone rounds up to milliseconds."""
_SELECT_LIMIT = 1_024
"""select() takes descriptors below FD_SETSIZE."""
_LINGER_NS = 50_000
"""After a round that brought something the next frame is looked for as long before the loop sleeps: an answer often
comes sooner than a sleeping CPU wakes. Measured: pings on one CPU 23 us and not 35, connections one after another
3,230 a second and not 2,850. It costs at most this much of a CPU for each time that something comes."""
_GRACE_S = 0.002
"""How long the network may be left alone by a thread that has what it waited for and works on it. The interpreter
lets a thread that computes go on for 5 ms."""
_STAY = 16
"""Rounds that wake a thread before the loop steps down again, after a time when nobody came to lead."""


class Waiter:
    """What a thread waits for. `release` may be called by any thread, with the driver's lock or without."""

    __slots__ = ("_loop", "free", "lock")

    def __init__(self, loop: FdLoop) -> None:
        self._loop = loop
        self.free = False
        self.lock = allocate_lock()
        self.lock.acquire()

    def release(self) -> None:
        """There is news: let the call go on. Harmless when repeated."""
        self.free = True
        loop = self._loop
        if loop.leader is self:
            loop.driver.wake()  # nothing, in the leader's own round
            return
        loop.woke = True
        with suppress(RuntimeError):  # let go of already
            self.lock.release()


class FdLoop:
    """The host of a driver that no event loop hosts. Without `watch` and `run` it holds no descriptor."""

    def __init__(self, driver: Driver) -> None:
        self.driver = driver
        self.epoll: select.epoll | None = None
        self.leader: object = None
        """Who makes the rounds: a `Waiter`, this loop for its own thread, or None."""
        self.woke = False
        """Whether a thread that sleeps was woken since the leader looked last."""
        self.running = False
        """From `begin` to `end`."""
        self._serving: select.epoll | None = None  # the descriptors, while rounds are to be made
        self._stopping = False
        self._wakeup: Wakeup | None = None
        self._baton = allocate_lock()
        self._turns = 0  # how often a thread that waits has begun to lead
        self._refused = False  # whether a thread would have led since the last round began
        self._stay = 0
        self._resting = False
        self._bell = allocate_lock()
        self._bell.acquire()

    # -- descriptors -------------------------------------------------------------------------------

    def open(self) -> select.epoll:
        """The descriptors of the loop, made when first needed. Raises OSError (EMFILE)."""
        epoll = self.epoll
        if epoll is None:
            epoll, wakeup = select.epoll(), Wakeup()
            epoll.register(wakeup.fd, select.EPOLLIN)
            self.epoll, self._wakeup = epoll, wakeup  # both or, where descriptors have run out, neither
        return epoll

    def close(self) -> None:
        """Let go of them. Whoever sleeps by them just now has references of its own, and they live as long."""
        self.epoll = self._wakeup = None

    def watch(self, fd: int) -> None:
        """Make a round when this descriptor is readable."""
        self.open().register(fd, select.EPOLLIN)

    def unwatch(self, fd: int) -> None:
        """No longer. One that is closed already is forgotten."""
        with suppress(OSError, ValueError):
            if self.epoll is not None:
                self.epoll.unregister(fd)

    def ready(self) -> Sequence[tuple[int, int]]:
        """What is readable now."""
        return self.epoll.poll(0) if self.epoll is not None else ()

    def wake(self) -> None:
        """End the leader's sleep. Takes no lock."""
        wakeup = self._wakeup
        if wakeup is not None:
            wakeup.set()

    def clear(self) -> None:
        """That was seen."""
        if self._wakeup is not None:
            self._wakeup.clear()

    def hurry(self, at: Nanoseconds) -> None:
        """The next round is due earlier than was said."""
        self.driver.sleeps_until = at
        if self.leader is not None:
            self.wake()

    # -- the loop's own thread ---------------------------------------------------------------------

    def begin(self) -> None:
        """`run` is about to be called. Under the driver's lock."""
        epoll = self.open()
        self.running = True
        self.driver.sleeps_until = AWAKE
        if not self._stopping:
            self._serving = epoll

    def run(self) -> None:
        """Make rounds, or stand by while other threads do, until `stop`. Any signal's exception passes."""
        listening = hears_signals()
        with no_timer_slack():
            while self._serving is not None:
                if self._baton.acquire(False):
                    self.leader = self
                    try:
                        self._make_rounds(self._serving, None, None, listening)
                    finally:
                        self._leave_off()
                self._stand_by(LISTEN_S if listening else TIMEOUT_MAX)

    def end(self) -> None:
        """`run` is over. Under the driver's lock."""
        self._serving = None
        self.running = self._stopping = False

    def stop(self) -> None:
        """Have `run` return after its round. One that is not running yet returns at once."""
        self._stopping = True
        self._serving = None
        self.driver.wake()
        self._ring()

    def _ring(self) -> None:
        with suppress(RuntimeError):  # rung already
            self._bell.release()

    def _stand_by(self, most: float) -> None:
        """Until nobody has led for a while, or `stop`. While one thread leads all the time, wait for its bell."""
        begun = self._turns
        seen = -1
        while self._serving is not None:
            if self._turns == seen:
                if self.leader is None:
                    break
                self._resting = True
                if self.leader is not None:
                    self._bell.acquire(timeout=most)
                self._resting = False
            seen = self._turns
            self._bell.acquire(timeout=_GRACE_S)
        self._stay = _STAY if self._turns == begun else 0

    # -- threads that wait -------------------------------------------------------------------------

    def lead(self, waiter: Waiter, until: Nanoseconds | None) -> bool:
        """Make rounds in the calling thread while that has to wait; whether `waiter` came free.

        False, maybe at once, means that somebody else makes them, or nobody: the thread is to sleep. Any
        signal's exception passes.
        """
        epoll = self._serving
        listening = hears_signals()
        if epoll is None or (listening and may_be_broken_off()):
            return waiter.free
        if not self._baton.acquire(False):
            self._refused = True
            return waiter.free
        self._turns += 1
        self.leader = waiter
        try:
            self._make_rounds(epoll, waiter, until, listening)
        finally:
            self._leave_off()
        return waiter.free

    def _leave_off(self) -> None:
        self.leader = None
        self._baton.release()
        if self._resting:
            self._ring()

    # -- rounds ------------------------------------------------------------------------------------

    def _make_rounds(
        self, epoll: select.epoll, waiter: Waiter | None, until: Nanoseconds | None, listening: bool
    ) -> None:
        """Rounds and sleeps, while that is the leader's to do. A short sleep (of pacing, mostly) goes through select(),
        which takes microseconds: measured, a sleep of 100 us ends 40 us late and not 970, for 1.3 us more where a
        frame cuts it short."""
        driver = self.driver
        wakeup = self._wakeup  # held: what `stop` and `close` wrote to it ends a sleep as long as it is open
        clock = driver.clock
        descriptor = epoll.fileno()
        watched = (descriptor,)
        short = _SHORT_S if descriptor < _SELECT_LIMIT else 0.0
        linger = waiter is not None
        self.woke = False
        # said by the last round, whoever made it; whoever is in a hurry since then sees that there is a leader
        due = driver.sleeps_until
        timeout = 0.0 if due == AWAKE else -1.0 if due == NEVER else max((due - clock()) * _NS, 0.0)
        while self._serving is epoll and wakeup is not None:
            if waiter is not None:
                if waiter.free:
                    return
                if until is not None:
                    left = (until - clock()) * _NS
                    if left <= 0.0:
                        return
                    if not 0.0 <= timeout <= left:
                        timeout = left
            if 0.0 < timeout < short:
                events: Sequence[tuple[int, int]] = epoll.poll(0) if select.select(watched, (), (), timeout)[0] else ()
            else:
                if listening and not 0.0 <= timeout < LISTEN_S:
                    timeout = LISTEN_S
                events = (linger and timeout and self._linger(epoll)) or epoll.poll(timeout)
            self._refused = False
            timeout = driver.turn(events)
            linger = bool(events)
            if self.woke:
                self.woke = linger = False  # whoever was woken is about to act: it shall have the interpreter
                if self._refused:  # it has done so already, and waits again
                    continue
                if waiter is not None or not self._stay:
                    return
                self._stay -= 1

    def _linger(self, epoll: select.epoll) -> Sequence[tuple[int, int]]:
        """What comes within a moment."""
        clock = self.driver.clock
        until = clock() + _LINGER_NS
        while not (events := epoll.poll(0)) and clock() < until:
            pass
        return events
