"""`BoundPorts`: what `bind` took and neither `listen` nor `connect` uses yet. A leaf.

Listeners and connections guard their own ports; this keeps two sockets from binding the same one
before either has listened, and a port 0 that was bound from being drawn twice.
"""

from __future__ import annotations

from scapystack.base.addr import ANY4
from scapystack.base.types import Address


class BoundPorts:
    """Local address and port of every socket that was bound, and whether it would share them."""

    __slots__ = ("_held",)

    def __init__(self) -> None:
        self._held: dict[int, list[tuple[Address, bool]]] = {}

    def __contains__(self, port: int) -> bool:
        return port in self._held

    def clash(self, local: Address, port: int, reuse: bool) -> bool:
        """Whether a bind would take what somebody holds; two that both allow it share (SO_REUSEADDR)."""
        return any(
            not (reuse and shared) and (held == local or ANY4 in (held, local))
            for held, shared in self._held.get(port, ())
        )

    def add(self, local: Address, port: int, reuse: bool) -> None:
        """Hold it."""
        self._held.setdefault(port, []).append((local, reuse))

    def remove(self, local: Address, port: int, reuse: bool) -> None:
        """Let go of what `add` was told."""
        held = self._held[port]
        held.remove((local, reuse))
        if not held:
            del self._held[port]
