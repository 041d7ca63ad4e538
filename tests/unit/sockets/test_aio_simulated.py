"""Transports in virtual time: the same code where a simulation makes the rounds and its clock is the loop's."""

import asyncio

import pytest

from scapystack.link.memory import MemoryLink
from scapystack.runtime.virtual import Simulation
from scapystack.runtime.virtualloop import run_coroutine
from scapystack.sockets.facade import Stack
from tests.harness.aio import ONE

DELAY = 10_000_000


def run(test):
    """Run `await test(one, two)` with two stacks 10 ms apart; what was on the wire, and when."""
    frames = []
    simulation = Simulation()
    a, b = MemoryLink.pair(delay=DELAY)
    one = Stack("10.0.0.1/24", link=a, simulation=simulation, seed=1)
    two = Stack("10.0.0.2/24", link=b, simulation=simulation, seed=2)
    two.net.taps.append(lambda way, frame: frames.append((simulation.now, way, frame.data)))

    async def main():
        async with one.asyncio() as first, two.asyncio() as second:
            await test(first, second, simulation)

    run_coroutine(simulation, main)
    simulation.close()
    return frames


async def talk(one, two, simulation):
    """A question and an answer of 300 KB, which takes as long as it takes on the wire."""

    async def serve(reader, writer):
        writer.write(bytes(int(await reader.readline())))
        await writer.drain()
        writer.close()

    await one.start_server(serve, ONE, 80)
    reader, writer = await two.open_connection(ONE, 80)
    assert simulation.now == 4 * DELAY  # ARP, then the handshake
    writer.write(b"300000\n")
    assert len(await reader.read()) == 300_000
    writer.close()
    await writer.wait_closed()


def test_transports_in_virtual_time_give_the_same_octets_at_the_same_times():
    frames = run(talk)
    assert len(frames) > 200
    assert run(talk) == frames


def test_time_out_of_the_loop_is_exact():
    async def test(one, two, simulation):
        begin = simulation.now
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(2.5):
                await two.open_connection("10.0.0.77", 80)
        assert simulation.now - begin == 2_500_000_000
        assert two.net.tcp.connections == {}

    run(test)
