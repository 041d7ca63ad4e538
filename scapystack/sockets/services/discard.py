"""Discard: what comes is thrown away (RFC 863), without being copied out of the receive queue."""

from __future__ import annotations

from scapystack.sockets.services.base import Service, Session


class DiscardSession(Session):
    """One connection."""

    __slots__ = ()

    def serve(self) -> None:
        """Drop what is there."""
        connection = self.connection
        connection.discard(connection.available)
        if connection.eof:
            self.finish()


class Discard(Service):
    """Throws away what it gets."""

    name = "discard"
    port = 9
    about = "throws away what it gets"
    session = DiscardSession
