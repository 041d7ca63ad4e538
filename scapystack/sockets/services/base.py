"""What the services share: a listener whose connections are served in the driver's round.

No thread and no socket stands behind a service. An endpoint's `on_ready` is a method of a small
object here, which reads and writes the Connection itself: the driver calls it after a burst of
frames, under its lock, and sends in the same round what it wrote. Each call does work in proportion
to what came or may go, whatever the number of connections. None sends urgent data (SHLD-13) or
changes the DS field of a connection (SHLD-23).
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, Any, ClassVar

from scapystack.base.addr import ANY4
from scapystack.base.errors import ConfigError

if TYPE_CHECKING:
    from scapystack.layers.tcp.listen import Listener
    from scapystack.layers.tcp.user import Connection
    from scapystack.runtime.driver import Driver


class Session(ABC):
    """One connection of a service. Subclasses say in `serve` what to do when it is ready.

    `serve` runs under the driver's lock, must not block, and may be called for nothing.
    """

    __slots__ = ("connection", "service")

    def __init__(self, service: Service, connection: Connection) -> None:
        self.service = service
        self.connection = connection

    def start(self) -> None:
        """Serve from now on; what came with the handshake is looked at at once."""
        self.connection.on_ready = self._on_ready
        self._on_ready()

    def _on_ready(self) -> None:
        if self.connection.connected:
            self.serve()
        else:
            self.finish()  # reset, or timed out

    @abstractmethod
    def serve(self) -> None:
        """The connection has something to read, room to write, or reached its end."""

    def finish(self) -> None:
        """Let go of the connection: FIN behind what is queued."""
        self.connection.on_ready = None
        self.connection.close()
        self.service.sessions.discard(self)


class Service:
    """A service on a port, from `start_services`. `close()` ends it and its connections."""

    name: ClassVar[str] = ""
    port: ClassVar[int] = 0
    about: ClassVar[str] = ""
    session: ClassVar[type[Session] | None] = None
    datagrams: ClassVar[bool] = False
    nodelay: ClassVar[bool] = True

    def __init__(self, driver: Driver, port: int = 0) -> None:
        """`port` 0 is the service's usual one."""
        self.driver = driver
        self.net = driver.stack
        self.local_port = port or self.port
        self.sessions: set[Session] = set()
        self.accepted = 0
        self._listener: Listener | None = None
        self._endpoint: Any = None

    def open(self, backlog: int = 512) -> None:
        """Begin. Raises ConfigError where the port is taken."""
        with self.driver.entered():
            try:
                if self.session is not None:
                    self._listen(backlog)
                if self.datagrams:
                    self._endpoint = self.net.udp.bind(ANY4, self.local_port)
                    self._endpoint.on_ready = self.datagrams_ready
            except OSError as e:
                self.close()
                reason = e.strerror or str(e)
                raise ConfigError(f"cannot serve {self.name} on port {self.local_port}: {reason}") from None

    def _listen(self, backlog: int) -> None:
        listener = self.net.tcp.listen(ANY4, self.local_port, backlog, reuse=True)
        listener.options.nodelay = self.nodelay
        # a client that vanished without a word does not stay for ever
        listener.options.keepalive = True
        listener.on_ready = self._accept
        self._listener = listener

    def _accept(self) -> None:
        listener, kind = self._listener, self.session
        while listener is not None and kind is not None and (connection := listener.accept()) is not None:
            self.accepted += 1
            session = kind(self, connection)
            self.sessions.add(session)
            session.start()

    def datagrams_ready(self) -> None:
        """Datagrams wait at the UDP endpoint (services with `datagrams`)."""

    def describe(self) -> str:
        """One line: what it is and where."""
        kinds = [kind for kind, has in (("TCP", self.session is not None), ("UDP", self.datagrams)) if has]
        return f"{self.name} on {' and '.join(kinds)} port {self.local_port}: {self.about}"

    def close(self) -> None:
        """Stop listening and close every connection. Idempotent."""
        with self.driver.entered():
            if self._listener is not None:
                self._listener.on_ready = None
                self._listener.close()
                self._listener = None
            if self._endpoint is not None:
                self._endpoint.on_ready = None
                self._endpoint.close()
                self._endpoint = None
            for session in list(self.sessions):
                session.finish()
