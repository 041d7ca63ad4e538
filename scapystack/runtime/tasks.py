"""`Tasks`: programs of blocking code in virtual time, each in a thread of its own, one running at a time.

A baton goes round: the simulation resumes a task, waits until it has blocked or ended, and only then goes
on. So a task may use blocking sockets as any program does, nothing ever runs beside anything else, and the
same seed gives the same order. Handing the baton over and back takes 11 us (two threads, CPython 3.11).
Read `virtual` first.
"""

from __future__ import annotations

import threading
from _thread import LockType, allocate_lock
from collections import deque
from collections.abc import Callable
from typing import Any

_PATIENCE_S = 5.0
"""How long (real time) `close` waits for a thread that was left running by Ctrl-C."""


class Ended(BaseException):
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
        self._go = _held()
        self._waits = False
        self.thread = threading.Thread(target=self._run, name=name, daemon=True)

    @property
    def waits(self) -> bool:
        """Whether it has begun and now waits for something."""
        return self._waits

    def _run(self) -> None:
        self._go.acquire()
        try:
            if not self._tasks.closed:
                self.result = self._call()
        except Ended:
            pass
        except BaseException as error:
            self.error = error
        finally:
            self.done = True
            self._tasks.back.release()

    def block(self, waiter: Waiter) -> None:
        """Called by the task itself: give the baton back until `waiter` wakes it. Raises `Ended`."""
        tasks = self._tasks
        if tasks.closed:
            raise Ended
        waiter.task = self
        self._waits = True
        tasks.back.release()
        self._go.acquire()
        self._waits = False
        if tasks.closed:
            raise Ended

    def resume(self) -> None:
        """Called by the simulation: hand over the baton and wait for it. Raises what the task raises."""
        tasks = self._tasks
        if tasks.current is not None:
            raise RuntimeError(f"{tasks.current.name} still runs: the simulation was interrupted and is of no more use")
        tasks.current = self
        if not self.thread.ident:
            self.thread.start()
        self._go.release()
        tasks.back.acquire()
        tasks.current = None
        if self.done:
            self.thread.join()
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
        self.back = _held()

    def start(self, call: Callable[[], Any], name: str) -> Task:
        """Have `call` begin with the next step of the simulation."""
        task = Task(self, call, name)
        self.all.append(task)
        self.runnable.append(task)
        return task

    def calling(self) -> Task | None:
        """The task that makes this call; None if it is not one."""
        task = self.current
        return task if task is not None and task.thread.ident == threading.get_ident() else None

    def run(self) -> None:
        """Let every task that can go on do so. Raises what one of them raises."""
        runnable = self.runnable
        while runnable:
            runnable.popleft().resume()

    def close(self) -> None:
        """End the tasks that still wait: `Ended` is raised in each, and its `finally` clauses run."""
        self.closed = True
        self.runnable.clear()
        if self.current is not None and self.back.acquire(timeout=_PATIENCE_S):
            self.current = None
        if self.current is None:
            for task in self.all:
                if not task.done and task.thread.ident:
                    task.resume()


def _held() -> LockType:
    lock = allocate_lock()
    lock.acquire()
    return lock
