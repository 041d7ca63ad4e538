"""`StackServer`: listening sockets whose connections become transports in the round that made them."""

from __future__ import annotations

import asyncio
from asyncio import AbstractEventLoop, BaseProtocol, Future
from collections.abc import Callable, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

from scapystack.sockets.aio.common import Served, report
from scapystack.sockets.aio.stream import StreamTransport

if TYPE_CHECKING:
    from scapystack.layers.tcp.listen import Listener
    from scapystack.sockets.stream import StreamSocket


class StackServer(asyncio.AbstractServer):
    """What `AsyncStack.create_server` returns, as `asyncio.Server`. A context manager that closes it."""

    def __init__(
        self,
        loop: AbstractEventLoop,
        socks: Sequence[StreamSocket],
        factory: Callable[[], BaseProtocol],
        backlog: int,
        everyone: set[Any],
    ) -> None:
        """`everyone` is for the transports that it makes."""
        self._loop = loop
        self._socks = tuple(socks)
        self._factory = factory
        self._backlog = backlog
        self._everyone = everyone
        self._transports: set[StreamTransport] = set()
        self._serving = False
        self._forever: Future[None] | None = None
        self._waiters: list[Future[None]] = []

    def __repr__(self) -> str:
        return f"<{type(self).__name__} sockets={self.sockets!r}>"

    @property
    def sockets(self) -> tuple[StreamSocket, ...]:
        """The listening sockets, for their names and options; none once closed."""
        return self._socks

    def get_loop(self) -> AbstractEventLoop:
        """The loop that it serves in."""
        return self._loop

    def is_serving(self) -> bool:
        """Whether connections are accepted."""
        return self._serving

    # -- listening ---------------------------------------------------------------------------------

    def start(self) -> None:
        """Accept connections from now on. Raises OSError (EADDRINUSE)."""
        if self._serving:
            return
        self._serving = True
        for sock in self._socks:
            with sock.driver.entered():
                sock.listen(self._backlog)
                served = Served(self._loop, sock.driver, partial(self._accept, sock))
                listener = sock.hand_over(served)
                listener.options.nodelay = True
                if listener.readable:  # one that was listening before
                    served.later()

    async def start_serving(self) -> None:
        """`start`, as asyncio has it."""
        self.start()

    async def serve_forever(self) -> None:
        """Accept connections until the task is cancelled; the server is then closed."""
        if self._forever is not None:
            raise RuntimeError(f"server {self!r} is already being awaited on serve_forever()")
        if not self._socks:
            raise RuntimeError(f"server {self!r} is closed")
        self.start()
        self._forever = self._loop.create_future()
        try:
            await self._forever
        except asyncio.CancelledError:
            self.close()
            await self.wait_closed()
            raise
        finally:
            self._forever = None

    def _accept(self, sock: StreamSocket) -> None:
        """Connections wait: under the lock, below no application."""
        listener: Listener = sock.endpoint
        while self._serving and (connection := listener.accept()) is not None:
            try:
                protocol = self._factory()
            except Exception as error:
                report(self._loop, "Error on transport creation for incoming connection", error, None, None)
                connection.close()
                continue
            StreamTransport(self._loop, sock, connection, protocol, self._everyone, self).begin()

    # -- its connections ---------------------------------------------------------------------------

    def attach(self, transport: StreamTransport) -> None:
        """One was accepted."""
        self._transports.add(transport)

    def detach(self, transport: StreamTransport) -> None:
        """Its protocol knows that it is over."""
        self._transports.discard(transport)
        self._wake()

    def _wake(self) -> None:
        if not self._socks and not self._transports:
            waiters, self._waiters = self._waiters, []
            for waiter in waiters:
                if not waiter.done():
                    waiter.set_result(None)

    # -- the end -----------------------------------------------------------------------------------

    def close(self) -> None:
        """Stop listening; connections that were accepted go on, those that were not are reset."""
        socks, self._socks = self._socks, ()
        self._serving = False
        for sock in socks:
            sock.close()
        if self._forever is not None and not self._forever.done():
            self._forever.cancel()
        self._wake()

    def close_clients(self) -> None:
        """Close the transport of every connection."""
        for transport in tuple(self._transports):
            transport.close()

    def abort_clients(self) -> None:
        """Abort them."""
        for transport in tuple(self._transports):
            transport.abort()

    async def wait_closed(self) -> None:
        """Until the server is closed and all its connections are over."""
        if self._socks or self._transports:
            waiter: Future[Any] = self._loop.create_future()
            self._waiters.append(waiter)
            await waiter
