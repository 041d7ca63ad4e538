"""`AsyncStack`: a `Stack` in an asyncio event loop: `async with Stack.tap().asyncio() as stack`.

The calls are the loop's own (`create_connection`, `create_server`, `create_datagram_endpoint`) and those of
asyncio's streams, with our network in place of the kernel's. Read `common` and `stream` first.
"""

from __future__ import annotations

import asyncio
from asyncio import BaseProtocol, Future, StreamReader, StreamReaderProtocol, StreamWriter, Task
from collections.abc import Awaitable, Callable, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any, Self, TypeVar, cast
from weakref import WeakSet

from scapystack.layers.tcp.state import FIN_WAIT_2, TIME_WAIT
from scapystack.runtime.aio import AsyncioHost
from scapystack.sockets import constants as c
from scapystack.sockets.address import InetAddress
from scapystack.sockets.aio.common import soon, when
from scapystack.sockets.aio.datagram import StackDatagramTransport
from scapystack.sockets.aio.reader import stream_reader
from scapystack.sockets.aio.server import StackServer
from scapystack.sockets.aio.stream import StreamTransport

if TYPE_CHECKING:
    from scapystack.layers.tcp.tcb import Tcb
    from scapystack.runtime.driver import Driver
    from scapystack.sockets.datagram import DatagramSocket
    from scapystack.sockets.facade import Stack
    from scapystack.sockets.stream import StreamSocket
    from scapystack.stack import NetStack

P = TypeVar("P", bound=BaseProtocol)
ClientConnected = Callable[[StreamReader, StreamWriter], Awaitable[None] | None]
_LIMIT = 65_536


