"""Services in the driver's round, and what `--serve echo,discard:9,http:8080` means.

Read `base` first; a new service is a file with a `Service` and a line in `SERVICES`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from scapystack.base.errors import ConfigError
from scapystack.runtime.driver import Driver
from scapystack.sockets.services.base import Service, Session
from scapystack.sockets.services.daytime import Daytime
from scapystack.sockets.services.discard import Discard
from scapystack.sockets.services.echo import Echo
from scapystack.sockets.services.http import Http
from scapystack.sockets.services.iperf3 import Iperf3
from scapystack.sockets.services.source import Source

if TYPE_CHECKING:
    from pathlib import Path

    from scapystack.sockets.facade import Stack

__all__ = ["SERVICES", "Service", "Session", "parse_services", "start_services"]

SERVICES: dict[str, type[Service]] = {kind.name: kind for kind in (Echo, Discard, Source, Daytime, Http, Iperf3)}


def parse_services(spec: str) -> list[tuple[type[Service], int]]:
    """`echo,http:8080` as services and ports. Raises ConfigError for what it does not know."""
    wanted: list[tuple[type[Service], int]] = []
    for item in filter(None, (part.strip() for part in spec.split(","))):
        name, colon, port_text = item.partition(":")
        kind = SERVICES.get(name)
        if kind is None:
            raise ConfigError(f"no service named {name!r}; one of: {', '.join(SERVICES)}")
        if not colon:
            wanted.append((kind, kind.port))
        elif port_text.isdecimal() and 0 < int(port_text) < 65_536:
            wanted.append((kind, int(port_text)))
        else:
            raise ConfigError(f"{port_text!r} is not a port for {name} (1 to 65535)")
    return wanted


def start_services(where: Stack | Driver, spec: str, directory: str | Path = ".") -> list[Service]:
    """Start every service of `spec`; `directory` is what `http` serves. All of them, or none.

    Raises ConfigError: an unknown name, a port that is none or is taken, a directory that is none.
    """
    driver = where if isinstance(where, Driver) else where.driver
    started: list[Service] = []
    try:
        for kind, port in parse_services(spec):
            service = Http(driver, port, directory) if kind is Http else kind(driver, port)
            service.open()
            started.append(service)
    except ConfigError:
        for service in started:
            service.close()
        raise
    return started
