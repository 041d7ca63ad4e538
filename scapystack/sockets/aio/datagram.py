"""`DatagramTransport`: a UDP endpoint as asyncio's transport. Nothing waits on its way out. Read `common` first."""

from __future__ import annotations

import asyncio
import logging
from asyncio import AbstractEventLoop, BaseProtocol
from typing import TYPE_CHECKING, Any, cast

from scapystack.base.types import Buffer
from scapystack.sockets.address import InetAddress, text_address, unpack_address
from scapystack.sockets.aio.common import Served, report

if TYPE_CHECKING:
    from scapystack.layers.udp import UdpEndpoint
    from scapystack.sockets.datagram import DatagramSocket

_log = logging.getLogger("asyncio")
_WARN_AFTER = 5


class StackDatagramTransport(asyncio.DatagramTransport):
    """The transport of one port. Made by `AsyncStack`, which calls `begin`."""

    __slots__ = (
        "__weakref__", "_closing", "_driver", "_endpoint", "_everyone", "_loop", "_lost", "_on_ready", "_peer",
        "_protocol", "_sock",
    )  # fmt: skip

    def __init__(
        self,
        loop: AbstractEventLoop,
        sock: DatagramSocket,
        protocol: BaseProtocol,
        peer: InetAddress | None,
        everyone: set[Any],
    ) -> None:
        """Take over the endpoint of `sock`, which is connected to `peer`, if to any, under the driver's lock.

        Open, it is a member of `everyone`.
        """
        super().__init__()
        self._loop = loop
        self._sock = sock
        self._driver = sock.driver
        self._peer = peer
        self._protocol: Any = protocol
        self._on_ready = Served(loop, sock.driver, self._serve)
        self._endpoint: UdpEndpoint = sock.hand_over(self._on_ready)
        self._closing = False
        self._lost = 0
        self._everyone = everyone
        everyone.add(self)

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {'closing' if self._closing else 'open'} {self._sock!r}>"

    def begin(self) -> None:
        """Tell the protocol, then serve what came meanwhile. Under the lock."""
        try:
            self._protocol.connection_made(self)
        except Exception as error:
            report(self._loop, "Fatal error: protocol.connection_made() call failed.", error, self, self._protocol)
        self._serve()

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        """`sockname`, `peername` (if connected), and `socket`: ours, for options."""
        endpoint = self._endpoint
        if name == "sockname":
            return text_address(endpoint.local_addr, endpoint.local_port)
        if name == "peername":
            return self._peer if self._peer is not None else default
        return self._sock if name == "socket" else default

    def set_protocol(self, protocol: BaseProtocol) -> None:
        """Have another protocol called from now on."""
        self._protocol = protocol

    def get_protocol(self) -> BaseProtocol:
        """Whom the transport calls."""
        return cast(BaseProtocol, self._protocol)

    def is_closing(self) -> bool:
        """Whether `close` or `abort` was called."""
        return self._closing

    def get_write_buffer_size(self) -> int:
        """Nothing ever waits."""
        return 0

    def _serve(self) -> None:
        """Datagrams wait, or an ICMP error. Under the lock, below no application."""
        receive = self._endpoint.recv
        while not self._closing:
            try:
                item = receive()
            except OSError as error:
                self._protocol.error_received(error)
                continue
            if item is None:
                return
            data, source, port = item
            try:
                self._protocol.datagram_received(data, text_address(source, port))
            except Exception as error:
                self._fatal(error)

    def sendto(self, data: Buffer, addr: Any = None) -> None:
        """Send one datagram, to `addr` or to the peer. What fails is told to `error_received`.

        Raises TypeError, ValueError (another address than the peer's), gaierror.
        """
        if not isinstance(data, (bytes, bytearray, memoryview)):
            raise TypeError(f"data argument must be a bytes-like object, not {type(data).__name__!r}")
        if self._peer is not None and addr not in (None, self._peer):
            raise ValueError(f"Invalid address: must be None or {self._peer}")
        to = () if self._peer is not None or addr is None else unpack_address(addr)
        if self._closing:
            if self._lost >= _WARN_AFTER:
                _log.warning("transport.sendto() on a transport that is closed")
            self._lost += 1
            return
        try:
            with self._driver.entered():
                self._endpoint.send(data if type(data) is bytes else bytes(data), *to)
        except OSError as error:
            self._protocol.error_received(error)

    def _fatal(self, error: Exception) -> None:
        """A protocol has raised."""
        report(self._loop, "Fatal read error on datagram transport", error, self, self._protocol)
        self._end(error)

    def close(self) -> None:
        """Let the port go. `connection_lost(None)` follows."""
        self._end(None)

    def abort(self) -> None:
        """The same: nothing waits."""
        self._end(None)

    def _end(self, error: Exception | None) -> None:
        if not self._closing:
            self._closing = True
            self._sock.close()
            self._everyone.discard(self)
            self._loop.call_soon(self._tell_lost, error)

    def _tell_lost(self, error: Exception | None) -> None:
        try:
            self._protocol.connection_lost(error)
        finally:
            self._protocol = None
