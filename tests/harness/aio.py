"""Two stacks in one asyncio loop, on a link in memory; protocols that remember what they were told."""

import asyncio

from scapystack.link.memory import MemoryLink
from scapystack.sockets.facade import Stack

SAFETY_S = 30
ONE = "10.0.0.1"


def run(test, config=None, **how):
    """Run `await test(one, two)` with two stacks that the loop drives, 10.0.0.1 and 10.0.0.2."""

    async def main():
        a, b = MemoryLink.pair(**how)
        one = Stack("10.0.0.1/24", link=a, seed=1, config=config)
        two = Stack("10.0.0.2/24", link=b, seed=2, config=config)
        async with one.asyncio() as first, two.asyncio() as second:
            await test(first, second)
        for stack in (one, two):
            assert stack.net.counters["driver.errors"] == 0
            assert not stack.driver.links

    asyncio.run(asyncio.wait_for(main(), SAFETY_S))


async def until(condition):
    """Let the loop turn until `condition()` holds; the safety net above ends what never does."""
    while not condition():
        await asyncio.sleep(0)


class Recorder(asyncio.Protocol):
    """Remembers every call, and what it was of; `keep` is the answer to `eof_received`."""

    def __init__(self, keep=False):
        self.calls = []
        self.data = bytearray()
        self.keep = keep
        self.transport = None
        self.lost = asyncio.get_running_loop().create_future()

    def connection_made(self, transport):
        self.calls.append("made")
        self.transport = transport

    def data_received(self, data):
        if self.calls[-1] != "data":
            self.calls.append("data")
        self.data += data

    def eof_received(self):
        self.calls.append("eof")
        return self.keep

    def pause_writing(self):
        self.calls.append("pause")

    def resume_writing(self):
        self.calls.append("resume")

    def connection_lost(self, exc):
        self.calls.append("lost")
        self.lost.set_result(exc)


async def pair(one, two, make_server=Recorder, make_client=Recorder):
    """The protocols of a connection from `two` to `one`: the server's and the client's."""
    protocols = []

    def accept():
        protocols.append(make_server())
        return protocols[-1]

    server = await one.create_server(accept, ONE)
    _, client = await two.create_connection(make_client, ONE, server.sockets[0].getsockname()[1])
    await until(lambda: protocols)
    server.close()
    return protocols[0], client
