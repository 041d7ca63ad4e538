"""The application of a TCP replay: writes what the recorded one wrote, at the same points of the stream.

It reads as the recorded one read, as far as the recorded windows tell: so much that our window reaches at least as
far as the recorded one did. Sequence numbers are relative: 1 is the first octet of a stream.
"""

from __future__ import annotations

import errno

from scapystack.base.types import Address
from scapystack.layers.tcp.listen import Listener
from scapystack.layers.tcp.state import CLOSED
from scapystack.layers.tcp.user import Connection
from scapystack.replay.facts import TcpSide
from scapystack.replay.settings import set_options
from scapystack.replay.text import Text
from scapystack.stack import NetStack

_ALL = 1 << 30


class Application:
    """One socket's worth of application on `stack`. `side` is what the recording shows of it."""

    def __init__(self, stack: NetStack, side: TcpSide, heard: Text) -> None:
        """`heard`: the peer's stream; what is read is compared with it."""
        self.stack = stack
        self.side = side
        self.heard = heard
        self.connection: Connection | None = None
        self.listener: Listener | None = None
        self.read = 1  # past the last octet that was read
        self.differs = 0  # where what was read first differed from what the peer had sent
        self.error = 0
        self.closing = False
        self._waiting = b""
        self._urgent: int | None = None  # of what waits: past the urgent octet

    def listen(self, local: Address, port: int) -> None:
        """Be a server."""
        self.listener = self.stack.tcp.listen(local, port, 8)
        set_options(self.listener.options, self.side)

    def connect(self, local: Address, local_port: int, remote: Address, port: int) -> None:
        """Be a client; one that asks for Fast Open, or has a cookie, if the recorded one did."""
        syn = self.side.syn
        fast = syn.fastopen if syn is not None else None
        if fast:
            self.stack.tcp.fastopen_cache.learn(local, remote, fast, 1460)
        how = {"local": local, "local_port": local_port, "fastopen": fast is not None}
        self.connection = self.stack.tcp.connect(remote, port, **how)  # type: ignore[arg-type]
        set_options(self.connection.options, self.side)

    def look(self) -> None:
        """Take a connection that is there, and write what had to wait."""
        if self.connection is None and self.listener is not None:
            self.connection = self.listener.accept()
        if self._waiting and self.connection is not None and self.connection.connected:
            octets, self._waiting = self._waiting, b""
            self.write(octets, self._urgent)
        elif self.closing and not self._waiting:
            self._shut()

    # -- what the recorded application did ---------------------------------------------------------------

    def write(self, octets: bytes, urgent: int | None = None) -> None:
        """Send; of these octets the one before `urgent` (counted from 1) is urgent. What has no room waits."""
        connection = self.connection
        if self._waiting or connection is None or not (connection.connected or connection.deferred):
            if urgent is not None:
                self._urgent = len(self._waiting) + urgent
            self._waiting += octets
            return
        try:
            taken = self._write(connection, octets, urgent)
        except OSError as error:
            self.error = error.errno or errno.EIO
            return
        self._waiting = octets[taken:]
        self._urgent = urgent - taken if urgent is not None and urgent > taken else None
        if self._waiting:
            connection.want_write = True
        elif self.closing:
            self._shut()

    @staticmethod
    def _write(connection: Connection, octets: bytes, urgent: int | None) -> int:
        """What the connection takes of it."""
        if urgent is None or not 0 < urgent <= len(octets):
            return connection.write(octets)
        taken = connection.write(octets[: urgent - 1]) if urgent > 1 else 0
        if taken == urgent - 1 and connection.write_urgent(octets[taken:urgent]):
            taken += 1 + (connection.write(octets[urgent:]) if len(octets) > urgent else 0)
        return taken

    def read_up_to(self, number: int) -> None:
        """Read until this octet of the peer's stream, as far as it has come."""
        connection = self.connection
        while connection is not None and self.read < number and connection.available:
            try:
                octets = connection.read(number - self.read)
            except OSError as error:
                self.error = error.errno or errno.EIO
                return
            if not self.differs and octets != self.heard.slice(self.read, self.read + len(octets)):
                self.differs = self.read
            self.read += len(octets)
            self.heard.forget(self.read)

    def read_all(self) -> None:
        """Read all that is there."""
        self.read_up_to(self.read + _ALL)

    def finish(self) -> None:
        """Send nothing more; a FIN follows what was written."""
        self.closing = True
        if not self._waiting:
            self._shut()

    def _shut(self) -> None:
        connection = self.connection
        if connection is None or connection.write_shut or connection.state == CLOSED:
            return
        try:
            if self.side.resets_after_fin:  # the recorded one would hear nothing more either
                self.read_all()
                connection.close()
            else:
                connection.shutdown_write()
        except OSError as error:
            self.error = error.errno or errno.EIO

    def abort(self) -> None:
        """Reset the connection."""
        if self.connection is not None and self.connection.state != CLOSED:
            self.connection.abort()
