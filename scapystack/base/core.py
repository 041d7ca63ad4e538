"""`Core`: what the layers of one stack share. No module holds state; two stacks share nothing.

The stack sets `now` at every entry (`receive`, `poll`, a call from an application) and the layers
read it: within one entry time stands still. What a layer wants out goes to `outbox`; what became
ready for an application to `ready`; deadlines to `timers`.
"""

from __future__ import annotations

from collections.abc import Callable

from scapystack.base.codec import Codec
from scapystack.base.config import StackConfig
from scapystack.base.counters import Counters
from scapystack.base.events import Endpoint
from scapystack.base.frames import Frame
from scapystack.base.rng import Rng
from scapystack.base.timers import TimerHeap
from scapystack.base.types import Nanoseconds


class Core:
    """Shared by reference by every layer of a stack; made by `NetStack`."""

    __slots__ = (
        "codec", "config", "counters", "more", "more_since", "now", "outbox", "ready", "report", "rng", "timers",
        "watched",
    )  # fmt: skip

    def __init__(self, config: StackConfig, codec: Codec, rng: Rng) -> None:
        self.config = config
        self.codec = codec
        self.rng = rng
        self.counters = Counters()
        self.timers = TimerHeap(self.failed)
        self.report: Callable[[Exception, str, Frame | None], None] | None = None
        """Told of errors that are not the stack's: what was raised, where, and at which frame."""
        self.now: Nanoseconds = 0
        self.more = False
        """Further frames wait to be read: what leaves now is not the last for a while. Of the output pass."""
        self.more_since: Nanoseconds = 0
        self.watched = True
        """Somebody sees the frames that leave (a tap, a hook, a recording): IPv4 shall be able to describe each."""
        self.outbox: list[Frame] = []
        self.ready: list[Endpoint] = []

    def failed(self, error: Exception, where: str, frame: Frame | None = None) -> None:
        """Pass on what a hook, an observer or a timer has raised, so that the rest goes on.

        Raises it where nobody wants reports: in a stack that no driver runs.
        """
        if self.report is None:
            raise error
        self.report(error, where, frame)

    def mark_ready(self, endpoint: Endpoint) -> None:
        """Have the driver call `endpoint.on_ready` after this burst (once, however often marked)."""
        if not endpoint.ready_marked and endpoint.on_ready is not None:
            endpoint.ready_marked = True
            self.ready.append(endpoint)