class AsyncStack:
    """`stack` in the event loop that runs, from `start` (or `async with`) to `close`; everything in its thread.

    `stack` must not be started; one that takes part in a simulation goes on in its virtual time. Its sockets
    may be used by other threads; in the loop's own thread a call that waits would wait for itself.
    """

    def __init__(self, stack: Stack) -> None:
        self.stack = stack
        self._host: AsyncioHost | None = None
        self._transports: set[StreamTransport | StackDatagramTransport] = set()
        self._servers: WeakSet[StackServer] = WeakSet()

    @property
    def driver(self) -> Driver:
        """What drives the stack."""
        return self.stack.driver

    @property
    def net(self) -> NetStack:
        """The `NetStack` under it."""
        return self.stack.net

    # -- running -----------------------------------------------------------------------------------

    def start(self) -> Self:
        """Have the running event loop make the stack's rounds. Raises RuntimeError: no loop, closed, has a thread."""
        loop = asyncio.get_running_loop()
        if self._host is None and not self.stack.simulated:
            if self.stack.closed:
                raise RuntimeError("the stack is closed")
            self._host = AsyncioHost(self.driver, loop)
        return self

    async def __aenter__(self) -> Self:
        return self.start()

    async def __aexit__(self, *error: object) -> None:
        await self.close()

    async def close(self, timeout: float = 2.0) -> None:
        """Close servers, wait until peers have acknowledged what closed transports had to send, close the stack.

        At most `timeout` seconds (0: not at all). Transports that are open then are aborted.
        """
        for server in tuple(self._servers):
            server.close()
        if timeout > 0 and not self.stack.closed:
            await self._settled(timeout)
        for transport in tuple(self._transports):
            transport.abort()
        self.stack.close()
        if self._host is not None:
            self._host.close()
            self._host = None
        await asyncio.sleep(0)  # protocols hear of it before this returns

    async def _settled(self, timeout: float) -> None:
        loop = asyncio.get_running_loop()
        news = asyncio.Event()

        def moved(connection: Tcb, old: int, new: int) -> None:
            soon(loop, news.set)

        tcp = self.net.tcp
        tcp.observers.append(moved)
        try:
            async with asyncio.timeout(timeout):
                while any(each.state not in (FIN_WAIT_2, TIME_WAIT) for each in tuple(tcp.orphans)):
                    news.clear()
                    await news.wait()
        except TimeoutError:
            pass
        finally:
            tcp.observers.remove(moved)

    # -- transports and protocols --------------------------------------------------------------------

    async def create_connection(
        self,
        protocol_factory: Callable[[], P],
        host: str | None = None,
        port: int | None = None,
        *,
        local_addr: InetAddress | None = None,
        sock: StreamSocket | None = None,
    ) -> tuple[StreamTransport, P]:
        """Connect to `(host, port)`, or take over `sock`, which is connected: transport and protocol.

        Raises OSError (ECONNREFUSED, ETIMEDOUT, EHOSTUNREACH, ...), gaierror, ValueError. A call that is
        cancelled leaves nothing behind.
        """
        loop = asyncio.get_running_loop()
        if (sock is None) == (host is None or port is None):
            raise ValueError("either host and port, or sock")
        made = self._stream() if sock is None else sock
        try:
            made.setblocking(False)
            if host is not None:
                if local_addr is not None:
                    made.bind(local_addr)
                await self._connect(made, (host, port))
            protocol = protocol_factory()
            with self.driver.entered():
                transport = StreamTransport(loop, made, made.endpoint, protocol, self._transports)
        except BaseException:
            made.close()
            raise
        await self._begun(transport)
        return transport, protocol

    async def _begun(self, transport: StreamTransport | StackDatagramTransport) -> None:
        """Have the transport begin with the loop's next turn: its protocol is called by no task."""
        loop = asyncio.get_running_loop()
        waiter: Future[None] = loop.create_future()

        def begin() -> None:
            with self.driver.entered():
                transport.begin()
            if not waiter.done():
                waiter.set_result(None)

        loop.call_soon(begin)
        try:
            await waiter
        except BaseException:
            transport.close()
            raise

    def _stream(self) -> StreamSocket:
        return cast("StreamSocket", self.stack.socket(c.AF_INET, c.SOCK_STREAM))

    async def _connect(self, sock: StreamSocket, address: tuple[object, object]) -> None:
        try:
            sock.connect(address)
        except BlockingIOError:
            await when(asyncio.get_running_loop(), sock, sock.made)

    async def create_server(
        self,
        protocol_factory: Callable[[], BaseProtocol],
        host: str | Sequence[str] | None = None,
        port: int = 0,
        *,
        backlog: int = 100,
        sock: StreamSocket | None = None,
        start_serving: bool = True,
    ) -> StackServer:
        """Listen on `(host, port)` (None: every address; 0: a free port), or with `sock`, which is bound.

        Raises OSError (EADDRINUSE, EADDRNOTAVAIL), gaierror.
        """
        loop = asyncio.get_running_loop()
        socks = [] if sock is None else [sock]
        try:
            if sock is None:
                for each in [host or ""] if host is None or isinstance(host, str) else host:
                    socks.append(self._stream())
                    socks[-1].setsockopt(c.SOL_SOCKET, c.SO_REUSEADDR, 1)
                    socks[-1].bind((each, port))
            for made in socks:
                made.setblocking(False)
            server = StackServer(loop, socks, protocol_factory, backlog, self._transports)
            if start_serving:
                server.start()
        except BaseException:
            for made in socks:
                made.close()
            raise
        self._servers.add(server)
        return server

    async def create_datagram_endpoint(
        self,
        protocol_factory: Callable[[], P],
        local_addr: InetAddress | None = None,
        remote_addr: InetAddress | None = None,
        *,
        allow_broadcast: bool = False,
        sock: DatagramSocket | None = None,
    ) -> tuple[StackDatagramTransport, P]:
        """A UDP port at `local_addr` (None: a free one), that talks to `remote_addr` alone if it is given.

        Raises OSError (EADDRINUSE, EADDRNOTAVAIL, ENETUNREACH, ...), gaierror.
        """
        loop = asyncio.get_running_loop()
        made = cast("DatagramSocket", self.stack.socket(c.AF_INET, c.SOCK_DGRAM)) if sock is None else sock
        try:
            made.setblocking(False)
            if allow_broadcast:
                made.setsockopt(c.SOL_SOCKET, c.SO_BROADCAST, 1)
            if sock is None:
                made.bind(local_addr if local_addr is not None else ("", 0))
            if remote_addr is not None:
                made.connect(remote_addr)
            protocol = protocol_factory()
            with self.driver.entered():
                transport = StackDatagramTransport(loop, made, protocol, remote_addr, self._transports)
        except BaseException:
            made.close()
            raise
        await self._begun(transport)
        return transport, protocol

    # -- streams -------------------------------------------------------------------------------------

    async def open_connection(
        self, host: str, port: int, *, limit: int = _LIMIT, **how: Any
    ) -> tuple[StreamReader, StreamWriter]:
        """As `asyncio.open_connection`; `how` goes to `create_connection`, and so does what is raised."""
        loop = asyncio.get_running_loop()
        reader = stream_reader(limit, loop)
        protocol = StreamReaderProtocol(reader, loop=loop)
        transport, _ = await self.create_connection(lambda: protocol, host, port, **how)
        return reader, StreamWriter(transport, protocol, reader, loop)

    async def start_server(
        self,
        client_connected_cb: ClientConnected,
        host: str | Sequence[str] | None = None,
        port: int = 0,
        *,
        limit: int = _LIMIT,
        **how: Any,
    ) -> StackServer:
        """As `asyncio.start_server`; `how` goes to `create_server`, and so does what is raised."""
        loop = asyncio.get_running_loop()
        connected = _sessions(client_connected_cb, loop)

        def factory() -> StreamReaderProtocol:
            reader = stream_reader(limit, loop)
            return StreamReaderProtocol(reader, connected, loop=loop)

        return await self.create_server(factory, host, port, **how)


def _sessions(client_connected_cb: ClientConnected, loop: asyncio.AbstractEventLoop) -> ClientConnected:
    """What asyncio's streams do with a coroutine for each connection, where one is cancelled as well.

    All are when a loop ends. The connection is closed then; in several releases of Python 3.11 and 3.12 asyncio's
    own callback raises instead, and the loop logs that.
    """
    running: set[Task[None]] = set()  # a loop alone lets go of its tasks

    def connected(reader: StreamReader, writer: StreamWriter) -> Awaitable[None] | None:
        made = client_connected_cb(reader, writer)
        if not asyncio.iscoroutine(made):
            return made
        task = loop.create_task(made)
        running.add(task)
        task.add_done_callback(partial(ended, writer))
        return None

    def ended(writer: StreamWriter, task: Task[None]) -> None:
        running.discard(task)
        error = None if task.cancelled() else task.exception()
        if error is not None:
            told = "Unhandled exception in client_connected_cb"
            loop.call_exception_handler({"message": told, "exception": error, "transport": writer.transport})
        if error is not None or task.cancelled():
            writer.close()

    return connected
