"""The streams of an iperf3 test: what is sent, and what is counted. Read `iperf3_wire` first."""

from __future__ import annotations

import contextlib
from abc import ABC, abstractmethod
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from scapystack.base.types import SECOND, Address, Nanoseconds
from scapystack.sockets.services.iperf3_wire import Losses, Parameters, StreamResult, stamped

if TYPE_CHECKING:
    from scapystack.sockets.services.base import Session

_BURST = 64
"""Datagrams that a stream sends at once at most."""


@lru_cache(maxsize=4)
def block(size: int) -> bytes:
    """What is sent over TCP: TCP keeps `bytes` without copying, so one serves all streams. Clients say the size."""
    return bytes(size)


class Stream(ABC):
    """One stream. `result` is what it has done so far, `sends` whether we are its sender."""

    def __init__(self, number: int, sends: bool, wants: Parameters) -> None:
        self.sends = sends
        self.wants = wants
        self.result = StreamResult(number)
        self.congestion = ""
        self.running = False
        self._since: Nanoseconds = 0
        self._sent = 0  # octets since `_since`, of those that go at a rate

    def start(self, now: Nanoseconds) -> None:
        """The test begins."""
        self.running = True
        self._since = now

    def omit(self, now: Nanoseconds) -> None:
        """Nothing of what was until now shall count."""
        self.result = StreamResult(self.result.number)
        self._since = now
        self._sent = 0

    def stop(self, now: Nanoseconds) -> None:
        """The test is over."""
        if self.running:
            self.running = False
            self.result.seconds = (now - self._since) / SECOND

    def due(self, now: Nanoseconds) -> int:
        """Octets that a stream with a rate should have sent by now and has not."""
        return int(self.wants.rate * (now - self._since) / SECOND) - self._sent

    @abstractmethod
    def burst(self, now: Nanoseconds) -> None:
        """It is time to send, if this one sends by time."""


class TcpStream(Stream):
    """A stream on a TCP connection: its session calls `serve` when it can go on."""

    def __init__(self, number: int, sends: bool, wants: Parameters, session: Session) -> None:
        super().__init__(number, sends, wants)
        self.connection = session.connection
        self.congestion = session.connection.options.congestion
        self._session = session
        self._omitted = (0, 0)  # octets and retransmissions that do not count
        self._written = 0

    def serve(self) -> None:
        """Take what came, write what there is room for."""
        connection = self.connection
        if available := connection.available:
            self.result.octets += connection.discard(available)
        if self.sends and self.running and not self.wants.rate:
            data = block(self.wants.block)
            while connection.writable and (n := connection.write(data)):
                self._written += n

    def start(self, now: Nanoseconds) -> None:
        """As `Stream.start`, and begin to send."""
        super().start(now)
        self.connection.want_write = self.sends
        with contextlib.suppress(OSError):  # it is reset already
            self.serve()

    def burst(self, now: Nanoseconds) -> None:
        """Whole blocks, up to the rate."""
        connection, size = self.connection, self.wants.block
        if not (self.sends and self.wants.rate and connection.connected):
            return
        with contextlib.suppress(OSError):
            while self.due(now) >= size and connection.writable and (n := connection.write(block(size))):
                self._written += n
                self._sent += n

    def omit(self, now: Nanoseconds) -> None:
        """As `Stream.omit`."""
        super().omit(now)
        self._omitted = (self._written - self.connection.unsent, self.connection.total_retrans)

    def stop(self, now: Nanoseconds) -> None:
        """Count, and close: what is queued still goes."""
        if not self.running:
            return
        super().stop(now)
        connection, result = self.connection, self.result
        if self.sends:
            result.octets = self._written - connection.unsent - self._omitted[0]
            result.retransmits = connection.total_retrans - self._omitted[1]
        elif connection.available:
            result.octets += connection.discard(connection.available)
        self._session.finish()


class UdpStream(Stream):
    """A stream of datagrams, to and from one port of the client."""

    def __init__(
        self, number: int, sends: bool, wants: Parameters, endpoint: Any, peer: tuple[Address, int], local: Address
    ) -> None:
        super().__init__(number, sends, wants)
        self.peer = peer
        self._endpoint = endpoint
        self._local = local
        self._losses = Losses()
        self._omitted = (0, 0)

    def arrived(self, data: bytes, now: Nanoseconds) -> None:
        """A datagram of the client's."""
        if self.running:
            self.result.octets += len(data)
            self._losses.arrived(data, now, self.wants.long_count)

    def burst(self, now: Nanoseconds) -> None:
        """Datagrams up to the rate; without one, as many as one burst may have."""
        if not (self.sends and self.running):
            return
        size, result = self.wants.block, self.result
        count = min(self.due(now) // size, _BURST) if self.wants.rate else _BURST
        for _ in range(count):
            data = stamped(self._losses.packets + 1, now, size, self.wants.long_count)
            try:
                self._endpoint.send(data, *self.peer, self._local)
            except OSError:
                return  # an ICMP error, or no way there
            self._losses.packets += 1
            self._sent += size
            result.octets += size

    def omit(self, now: Nanoseconds) -> None:
        """As `Stream.omit`."""
        super().omit(now)
        self._omitted = (self._losses.packets, self._losses.lost)
        self._losses.jitter = 0.0

    def stop(self, now: Nanoseconds) -> None:
        """As `Stream.stop`."""
        super().stop(now)
        result, losses = self.result, self._losses
        result.packets, result.errors, result.jitter = losses.packets, losses.lost, losses.jitter
        result.omitted_packets, result.omitted_errors = self._omitted
