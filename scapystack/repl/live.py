"""`Stack`: the stack of `scapystack.sockets` with handles on its connections, and an observer of its packets.

`connect` and `listen` give handles (`connection.Conn`), `conns` those of every connection there is, `explain` what
became of a packet. Read `connection` first.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Self

from scapy.packet import Packet

from scapystack.base.addr import endpoint_text, ip_text
from scapystack.base.errors import ConfigError
from scapystack.base.types import SECOND
from scapystack.layers.tcp.user import Connection
from scapystack.repl.connection import Conn
from scapystack.repl.explanation import Explanation, explained
from scapystack.repl.observer import Observer
from scapystack.repl.packets import wire_octets
from scapystack.repl.records import Record
from scapystack.repl.table import Connections
from scapystack.repl.which import use
from scapystack.sockets import facade
from scapystack.sockets.address import unpack_address
from scapystack.sockets.stream import StreamSocket

if TYPE_CHECKING:
    from scapystack.layers.tcp.listen import Listener as TcpListener

_CONNECT_S = 10.0
_LOOK_S = 0.002


def _check(address: Any, takes: str) -> None:
    try:
        unpack_address(address)
    except (TypeError, OverflowError):
        raise ConfigError(takes) from None


class Stack(facade.Stack):
    """A stack in a person's hand. With `observe` (the default) every packet can be explained, at two snapshots each."""

    def __init__(self, *args: Any, observe: bool = True, **how: Any) -> None:
        """As `scapystack.Stack`."""
        self._handles: dict[int, Conn] = {}
        super().__init__(*args, **how)
        self.observer = Observer(self.net)
        self.observe(observe)

    def observe(self, on: bool = True) -> None:
        """Have what packets do be noted from now on, or no longer."""
        with self.driver.entered():
            if on:
                self.observer.attach()
            else:
                self.observer.detach()

    def start(self) -> Self:
        """As of any stack; a session's `conns` and `explain` ask it from now on."""
        use(self)
        return super().start()

    def close(self, patience_s: float = facade.PATIENCE_S) -> None:
        """As of any stack; one that somebody else runs goes on unobserved."""
        if not self.closed and hasattr(self, "observer"):
            self.observe(False)
        super().close(patience_s)

    def __repr__(self) -> str:
        with self.driver.lock:
            faces = self.net.interfaces[1:]
            where = [f"{ip_text(a.address)}/{a.prefix.length} on {i.name}" for i in faces for a in i.addresses]
            return f"<Stack {', '.join(where) or 'without an interface'}, {len(self.net.tcp.connections)} connections>"

    # -- connections -------------------------------------------------------------------------------------

    def connect(
        self, address: tuple[str, int], timeout: float = _CONNECT_S, source_address: tuple[str, int] | None = None
    ) -> Conn:
        """Open a connection; its handle. Raises ConfigError, and OSError and TimeoutError as `create_connection`."""
        _check(address, "connect(address) takes the peer's address and port, such as ('10.0.0.2', 80)")
        sock = self.create_connection(address, timeout, source_address)
        assert isinstance(sock, StreamSocket)
        return self.handle(sock.endpoint, sock)

    def listen(self, port: int = 0, host: str = "0.0.0.0", backlog: int | None = None) -> Listener:
        """Listen on a port (0: a free one). Raises ConfigError, OSError."""
        _check((host, port), "listen(port) takes a number from 0 to 65535")
        sock = self.create_server((host, port), backlog=backlog)
        assert isinstance(sock, StreamSocket)
        return Listener(self, sock)

    def handle(self, connection: Connection, socket: StreamSocket | None = None) -> Conn:
        """The one handle of a connection, made when first asked for."""
        with self.driver.lock:
            known = self._handles.get(id(connection))
            if known is None:
                live = {id(each) for each in self.net.tcp.connections.values()}
                self._handles = {number: each for number, each in self._handles.items() if number in live}
                known = self._handles[id(connection)] = Conn(self, connection)
            known.socket = known.socket or socket
            return known

    def conns(self) -> Connections:
        """Handles of every connection there is now, whoever has it."""
        with self.driver.lock:
            return Connections(self.handle(each) for each in list(self.net.tcp.connections.values()))

    # -- packets -----------------------------------------------------------------------------------------

    def explain(self, packet: Any) -> Explanation:
        """What became of a packet that the stack has seen, the last one of these octets. Raises ConfigError."""
        if not isinstance(packet, Packet):
            raise ConfigError(f"explain takes a packet (of c.log, say), not {type(packet).__name__}")
        octets = wire_octets(packet)
        at = round(float(packet.time) * SECOND)
        found: Record | None = None
        with self.driver.lock:
            for record in reversed(self.observer.records):
                if octets in (record.packet_octets, record.octets) or _padded(record, octets):
                    if abs(record.at - at) < 1_000:
                        found = record
                        break
                    found = found or record
            if found is not None:
                return explained(found)
        raise ConfigError("the stack has not seen this packet since it was observed (or it is too long ago)")

    def wait_for(self, condition: Callable[[], bool], timeout: float) -> bool:
        """Wait until a condition holds that is asked under the lock; whether it does. In virtual time, that passes."""
        until = self.driver.clock() + round(timeout * SECOND)
        while True:
            with self.driver.lock:
                if condition():
                    return True
            if self.driver.clock() >= until:
                return False
            if self.simulated:
                self._ground.wait(self._ground.waiter(), min(until, self.driver.clock() + SECOND // 1_000))
            else:
                time.sleep(_LOOK_S)


class Listener:
    """A port that is listened on: `accept()` gives handles."""

    def __init__(self, stack: Stack, socket: StreamSocket) -> None:
        self.stack = stack
        self.socket = socket

    @property
    def port(self) -> int:
        """The port."""
        return self._listener.local_port

    @property
    def _listener(self) -> TcpListener:
        listener: TcpListener = self.socket.endpoint
        return listener

    def accept(self, timeout: float | None = None) -> Conn:
        """The next connection. Raises TimeoutError after `timeout` seconds (None: never)."""
        self.socket.settimeout(timeout)
        sock, _ = self.socket.accept()
        return self.stack.handle(sock.endpoint, sock)

    def close(self) -> None:
        """Stop listening; connections that were accepted stay."""
        self.socket.close()

    def __repr__(self) -> str:
        listener = self._listener
        where = endpoint_text(listener.local_addr, listener.local_port)
        return f"<Listener {where} half-open={len(listener.half_open)} waiting={len(listener.queue)}>"


def _padded(record: Record, octets: bytes) -> bool:
    """Whether it is this packet with the padding of a short Ethernet frame behind it."""
    return len(record.octets) == 60 and record.packet_octets.startswith(octets)
