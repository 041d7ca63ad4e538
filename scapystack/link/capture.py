"""Capturing: every frame of a link, or every frame that a stack sees, to a file.

`CaptureLink` stands between a driver and a link and sees what the link carries: before the stack's
hooks on the way in, behind them on the way out, and, put around or inside an `ImpairedLink`, before or
after the faults. `Capture.tap` is an observer for `NetStack.taps`. Super-segments are written whole,
as they pass; open checksums are finished, so that no reader complains. Read `link.pcapfile` first.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import BinaryIO

from scapystack.base.frames import Frame
from scapystack.base.offload import finished
from scapystack.base.types import Nanoseconds
from scapystack.link.base import Link, WrappedLink
from scapystack.link.pcapfile import INBOUND, OUTBOUND, CaptureFile

Comment = Callable[[str, Frame], str]
"""What to note beside a frame (pcapng): of the way (`rx`, `tx`) and the frame; "" for nothing."""

_DIRECTION = {"rx": INBOUND, "tx": OUTBOUND}


class Capture:
    """A capture file with interfaces that come into being as frames name them.

    `clock` answers what time a frame passes, in nanoseconds since 1970 (a simulation gives its own
    clock, and gets the same file every time). `comment` may note something beside each frame.
    """

    def __init__(
        self,
        target: str | Path | BinaryIO,
        *,
        format: str | None = None,
        clock: Callable[[], Nanoseconds] = time.time_ns,
        comment: Comment | None = None,
    ) -> None:
        """See `CaptureFile` for target and format. Raises LinkError."""
        self.file = CaptureFile(target, format)
        self.clock = clock
        self.comment = comment
        self._interfaces: dict[str, int] = {}
        self._lock = threading.Lock()  # several stacks, each with its thread, may share a capture

    @property
    def error(self) -> str:
        """Why the capture ended before its time; else empty."""
        return self.file.error

    def frames(self, way: str, frames: Sequence[Frame], name: str, mac: bytes = b"", note: str = "") -> None:
        """Write frames that pass an interface now; `way` is `rx` or `tx`, as the stack sees it.

        `note` goes beside each where `comment` has nothing to say.
        """
        direction = _DIRECTION[way]
        comment = self.comment
        record = self.file.record
        with self._lock:
            interface = self._interfaces.get(name)
            if interface is None:
                interface = self._interfaces[name] = self.file.interface(name, f"scapystack {name}", mac)
            at = self.clock()
            self.file.write(
                *[record(finished(f), at, interface, direction, (comment and comment(way, f)) or note) for f in frames]
            )

    def tap(self, way: str, frame: Frame) -> None:
        """An observer for `NetStack.taps`: writes what passes on every interface, the loopback too."""
        iface = frame.iface
        if iface is None:
            self.frames(way, (frame,), "?")
        else:
            self.frames(way, (frame,), iface.name, iface.mac)

    def close(self) -> None:
        """Close the file."""
        self.file.close()

    def __enter__(self) -> Capture:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()


class CaptureLink(WrappedLink):
    """A link that writes all it carries to a capture, which `close` closes unless it is shared."""

    def __init__(self, inner: Link, capture: Capture | str | Path, *, shared: bool = False) -> None:
        """`capture` may be a path. With `shared`, several links write to one and it stays open."""
        super().__init__(inner)
        self.capture = capture if isinstance(capture, Capture) else Capture(capture)
        self._shared = shared

    def read(self, limit: int = 64) -> list[Frame]:
        """What the inner link has, written down."""
        frames = self.inner.read(limit)
        if frames:
            self.capture.frames("rx", frames, self.name, self.mac)
        return frames

    def write(self, frames: Sequence[Frame]) -> None:
        """Write down and pass on."""
        self.capture.frames("tx", frames, self.name, self.mac)
        self.inner.write(frames)

    def close(self) -> None:
        """Close the link, and the capture if it is this link's own."""
        self.inner.close()
        if not self._shared:
            self.capture.close()
