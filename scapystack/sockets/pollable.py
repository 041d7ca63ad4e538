"""`PollFd`: a file descriptor of the kernel that shows the readiness of a socket that is ours.

`select`, `poll`, `epoll` and `selectors` look at kernel descriptors only. So a socket on which
`fileno()` is called gets one end of an `AF_UNIX` stream pair, and the stack holds the other:

- *readable* is one octet that the stack has sent to the application's end, or has taken back;
- *not writable* is one block that lies in the application's end's tiny send buffer, *writable* its
  absence. Linux calls a UNIX stream writable while no more than a quarter of its send buffer is
  taken (`unix_writable`), so with the smallest buffer there is (4,608 octets) one block of 2 KB
  shuts it, and taking the block out at the other end opens it and wakes every poller.

Both directions are independent and level-triggered, which neither an eventfd (it cannot be neither
readable nor writable) nor a pipe gives. A change costs one system call of about 1.2 us; no change
costs none; a socket whose `fileno()` nobody asked for has no descriptors at all. Nothing but
readiness goes through: an application that reads from the descriptor itself reads this octet.
"""

from __future__ import annotations

import os
import socket
from contextlib import suppress

_BLOCK = bytes(2048)


class PollFd:
    """Shows two levels on one descriptor, `fd`. Callers hold the driver's lock."""

    __slots__ = ("_inner", "_outer", "fd", "readable", "writable")

    def __init__(self) -> None:
        """Neither readable nor writable to begin with. Raises OSError (EMFILE)."""
        outer, inner = socket.socketpair(socket.AF_UNIX, socket.SOCK_STREAM)
        outer.setblocking(False)
        inner.setblocking(False)
        outer.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 1)
        self._outer = outer
        self._inner = inner
        self.fd = outer.fileno()
        self.readable = False
        self.writable = True
        self.show(False, False)

    def show(self, readable: bool, writable: bool) -> None:
        """Have the descriptor say this from now on. A no-op once it is closed."""
        if self.fd < 0:
            return
        if readable != self.readable:
            self.readable = readable
            if readable:
                os.write(self._inner.fileno(), b"r")
            else:
                self._drain(self.fd)
        if writable != self.writable:
            self.writable = writable
            if writable:
                self._drain(self._inner.fileno())
            else:
                os.write(self.fd, _BLOCK)

    @staticmethod
    def _drain(fd: int) -> None:
        # somebody may have read from the descriptor itself: the level is what we want anyway
        with suppress(BlockingIOError):
            os.read(fd, 4096)

    def close(self) -> None:
        """Give both descriptors back to the kernel."""
        self.fd = -1
        self._outer.close()
        self._inner.close()

    def give_up(self) -> None:
        """Somebody else has `fd` by now, and closes it."""
        self._outer.detach()
        self.close()
