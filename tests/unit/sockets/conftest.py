"""Stacks to put sockets on: one in virtual time by itself, two that run over a link in memory."""

import socket

import pytest

from scapystack.base.config import StackConfig
from scapystack.link.memory import MemoryLink
from scapystack.runtime.clock import VirtualClock
from scapystack.runtime.driver import Driver
from scapystack.sockets.facade import Stack
from scapystack.stack import NetStack


class Still:
    """A stack in virtual time, whose loopback answers within each call. `pass_time` moves the clock."""

    def __init__(self, config=None):
        self.clock = VirtualClock(1_000_000_000)
        self.driver = Driver(NetStack(config or StackConfig(), seed=1), self.clock, strict=True)
        self.stack = Stack(driver=self.driver)
        self.net = self.stack.net

    def tcp(self):
        return self.stack.socket()

    def udp(self):
        return self.stack.socket(socket.AF_INET, socket.SOCK_DGRAM)

    def pass_time(self, seconds):
        """Let every deadline within `seconds` come, in order."""
        end = self.clock.now + int(seconds * 1e9)
        while (at := self.driver.next_at()) is not None and at <= end:
            self.clock.advance_to(at)
            self.driver.round()
        self.clock.advance_to(end)
        self.driver.round()

    def connected(self, port=0):
        """A client and the server's end of one connection, both non-blocking."""
        with self.stack.create_server(("127.0.0.1", port)) as server:
            client = self.stack.create_connection(server.getsockname())
            accepted, _ = server.accept()
        client.setblocking(False)
        accepted.setblocking(False)
        return client, accepted


@pytest.fixture
def still():
    made = Still()
    yield made
    made.stack.close()
    made.driver.close()


@pytest.fixture
def still_with():
    """`still` with a configuration of its own."""
    made = []

    def make(config):
        made.append(Still(config))
        return made[-1]

    yield make
    for each in made:
        each.stack.close()
        each.driver.close()


@pytest.fixture
def live():
    """Two running stacks, 10.0.0.1 and 10.0.0.2, on one link; sockets get a time-out for safety."""
    a, b = MemoryLink.pair()
    with Stack("10.0.0.1/24", link=a, seed=1) as one, Stack("10.0.0.2/24", link=b, seed=2) as two:
        yield one, two
        assert not [name for name in (*one.net.counters, *two.net.counters) if name == "driver.errors"]
