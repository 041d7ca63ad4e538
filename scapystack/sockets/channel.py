"""`Channel`: the half of a socket that the stack holds on to, and the meeting place of threads.

An endpoint's `on_ready` is a method of its channel, never of the `Socket`: so a socket that the
program forgets is collected and closes its endpoint, as one of the `socket` module is. Everything
here runs under the driver's lock, except `Waiter.wait`.

Waiting: a thread that cannot go on appends a waiter to `readers` or `writers` while it holds the
lock, lets go of it and sleeps; `on_ready` wakes all of them, and each tries again. A waiter is one
primitive lock: 0.1 us to make, and a wait in the main thread ends at once for a signal
(`threading.Condition` does the same with three times the work around it).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from scapystack.base.events import Endpoint
from scapystack.sockets.pollable import PollFd
from scapystack.sockets.waiting import Waiter

Predicate = Callable[[Any], bool]


def always(endpoint: object) -> bool:
    """For a direction that never blocks."""
    return True


def never(endpoint: object) -> bool:
    """For a direction that an endpoint has not."""
    return False


def readable(endpoint: Any) -> bool:
    """What every endpoint says of itself."""
    return bool(endpoint.readable)


def connection_writable(connection: Any) -> bool:
    """Whether `send` would take a useful amount or raise; a handshake under way is neither."""
    if connection.writable:
        return True
    connection.want_write = True  # ask to be told
    return False


class Channel:
    """One endpoint, the threads that wait for it, and the descriptor that shows its readiness."""

    __slots__ = ("_waiter", "can_read", "can_write", "endpoint", "held", "poll_fd", "readers", "writers")

    def __init__(self, waiter: Callable[[], Waiter]) -> None:
        """`waiter` makes them: the ground's."""
        self._waiter = waiter
        self.endpoint: Any = None
        self.can_read: Predicate = always
        self.can_write: Predicate = always
        self.held = False  # something that was peeked at lies ready outside of the endpoint
        self.readers: list[Waiter] = []
        self.writers: list[Waiter] = []
        self.poll_fd: PollFd | None = None

    def attach(self, endpoint: Endpoint, can_read: Predicate, can_write: Predicate) -> None:
        """Serve this endpoint from now on."""
        self.endpoint = endpoint
        self.can_read = can_read
        self.can_write = can_write
        endpoint.on_ready = self.on_ready
        if self.poll_fd is not None:
            self.refresh()

    def detach(self) -> None:
        """Serve none (as an unconnected socket does: it never blocks, it fails)."""
        if self.endpoint is not None:
            self.endpoint.on_ready = None
        self.endpoint = None
        self.can_read = self.can_write = always
        self.held = False
        self.wake()
        if self.poll_fd is not None:
            self.refresh()

    def on_ready(self) -> None:
        """The endpoint changed for the better: wake those whom it concerns."""
        endpoint = self.endpoint
        if self.readers and self.can_read(endpoint):
            self.readers = _release(self.readers)
        if self.writers and self.can_write(endpoint):
            self.writers = _release(self.writers)
        if self.poll_fd is not None:
            self.refresh()

    def wake(self) -> None:
        """Have every waiting thread try again (the socket was closed or shut down)."""
        self.readers = _release(self.readers)
        self.writers = _release(self.writers)

    def refresh(self) -> None:
        """Bring the descriptor up to date."""
        if self.poll_fd is not None:
            endpoint = self.endpoint
            self.poll_fd.show(self.held or self.can_read(endpoint), self.can_write(endpoint))

    def wait_for_read(self) -> Waiter:
        """Register a waiter, which is let go of when there may be something."""
        waiter = self._waiter()
        self.readers.append(waiter)
        return waiter

    def wait_for_write(self) -> Waiter:
        """The same for room to write, and for a connection that is being made."""
        waiter = self._waiter()
        self.writers.append(waiter)
        return waiter

    def forget(self, waiter: Waiter) -> None:
        """Take back a waiter whose thread has given up."""
        for waiters in (self.readers, self.writers):
            if waiter in waiters:
                waiters.remove(waiter)

    def give_up_descriptor(self) -> None:
        """Somebody else closes the descriptor that was handed out, if one was; another is made when it is asked for."""
        if self.poll_fd is not None:
            self.poll_fd.give_up()
            self.poll_fd = None

    def close(self) -> None:
        """Close the descriptor, if there is one, and wake everybody."""
        if self.poll_fd is not None:
            self.poll_fd.close()
            self.poll_fd = None
        self.detach()


def _release(waiters: list[Waiter]) -> list[Waiter]:
    for waiter in waiters:
        waiter.release()
    return []
