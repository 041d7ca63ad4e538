"""`Trace`: what was sent on links and what became of it, as lines of tcpdump or as a ladder diagram.

Nothing is dissected while a network runs: a trace keeps octets and times, and looks at them when it is asked.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

from scapystack.base.frames import Frame
from scapystack.base.types import Nanoseconds
from scapystack.describe import Describer
from scapystack.link.capture import Capture
from scapystack.link.way import Passage
from scapystack.sim.ladder import Arrow, draw

if TYPE_CHECKING:
    from scapystack.sim.host import Host
    from scapystack.sim.link import End, SimLink


@dataclass(slots=True)
class Sent:
    """One frame that was put on a link: when (ns), from which end, what of it is to arrive, and whom it was for (of a
    frame for all, the last one on the link)."""

    at: Nanoseconds
    end: End
    frame: Frame
    passages: Sequence[Passage]
    to: End | None = None

    def fate(self) -> str:
        """What became of it, unless it is simply arriving."""
        arriving = [passage for passage in self.passages if not passage.lost]
        if not arriving:
            return "lost"
        words = []
        if len(arriving) > 1:
            words.append(f"{len(arriving)} times")
        if any(passage.frame.data != self.frame.data for passage in arriving):
            words.append("changed")
        return ", ".join(words)


class Trace:
    """The latest frames of some links; `entries` are in the order of sending. `str()` is the ladder."""

    def __init__(self, links: Sequence[SimLink], limit: int) -> None:
        self.links = list(links)
        self.entries: deque[Sent] = deque(maxlen=limit)
        # hosts leave their links when the network is closed, and a trace is often looked at behind that
        self._names = {link: [end.owner.name for end in link.ends] for link in self.links}
        for link in self.links:
            link.watchers.append(self._note)

    def _note(self, end: End, frame: Frame, passages: Sequence[Passage]) -> None:
        self.entries.append(Sent(end.link.network.now, end, frame, passages, _receiver(end, frame)))

    def stop(self) -> None:
        """Remember no more."""
        for link in self.links:
            link.watchers.remove(self._note)

    def lines(self) -> list[str]:
        """A line for each frame: when it was sent (s), by whom, what it says, and `lost` where it did not arrive."""
        lines = []
        for sent, text in self._described():
            fate = sent.fate()
            when = sent.end.link.network.seconds(sent.at)
            lines.append(f"{when:.6f} {sent.end.owner.name}: {text}{f' [{fate}]' if fate else ''}")
        return lines

    def _described(self) -> Iterator[tuple[Sent, str]]:
        describe = Describer()
        for sent in self.entries:
            yield sent, describe(sent.frame)

    def ladder(self, width: int = 72) -> str:
        """Who sent what to whom when, as arrows between columns; `width` of one arrow between neighbours."""
        arrows = []
        names: list[str] = []
        for sent, text in self._described():
            network = sent.end.link.network
            names += [name for name in self._names[sent.end.link] if name not in names]
            times = [network.seconds(passage.at) for passage in sent.passages if not passage.lost]
            sender = sent.end.owner.name
            receiver = sent.to.owner.name if sent.to is not None else sender
            arrows.append(Arrow(network.seconds(sent.at), sender, receiver, text, times))
        return draw(names, arrows, width)

    def __str__(self) -> str:
        return self.ladder()


def _receiver(end: End, frame: Frame) -> End | None:
    destination = bytes(frame.head[:6])
    return next((other for other in end.others if other.mac == destination), end.others[-1] if end.others else None)


def watch_for_capture(capture: Capture, places: Sequence[SimLink | Host]) -> None:
    """Have a capture write what is sent on links, and what leaves and arrives at hosts."""
    for place in places:
        if hasattr(place, "watchers"):
            place.watchers.append(partial(_write_sent, capture))
            continue
        for end in place.ends:
            name = f"{place.name}.{end.name}"
            end.link.watchers.append(partial(_write_own, capture, end, name))
            end.on_read.append(partial(_write_read, capture, name, end.mac))


def _write_sent(capture: Capture, end: End, frame: Frame, passages: Sequence[Passage]) -> None:
    fate = Sent(0, end, frame, passages).fate()
    capture.frames("tx", (frame,), f"{end.owner.name}.{end.name}", end.mac, fate)


def _write_own(
    capture: Capture, own: End, name: str, end: End, frame: Frame, passages: Sequence[Passage]
) -> None:  # fmt: skip
    if end is own:
        capture.frames("tx", (frame,), name, end.mac)


def _write_read(capture: Capture, name: str, mac: bytes, frame: Frame) -> None:
    capture.frames("rx", (frame,), name, mac)
