"""`scapystack ping`: echo requests from a stack of its own, with the options and the words of ping(8)."""

from __future__ import annotations

import time
from typing import Any

import click

from scapystack.cli.options import link_options, opened
from scapystack.shell.params import host, ping_options


@click.command("ping")
@ping_options
@link_options
def command(
    target: str, count: int | None, interval: float, size: int, ttl: int | None, patience: float, quiet: bool,
    **link: Any,
) -> int:  # fmt: skip
    """Send echo requests to ADDR from a stack of its own.

    Ends after -c requests, or with Ctrl-C. The exit status is 0 if anything was answered.
    """
    from scapystack.shell.pinging import PingRun, pattern  # noqa: PLC0415 - nothing that bad arguments need

    address = host(target)
    with opened(link) as stack:
        data = pattern(size)
        run = PingRun(address, data, time.monotonic_ns, click.echo, quiet=quiet)
        try:
            with stack.pinger() as pinger:
                while count is None or run.sent < count:
                    if run.sent:
                        time.sleep(max(0.0, interval - (time.monotonic_ns() - run.last_at) / 1e9))
                    run.once(lambda seq: pinger.ping(address, seq, data, timeout=patience, ttl=ttl or 0))
        except KeyboardInterrupt:
            click.echo()
        return run.summary()
