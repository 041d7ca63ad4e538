"""A link over a pipe, an application that counts its calls, and a deadline, for tests of the driver."""

import os

from scapystack.base.events import Endpoint
from scapystack.base.frames import Frame
from scapystack.link.base import BaseLink

MAC = b"\2\0\0\0\0\7"


class FdLink(BaseLink):
    """A link over a pipe: `come` makes frames readable; `limits` are those it was asked with."""

    def __init__(self, name="fd0"):
        super().__init__(name, MAC, 1500, 0)
        self._readable, self._writable = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        self.limits = []
        self.sent = []
        self.closed = False

    def come(self, count=1):
        os.write(self._writable, b"x" * count)

    def fileno(self):
        return None if self.closed else self._readable

    def read(self, limit=64):
        self.limits.append(limit)
        try:
            frames = [Frame(b"\0" * 60, (), self.iface) for _ in os.read(self._readable, limit)]
        except BlockingIOError:
            return []
        return frames

    def write(self, frames):
        self.sent += frames

    def close(self):
        if not self.closed:
            self.closed = True
            os.close(self._readable)
            os.close(self._writable)


class Counting(Endpoint):
    """An endpoint whose application counts its calls, and may do something."""

    __slots__ = ("act", "calls")

    def __init__(self, act=None):
        super().__init__()
        self.calls = 0
        self.act = act
        self.on_ready = self._ready

    def _ready(self):
        self.calls += 1
        if self.act:
            self.act()


class Alarm:
    """An owner of one deadline."""

    def __init__(self, driver, at):
        self.heap_at = None
        self.at = at
        self.fired = []
        self._driver = driver
        driver.stack.core.timers.arm(self, at)

    def next_at(self):
        return self.at

    def expire(self, now):
        self.fired.append(now)
        self.at = None
