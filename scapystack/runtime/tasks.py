"""`Tasks`: programs of blocking code in virtual time, one of them running at a time.

Each is a greenlet: a program with a stack of its own that gives way only where it waits. The simulation resumes
one, and goes on when that has blocked or ended; so a task may use blocking sockets as any program does, nothing
ever runs beside anything else, and the same seed gives the same order. Going there and back takes 1 us; with a
thread for each it takes 12 us at best and 110 where a CPU has to be woken, twice what a segment costs.
Read `virtual` first.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from types import FrameType
from typing import Any

from greenlet import GreenletExit, getcurrent, greenlet


class Ended(GreenletExit):  # type: ignore[misc]  # greenlet has no types
    """Raised in a task that still waits when its simulation is closed; not an Exception, so that it passes."""


class Waiter:
    """What a call in virtual time waits for; `release` lets it go on, as that of a lock does."""

    __slots__ = ("_tasks", "free", "task")

    def __init__(self, tasks: Tasks) -> None:
        self._tasks = tasks
        self.free = False
        self.task: Task | None = None

    def release(self) -> None:
        """What was waited for is there. Harmless when repeated."""
        self.free = True
        self.wake()

    def wake(self) -> None:
        """Let the task that waits look again, whether it is there or not."""
        task, self.task = self.task, None
        if task is not None:
            self._tasks.runnable.append(task)


class Task:
    """One program. `done` once it has returned `result` or raised `error`."""

    def __init__(self, tasks: Tasks, call: Callable[[], Any], name: str) -> None:
        self.name = name
        self.done = False
        self.result: Any = None
        self.error: BaseException | None = None
        self.ended = Waiter(tasks)
        """Free once it is done."""
        self._tasks = tasks
        self._call = call
        self._greenlet: greenlet | None = None  # made when it begins: it belongs to the thread of the simulation

    @property
    def frame(self) -> FrameType | None:
        """Where it waits, innermost call first (`f_back`); None while it does not."""
        return None if self._greenlet is None else self._greenlet.gr_frame

    def _run(self) -> None:
        try:
            self.result = self._call()
        except GreenletExit:
            pass
        except BaseException as error:
            self.error = error

    def block(self, waiter: Waiter) -> None:
        """Called by the task itself: give way until `waiter` wakes it. Raises `Ended`."""
        if self._tasks.closed:
            raise Ended
        waiter.task = self
        own = getcurrent()
        assert own.parent is not None
        own.parent.switch()

    def resume(self, error: BaseException | None = None) -> None:
        """Called by the simulation: let it go on until it blocks or ends. Raises what the task raises."""
        tasks = self._tasks
        own = self._greenlet
        if own is None:
            own = self._greenlet = greenlet(self._run)
        own.parent = getcurrent()
        before, tasks.current = tasks.current, self
        if error is None:
            own.switch()
        else:
            own.throw(error)
        tasks.current = before
        if own.dead:
            self.done = True
            self.ended.release()
            if self.error is not None:
                raise self.error


class Tasks:
    """The tasks of one simulation. `current` is the one that runs now; None while the simulation itself does."""

    def __init__(self) -> None:
        self.all: list[Task] = []
        self.runnable: deque[Task] = deque()
        self.current: Task | None = None
        self.closed = False

    def start(self, call: Callable[[], Any], name: str) -> Task:
        """Have `call` begin with the next step of the simulation."""
        task = Task(self, call, name)
        self.all.append(task)
        self.runnable.append(task)
        return task

    def run(self) -> None:
        """Let every task that can go on do so. Raises what one of them raises."""
        runnable = self.runnable
        while runnable:
            runnable.popleft().resume()

    def close(self) -> None:
        """End the tasks that still wait: `Ended` is raised in each, and its `finally` clauses run.

        Raises what the first of these raised, behind the last.
        """
        self.closed = True
        self.runnable.clear()
        first: BaseException | None = None
        for task in self.all:
            if task.frame is not None and task is not self.current:
                try:
                    task.resume(Ended())
                except BaseException as error:
                    first = first or error
        if first is not None:
            raise first
