"""What a link promises to its driver, and what all links share.

A link moves whole Ethernet frames and never blocks. A driver attaches it to an interface of a stack
(`iface`), reads when `fileno()` is readable, or, where that is None, when the link calls `on_input`.
A link that holds frames back until a certain time is `timed`: its driver tells it the time with
`advance` and asks with `next_at` when to come again. Read `scapystack.base.frames` first.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Protocol, runtime_checkable

from scapystack.base.frames import Frame
from scapystack.base.iface import Interface
from scapystack.base.types import Mac, Nanoseconds

SUPER_SEGMENT = 65_535 - 20 - 60
"""The most TCP payload that an IPv4 packet holds beside the largest headers: `gso_max` of a link
that takes super-segments, or cuts them at its edge (which is cheaper than TCP cutting them)."""


class Link(Protocol):
    """A way for frames in and out. `timed` links must be told the time before every read and write."""

    name: str
    mac: Mac
    mtu: int
    gso_max: int
    iface: Interface | None
    on_input: Callable[[], None] | None

    @property
    def timed(self) -> bool:
        """Whether the link may hold frames back until a certain time."""

    @property
    def broken(self) -> str:
        """Why the link is dead for good (one line); empty while it lives."""

    @property
    def rx_dropped(self) -> int:
        """Frames that came and were lost here."""

    @property
    def tx_dropped(self) -> int:
        """Frames that could not be sent."""

    def fileno(self) -> int | None:
        """A descriptor that is readable when `read` has something; None where there is none."""

    def read(self, limit: int = 64) -> list[Frame]:
        """Up to `limit` frames that came, `iface` set; [] when there are none. Never blocks."""

    def write(self, frames: Sequence[Frame]) -> None:
        """Send frames in order. Never blocks and never raises; what cannot go is counted `tx_dropped`."""

    def advance(self, now: Nanoseconds) -> None:
        """Tell a timed link what time it is; what is due leaves, or can be read now."""

    def next_at(self) -> Nanoseconds | None:
        """When a timed link has something to do next; 0 for at once, None for never."""

    def close(self) -> None:
        """Give everything back. Harmless when repeated."""


@runtime_checkable
class KernelLink(Link, Protocol):
    """A link with the machine's own kernel at the other end: what that takes itself crosses no wire."""

    gso_kernel: int
    """As `gso_max`, for frames to `kernel_mac`; 0 where it takes no larger ones."""
    kernel_mac: Mac
    """Its station."""


@runtime_checkable
class JoiningLink(Link, Protocol):
    """A link that can join TCP segments while it reads them, for less than `base.coalesce` costs afterwards."""

    found: int
    """How many frames the last `read` found, before they were joined."""

    def read(self, limit: int = 64, join: bool = False) -> list[Frame]:
        """As `Link.read`; with `join`, segments that follow each other come as one, as `coalesce` has it."""


class BaseLink:
    """The common part of links: attributes and the answers of a link that keeps no time."""

    def __init__(self, name: str, mac: Mac, mtu: int, gso_max: int) -> None:
        self.name = name
        self.mac = mac
        self.mtu = mtu
        self.gso_max = gso_max
        self.iface: Interface | None = None
        self.timed = False
        self.on_input: Callable[[], None] | None = None
        self.broken = ""
        self.rx_dropped = 0
        self.tx_dropped = 0

    def fileno(self) -> int | None:
        """No descriptor."""
        return None

    def advance(self, now: Nanoseconds) -> None:
        """Nothing waits for a time here."""

    def next_at(self) -> Nanoseconds | None:
        """Never."""
        return None


class WrappedLink:
    """A link around another one that passes everything on; wrappers change what they are there for."""

    def __init__(self, inner: Link) -> None:
        self.inner = inner
        self.name = inner.name
        self.mac = inner.mac
        self.mtu = inner.mtu
        self.gso_max = inner.gso_max

    @property
    def iface(self) -> Interface | None:
        """The interface that the link is attached to: the inner link's."""
        return self.inner.iface

    @iface.setter
    def iface(self, iface: Interface | None) -> None:
        self.inner.iface = iface

    @property
    def on_input(self) -> Callable[[], None] | None:
        """What to call when frames came that no descriptor shows."""
        return self.inner.on_input

    @on_input.setter
    def on_input(self, call: Callable[[], None] | None) -> None:
        self.inner.on_input = call

    @property
    def timed(self) -> bool:
        """Whether the inner link keeps time."""
        return self.inner.timed

    @property
    def broken(self) -> str:
        """Why the inner link is dead."""
        return self.inner.broken

    @property
    def rx_dropped(self) -> int:
        """Frames that came and were lost in the inner link."""
        return self.inner.rx_dropped

    @property
    def tx_dropped(self) -> int:
        """Frames that the inner link could not send."""
        return self.inner.tx_dropped

    def fileno(self) -> int | None:
        """The inner link's descriptor."""
        return self.inner.fileno()

    def read(self, limit: int = 64) -> list[Frame]:
        """What the inner link has."""
        return self.inner.read(limit)

    def write(self, frames: Sequence[Frame]) -> None:
        """To the inner link."""
        self.inner.write(frames)

    def advance(self, now: Nanoseconds) -> None:
        """Tell the inner link the time."""
        self.inner.advance(now)

    def next_at(self) -> Nanoseconds | None:
        """When the inner link has something to do."""
        return self.inner.next_at()

    def close(self) -> None:
        """Close the inner link."""
        self.inner.close()
