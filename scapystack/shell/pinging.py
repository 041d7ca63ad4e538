"""A run of pings, whoever sends them: one line for each, the closing lines of ping(8), the exit status."""

from __future__ import annotations

import math
from collections.abc import Callable

from scapystack.base.types import Nanoseconds
from scapystack.sockets.ping import PingReply


def pattern(size: int) -> bytes:
    """The data of a request: what comes back must be the same."""
    return bytes(i & 0xFF for i in range(size))


class PingRun:
    """Requests so far, and what came of them. `clock` is in nanoseconds; `say` takes lines, `quiet` only a few."""

    def __init__(
        self,
        host: str,
        data: bytes,
        clock: Callable[[], Nanoseconds],
        say: Callable[[str], None],
        *,
        quiet: bool = False,
    ) -> None:
        self.host = host
        self.data = data
        self.sent = 0
        self.errors = 0
        self.rtts: list[float] = []
        self.began_at = self.last_at = clock()
        self._clock = clock
        self._say = say
        self._each: Callable[[str], object] = str if quiet else say
        say(f"PING {host}: {len(data)} octets of data")

    def once(self, ask: Callable[[int], PingReply]) -> None:
        """One request, and one line about it. Raises ConfigError for a request that cannot be sent."""
        self.sent += 1
        self.last_at = self._clock()
        try:
            reply = ask(self.sent)
        except TimeoutError:
            self._each(f"no answer: icmp_seq={self.sent}")
        except OSError as error:
            self.errors += 1
            self._each(f"icmp_seq={self.sent} {error.strerror or error}")
        else:
            wrong = "" if reply.data == self.data else " (WRONG DATA)"
            self.rtts += [] if wrong else [reply.rtt_ms]
            self._each(
                f"{len(reply.data) + 8} bytes from {reply.address}: "
                f"icmp_seq={reply.seq} ttl={reply.ttl} time={reply.rtt_ms:.3f} ms{wrong}"
            )

    def summary(self) -> int:
        """The closing lines of ping(8); the exit status."""
        got = len(self.rtts)
        errors = f", +{self.errors} errors" if self.errors else ""
        loss = 100 * (self.sent - got) / self.sent if self.sent else 0
        took_ms = (self._clock() - self.began_at) / 1e6
        self._say(f"--- {self.host} ping statistics ---")
        self._say(
            f"{self.sent} packets transmitted, {got} received{errors}, {loss:.6g}% packet loss, time {took_ms:.0f}ms"
        )
        if got:
            mean = sum(self.rtts) / got
            deviation = math.sqrt(max(0.0, sum(rtt * rtt for rtt in self.rtts) / got - mean * mean))
            self._say(f"rtt min/avg/max/mdev = {min(self.rtts):.3f}/{mean:.3f}/{max(self.rtts):.3f}/{deviation:.3f} ms")
        return 0 if got else 1
