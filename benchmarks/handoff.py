"""What threads cost that block in `recv`, over callbacks of the loop itself: one octet there and back.

    .venv/bin/python -m benchmarks.handoff [--rounds N] [--seconds N]      (as root)

The client is the kernel, on a TAP. The server answers in the round that brought the octet (`echo` service), or in
threads that block in `recv` and send from where they wake, one for each connection, beside one that blocks in
`accept`; for comparison the same two ways on the kernel's sockets: `epoll` and threads. `crowd` is 16 connections at a
time. With `pinned` client and server share a processor: what is left is code, without the waking.
"""

from __future__ import annotations

import argparse
import select
import sys
import threading
from collections.abc import Callable
from typing import Any

from rich.console import Console
from rich.table import Table

from benchmarks.served import ECHO, SERVER, Place, measure, medians
from scapystack.sockets.services import start_services

Ready = Callable[[], None]
GOAL_US = 60


def serve(listening: Any) -> None:
    """Accept, and have a thread for each connection; for ever."""
    while True:
        sock, _ = listening.accept()
        threading.Thread(target=echo, args=(sock,), daemon=True).start()


def echo(sock: Any) -> None:
    """Send back what comes, in blocking calls."""
    with sock:
        sock.setsockopt(6, 1, 1)  # TCP_NODELAY
        try:
            while data := sock.recv(65_536):
                sock.sendall(data)
        except ConnectionError:
            pass


def callback(place: Place, ready: Ready) -> None:
    """In the stack's loop."""
    stack = place.stack(True)
    start_services(stack, f"echo:{ECHO}")
    ready()
    stack.driver.run()


def thread(place: Place, ready: Ready) -> None:
    """In threads beside it."""
    stack = place.stack(True).start()
    listening = stack.create_server((SERVER, ECHO))
    ready()
    serve(listening)


def kernel_epoll(place: Place, ready: Ready) -> None:
    """The kernel's sockets in a loop."""
    place.cable()
    listening = place.listening(ECHO)
    epoll = select.epoll()
    socks = {listening.fileno(): listening}
    epoll.register(listening, select.EPOLLIN)
    ready()
    while True:
        for fd, _ in epoll.poll():
            sock = socks[fd]
            if sock is listening:
                made, _ = sock.accept()
                made.setsockopt(6, 1, 1)
                socks[made.fileno()] = made
                epoll.register(made, select.EPOLLIN)
            elif data := sock.recv(65_536):
                sock.sendall(data)
            else:
                epoll.unregister(fd)
                socks.pop(fd).close()


def kernel_thread(place: Place, ready: Ready) -> None:
    """The kernel's sockets in blocking calls."""
    place.cable()
    listening = place.listening(ECHO)
    ready()
    serve(listening)


WAYS: dict[str, Callable[[Place, Ready], None]] = {
    "stack, callback": callback,
    "stack, thread": thread,
    "kernel, epoll": kernel_epoll,
    "kernel, thread": kernel_thread,
}


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5, help="the medians of so many are shown (5)")
    parser.add_argument("--seconds", type=float, default=1.5, help="of each run (1.5)")
    options = parser.parse_args(argv)
    table = Table("", *WAYS, "hand-off", title="one octet there and back, median us (a second)")
    for load in ("echo", "echo-pinned", "crowd", "crowd-pinned"):
        rounds: dict[str, list[dict[str, float]]] = {name: [] for name in WAYS}
        for _ in range(options.rounds):
            for name, way in WAYS.items():
                rounds[name].append(measure(way, load, options.seconds))
        results = {name: medians(each) for name, each in rounds.items()}
        cost = results["stack, thread"]["median us"] - results["stack, callback"]["median us"]
        cells = [f"{each['median us']:,.1f} ({each['a second']:,.0f})" for each in results.values()]
        table.add_row(load, *cells, f"{cost:,.1f}" + f" (goal {GOAL_US})" * load.startswith("echo"))
    Console(width=120).print(table)
    return 0


if __name__ == "__main__":
    sys.exit(main())
