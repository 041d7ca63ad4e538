"""`Watch`: frames that pass a stack, kept for a command to look at in its own time and thread.

The stack's thread only copies what it sees and rings; Scapy's dissection and the printing, three hundred times
as slow, are the command's. What comes faster than the command can follow is counted and let go.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import TYPE_CHECKING, NamedTuple, Self

from scapystack.base.frames import Frame
from scapystack.base.offload import finished
from scapystack.base.types import Nanoseconds

if TYPE_CHECKING:
    from scapystack.layers.tcp.tcb import Tcb
    from scapystack.runtime.driver import Driver

LIMIT = 8_192


class Seen(NamedTuple):
    """A frame that passed: `way` is `rx` or `tx`, `at` by the driver's clock, `octets` with finished checksums."""

    way: str
    at: Nanoseconds
    iface: str
    octets: bytes


class Moved(NamedTuple):
    """A connection that changed its state."""

    at: Nanoseconds
    local: tuple[bytes, int]
    remote: tuple[bytes, int]
    old: int
    new: int


class Watch:
    """A context manager; `seen` fills while it is open. `ring` is called when there is something new.

    `wanted` chooses frames, under the driver's lock; None means none. `states` asks for changes of state.
    """

    def __init__(
        self,
        driver: Driver,
        ring: Callable[[], None],
        wanted: Callable[[str, Frame], object] | None,
        *,
        states: bool = False,
        limit: int = LIMIT,
    ) -> None:
        self.seen: deque[Seen | Moved] = deque()
        self.missed = 0
        self._driver = driver
        self._ring = ring
        self._wanted = wanted
        self._states = states
        self._limit = limit

    def _tap(self, way: str, frame: Frame) -> None:
        wanted = self._wanted
        if wanted is None or not wanted(way, frame):
            return
        name = frame.iface.name if frame.iface is not None else "?"
        self._keep(Seen(way, self._driver.stack.core.now, name, bytes(finished(frame))))

    def _moved(self, c: Tcb, old: int, new: int) -> None:
        local, remote = (c.local_addr, c.local_port), (c.remote_addr, c.remote_port)
        self._keep(Moved(self._driver.stack.core.now, local, remote, old, new))

    def _keep(self, item: Seen | Moved) -> None:
        if len(self.seen) >= self._limit:
            self.missed += 1
            return
        self.seen.append(item)
        self._ring()

    def __enter__(self) -> Self:
        with self._driver.entered() as net:
            if self._wanted is not None:
                net.taps.append(self._tap)
            if self._states:
                net.tcp.observers.append(self._moved)
        return self

    def __exit__(self, *error: object) -> None:
        with self._driver.entered() as net:
            if self._tap in net.taps:
                net.taps.remove(self._tap)
            if self._moved in net.tcp.observers:
                net.tcp.observers.remove(self._moved)
