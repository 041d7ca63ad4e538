"""`AsyncioHost`: an asyncio event loop makes a driver's rounds, in its own thread.

A link's descriptor is one of the loop's readers, the stack's next deadline is one timer of the loop's, and
whoever else has work for a round asks for it with `call_soon`. So nothing is polled and no thread is made.
Applications' code runs in the round (`Endpoint.on_ready`), as it does in the fd loop: `sockets.aio` has
transports and protocols on top. Read `driver` first.
"""

from __future__ import annotations

import contextlib
import select
from asyncio import AbstractEventLoop, TimerHandle
from collections.abc import Sequence
from threading import get_ident

from scapystack.base.types import Nanoseconds
from scapystack.runtime.driver import Driver
from scapystack.runtime.host import AWAKE, NEVER

_NS = 1e-9


class AsyncioHost:
    """Joins `driver` to `loop` until `close()`. Made, and closed, in the loop's thread.

    Raises RuntimeError where the driver runs already.
    """

    def __init__(self, driver: Driver, loop: AbstractEventLoop) -> None:
        self.driver = driver
        self.loop = loop
        self._thread = get_ident()
        self._timer: TimerHandle | None = None
        self._timer_at: Nanoseconds = NEVER
        self._called = False  # a round is to come with the loop's next turn
        driver.be_hosted(self)

    def close(self) -> None:
        """Make no more rounds. Harmless when repeated."""
        if self.driver.host is self:
            self.driver.be_hosted(None)
        self._called = True
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    # -- what the driver asks for ------------------------------------------------------------------

    def watch(self, fd: int) -> None:
        """Make the descriptor a reader of the loop."""
        self.loop.add_reader(fd, self._turn, ((fd, select.EPOLLIN),))

    def unwatch(self, fd: int) -> None:
        """No longer."""
        if not self.loop.is_closed():
            self.loop.remove_reader(fd)

    def wake(self) -> None:
        """Make a round with the loop's next turn, if none is to come anyway."""
        if self._called:
            return
        self._called = True
        call_soon = self.loop.call_soon if get_ident() == self._thread else self.loop.call_soon_threadsafe
        with contextlib.suppress(RuntimeError):  # the loop is closed
            call_soon(self._due)

    def hurry(self, at: Nanoseconds) -> None:
        """Move the timer to an earlier time."""
        if get_ident() == self._thread:
            self.driver.sleeps_until = at
            self._arm()
        else:
            self.wake()

    # -- rounds ------------------------------------------------------------------------------------

    def _due(self) -> None:
        if self.driver.host is self:
            self._turn(())

    def _expired(self) -> None:
        self._timer = None
        self._timer_at = NEVER
        self._turn(())

    def _turn(self, events: Sequence[tuple[int, int]]) -> None:
        self._called = False
        try:
            self.driver.turn(events)
        except BaseException:
            self.wake()  # KeyboardInterrupt, for one: what the round had not come to is not lost
            raise
        self._arm()

    def _arm(self) -> None:
        """See that a round comes when one is due. A timer that comes early costs a round, moving one costs more."""
        driver = self.driver
        at = driver.sleeps_until
        if at >= self._timer_at:
            return
        if at == AWAKE:
            self.wake()
            return
        if self._timer is not None:
            self._timer.cancel()
        self._timer_at = at
        self._timer = self.loop.call_later((at - driver.clock()) * _NS, self._expired)
