"""`Host`: what an event loop promises to a driver whose rounds it makes. `runtime.aio` is one for asyncio."""

from __future__ import annotations

from typing import Protocol

from scapystack.base.types import Nanoseconds


class Host(Protocol):
    """Calls `Driver.turn` with the descriptors that are ready, and when a round is due (`Driver.sleeps_until`)."""

    def watch(self, fd: int) -> None:
        """Make a round when this descriptor is readable, from now on."""

    def unwatch(self, fd: int) -> None:
        """Look at it no more."""

    def wake(self) -> None:
        """Make a round soon. Called by any thread, with or without the driver's lock."""

    def hurry(self, at: Nanoseconds) -> None:
        """The next round is due at `at`, earlier than was said. Called by any thread, under the lock."""
