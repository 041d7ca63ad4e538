"""Echo: what comes is sent back, over TCP and UDP (RFC 862).

On a connection, nothing is read that cannot be written: the peer's own window then holds it back.
"""

from __future__ import annotations

from scapystack.sockets.services.base import Service, Session

REFLECTORS = frozenset((7, 13, 17, 19, 37))
"""Ports that answer any datagram. A datagram from one is not answered: the two would go on for ever
(CA-1996-01)."""
_SMALL = 4096


class EchoSession(Session):
    """One connection."""

    __slots__ = ()

    def serve(self) -> None:
        """Read no more than there is room to write."""
        connection = self.connection
        while waiting := connection.available:
            room = connection.write_space
            if room <= 0:
                connection.want_write = True
                return
            if waiting < _SMALL:
                connection.write(connection.read(room))
                continue
            for piece in connection.views(room):  # large pieces go back without a copy
                connection.write(piece)
        if connection.eof:
            self.finish()


class Echo(Service):
    """Sends back what it gets."""

    name = "echo"
    port = 7
    about = "sends back what it gets"
    session = EchoSession
    datagrams = True

    def datagrams_ready(self) -> None:
        """Send every waiting datagram back to where it came from."""
        recv, send = self._endpoint.recv_message, self._endpoint.send
        while True:
            try:
                message = recv()
                if message is None:
                    return
                if message.port not in REFLECTORS:
                    send(message.data, message.src, message.port, message.dst)
            except OSError:
                continue  # an ICMP error of an earlier answer, or no way back to this one
