"""The words of commands that several have: spans of time, hosts, ports."""

from __future__ import annotations

from typing import Any

import click

from scapystack.base.addr import ip
from scapystack.base.errors import ConfigError

MAX_SECONDS = 1e9
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
