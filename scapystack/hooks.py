"""Where a user sees, changes, drops or adds frames: between the link and the stack, both ways.

A hook is a function that takes a `Frame` and returns it (changed or not), another one, a list of
several, or None to drop it. Hooks run in order, each on what the one before let through; `rx` before
the stack looks at a frame, `tx` after the stack has made it. Read `scapystack.base.frames` first.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TypeAlias

from scapystack.base.counters import Counters
from scapystack.base.frames import Frame

Verdict: TypeAlias = Frame | list[Frame] | None
Hook: TypeAlias = Callable[[Frame], Verdict]


class Hooks:
    """The hooks of one stack. Append to `rx` and `tx`; an empty list costs one truth test."""

    __slots__ = ("rx", "tx")

    def __init__(self) -> None:
        self.rx: list[Hook] = []
        self.tx: list[Hook] = []

    @staticmethod
    def run(hooks: Sequence[Hook], frame: Frame, counters: Counters, way: str) -> list[Frame]:
        """What is left of one frame, and what was added to it, after every hook. `way` is `rx` or `tx`."""
        frames = [frame]
        for hook in tuple(hooks):
            passed: list[Frame] = []
            for each in frames:
                verdict = hook(each)
                if verdict is None:
                    counters[f"hooks.drop.{way}"] += 1
                    continue
                for result in verdict if isinstance(verdict, list) else (verdict,):
                    if result.iface is None:  # a frame that the hook made itself
                        result.iface = each.iface
                    passed.append(result)
            frames = passed
        return frames
