"""The stack on a TAP, beside the kernel over a veth pair, and what codec modes, captures and hooks cost there.

As root. The client is the same Python program in all of them, and bounds every figure.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from typing import Any

from benchmarks.row import Row
from benchmarks.served import DISCARD, ECHO, LOADS, SOURCE, Place, measure
from scapystack.link.capture import CaptureLink
from scapystack.sockets.facade import Stack
from scapystack.sockets.services import start_services

Ready = Callable[[], None]
Serve = Callable[[Place, Ready], None]
PIECE = bytes(1 << 18)
_TIMES = 3  # of what a row is given: 0.6 s, where others take 0.2


def on_tap(
    place: Place,
    ready: Ready,
    *,
    offload: bool = True,
    codec: str = "compiled",
    prepare: Callable[[Stack], None] = lambda stack: None,
) -> None:
    """The stack's loop with its services."""
    stack = place.stack(offload, codec)
    prepare(stack)
    start_services(stack, f"discard:{DISCARD},echo:{ECHO},source:{SOURCE}")
    ready()
    stack.driver.run()


def by_kernel(place: Place, ready: Ready) -> None:
    """The same services on the kernel's sockets, a thread for each connection."""

    def discard(sock: Any) -> None:
        room = bytearray(1 << 20)
        while sock.recv_into(room):
            pass

    def echo(sock: Any) -> None:
        while data := sock.recv(65_536):
            sock.sendall(data)

    def source(sock: Any) -> None:
        left = int(sock.recv(64))
        while left > 0:
            sock.sendall(PIECE)
            left -= len(PIECE)

    def serve(sock: Any, service: Callable[[Any], None]) -> None:
        with sock:
            sock.setsockopt(6, 1, 1)  # TCP_NODELAY
            with suppress(ConnectionError):  # the client has had enough
                service(sock)

    def accept(listening: Any, service: Callable[[Any], None]) -> None:
        while True:
            threading.Thread(target=serve, args=(listening.accept()[0], service), daemon=True).start()

    place.cable()
    accepting = [
        threading.Thread(target=accept, args=(place.listening(port), service), daemon=True)
        for port, service in ((DISCARD, discard), (ECHO, echo), (SOURCE, source))
    ]
    for each in accepting:
        each.start()
    ready()
    for each in accepting:
        each.join()


# --- what watches the stack


def captured(stack: Stack) -> None:
    """A capture of all that passes the interface, into nothing: what it costs to make it, without the disk."""
    link = next(iter(stack.driver.links.values()))
    stack.driver.exchange(link, CaptureLink(link, "/dev/null"))


def hooked(stack: Stack, filter: str | None = None) -> None:
    """A function of Scapy packets that passes each one that comes or leaves."""
    for way in ("rx", "tx"):
        stack.hook(way, "segment", filter=filter)(lambda packet: None)


def filtered(stack: Stack) -> None:
    """The same, of packets that do not come: what a filter costs."""
    hooked(stack, "udp port 7777")


KERNEL: Serve = by_kernel
SIDES: list[tuple[str, str, Serve]] = [
    ("tap", "stack on a TAP", on_tap),
    ("kernel", "kernel, over a veth", KERNEL),
    ("tap.wire", "stack, no offload", partial(on_tap, offload=False)),
    ("tap.paranoid", "stack, codec paranoid", partial(on_tap, codec="paranoid")),
    ("tap.scapy", "stack, codec scapy", partial(on_tap, codec="scapy")),
    ("tap.capture", "stack, captured", partial(on_tap, prepare=captured)),
    ("tap.filter", "stack, hooks that see nothing", partial(on_tap, prepare=filtered)),
    ("tap.hook", "stack, hooks that see it all", partial(on_tap, prepare=hooked)),
]
MEASURED: list[tuple[str, str, str, str]] = [
    ("in", "bulk into the server", "MB/s", "in"),
    ("out", "bulk out of it", "MB/s", "out"),
    ("echo", "octets there and back, one CPU", "/s", "echo-pinned"),
    ("open", "connections, one CPU", "/s", "connections-pinned"),
]


def row(side: str, who: str, serve: Serve, name: str, what: str, unit: str, load: str) -> Row:
    """One figure: the first that the load gives, octets or turns a second."""
    assert load in LOADS

    def run(seconds: float) -> float:
        return next(iter(measure(serve, load, seconds * _TIMES).values()))

    return Row(f"{side}.{name}", f"{what}: {who}", unit, run, root=True)


ROWS: list[Row] = [row(*side, *each) for each in MEASURED for side in SIDES]
