"""`Host`: what a driver is promised by the loop that makes its rounds: `fdloop`, or asyncio's (`aio`)."""

from __future__ import annotations

from typing import Protocol

from scapystack.base.types import Nanoseconds

AWAKE = 0
"""As the time of the next round: at once, or one is under way."""
NEVER = 1 << 63
"""As the time of the next round: when something comes."""


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
