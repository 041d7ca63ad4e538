"""`Text`: one direction's octets, put together from recorded segments; `LaterText` reads ahead for them."""

from __future__ import annotations

from collections.abc import Iterator

from scapystack.base.types import Buffer
from scapystack.layers.tcp.reassembly import Reassembly

MASK = 0xFFFFFFFF
_PIECES = 65_536


class Text:
    """The octets of a stream from `base` to `end`, in any order of arrival; of two copies the first counts.

    Positions are those of the sequence numbers: the first octet is number 1.
    """

    def __init__(self) -> None:
        self.base = 1
        self._held = bytearray()
        self._later = Reassembly(_PIECES)

    @property
    def end(self) -> int:
        """Past the last octet before the first gap."""
        return self.base + len(self._held)

    def add(self, start: int, octets: Buffer) -> None:
        """Take a segment's text."""
        end = self.end
        if start > end:
            self._later.insert(start & MASK, bytes(octets), end & MASK)
            return
        if start + len(octets) <= end:
            return
        new = memoryview(octets)[end - start :]
        if self._later:
            gap = self._later.gap(end & MASK)
            if len(new) > gap:
                # of octets that are held already the first copy stays
                self._later.insert((end + gap) & MASK, bytes(new[gap:]), end & MASK)
                new = new[:gap]
        self._held += new
        if self._later:
            for piece in self._later.pop(self.end & MASK):
                self._held += piece

    def slice(self, start: int, end: int) -> bytes:
        """The octets [start, end), as far as they are here."""
        return bytes(self._held[max(start - self.base, 0) : max(end - self.base, 0)])

    def forget(self, below: int) -> None:
        """Nobody will ask for octets before this any more."""
        n = min(below, self.end) - self.base
        if n > 0:
            del self._held[:n]
            self.base += n


class LaterText(Text):
    """A stream that is read from the recording when it is asked for, ahead of the replay where need be."""

    def __init__(self, segments: Iterator[tuple[int, Buffer]]) -> None:
        """`segments`: where the text of each begins, and the text, in the order of the recording."""
        super().__init__()
        self._segments = segments

    def reach(self, end: int) -> int:
        """Read until all octets before `end` are here, or the recording is over; `Text.end` then."""
        while self.end < end:
            segment = next(self._segments, None)
            if segment is None:
                break
            self.add(*segment)
        return self.end
