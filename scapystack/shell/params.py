"""The words of commands that several have, here and on the command line: spans of time, hosts, ports, pings."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

import click

from scapystack.base.addr import ip
from scapystack.base.errors import ConfigError

F = TypeVar("F", bound=Callable[..., Any])

MAX_SECONDS = 1e9
MAX_PING = 65_507
"""Octets of data in an echo request: with its headers, the largest IP packet."""
NAMES = {"localhost": "127.0.0.1"}


class Seconds(click.FloatRange):
    """A span of time: some thirty years at most, and neither `inf` nor `nan`, which no clock counts."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """The seconds as a float."""
        seconds = super().convert(value, param, ctx)
        if not seconds <= MAX_SECONDS:
            self.fail(f"{value!r} is no number of seconds that can be waited for.", param, ctx)
        return seconds


POSITIVE = Seconds(min=0, min_open=True)


def host(text: str) -> str:
    """An IPv4 address as text. Raises ConfigError: there is no name service in the stack."""
    text = NAMES.get(text, text)
    if len(ip(text)) != 4:
        raise ConfigError(f"{text} is an IPv6 address; the stack speaks IPv4 so far")
    return text


def port(text: str) -> int:
    """1 to 65535. Raises ConfigError."""
    if not text.isdecimal() or not 0 < int(text) < 65_536:
        raise ConfigError(f"{text!r} is not a port (1 to 65535)")
    return int(text)


def peer(words: tuple[str, ...], listen: bool, local_port: int | None) -> tuple[str, int]:
    """Address and port as nc(1) takes them: `ADDR PORT`, or to listen `[ADDR] PORT` or `-p PORT [ADDR]`.

    The address is "" where any will do. Raises UsageError, ConfigError.
    """
    given = list(words)
    if len(given) > 2 or (len(given) < 2 and not listen):
        raise click.UsageError("give a PORT, or an ADDR and a PORT" if listen else "give an ADDR and a PORT")
    if not listen or local_port is None:
        if not given:
            raise click.UsageError("give a PORT to listen on")
        number = port(given.pop())
    elif len(given) > 1:
        raise click.UsageError("the port is given twice")
    else:
        number = local_port
    return (host(given[0]) if given else ""), number


def ping_options(function: F) -> F:
    """What every ping takes: its target, and options with the letters of ping(8)."""
    for option in reversed(_PING):
        function = option(function)
    return function


_PING: tuple[Callable[[Any], Any], ...] = (
    click.argument("target", metavar="ADDR"),
    click.option("-c", "--count", type=click.IntRange(min=1), metavar="N", help="Stop after N requests."),
    click.option("-i", "--interval", type=Seconds(min=0), default=1.0, metavar="S", help="Seconds between them (1)."),
    click.option(
        "-s", "--size", type=click.IntRange(0, MAX_PING), default=56, metavar="N", help="Octets of data (56)."
    ),
    click.option("-t", "--ttl", type=click.IntRange(1, 255), metavar="N", help="Time to live (the setting ip.ttl)."),
    click.option("-W", "--wait", "patience", type=POSITIVE, default=1.0, metavar="S", help="For each answer (1)."),
    click.option("-q", "--quiet", is_flag=True, help="Only the first line and the last ones."),
    click.option("-n", "numeric", is_flag=True, expose_value=False, help="Numbers instead of names (always so)."),
)
