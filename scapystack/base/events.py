"""`Endpoint`: anything an application holds (a connection, a listener, a UDP or raw socket).

Layers never call applications. When an endpoint becomes readable, writable, or ends, its layer
marks it (`Core.mark_ready`); after a burst of frames the driver takes the marked ones and calls
their `on_ready`, once each: a socket wakes its waiters, a service in the loop reads and writes.
"""

from __future__ import annotations

from collections.abc import Callable


class Endpoint:
    """Base of what applications hold. `on_ready` is set by whoever uses it, and called by a driver."""

    __slots__ = ("on_ready", "ready_marked")

    def __init__(self) -> None:
        self.on_ready: Callable[[], None] | None = None
        self.ready_marked = False
