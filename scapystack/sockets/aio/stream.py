"""`StreamTransport`: a TCP connection as asyncio's transport. Read `common` first.

What is written goes to the connection at once and leaves before `write` returns (in a round: at its end);
what its send buffer has no room for waits here, and this alone counts against the limits of `pause_writing`, as
it does over a kernel's socket. A reader that pauses leaves octets in the connection's queue, so that the
window closes and the peer waits.
"""

from __future__ import annotations

import asyncio
import logging
from asyncio import AbstractEventLoop, BaseProtocol, constants
from asyncio.transports import _FlowControlMixin
from collections import deque
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any, cast

from scapystack.base.types import Buffer
from scapystack.layers.tcp.state import CLOSED
from scapystack.sockets.address import text_address
from scapystack.sockets.aio.common import Served, report

if TYPE_CHECKING:
    from scapystack.layers.tcp.user import Connection
    from scapystack.sockets.aio.server import StackServer
    from scapystack.sockets.stream import StreamSocket

_log = logging.getLogger("asyncio")
_PIECE = 262_144
"""The most that `data_received` gets at once, as from asyncio's own transports."""
_WARN_AFTER = 5


class StreamTransport(_FlowControlMixin):
    """The transport of one connection. Made by `AsyncStack` and `StackServer`, which call `begin`.

    Write limits are asyncio's own code, which `loop.sendfile` insists on.
    """

    __slots__ = (
        "__weakref__", "_buffered", "_closing", "_connection", "_deaf", "_driver", "_eof", "_everyone", "_lost",
        "_maker", "_on_ready", "_paused", "_protocol", "_server", "_size", "_sock",
        "_waiting",
    )  # fmt: skip

    if TYPE_CHECKING:  # asyncio's
        _loop: AbstractEventLoop

        def _maybe_pause_protocol(self) -> None: ...

        def _maybe_resume_protocol(self) -> None: ...

    # what `loop.start_tls` and `loop.sendfile` ask a transport before they take it
    _start_tls_compatible = True
    _sendfile_compatible = constants._SendfileMode.FALLBACK

    def __init__(
        self,
        loop: AbstractEventLoop,
        sock: StreamSocket,
        connection: Connection,
        protocol: BaseProtocol,
        everyone: set[Any],
        server: StackServer | None = None,
    ) -> None:
        """Take over `connection` of `sock`: its own, or one that it accepted for `server`. Under the driver's lock.

        Open, the transport is a member of `everyone`.
        """
        super().__init__(loop=loop)
        self._maker = sock
        self._sock = None if server is not None else sock
        self._driver = sock.driver
        self._server = server
        self._connection = connection
        self._on_ready = connection.on_ready = Served(loop, self._driver, self._serve)
        connection.options.nodelay = True  # asyncio's transports have TCP_NODELAY set
        self._waiting: deque[Buffer] | None = None
        self._size = 0  # of what waits
        self._deaf = True  # nothing is read: not begun, at the end, or closing
        self._paused = False
        self._eof = False
        self._closing = False
        self._lost = 0  # the protocol is told, or will be, that it is over; then: what was written since
        self.set_protocol(protocol)
        self._everyone = everyone
        everyone.add(self)
        if server is not None:
            server.attach(self)

    def __repr__(self) -> str:
        state = "closed" if self._lost else "closing" if self._closing else "open"
        names = " ".join(f"{name}={self.get_extra_info(name)}" for name in ("sockname", "peername"))
        return f"<{type(self).__name__} {state} {names} waiting={self._size}>"

    def begin(self) -> None:
        """Tell the protocol that the connection is made, then serve what came meanwhile. Under the lock."""
        try:
            self._protocol.connection_made(self)
        except Exception as error:
            report(self._loop, "Fatal error: protocol.connection_made() call failed.", error, self, self._protocol)
        if not self._closing:
            self._deaf = False
            self._serve()

    # -- what it is --------------------------------------------------------------------------------

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        """`peername`, `sockname`, and `socket`: ours, for options (reading it is the transport's affair)."""
        connection = self._connection
        if name == "peername":
            return text_address(connection.remote_addr, connection.remote_port)
        if name == "sockname":
            return text_address(connection.local_addr, connection.local_port)
        return self._socket() if name == "socket" else default

    def _socket(self) -> StreamSocket:
        """That of an accepted connection is made when somebody asks for it: few do, and it is 10 us of 300."""
        sock = self._sock
        if sock is None:
            with self._driver.entered():
                sock = self._sock = self._maker.around(self._connection)
                sock.setblocking(False)
                sock.hand_over(self._on_ready)
            if self._lost:
                sock.close()
        return sock

    def set_protocol(self, protocol: BaseProtocol) -> None:
        """Have another protocol called from now on."""
        self._protocol: Any = protocol
        self._buffered = isinstance(protocol, asyncio.BufferedProtocol)

    def get_protocol(self) -> BaseProtocol:
        """Whom the transport calls."""
        return cast(BaseProtocol, self._protocol)

    def is_closing(self) -> bool:
        """Whether `close` was called, or the connection lost."""
        return self._closing

    # -- reading -----------------------------------------------------------------------------------

    def is_reading(self) -> bool:
        """Whether octets that come are passed on."""
        return not self._closing and not self._paused

    def pause_reading(self) -> None:
        """Pass nothing on until `resume_reading`: the window closes."""
        if not self._closing:
            self._paused = True

    def resume_reading(self) -> None:
        """Go on with what came meanwhile."""
        if self._closing or not self._paused:
            return
        self._paused = False
        if self._connection.readable:
            self._on_ready.later()

    def _serve(self) -> None:
        """What the connection has: room for what waits, octets, its end. Under the lock, below no application."""
        if self._waiting:
            self._flush()
        if not (self._deaf or self._paused):
            self._pass_on()
        connection = self._connection
        if connection.state == CLOSED and not self._lost and (self._deaf or not connection.available):
            error = connection.error
            if error:
                self._fail(connection.take_error_as_exception())

    def _pass_on(self) -> None:
        """Octets to the protocol, as long as it will have them, then the end."""
        connection = self._connection
        while connection.available:
            if self._paused or self._deaf:
                return
            if self._buffered:
                self._fill(connection)
                continue
            data = connection.read(_PIECE)
            try:
                self._protocol.data_received(data)
            except Exception as error:
                self._fatal(error, "data_received")
                return
        if connection.eof and not (self._paused or self._deaf):
            self._end()

    def _fill(self, connection: Connection) -> None:
        """One copy, into the application's own buffer."""
        try:
            room = memoryview(self._protocol.get_buffer(connection.available)).cast("B")
            if not len(room):
                raise RuntimeError("get_buffer() returned an empty buffer")
        except Exception as error:
            self._fatal(error, "get_buffer")
            return
        count = connection.read_into(room)
        try:
            self._protocol.buffer_updated(count)
        except Exception as error:
            self._fatal(error, "buffer_updated")

    def _end(self) -> None:
        """The peer has ended its way: the protocol says whether ours stays open."""
        self._deaf = True
        try:
            stays = self._protocol.eof_received()
        except Exception as error:
            self._fatal(error, "eof_received")
            return
        if not stays:
            self.close()

    # -- writing -----------------------------------------------------------------------------------

    def write(self, data: Buffer) -> None:
        """Send octets, without waiting. Raises TypeError, and RuntimeError after `write_eof`."""
        if not isinstance(data, (bytes, bytearray, memoryview)):
            raise TypeError(f"data argument must be a bytes-like object, not {type(data).__name__!r}")
        if self._eof:
            raise RuntimeError("Cannot call write() after write_eof()")
        if type(data) is memoryview and (data.format != "B" or data.ndim != 1):
            data = data.cast("B")
        if not data:
            return
        if self._lost:
            if self._lost >= _WARN_AFTER:
                _log.warning("transport.write() on a connection that is lost")
            self._lost += 1
            return
        if not self._waiting:
            driver = self._driver
            try:
                if driver.rounding:  # in `data_received`, most of all: we are inside, and the round sends
                    taken = self._connection.write(data)
                else:
                    # nobody waits for these octets who has not got others to come: one round sends many writes
                    with driver.preparing() if self._connection.unsent else driver.entered():
                        taken = self._connection.write(data)
            except OSError as error:
                self._fail(error)
                return
            if taken == len(data):
                return
            rest = memoryview(data)[taken:]
            self._waiting = deque()
        else:
            rest = memoryview(data)
        # what the caller may change is copied
        self._waiting.append(rest if type(data) is bytes else bytes(rest))
        self._size += len(rest)
        self._maybe_pause_protocol()

    def writelines(self, list_of_data: Iterable[Buffer]) -> None:
        """`write` all of them, as one."""
        self.write(b"".join(list_of_data))

    def _flush(self) -> None:
        """There may be room for what waits."""
        connection, waiting = self._connection, self._waiting
        assert waiting is not None
        try:
            while waiting:
                data = waiting[0]
                taken = connection.write(data)
                self._size -= taken
                if taken < len(data):
                    if taken:
                        waiting[0] = memoryview(data)[taken:]
                    break
                waiting.popleft()
            if not waiting:
                self._waiting = None
                if self._eof:
                    connection.shutdown_write()
        except OSError as error:
            self._fail(error)
            return
        self._maybe_resume_protocol()
        if self._closing and not self._waiting:
            self._let_go(None)

    def can_write_eof(self) -> bool:
        """Yes."""
        return True

    def write_eof(self) -> None:
        """End our way behind what is written (FIN); reading goes on."""
        if self._closing or self._eof:
            return
        self._eof = True
        if not self._waiting:
            try:
                with self._driver.entered():
                    self._connection.shutdown_write()
            except OSError as error:
                self._fail(error)

    def get_write_buffer_size(self) -> int:
        """Octets that wait for room in the connection's send buffer. The limits are asyncio's: 64 KB and a quarter."""
        return self._size

    # -- the end -----------------------------------------------------------------------------------

    def close(self) -> None:
        """Send what waits, then FIN; nothing more is read. `connection_lost(None)` follows.

        Octets that came and were not read turn the FIN into a RST, as Linux has it (RFC 2525 section 2.17).
        """
        if not self._closing:
            self._closing = self._deaf = True
            if not self._waiting:
                self._let_go(None)

    def abort(self) -> None:
        """Drop what waits and what is unacknowledged, and reset the connection. `connection_lost(None)` follows."""
        self._force(None)

    def _fatal(self, error: Exception, where: str) -> None:
        """A protocol has raised."""
        report(self._loop, f"Fatal error: protocol.{where}() call failed.", error, self, self._protocol)
        self._force(error)

    def _fail(self, error: OSError) -> None:
        """The connection has failed."""
        self._force(error)

    def _force(self, error: Exception | None) -> None:
        if self._lost:
            return
        self._waiting = None
        self._size = 0
        self._closing = self._deaf = True
        with self._driver.entered():
            if self._connection.state != CLOSED:
                self._connection.abort()
            self._let_go(error)

    def _let_go(self, error: Exception | None) -> None:
        self._lost = 1
        self._everyone.discard(self)
        if self._sock is not None:
            self._sock.close()
        else:
            with self._driver.entered():
                self._connection.on_ready = None
                self._connection.close()
        self._loop.call_soon(self._tell_lost, error)

    def _tell_lost(self, error: Exception | None) -> None:
        try:
            self._protocol.connection_lost(error)
        finally:
            self._protocol = None
            if self._server is not None:
                self._server.detach(self)
                self._server = None
