"""How a call waits: the ground that all sockets of one `Stack` stand on.

A thread registers a waiter; whoever has news lets go of it (`channel`). It waits by making the stack's rounds
itself where nobody does, and else by sleeping on the waiter's lock (`runtime.fdloop`). In a simulation waiters and
waiting are the simulation's own (`Simulation.wait`): the call lets virtual time go on until the waiter is free, so
that blocking programs run in no time, the same way every time.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from threading import TIMEOUT_MAX
from typing import TYPE_CHECKING, Any, Protocol
from weakref import WeakSet

from scapystack.base.types import Nanoseconds
from scapystack.runtime.fdloop import Waiter as ThreadWaiter
from scapystack.runtime.interrupt import LISTEN_S, hears_signals

if TYPE_CHECKING:
    from scapystack.runtime.driver import Driver
    from scapystack.runtime.virtual import Simulation
    from scapystack.sockets.base import Socket


class Waiter(Protocol):
    """What a call waits for: a thread's, or what a simulation has in its place."""

    def release(self) -> None:
        """There is news: let the call go on."""


Wait = Callable[[Any, Nanoseconds | None], bool]
"""Wait for a waiter until a time by the driver's clock (None: for ever); whether it came free."""


class Ground:
    """What the sockets of one stack share: its driver, the list of them, and the way they wait."""

    __slots__ = ("driver", "sockets", "wait", "waiter")

    def __init__(self, driver: Driver, simulation: Simulation | None = None) -> None:
        self.driver = driver
        self.sockets: WeakSet[Socket] = WeakSet()
        self.wait: Wait = self._sleep if simulation is None else simulation.wait
        self.waiter: Callable[[], Waiter] = (
            partial(ThreadWaiter, driver.loop) if simulation is None else simulation.waiter
        )

    def _sleep(self, waiter: Any, until: Nanoseconds | None) -> bool:
        """Any signal's exception passes through, in the main thread at once (at the latest after `LISTEN_S`)."""
        if self.driver.loop.lead(waiter, until):
            return True
        most = LISTEN_S if hears_signals() else TIMEOUT_MAX
        while not waiter.free:
            left = most if until is None else (until - self.driver.clock()) * 1e-9
            if left <= 0:
                return False
            waiter.lock.acquire(timeout=min(left, most))
        return True
