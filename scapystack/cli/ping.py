"""`scapystack ping`: echo requests from a stack of its own, with the options and the words of ping(8)."""

from __future__ import annotations

import math
import time
from typing import Any

import click

from scapystack.cli.options import Seconds, check_host, link_options, opened

MAX_SIZE = 65_507


@click.command("ping")
@click.argument("host")
@click.option("-c", "--count", type=click.IntRange(min=1), metavar="N", help="Stop after N requests.")
@click.option("-i", "--interval", type=Seconds(min=0), default=1.0, metavar="S", help="Seconds between them (1).")
@click.option("-s", "--size", type=click.IntRange(0, MAX_SIZE), default=56, metavar="N", help="Octets of data (56).")
@click.option("-t", "--ttl", type=click.IntRange(1, 255), metavar="N", help="Time to live (the setting ip.ttl).")
@click.option(
    "-W",
    "--wait",
    type=Seconds(min=0, min_open=True),
    default=1.0,
    metavar="S",
    help="Seconds to wait for each answer (1).",
)
@link_options
def command(host: str, count: int | None, interval: float, size: int, ttl: int | None, wait: float, **link: Any) -> int:
    """Send echo requests to HOST from a stack of its own.

    Ends after -c requests, or with Ctrl-C. The exit status is 0 if anything was answered.
    """
    check_host(host)
    with opened(link) as stack:
        click.echo(f"PING {host}: {size} octets of data")
        run = _Run(host, bytes(i & 0xFF for i in range(size)))
        try:
            with stack.pinger() as pinger:
                while count is None or run.sent < count:
                    if run.sent:
                        time.sleep(max(0.0, interval - (time.monotonic() - run.last_at)))
                    run.once(pinger, wait, ttl or 0)
        except KeyboardInterrupt:
            click.echo()
        return run.summary()


class _Run:
    """Requests so far, and what came of them."""

    def __init__(self, host: str, data: bytes) -> None:
        self.host = host
        self.data = data
        self.sent = 0
        self.errors = 0
        self.rtts: list[float] = []
        self.began_at = self.last_at = time.monotonic()

    def once(self, pinger: Any, wait: float, ttl: int) -> None:
        """One request, and one line about it. Raises ConfigError for a request that cannot be sent."""
        self.sent += 1
        self.last_at = time.monotonic()
        try:
            reply = pinger.ping(self.host, self.sent, self.data, timeout=wait, ttl=ttl)
        except TimeoutError:
            click.echo(f"no answer: icmp_seq={self.sent}")
        except OSError as error:
            self.errors += 1
            click.echo(f"icmp_seq={self.sent} {error.strerror or error}")
        else:
            wrong = "" if reply.data == self.data else " (WRONG DATA)"
            self.rtts += [] if wrong else [reply.rtt_ms]
            click.echo(
                f"{len(reply.data) + 8} bytes from {reply.address}: "
                f"icmp_seq={reply.seq} ttl={reply.ttl} time={reply.rtt_ms:.3f} ms{wrong}"
            )

    def summary(self) -> int:
        """The closing lines of ping(8); the exit status."""
        got = len(self.rtts)
        errors = f", +{self.errors} errors" if self.errors else ""
        loss = 100 * (self.sent - got) / self.sent if self.sent else 0
        took_ms = (time.monotonic() - self.began_at) * 1000
        click.echo(f"--- {self.host} ping statistics ---")
        click.echo(
            f"{self.sent} packets transmitted, {got} received{errors}, {loss:.6g}% packet loss, time {took_ms:.0f}ms"
        )
        if got:
            mean = sum(self.rtts) / got
            deviation = math.sqrt(max(0.0, sum(rtt * rtt for rtt in self.rtts) / got - mean * mean))
            click.echo(
                f"rtt min/avg/max/mdev = {min(self.rtts):.3f}/{mean:.3f}/{max(self.rtts):.3f}/{deviation:.3f} ms"
            )
        return 0 if got else 1
