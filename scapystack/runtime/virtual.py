"""`Simulation`: stacks, their links and programs in virtual time, one thing at a time, always the same way.

Between two events nothing happens, so time jumps to the next one: a minute of retransmissions takes
milliseconds. At one time calls come first, then programs (`tasks`), then stacks in the order in which they were
added. Read `driver` first; `scapystack.sim` builds networks on this.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from errno import EDEADLK
from heapq import heappop, heappush
from operator import attrgetter
from typing import Any

from scapystack.base.types import Nanoseconds
from scapystack.link.base import Link
from scapystack.runtime.clock import VirtualClock
from scapystack.runtime.driver import Driver
from scapystack.runtime.tasks import Task, Tasks, Waiter
from scapystack.stack import NetStack

LIMIT = 10_000_000


class Event:
    """A call that is to come. `cancel` takes it back: time does not stop for it any more."""

    __slots__ = ("call",)

    def __init__(self, call: Callable[[], None]) -> None:
        self.call: Callable[[], None] | None = call

    def cancel(self) -> None:
        """Do not call it. Harmless when repeated, or too late."""
        self.call = None


class SimulatedDriver(Driver):
    """A driver whose rounds a simulation makes: it says when one is due, and when that may have changed."""

    def __init__(self, stack: NetStack, simulation: Simulation, number: int) -> None:
        self.number = number
        self.due: Nanoseconds | None = None
        """When its next round is to be, as the simulation knows it; 0 is at once."""
        self._changed = simulation.changed
        self._told = False
        super().__init__(stack, simulation.clock, strict=True)

    def wake(self) -> None:
        """Something came from outside of a round: ask again when the next one is due."""
        if not self._told:
            self._told = True
            self._changed.append(self)

    def look(self) -> Nanoseconds | None:
        """When the next round is due; all that was told before is known by then."""
        self._told = False
        return self.next_at()

    def round(self) -> None:
        """One round: there is no descriptor to look at, and nobody sleeps behind it."""
        self._acquire()
        try:
            self.rounding = True
            now = self.clock()
            self.stack.enter(now)
            for link in self._timed:
                link.advance(now)
            self._read_timed(now)
            self._settle(now)
            self.due = self.next_at()
        finally:
            self.rounding = False
            self._release()

    def _leave(self) -> None:
        try:
            if self._depth == 1 and not self._closed:
                self._settle(self.stack.core.now)
        finally:
            self._release()
            self.wake()


_number = attrgetter("number")


class Simulation:
    """Drivers that share a virtual clock. Errors of applications and hooks are raised.

    Between runs, act on a stack through its driver: `with driver.entered() as stack: ...`.
    """

    def __init__(self, start: Nanoseconds = 0) -> None:
        self.clock = VirtualClock(start)
        self.drivers: list[SimulatedDriver] = []
        self.changed: list[SimulatedDriver] = []
        """Drivers that have to be asked again when they are due."""
        self.tasks = Tasks()
        self._due: list[tuple[Nanoseconds, int, SimulatedDriver]] = []  # valid where the driver's `due` says so
        self._calls: list[tuple[Nanoseconds, int, Event]] = []
        self._count = 0

    @property
    def now(self) -> Nanoseconds:
        """What time it is."""
        return self.clock.now

    def add(self, stack: NetStack, *links: Link) -> Driver:
        """Drive `stack`, with an interface for each of `links`."""
        driver = SimulatedDriver(stack, self, len(self.drivers))
        self.drivers.append(driver)
        for link in links:
            driver.attach(link)
        return driver

    def at(self, time: Nanoseconds, call: Callable[[], None]) -> Event:
        """Call `call` at that time, before programs and stacks do what is due then."""
        event = Event(call)
        self._count += 1
        heappush(self._calls, (max(time, self.clock.now), self._count, event))
        return event

    def start(self, call: Callable[[], Any], name: str = "task") -> Task:
        """Run `call`, which may block in sockets and in `sleep`, from the next step on; `run` raises its errors."""
        return self.tasks.start(call, name)

    # -- events ----------------------------------------------------------------------------------------

    def next_at(self) -> Nanoseconds | None:
        """When something happens next: at once is now; None if nothing ever will."""
        if self.changed:
            self._ask()
        if self.tasks.runnable:
            return self.clock.now
        at: Nanoseconds | None = None
        due = self._due
        while due:
            at = due[0][0]
            if due[0][2].due == at:
                break
            heappop(due)
            at = None
        calls = self._calls
        while calls:
            if calls[0][2].call is not None:
                if at is None or calls[0][0] < at:
                    at = calls[0][0]
                break
            heappop(calls)
        return None if at is None else max(at, self.clock.now)

    def _ask(self) -> None:
        """Put the drivers that told of a change into the order of time."""
        for driver in self.changed:
            due = driver.look()
            if due != driver.due:
                driver.due = due
                if due is not None:
                    heappush(self._due, (due, driver.number, driver))
        self.changed.clear()

    def step(self) -> bool:
        """Move on to the next event and let everything that is due then happen once; False if there is none."""
        at = self.next_at()
        if at is None:
            return False
        self._act(at)
        return True

    def _act(self, at: Nanoseconds) -> None:
        """Everything that is due at `at`, once."""
        self.clock.now = at
        if self._calls and self._calls[0][0] <= at:
            self._call(at)
        if self.tasks.runnable:
            self.tasks.run()
        if self.changed:
            self._ask()
        due = self._due
        drivers = []
        while due and due[0][0] <= at:
            time, _, driver = heappop(due)
            if driver.due == time:
                driver.due = None
                drivers.append(driver)
        if len(drivers) > 1:
            drivers.sort(key=_number)
        try:
            for driver in drivers:
                driver.round()
                if driver.due is not None:
                    heappush(due, (driver.due, driver.number, driver))
        except BaseException:
            for driver in drivers:  # whoever goes on has the rounds that were cut short, and those behind
                driver.wake()
            raise

    def _call(self, at: Nanoseconds) -> None:
        calls = self._calls
        due = deque[tuple[Nanoseconds, int, Event]]()
        while calls and calls[0][0] <= at:
            due.append(heappop(calls))
        try:
            while due:
                call = due.popleft()[2].call
                if call is not None:
                    call()
        finally:
            for each in due:  # behind one that has raised
                heappush(calls, each)

    # -- running ---------------------------------------------------------------------------------------

    def run(self, until: Nanoseconds | Callable[[], bool] | None = None, *, limit: int = LIMIT) -> bool:
        """Run until a time (ns), until a condition holds, or (None) until nothing is left to happen.

        A condition is asked after every step. True if the time came or the condition holds; False if
        events ran out before. Raises RuntimeError after `limit` steps.
        """
        self._not_by_a_task()
        if callable(until):
            return self._run_until(until, limit)
        for _ in range(limit):
            at = self.next_at()
            if at is None or (until is not None and at > until):
                if until is not None:
                    self.clock.advance_to(until)
                return True
            self._act(at)
        raise RuntimeError(f"no end in {limit} steps; it is {self.clock.now / 1e9:.6f} s")

    def _run_until(self, condition: Callable[[], bool], limit: int) -> bool:
        for _ in range(limit):
            if condition():
                return True
            if not self.step():
                return False
        raise RuntimeError(f"the condition never held in {limit} steps; it is {self.clock.now / 1e9:.6f} s")

    def run_for(self, span: Nanoseconds) -> None:
        """Run for so many nanoseconds."""
        self.run(self.clock.now + span)

    def _not_by_a_task(self) -> None:
        task = self.tasks.current
        if task is not None:
            raise RuntimeError(f"{task.name} is part of the simulation and cannot run it: let it wait or sleep")

    # -- waiting ---------------------------------------------------------------------------------------

    def waiter(self) -> Waiter:
        """Something to wait for, until somebody calls its `release`."""
        return Waiter(self.tasks)

    def wait(self, waiter: Waiter, until: Nanoseconds | None = None) -> bool:
        """Wait for `waiter` until a time (ns; None: for ever); whether it came free.

        A task gives way to everybody else meanwhile; any other caller runs the simulation itself. Raises
        OSError (EDEADLK) in the latter where nothing will ever happen.
        """
        task = self.tasks.current
        timer = None if until is None else self.at(until, waiter.wake)  # for the others: so that time stops there
        try:
            if task is not None:
                if not waiter.free:
                    task.block(waiter)
                return waiter.free
            while not waiter.free:
                if until is not None and self.clock.now >= until:
                    return False
                if not self.step():
                    raise OSError(EDEADLK, "The simulation has come to its end: nobody will ever wake this call")
            return True
        finally:
            if timer is not None:
                timer.cancel()

    def sleep(self, span: Nanoseconds) -> None:
        """Let so many nanoseconds pass, for a task or for whoever runs the simulation."""
        self.wait(self.waiter(), self.clock.now + span)

    def close(self) -> None:
        """End every task; close every driver and its links."""
        try:
            self.tasks.close()
        finally:
            for driver in self.drivers:
                driver.close()
