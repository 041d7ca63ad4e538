"""`SimLink`: a link of a simulated network, two ends or more, each way with its `Impairment`.

Of two ends it is a wire; of more, a segment on which every frame reaches everybody else. What arrives is what a
wire would have carried: cut to size, checksums finished, the octets in one piece. Read `link.way` first.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from scapystack.base.frames import CSUM_PARTIAL, CSUM_VALID, Frame
from scapystack.base.offload import finished, split
from scapystack.base.rng import Rng
from scapystack.base.types import Mac, Nanoseconds
from scapystack.link.base import SUPER_SEGMENT, BaseLink
from scapystack.link.faults import Impairment
from scapystack.link.way import Arrivals, Passage, Way

if TYPE_CHECKING:
    from scapystack.sim.network import Member, Network

Watcher = Callable[["End", Frame, Sequence[Passage]], None]
"""Told of each frame that an end puts on its link, and of what will arrive of it; nothing if it is lost."""


class End(BaseLink):
    """Where a member of the network meets a link. A host's driver reads and writes it as any other link."""

    def __init__(self, link: SimLink, owner: Member, name: str, mac: Mac, impairment: Impairment, rng: Rng) -> None:
        super().__init__(name, mac, link.mtu, SUPER_SEGMENT)
        self.link = link
        self.owner = owner
        self.address: str | None = None
        """With its prefix length: `10.0.0.1/24`."""
        self.timed = True
        self.arrivals = Arrivals()
        """What is on its way here."""
        self.way = Way(impairment, rng)
        """What is sent from here goes through this."""
        self.others: list[End] = []
        self.on_read: list[Callable[[Frame], None]] = []
        """Told of each frame as it arrives here."""
        self._now: Nanoseconds = 0

    def advance(self, now: Nanoseconds) -> None:
        """What time it is."""
        self._now = now

    def next_at(self) -> Nanoseconds | None:
        """When the next frame arrives."""
        return self.arrivals.next_at()

    def read(self, limit: int = 64) -> list[Frame]:
        """The frames that have arrived."""
        frames = self.arrivals.take(self._now, limit)
        if len(self.others) > 1:  # they share it with others
            frames = [_alike(frame, frame.data) for frame in frames]
        iface = self.iface
        for frame in frames:
            frame.iface = iface
        if self.on_read:
            for tell in self.on_read:
                for frame in frames:
                    tell(frame)
        return frames

    def write(self, frames: Sequence[Frame]) -> None:
        """Send them; on a link that is down they are lost."""
        link = self.link
        if not link.is_up:
            self.tx_dropped += len(frames)
            return
        accept = self.way.accept
        now = self._now
        watchers = link.watchers
        for frame in frames:
            # what is summed here need not be summed again, unless a fault makes another frame of it
            verified = CSUM_VALID if frame.csum == CSUM_PARTIAL else frame.csum
            for piece in split(frame) if frame.gso_size and not link.whole else (_whole(frame),):
                piece.csum = verified
                if piece.payload:  # the octets of a segment that was cut out, in one piece
                    piece.head = piece.data
                    piece.payload = ()
                passages = accept(piece, now)
                for watch in watchers:
                    watch(self, piece, passages)
        for other in self.others:
            if other.on_input is not None:
                other.on_input()

    def close(self) -> None:
        """Leave the link; what is on its way here is lost."""
        self.link.leave(self)

    def __repr__(self) -> str:
        return f"<End {self.owner.name}.{self.name} of {self.link.name}>"


def _whole(frame: Frame) -> Frame:
    whole = _alike(frame, finished(frame))
    whole.at = frame.at
    return whole


def _alike(frame: Frame, octets: bytes) -> Frame:
    """With what it takes to cut it, for a super-segment is passed on, and shown to hooks, as on any link."""
    return Frame(octets, (), None, frame.csum, frame.csum_start, frame.csum_offset, frame.gso_size)


class SimLink:
    """A link, made by `Network.link`. `watchers` are told of every frame that is sent on it."""

    def __init__(self, network: Network, name: str, mtu: int, whole: bool) -> None:
        self.network = network
        self.name = name
        self.mtu = mtu
        self.whole = whole
        """Whether super-segments pass uncut, as they do between a stack and a kernel with offload."""
        self.ends: list[End] = []
        self.is_up = True
        self.watchers: list[Watcher] = []

    def join(self, end: End) -> None:
        """One end more."""
        for other in self.ends:
            other.others.append(end)
            other.way.targets.append(end.arrivals)
            end.others.append(other)
            end.way.targets.append(other.arrivals)
        self.ends.append(end)

    def leave(self, end: End) -> None:
        """One end less. Harmless when repeated."""
        if end in self.ends:
            self.ends.remove(end)
            for other in self.ends:
                other.others.remove(end)
                other.way.targets.remove(end.arrivals)
            end.others.clear()
            end.way.targets.clear()
            end.arrivals.clear()

    def end(self, member: Member) -> End:
        """Where `member` meets this link. Raises KeyError."""
        for end in self.ends:
            if end.owner is member:
                return end
        raise KeyError(f"{member.name} is not on {self.name}")

    def way(self, member: Member) -> Impairment:
        """What becomes of the frames that `member` sends on this link; may be changed at any time. KeyError."""
        return self.end(member).way.impairment

    @property
    def under_way(self) -> int:
        """Frames that have been sent and have still to arrive."""
        return sum(len(end.arrivals) for end in self.ends)

    def down(self, at: float | None = None) -> None:
        """Cut it, now or at a time (s): what is on its way is lost, and what is sent. Nobody is told."""
        self._set(False, at)

    def up(self, at: float | None = None) -> None:
        """Mend it, now or at a time (s)."""
        self._set(True, at)

    def _set(self, up: bool, at: float | None) -> None:
        if at is not None:
            self.network.at(at, lambda: self._set(up, None))
            return
        self.is_up = up
        if not up:
            for end in self.ends:
                lost = end.arrivals.clear()
                end.rx_dropped += lost
                if end.on_input is not None:
                    end.on_input()

    def __repr__(self) -> str:
        return f"<SimLink {self.name} {'up' if self.is_up else 'down'} {self.under_way} under way>"
