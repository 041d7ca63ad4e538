"""`Pinger`: ICMP echo as blocking calls, one question at a time. `Stack.ping` is one of it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Self

from scapystack.base.addr import ip_text
from scapystack.base.errors import os_error
from scapystack.base.types import SECOND, Buffer
from scapystack.layers.icmp import EchoReply
from scapystack.sockets.address import resolve
from scapystack.sockets.channel import Channel, always, readable

if TYPE_CHECKING:
    from scapystack.sockets.waiting import Ground


@dataclass(slots=True)
class PingReply:
    """An answer: who sent it, what it carried, and how long it took (ms) by the stack's clock."""

    address: str
    seq: int
    ttl: int
    data: bytes
    rtt_ms: float


class Pinger:
    """Echo requests under one identifier of their own. A context manager."""

    def __init__(self, ground: Ground) -> None:
        """Raises OSError (EADDRINUSE) when every identifier is taken."""
        self._ground = ground
        self._driver = driver = ground.driver
        self._channel = Channel(ground.waiter)
        with driver.entered() as net:
            self._endpoint = net.icmp.open()
            self._channel.attach(self._endpoint, readable, always)

    def ping(
        self, host: str, seq: int = 1, data: Buffer = b"", *, timeout: float = 1.0, ttl: int = 0, df: bool = False
    ) -> PingReply:
        """Ask `host` and wait for its answer, `timeout` seconds at most.

        Raises TimeoutError, OSError for what an ICMP error said (EHOSTUNREACH, ENETUNREACH, ...: the
        text names the reporter) or for what cannot be sent, gaierror for a host that is no address.
        """
        target = resolve(host)
        deadline = self._driver.clock() + int(timeout * SECOND)
        with self._driver.entered() as net:
            while self._endpoint.recv() is not None:
                pass  # answers that came too late
            sent_at = net.core.now
            self._endpoint.send(target, seq, data, ttl, df)
        while True:
            with self._driver.entered():
                item = self._endpoint.recv()
                waiter = self._channel.wait_for_read() if item is None else None
            if waiter is not None:
                if self._ground.wait(waiter, deadline):
                    continue
                with self._driver.lock:
                    self._channel.forget(waiter)
                raise TimeoutError(f"no answer from {host} within {timeout:g} s")
            if item is None or item.seq != seq & 0xFFFF:
                continue
            if isinstance(item, EchoReply):
                return PingReply(ip_text(item.src), item.seq, item.ttl, item.data, (item.at - sent_at) / 1e6)
            error = os_error(item.errno)
            raise OSError(item.errno, f"{error.strerror} (from {ip_text(item.reporter)})")

    def close(self) -> None:
        """Give the identifier back."""
        with self._driver.entered():
            self._channel.close()
            self._endpoint.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()
