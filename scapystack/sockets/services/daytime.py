"""Daytime: the date and time as a line of text, to whoever connects or sends a datagram (RFC 867)."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TYPE_CHECKING

from scapystack.sockets.services.base import Service, Session
from scapystack.sockets.services.echo import REFLECTORS

if TYPE_CHECKING:
    from scapystack.runtime.driver import Driver


class DaytimeSession(Session):
    """One connection: the line, and the end."""

    __slots__ = ()

    def serve(self) -> None:
        """Answer at once, without a question."""
        service = self.service
        assert isinstance(service, Daytime)
        # unread data would turn our FIN into a reset and could cost the peer the answer
        self.connection.discard(self.connection.available)
        self.connection.write(service.line())
        self.finish()


class Daytime(Service):
    """Says what time it is."""

    name = "daytime"
    port = 13
    about = "says the date and time"
    session = DaytimeSession
    datagrams = True

    def __init__(self, driver: Driver, port: int = 0, clock: Callable[[], float] = time.time) -> None:
        """`clock` gives seconds since the epoch."""
        super().__init__(driver, port)
        self._clock = clock

    def line(self) -> bytes:
        """Such as `Saturday, November 22, 2025 12:34:56-UTC` (RFC 867's popular syntax)."""
        return time.strftime("%A, %B %d, %Y %H:%M:%S-UTC\r\n", time.gmtime(self._clock())).encode()

    def datagrams_ready(self) -> None:
        """One line to each that asked."""
        endpoint = self._endpoint
        while True:
            try:
                message = endpoint.recv_message()
                if message is None:
                    return
                if message.port not in REFLECTORS:
                    endpoint.send(self.line(), message.src, message.port, message.dst)
            except OSError:
                continue  # an ICMP error of an earlier answer, or no way back to this one
