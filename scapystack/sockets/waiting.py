"""How a call waits: the ground that all sockets of one `Stack` stand on.

A waiter is a primitive lock that is held; whoever has news lets go of it (`channel`). A thread waits by
acquiring it. In a simulation waiters and waiting are the simulation's own (`Simulation.wait`): the call lets
virtual time go on until the waiter is free, so that blocking programs run in no time, the same way every time.
"""

from __future__ import annotations

import threading
from _thread import allocate_lock
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Protocol
from weakref import WeakSet

from scapystack.base.types import Nanoseconds
from scapystack.runtime.interrupt import LISTEN_S, hears_signals

if TYPE_CHECKING:
    from scapystack.runtime.driver import Driver
    from scapystack.runtime.virtual import Simulation
    from scapystack.sockets.base import Socket


class Waiter(Protocol):
    """What a call waits for: a lock that is held, or what a simulation has in its place."""

    def release(self) -> None:
        """There is news: let the call go on."""


Wait = Callable[[Any, Nanoseconds | None], bool]
"""Wait for a waiter until a time by the driver's clock (None: for ever); whether it came free."""


def held_lock() -> Waiter:
    """A waiter for threads."""
    lock = allocate_lock()
    lock.acquire()
    return lock


class Ground:
    """What the sockets of one stack share: its driver, the list of them, and the way they wait."""

    __slots__ = ("driver", "sockets", "wait", "waiter")

    def __init__(self, driver: Driver, simulation: Simulation | None = None) -> None:
        self.driver = driver
        self.sockets: WeakSet[Socket] = WeakSet()
        self.wait: Wait = self._sleep if simulation is None else simulation.wait
        self.waiter: Callable[[], Waiter] = held_lock if simulation is None else simulation.waiter

    def _sleep(self, waiter: Any, until: Nanoseconds | None) -> bool:
        """Any signal's exception passes through, in the main thread at once (at the latest after `LISTEN_S`)."""
        most = LISTEN_S if hears_signals() else threading.TIMEOUT_MAX
        if until is None:
            while not waiter.acquire(timeout=most):
                pass
            return True
        while (left := (until - self.driver.clock()) * 1e-9) > 0:
            if waiter.acquire(timeout=min(left, most)):
                return True
        return False
