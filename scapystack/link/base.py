"""`Link`: what a driver asks of anything that carries frames.

A link never blocks and never raises for what the wire does: what it cannot take is counted. Links wrap
each other (capture, impairment), so an implementation leaves what it does not change to the inner one.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Protocol

from scapystack.base.frames import Frame
from scapystack.base.iface import Interface
from scapystack.base.types import Mac, Nanoseconds


class Link(Protocol):
    """One end of a wire. `iface` is set by the driver that it is attached to.

    `on_input` is set by the driver too: a link without a descriptor calls it, from any thread, when
    `read` has something to give.
    """

    name: str
    mac: Mac
    mtu: int
    gso_max: int
    iface: Interface | None
    on_input: Callable[[], None] | None

    def fileno(self) -> int | None:
        """A descriptor that becomes readable when frames are there; None for a link in memory."""

    def read(self, limit: int = 64) -> list[Frame]:
        """Frames that have arrived, at most `limit`, with `iface` set; [] when there are none."""

    def write(self, frames: Sequence[Frame]) -> None:
        """Send frames, in order. What the link does not take (a checksum, a super-segment) it finishes."""

    def next_at(self) -> Nanoseconds | None:
        """When `read` will have something to give that it holds back now (a delay); else None."""

    def close(self) -> None:
        """Let go of everything. Safe to call twice."""
