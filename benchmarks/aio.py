"""What asyncio over the stack can do, beside the stack's own loop and beside asyncio over the kernel.

    .venv/bin/python -m benchmarks.aio [load ...] [--rounds N] [--seconds N] [--profile]      (as root)

The same services in six ways: in the stack's fd loop; as asyncio protocols and as asyncio streams on the stack;
as both on the kernel's sockets over a veth. The client is the kernel, on a TAP with offload (`--no-offload` without).
`pinned` has server and client on one processor: the others mostly measure how long it takes to wake another one.
`--profile` prints where the server of each asyncio way on the stack spends its time instead.
"""

from __future__ import annotations

import argparse
import asyncio
import cProfile
import pstats
import sys
import threading
import time
from collections.abc import Awaitable, Callable
from typing import Any

from rich.console import Console
from rich.table import Table

from benchmarks.served import DISCARD, ECHO, LOADS, SERVER, SOURCE, Place, Served, measure, medians
from scapystack.sockets.services import start_services

PIECE = bytes(1 << 18)
Ready = Callable[[], None]
Listen = Callable[[Any, int], Awaitable[Any]]
"""`listen(factory or callback, port)`."""

# --- protocols


class Discard(asyncio.Protocol):
    """Throws away what it gets."""


class Echo(asyncio.Protocol):
    """Sends it back."""

    def connection_made(self, transport: Any) -> None:
        """A client."""
        self.transport = transport

    def data_received(self, data: bytes) -> None:
        """Back with it."""
        self.transport.write(data)


class Source(asyncio.Protocol):
    """Reads a number, and sends as many octets."""

    def connection_made(self, transport: Any) -> None:
        """A client."""
        self.transport = transport
        self.left = 0
        self.going = True

    def data_received(self, data: bytes) -> None:
        """All of the number, in these benchmarks."""
        self.left = int(data)
        self.send()

    def send(self) -> None:
        """Until the transport has enough."""
        while self.going and self.left > 0 and not self.transport.is_closing():
            self.transport.write(PIECE)
            self.left -= len(PIECE)

    def pause_writing(self) -> None:
        """Enough."""
        self.going = False

    def resume_writing(self) -> None:
        """More."""
        self.going = True
        self.send()


async def protocols(listen: Listen) -> None:
    """Serve by protocols."""
    for kind, port in ((Discard, DISCARD), (Echo, ECHO), (Source, SOURCE)):
        await listen(kind, port)


# --- streams


async def discard(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Throw away what comes."""
    while await reader.read(1 << 18):
        pass
    writer.close()


async def echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Send it back."""
    while data := await reader.read(1 << 18):
        writer.write(data)
        await writer.drain()
    writer.close()


async def source(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Read a number, and send as many octets."""
    left = int(await reader.readline())
    try:
        while left > 0:
            writer.write(PIECE)
            await writer.drain()
            left -= len(PIECE)
    except ConnectionError:
        pass  # the client has had enough
    writer.close()


async def streams(listen: Listen) -> None:
    """Serve by streams."""
    for serve, port in ((discard, DISCARD), (echo, ECHO), (source, SOURCE)):
        await listen(serve, port)


# --- servers


def fd_loop(offload: bool) -> Callable[[Place, Ready], None]:
    """The stack's own loop and services, in the main thread."""

    def serve(place: Place, ready: Ready) -> None:
        stack = place.stack(offload)
        start_services(stack, f"discard:{DISCARD},echo:{ECHO},source:{SOURCE}")
        ready()
        stack.driver.run()

    return serve


def on_stack(way: Callable[[Listen], Awaitable[None]], offload: bool) -> Callable[[Place, Ready], None]:
    """asyncio over the stack."""

    async def main(place: Place, ready: Ready) -> None:
        async with place.stack(offload).asyncio() as stack:
            listen = stack.create_server if way is protocols else stack.start_server
            await way(lambda what, port: listen(what, SERVER, port))
            ready()
            await asyncio.Event().wait()

    return lambda place, ready: asyncio.run(main(place, ready))


def on_kernel(way: Callable[[Listen], Awaitable[None]]) -> Callable[[Place, Ready], None]:
    """asyncio over the kernel."""

    async def main(place: Place, ready: Ready) -> None:
        place.cable()
        listen: Any = asyncio.get_running_loop().create_server if way is protocols else asyncio.start_server
        await way(lambda what, port: listen(what, sock=place.listening(port)))
        ready()
        await asyncio.Event().wait()

    return lambda place, ready: asyncio.run(main(place, ready))


def ways(offload: bool) -> dict[str, Callable[[Place, Ready], None]]:
    """Every server by name."""
    return {
        "stack, fd loop": fd_loop(offload),
        "stack, protocol": on_stack(protocols, offload),
        "stack, streams": on_stack(streams, offload),
        "kernel, protocol": on_kernel(protocols),
        "kernel, streams": on_kernel(streams),
    }


def profile(serve: Callable[[Place, Ready], None], load: str, seconds: float) -> None:
    """Where the server's time goes."""

    def profiled(place: Place, ready: Ready) -> None:
        profiler = cProfile.Profile()

        def report() -> None:
            time.sleep(seconds + 1.0)
            pstats.Stats(profiler, stream=sys.stdout).sort_stats("tottime").print_stats(28)
            sys.stdout.flush()

        threading.Thread(target=report).start()
        profiler.runcall(serve, place, ready)

    run, pinned = LOADS[load]
    with Served(profiled, pinned=pinned) as served:
        run(served, seconds)
        time.sleep(1.5)


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("loads", nargs="*", metavar="load", help=f"of {', '.join(LOADS)} (all)")
    parser.add_argument("--rounds", type=int, default=3, help="the medians of so many are shown (3)")
    parser.add_argument("--seconds", type=float, default=2.0, help="of each run (2)")
    parser.add_argument(
        "--no-offload", action="store_true", help="the TAP has neither checksum nor segmentation offload"
    )
    parser.add_argument("--only", default="", help="ways whose name has this in it")
    parser.add_argument("--profile", action="store_true", help="profile the ways that are on the stack")
    options = parser.parse_args(argv)
    loads = options.loads or list(LOADS)
    if unknown := set(loads) - set(LOADS):
        parser.error(f"no load named {', '.join(sorted(unknown))}")
    chosen = {name: way for name, way in ways(not options.no_offload).items() if options.only in name}
    if options.profile:
        for load in loads:
            for name, way in chosen.items():
                if name.startswith("stack"):
                    print(f"== {load}: {name}", flush=True)
                    profile(way, load, options.seconds)
        return 0
    table = Table("load", "", *chosen, title="asyncio, medians of %d" % options.rounds)
    for load in loads:
        rounds: dict[str, list[dict[str, float]]] = {name: [] for name in chosen}
        for _ in range(options.rounds):
            for name, way in chosen.items():
                rounds[name].append(measure(way, load, options.seconds))
        results = [medians(each) for each in rounds.values()]
        for unit in results[0]:
            table.add_row(
                load, unit, *(f"{each[unit]:,.2f}" if each[unit] < 10 else f"{each[unit]:,.0f}" for each in results)
            )
    Console(width=120).print(table)
    return 0


if __name__ == "__main__":
    sys.exit(main())
