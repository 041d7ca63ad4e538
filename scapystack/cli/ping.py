"""`scapystack ping`: echo requests from a stack of its own, with the options and the words of ping(8)."""

from __future__ import annotations

import time
from typing import Any

import click

from scapystack.cli.options import check_host, link_options, opened
from scapystack.shell.params import Seconds

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
    from scapystack.shell.pinging import PingRun, pattern  # noqa: PLC0415 - nothing that bad arguments need

    check_host(host)
    with opened(link) as stack:
        click.echo(f"PING {host}: {size} octets of data")
        data = pattern(size)
        run = PingRun(host, data, time.monotonic_ns, click.echo)
        try:
            with stack.pinger() as pinger:
                while count is None or run.sent < count:
                    if run.sent:
                        time.sleep(max(0.0, interval - (time.monotonic_ns() - run.last_at) / 1e9))
                    run.once(lambda seq: pinger.ping(host, seq, data, timeout=wait, ttl=ttl or 0))
        except KeyboardInterrupt:
            click.echo()
        return run.summary()
