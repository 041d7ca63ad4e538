"""`Simulation`: several stacks and their links in virtual time, in one thread, always the same way.

Between two events nothing happens, so time jumps to the next one: a minute of retransmissions takes
milliseconds. Stacks are served in the order they were added. Read `driver` first.
"""

from __future__ import annotations

from collections.abc import Callable
from heapq import heappop, heappush

from scapystack.base.types import Nanoseconds
from scapystack.link.base import Link
from scapystack.runtime.clock import VirtualClock
from scapystack.runtime.driver import Driver
from scapystack.stack import NetStack

LIMIT = 10_000_000


class Simulation:
    """Drivers that share a virtual clock. Errors of applications and hooks are raised.

    Between runs, act on a stack through its driver: `with driver.entered() as stack: ...`.
    """

    def __init__(self, start: Nanoseconds = 0) -> None:
        self.clock = VirtualClock(start)
        self.drivers: list[Driver] = []
        self._calls: list[tuple[Nanoseconds, int, Callable[[], None]]] = []
        self._count = 0

    @property
    def now(self) -> Nanoseconds:
        """What time it is."""
        return self.clock.now

    def add(self, stack: NetStack, *links: Link) -> Driver:
        """Drive `stack`, with an interface for each of `links`."""
        driver = Driver(stack, self.clock, strict=True)
        for link in links:
            driver.attach(link)
        self.drivers.append(driver)
        return driver

    def at(self, time: Nanoseconds, call: Callable[[], None]) -> None:
        """Call `call` at that time, before the stacks do what is due then."""
        self._count += 1
        heappush(self._calls, (max(time, self.clock.now), self._count, call))

    def next_at(self) -> Nanoseconds | None:
        """When something happens next: at once is now; None if nothing ever will."""
        times = [at for driver in self.drivers if (at := driver.next_at()) is not None]
        if self._calls:
            times.append(self._calls[0][0])
        return max(min(times), self.clock.now) if times else None

    def step(self) -> bool:
        """Move on to the next event and let everything that is due then happen once; False if there is none."""
        at = self.next_at()
        if at is None:
            return False
        self.clock.advance_to(at)
        due_calls = []
        while self._calls and self._calls[0][0] <= at:
            due_calls.append(heappop(self._calls)[2])
        for call in due_calls:
            call()
        for driver in self.drivers:
            due = driver.next_at()
            if due is not None and due <= at:
                driver.round()
        return True

    def run(self, until: Nanoseconds | Callable[[], bool] | None = None, *, limit: int = LIMIT) -> bool:
        """Run until a time (ns), until a condition holds, or (None) until nothing is left to happen.

        A condition is asked after every step. True if the time came or the condition holds; False if
        events ran out before. Raises RuntimeError after `limit` steps.
        """
        if callable(until):
            return self._run_until(until, limit)
        for _ in range(limit):
            at = self.next_at()
            if at is None or (until is not None and at > until):
                if until is not None:
                    self.clock.advance_to(until)
                return True
            self.step()
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

    def close(self) -> None:
        """Close every driver and its links."""
        for driver in self.drivers:
            driver.close()
