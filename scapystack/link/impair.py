"""`ImpairedLink`: a link that loses, repeats, reorders, damages, delays and marks frames, by a seed.

Each way has its own `Impairment`: chances, a delay, a rate, and rules that pick frames ("drop the third
SYN"). Same seed and same frames at the same times: the same faults. Super-segments are cut first, so
that single segments suffer, unless `whole`. Frames that wait here leave by the driver's clock, real or
virtual. Read `link.base` and `link.faults` first.

    link = ImpairedLink(inner, seed=7, tx=Impairment(loss=0.01), rx=Impairment(delay_ms=20))
    link.tx.rule(drop, tcp("S"), skip=2, count=1)            # the third SYN that we send is lost
    link.rx.lose(when=lambda packet: packet[IP].ttl == 1)    # Scapy sees what it looks at
"""

from __future__ import annotations

from collections.abc import Sequence

from scapystack.base.frames import Frame
from scapystack.base.offload import split
from scapystack.base.rng import Rng
from scapystack.base.types import Nanoseconds
from scapystack.link.base import Link, WrappedLink
from scapystack.link.faults import (
    Action,
    GilbertElliott,
    Impairment,
    Predicate,
    Rule,
    corrupt,
    delay,
    drop,
    duplicate,
    mark,
    replace,
    scapy,
    tcp,
)
from scapystack.link.way import Arrivals, Way

__all__ = [
    "Action", "GilbertElliott", "ImpairedLink", "Impairment", "Predicate", "Rule", "corrupt", "delay", "drop",
    "duplicate", "mark", "replace", "scapy", "tcp",
]  # fmt: skip


_FOREVER: Nanoseconds = 1 << 62


class ImpairedLink(WrappedLink):
    """A link with faults. `rx` and `tx` may be changed, and rules added, while it runs."""

    def __init__(
        self,
        inner: Link,
        *,
        seed: int | bytes = 0,
        rx: Impairment | None = None,
        tx: Impairment | None = None,
        whole: bool = False,
    ) -> None:
        """`rx` is what comes to the stack, `tx` what leaves it; None: nothing happens there."""
        super().__init__(inner)
        rng = Rng(seed)
        self.rx = rx if rx is not None else Impairment()
        self.tx = tx if tx is not None else Impairment()
        self._coming = Arrivals()
        self._going = Arrivals()
        self._rx = Way(self.rx, rng.derive("rx"), self._coming)
        self._tx = Way(self.tx, rng.derive("tx"), self._going)
        self._whole = whole
        self._now: Nanoseconds = 0

    @property
    def timed(self) -> bool:
        """Always: frames may wait here."""
        return True

    def _pieces(self, frame: Frame) -> Sequence[Frame]:
        if self._whole or not frame.gso_size:
            return (frame,)
        return split(frame)

    def advance(self, now: Nanoseconds) -> None:
        """What time it is; delayed frames of ours that are due go on."""
        self._now = now
        self.inner.advance(now)
        self._send()

    def next_at(self) -> Nanoseconds | None:
        """When a frame that waits here, or in the inner link, is due."""
        at = self.inner.next_at()
        for queue in (self._coming, self._going):
            due = queue.next_at()
            if due is not None and (at is None or due < at):
                at = due
        return at

    def read(self, limit: int = 64) -> list[Frame]:
        """Frames that came, and came through."""
        for frame in self.inner.read(limit):
            for piece in self._pieces(frame):
                self._rx.accept(piece, self._now)
        return self._coming.take(self._now, limit)

    def write(self, frames: Sequence[Frame]) -> None:
        """Send those that come through, now or later."""
        for frame in frames:
            for piece in self._pieces(frame):
                self._tx.accept(piece, self._now)
        self._send()

    def release(self) -> list[Frame]:
        """Let go at once of all that waits here: what is to be sent is, what came is returned. For its last moment."""
        self._now = _FOREVER
        self._send()
        return self._coming.take(_FOREVER, 1 << 30)

    def _send(self) -> None:
        due = self._going.take(self._now, 1 << 30)
        if due:
            self.inner.write(due)
