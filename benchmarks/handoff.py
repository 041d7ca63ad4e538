"""What a thread costs that blocks in `recv`, over the callback of the loop itself: one octet there and back.

    .venv/bin/python -m benchmarks.handoff [--rounds N] [--seconds N]      (as root)

The client is the kernel, on a TAP. The server answers in the round that brought the octet (`echo` service), or in a
thread that blocks in `recv` and sends from where it wakes; for comparison the same two ways on the kernel's sockets:
`epoll` and a thread that blocks. With `pinned` both share a processor: what is left is code, without the waking.
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


def echo(listening: Any) -> None:
    """Accept, and send back what comes, in blocking calls; for ever."""
    while True:
        sock, _ = listening.accept()
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
    """In a thread beside it."""
    stack = place.stack(True).start()
    listening = stack.create_server((SERVER, ECHO))
    ready()
    worker = threading.Thread(target=echo, args=(listening,))
    worker.start()
    worker.join()


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
    echo(listening)


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
    table = Table("", *WAYS, "hand-off", title="one octet there and back, median us")
    for load in ("echo", "echo-pinned"):
        rounds: dict[str, list[dict[str, float]]] = {name: [] for name in WAYS}
        for _ in range(options.rounds):
            for name, way in WAYS.items():
                rounds[name].append(measure(way, load, options.seconds))
        us = {name: medians(each)["median us"] for name, each in rounds.items()}
        cost = us["stack, thread"] - us["stack, callback"]
        table.add_row(load, *(f"{each:,.1f}" for each in us.values()), f"{cost:,.1f} (goal {GOAL_US})")
    Console(width=120).print(table)
    return 0


if __name__ == "__main__":
    sys.exit(main())
