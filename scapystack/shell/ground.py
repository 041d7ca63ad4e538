"""What the calls of a session wait on: like the ground of any program's sockets, and Ctrl-C ends the waiting.

A command runs in a thread of its own, which no signal reaches. So its blocking calls (sockets, pings, the
session's `wait`) all come through here, and `interrupt`, called by whoever hears the Ctrl-C, has the one
that waits raise `Interrupted`. In a simulation the waiting is the simulation's. Read `sockets.waiting` first.
"""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Any

from scapystack.base.types import Nanoseconds
from scapystack.sockets.waiting import Ground, Waiter

if TYPE_CHECKING:
    from scapystack.runtime.driver import Driver
    from scapystack.runtime.virtual import Simulation


class Interrupted(Exception):
    """Ctrl-C: the command ends, and what it had open is closed on the way."""


class SessionGround(Ground):
    """One session's; one call waits at a time."""

    __slots__ = ("_ended", "_guard", "_inner", "_interrupted", "_waiting")

    def __init__(self, driver: Driver, simulation: Simulation | None = None) -> None:
        super().__init__(driver, simulation)
        self._inner = self.wait
        self.wait = self._wait
        self._guard = threading.Lock()
        self._waiting: Waiter | None = None
        self._interrupted = self._ended = False

    def begin(self) -> None:
        """A command begins: what was interrupted before does not count."""
        self._interrupted = self._ended

    def end(self) -> None:
        """As `interrupt`, and for every command after this one."""
        self._ended = True
        self.interrupt()

    def interrupt(self) -> None:
        """Have the call that waits, or the next one that would, raise `Interrupted`. Any thread's."""
        with self._guard:
            self._interrupted = True
            waiting = self._waiting
        if waiting is not None:
            waiting.release()

    def check(self) -> None:
        """Raise `Interrupted` if that is due: for what works long without waiting."""
        if self._interrupted:
            raise Interrupted

    def _wait(self, waiter: Any, until: Nanoseconds | None) -> bool:
        with self._guard:
            self.check()
            self._waiting = waiter
        try:
            came = self._inner(waiter, until)
        finally:
            self._waiting = None
        self.check()
        return came
