"""How a call waits: the ground that all sockets of one `Stack` stand on.

A waiter is a primitive lock that is held; whoever has news lets go of it (`channel`). A thread waits by
acquiring it. In a simulation there is nobody else who could bring news, so the waiting call itself runs
virtual time until the waiter is free: blocking programs then run in no time, the same way every time.
"""

from __future__ import annotations

import threading
from _thread import LockType
from collections.abc import Callable
from errno import EDEADLK
from typing import TYPE_CHECKING
from weakref import WeakSet

from scapystack.base.types import Nanoseconds

if TYPE_CHECKING:
    from scapystack.runtime.driver import Driver
    from scapystack.runtime.virtual import Simulation
    from scapystack.sockets.base import Socket

Wait = Callable[[LockType, Nanoseconds | None], bool]
"""Wait for a waiter until a time by the driver's clock (None: for ever); whether it came free."""


class Ground:
    """What the sockets of one stack share: its driver, the list of them, and the way they wait."""

    __slots__ = ("driver", "sockets", "wait")

    def __init__(self, driver: Driver, simulation: Simulation | None = None) -> None:
        self.driver = driver
        self.sockets: WeakSet[Socket] = WeakSet()
        self.wait: Wait = self._sleep if simulation is None else _Simulated(simulation)

    def _sleep(self, waiter: LockType, until: Nanoseconds | None) -> bool:
        """Any signal's exception passes through, in the main thread at once."""
        if until is None:
            return waiter.acquire()
        left = until - self.driver.clock()
        return left > 0 and waiter.acquire(timeout=min(left * 1e-9, threading.TIMEOUT_MAX))


class _Simulated:
    """Waiting by running the simulation. Raises OSError (EDEADLK) where nothing will ever happen."""

    __slots__ = ("_simulation",)

    def __init__(self, simulation: Simulation) -> None:
        self._simulation = simulation

    def __call__(self, waiter: LockType, until: Nanoseconds | None) -> bool:
        simulation = self._simulation
        if until is not None:
            simulation.at(until, _nothing)  # so that time stops there, and no later
        while waiter.locked():
            if until is not None and simulation.now >= until:
                return False
            if not simulation.step():
                raise OSError(EDEADLK, "The simulation has come to its end: nobody will ever wake this call")
        return True


def _nothing() -> None:
    """An event to stop at."""
