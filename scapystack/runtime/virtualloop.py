"""`VirtualLoop`: an asyncio event loop whose time is a simulation's; to wait is to let the simulation go on.

It has no descriptors: what coroutines wait for are timers, and endpoints of simulated stacks (`sockets.aio`). It
runs in a task of the simulation, or in whoever holds the simulation, and any number of loops take turns in one
thread. Read `virtual` first.
"""

from __future__ import annotations

import asyncio
import sys
from asyncio import BaseEventLoop, Handle
from collections.abc import Callable, Coroutine
from typing import Any, TypeVar

from scapystack.base.types import SECOND
from scapystack.runtime.tasks import Waiter
from scapystack.runtime.virtual import Simulation

T = TypeVar("T")


def run_coroutine(simulation: Simulation, main: Callable[[], Coroutine[Any, Any, T]]) -> T:
    """What `main()` gives, run in a loop of its own (`asyncio.run` in virtual time). Raises what it raises."""
    with asyncio.Runner(loop_factory=lambda: VirtualLoop(simulation)) as runner:
        return runner.run(main())


class VirtualLoop(BaseEventLoop):
    """An event loop in virtual time."""

    def __init__(self, simulation: Simulation) -> None:
        super().__init__()
        self._simulation = simulation
        self._waiter: Waiter | None = None
        self._selector = self  # what BaseEventLoop waits by: see `select`

    def time(self) -> float:
        """Seconds, by the simulation's clock."""
        return self._simulation.now / SECOND

    def select(self, timeout: float | None) -> list[Any]:
        """Let the simulation go on until something is to be called, `timeout` seconds at most.

        This loop is not the running one meanwhile: others have their turn. Raises OSError (EDEADLK) where nobody
        will ever call anything.
        """
        if timeout == 0:
            return []
        simulation = self._simulation
        self._waiter = waiter = simulation.waiter()
        until = None if timeout is None else simulation.now + round(timeout * SECOND)
        hooks = sys.get_asyncgen_hooks()
        asyncio._set_running_loop(None)
        sys.set_asyncgen_hooks(None, None)
        try:
            simulation.wait(waiter, until)
        finally:
            self._waiter = None
            asyncio._set_running_loop(self)
            sys.set_asyncgen_hooks(*hooks)
        return []

    def _process_events(self, events: list[Any]) -> None:
        """There are none: everything comes by `call_soon`."""

    def _write_to_self(self) -> None:
        """End the wait: something is to be called (`call_soon_threadsafe`)."""
        if self._waiter is not None:
            self._waiter.release()

    def call_soon(self, callback: Callable[..., object], *args: Any, context: Any = None) -> Handle:  # type: ignore[override]
        """As every loop's; a wait of this one ends."""
        self._write_to_self()
        return super().call_soon(callback, *args, context=context)

    def call_at(self, when: float, callback: Callable[..., object], *args: Any, context: Any = None) -> Any:  # type: ignore[override]
        """As every loop's; a wait of this one ends, and is begun anew up to the earliest timer."""
        self._write_to_self()
        return super().call_at(when, callback, *args, context=context)
