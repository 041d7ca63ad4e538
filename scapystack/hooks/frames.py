"""The hook points of a stack: what each hook makes of a frame, and the frames that a hook holds back for a while.

A hook is a function that takes a `Frame` and returns it (changed or not), another one, `Later(frame, ns)`, a
list of several of these, or None to drop it (in a list: a part of it). Hooks run in order, each on what the one
before let through; `rx` before the stack looks at a frame, `tx` after it has made it. Read `base.frames` first.
"""

from __future__ import annotations

from collections.abc import Callable
from heapq import heappop, heappush
from typing import TypeAlias

from scapystack.base.core import Core
from scapystack.base.frames import Frame
from scapystack.base.types import Nanoseconds

MAX_HELD = 65_536
"""Frames that hooks hold back at a time; more are lost (`hooks.drop.held`)."""


class Later:
    """A verdict: let `frame` go on to the next hook in `span` nanoseconds, unless it is `cancelled` before."""

    __slots__ = ("cancelled", "frame", "span")

    def __init__(self, frame: Frame, span: Nanoseconds) -> None:
        self.frame = frame
        self.span = span
        self.cancelled = False


Verdict: TypeAlias = Frame | Later | list[Frame | Later | None] | None
Hook: TypeAlias = Callable[[Frame], Verdict]


class Held(Frame):
    """A frame that a hook held back and that goes on now; `rest` is what of the hooks it has not met yet."""

    __slots__ = ("rest",)

    def __init__(self, frame: Frame, rest: tuple[Hook, ...]) -> None:
        super().__init__(
            frame.head, frame.payload, frame.iface, frame.csum, frame.csum_start, frame.csum_offset, frame.gso_size
        )
        self.at = frame.at
        self.rest = rest


class Hooks:
    """The hooks of one stack. Append to `rx` and `tx`; an empty list costs one truth test.

    An error of a hook goes to `Core.failed`, and the frame passes as if that hook had not been there. `release` is the
    stack's: it takes frames that were held back.
    """

    __slots__ = ("_core", "_count", "_waiting", "heap_at", "release", "rx", "tx")

    def __init__(self, core: Core, release: Callable[[str, Held], None]) -> None:
        self.rx: list[Hook] = []
        self.tx: list[Hook] = []
        self.release = release
        self.heap_at: Nanoseconds | None = None
        self._core = core
        self._waiting: list[tuple[Nanoseconds, int, str, Held, Later]] = []
        self._count = 0

    def run(self, way: str, frame: Frame) -> list[Frame]:
        """What is left of one frame, and what was added to it, after every hook. `way` is `rx` or `tx`."""
        hooks = self.rx if way == "rx" else self.tx
        rest = tuple(hooks)
        if type(frame) is Held:
            rest = tuple(hook for hook in frame.rest if hook in hooks)
        frames = [frame]
        for number, hook in enumerate(rest, 1):
            passed: list[Frame] = []
            for each in frames:
                try:
                    verdict = hook(each)
                    if verdict is each and each.iface is not None:
                        passed.append(each)
                        continue
                    results = verdict if isinstance(verdict, list) else (verdict,)
                    for result in results:
                        if not isinstance(result, Frame | Later | None):
                            raise TypeError(f"a hook returns frames, not {type(result).__name__}")
                    for result in results:
                        if result is None:
                            self._core.counters["hooks.drop.rx" if way == "rx" else "hooks.drop.tx"] += 1
                        else:
                            self._take(way, result, each, rest[number:], passed)
                except Exception as error:
                    self._core.failed(error, f"in the {way} hook {name_of(hook)}", each)
                    passed.append(each)
            frames = passed
        return frames

    def _take(self, way: str, result: Frame | Later, of: Frame, rest: tuple[Hook, ...], passed: list[Frame]) -> None:
        """One thing that a hook made of the frame `of`."""
        frame = result.frame if isinstance(result, Later) else result
        if frame.iface is None:  # one that the hook made itself
            frame.iface = of.iface
        if isinstance(result, Frame):
            passed.append(frame)
        elif len(self._waiting) >= MAX_HELD:
            self._core.counters["hooks.drop.held"] += 1
        else:
            self._count += 1
            at = self._core.now + max(result.span, 0)
            heappush(self._waiting, (at, self._count, way, Held(frame, rest), result))
            self._core.timers.arm(self, at)

    def next_at(self) -> Nanoseconds | None:
        """When the next frame that is held back goes on."""
        return self._waiting[0][0] if self._waiting else None

    def expire(self, now: Nanoseconds) -> None:
        """Let those go on that are due."""
        waiting = self._waiting
        while waiting and waiting[0][0] <= now:
            _, _, way, frame, later = heappop(waiting)
            iface = frame.iface
            if iface is not None and iface.up and not later.cancelled:
                self.release(way, frame)


def name_of(hook: object) -> str:
    """What a person calls a hook: the function's name, or the class of an object that is called."""
    return str(getattr(hook, "__name__", None) or type(hook).__name__)
