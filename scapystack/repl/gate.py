"""`Gate`: holds what one connection sends and what comes for it, and lets it through one by one.

Read `hooks.frames` first.
"""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING

from scapystack.base.frames import Frame
from scapystack.base.offload import split
from scapystack.hooks.frames import Held
from scapystack.sockets.claims import Flow, flow_of

if TYPE_CHECKING:
    from scapystack.stack import NetStack


class Gate:
    """A hook on both ways of a stack. Under the driver's lock."""

    def __init__(self, net: NetStack, flow: Flow) -> None:
        self.frames: deque[tuple[str, Frame]] = deque()
        self.through: Frame | None = None
        """One that passes: a person has made it come."""
        self._net = net
        self._flow = flow
        net.hooks.rx.insert(0, self._came)
        net.hooks.tx.append(self._leaves)

    def _came(self, frame: Frame) -> Frame | None:
        return self._hold("rx", frame, flow_of(frame))

    def _leaves(self, frame: Frame) -> Frame | None:
        return self._hold("tx", frame, flow_of(frame, ours=True))

    def _hold(self, way: str, frame: Frame, flow: Flow | None) -> Frame | None:
        if flow != self._flow or frame is self.through:
            return frame
        self.frames += [(way, piece) for piece in (split(frame) if frame.gso_size else [frame])]
        return None

    def step(self) -> tuple[str, Frame] | None:
        """Let the first one go on; it. None where nothing is held."""
        taken = self.drop()
        if taken is not None:
            way, frame = taken
            net = self._net
            net.counters["hooks.drop.rx" if way == "rx" else "hooks.drop.tx"] -= 1  # it was kept back, not dropped
            hooks = net.hooks.rx if way == "rx" else net.hooks.tx
            mine = self._came if way == "rx" else self._leaves
            net.hooks.release(way, Held(frame, tuple(hooks[hooks.index(mine) + 1 :])))
        return taken

    def drop(self) -> tuple[str, Frame] | None:
        """Lose the first one; it."""
        return self.frames.popleft() if self.frames else None

    def open(self) -> None:
        """Let everything through, from now on."""
        while self.step() is not None:
            pass
        self._net.hooks.rx.remove(self._came)
        self._net.hooks.tx.remove(self._leaves)
