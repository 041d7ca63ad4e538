"""`Wakeup`: an eventfd that ends a sleep in epoll, from any thread and without a lock."""

from __future__ import annotations

import contextlib
import os


class Wakeup:
    """Set by any thread, cleared by the one that sleeps. The descriptor lives as long as the object,
    so that a late `set` cannot write to a number that means something else by then."""

    __slots__ = ("_set", "fd")

    def __init__(self) -> None:
        self.fd = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)
        self._set = False

    def set(self) -> None:
        """Make `fd` readable; one that is already costs nothing."""
        if not self._set:
            self._set = True
            os.eventfd_write(self.fd, 1)

    def clear(self) -> None:
        """Make `fd` unreadable. What was left to do before a `set` is visible after this."""
        with contextlib.suppress(BlockingIOError):
            os.eventfd_read(self.fd)
        self._set = False

    def __del__(self) -> None:
        if hasattr(self, "fd"):
            os.close(self.fd)
