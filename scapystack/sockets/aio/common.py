"""What transports share: when a protocol may be called, waiting for an endpoint, and errors.

A protocol is called in the loop's thread and never below a call of the application's, as asyncio has it: in a
driver's round, or else (an application's own call made the endpoint ready, or another thread's) with the loop's
next turn. `Served` settles which. Read `runtime.driver` and `base.events` first.
"""

from __future__ import annotations

import asyncio
import contextlib
from asyncio import AbstractEventLoop, BaseProtocol, Future
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, TypeVar

if TYPE_CHECKING:
    from scapystack.runtime.driver import Driver
    from scapystack.sockets.base import Socket

T = TypeVar("T")


def soon(loop: AbstractEventLoop, call: Callable[[], None]) -> None:
    """Have `loop` call it with its next turn; from any thread. Nothing happens once the loop is closed."""
    call_soon = loop.call_soon if asyncio._get_running_loop() is loop else loop.call_soon_threadsafe
    with contextlib.suppress(RuntimeError):
        call_soon(call)


class Served:
    """An endpoint's `on_ready` that calls `serve` under the driver's lock and never below an application's call."""

    __slots__ = ("_driver", "_loop", "_scheduled", "_serve")

    def __init__(self, loop: AbstractEventLoop, driver: Driver, serve: Callable[[], None]) -> None:
        self._loop = loop
        self._driver = driver
        self._serve = serve
        self._scheduled = False

    def __call__(self) -> None:
        if self._driver.rounding:
            self._serve()
        else:
            self.later()

    def later(self) -> None:
        """Serve with the loop's next turn, once."""
        if not self._scheduled:
            self._scheduled = True
            soon(self._loop, self._now)

    def _now(self) -> None:
        self._scheduled = False
        with self._driver.entered():
            self._serve()


async def when(loop: AbstractEventLoop, sock: Socket, attempt: Callable[[], T | None]) -> T:
    """What `attempt`, made under the driver's lock whenever `sock` has news, answers other than None."""
    while True:
        with sock.driver.entered():
            result = attempt()
            if result is not None:
                return result
            waiter: Future[None] = loop.create_future()
            sock.hand_over(lambda waiter=waiter: soon(loop, lambda: _wake(waiter)))  # type: ignore[misc]
        await waiter


def _wake(waiter: Future[None]) -> None:
    if not waiter.done():
        waiter.set_result(None)


def report(
    loop: AbstractEventLoop, message: str, error: BaseException, transport: Any, protocol: BaseProtocol | None
) -> None:
    """Tell the loop's exception handler what a protocol raised."""
    loop.call_exception_handler({"message": message, "exception": error, "transport": transport, "protocol": protocol})
