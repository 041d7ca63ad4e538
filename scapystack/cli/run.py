"""`scapystack run`: a stack on a TAP with services in its loop, until it is told to end.

The driver's loop runs in this thread; SIGINT, SIGTERM and SIGHUP end it between two rounds, and the
context managers of `cli.options` put the host back.
"""

from __future__ import annotations

import gc
import logging
import os
import signal
import sys
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from typing import TYPE_CHECKING, Any

import click

from scapystack import __version__
from scapystack.base.errors import ConfigError, LinkError
from scapystack.cli.home import leave_routes
from scapystack.cli.options import Setup, link_options, recording_options, setting_up

if TYPE_CHECKING:
    from scapystack.link.base import Link
    from scapystack.shell.control import ControlServer
    from scapystack.sockets import Stack
    from scapystack.sockets.services import Service

DEFAULT_SERVICES = "echo,discard,source,daytime"


@click.command("run")
@link_options
@recording_options
@click.option("--serve", metavar="LIST", default=DEFAULT_SERVICES, help=f"Services to run ({DEFAULT_SERVICES}).")
@click.option("--dir", "directory", metavar="DIR", default=".", help="The directory that http serves (this one).")
@click.option("--annotate", is_flag=True, help="With -w: say of every packet what became of it, as its comment.")
@click.option("--no-shell", is_flag=True, help="No prompt, where standard input and output are a terminal.")
@click.option("-c", "commands", multiple=True, metavar="'CMD; CMD'", help="Run these commands of the shell, and end.")
@click.option("--control", metavar="SOCKET", help="Where scapystack shell --attach finds it (the user's directory).")
def command(
    serve: str, directory: str, annotate: bool, no_shell: bool, commands: tuple[str, ...], control: str | None,
    **link: Any,
) -> int:  # fmt: skip
    """Run a stack on a TAP, with services on it, until Ctrl-C.

    Without options: a new TAP with the stack at 10.0.0.1 and the kernel at 10.0.0.2. With the --tap of
    an interface that exists, the kernel's side of it stays as it is. On a terminal it gives the prompt of the
    net shell, and ends with it (docs/shell.md).
    """
    from scapystack.sockets.services import parse_services, start_services  # noqa: PLC0415

    if any(kind.name == "http" for kind, _ in parse_services(serve)) and not os.path.isdir(directory):
        raise ConfigError(f"{directory} is no directory that http could serve")
    noted = link["capture"] if annotate else None
    if annotate and (noted is None or noted.endswith((".pcap", ".cap", ".dmp"))):
        raise ConfigError("--annotate writes comments beside packets: give -w the name of a pcapng file")
    leave_routes()
    captured = link["capture"] == "-"  # then standard output is the capture's alone
    if captured and commands:
        raise ConfigError("standard output is the capture's alone: give -w the name of a file beside -c")
    if annotate:
        link["capture"] = None  # it is written by who knows what became of each packet
    prompt = not (no_shell or captured or commands) and os.isatty(0) and os.isatty(1)
    status = 0
    with (
        setting_up(link, packets_to=sys.stderr if captured or commands else Screen()) as setup,
        annotated(setup.stack, noted),
        controlled(setup, control) as server,
    ):
        services = start_services(setup.stack, serve, directory)
        if not commands:
            for line in account(setup, services, server.path if server else "", prompt):
                click.echo(line, err=captured)
        began = time.monotonic()
        if prompt or commands:
            from scapystack.cli.shelled import run_shell  # noqa: PLC0415 - only where one is wanted

            status, lost = run_shell(setup.stack, setup.host, commands)
        else:
            lost = run_until_told(setup.stack)
        if not commands:
            click.echo(summary(setup.stack, services, time.monotonic() - began), err=captured)
    return 1 if lost else status


class Screen:
    """Standard output as it is just now: a prompt stands in for it, and keeps below what is printed."""

    def write(self, text: str) -> int:
        """Print it."""
        return sys.stdout.write(text)

    def flush(self) -> None:
        """At once."""
        sys.stdout.flush()


@contextmanager
def controlled(setup: Setup, path: str | None) -> Iterator[ControlServer | None]:
    """Let shells attach at `path` (None: in the user's directory, if it can be had). Raises LinkError."""
    from scapystack.shell.control import ControlServer, default_path  # noqa: PLC0415

    try:
        server = ControlServer(setup.stack.driver, path or default_path(), name=setup.host)
        server.open()
    except (LinkError, OSError) as error:
        if path is not None:
            raise
        logging.getLogger("scapystack").warning("no control socket: %s", error)
        yield None
        return
    with closing(server):
        yield server


@contextmanager
def annotated(stack: Stack, path: str | None) -> Iterator[None]:
    """Write a capture to `path`, if there is one, with what became of each packet."""
    if path is None:
        yield
        return
    from scapystack.repl.annotate import AnnotatedCapture  # noqa: PLC0415

    capture = AnnotatedCapture(stack.driver, path)
    try:
        yield
    finally:
        capture.close()


def run_until_told(stack: Stack) -> bool:
    """Run the loop here until a signal, or until a link is lost; whether that is why it ended."""
    driver = stack.driver
    lost: list[str] = []

    def on_lost(link: Link) -> None:
        lost.append(link.name)
        driver.stop()

    driver.on_lost = on_lost

    def end(number: int, frame: object) -> None:
        driver.stop()

    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        if signal.getsignal(number) != signal.SIG_IGN:
            signal.signal(number, end)
    # what was made until now stays: the collector need not look at it again
    gc.collect()
    gc.freeze()
    driver.run()
    return bool(lost)


def account(setup: Setup, services: list[Service], control: str = "", prompt: bool = False) -> list[str]:
    """What was set up, and how to reach it, in lines."""
    tap = setup.tap
    how = "made for it" if tap.created else "found, the kernel's side left as it is"
    if setup.made_netns:  # a new namespace has no TAP but ours
        how = f"both {how}"
    offload = "offload" if tap.offload else "no offload"
    where = f" in namespace {setup.netns}" if setup.netns else ""
    lines = [
        f"scapystack {__version__}: {setup.address} on {tap.name}{where} ({how}; {offload}; MAC {tap.mac.hex(':')})"
    ]
    if setup.peer:
        lines.append(f"the kernel's end of {tap.name} is {setup.peer}")
    if setup.bridge:
        lines.append(f"{tap.name} is a port of bridge {setup.bridge}: the stack is a host on that LAN")
    lines += [f"serving {service.describe()}" for service in services]
    if control:
        lines.append(f"control socket {control}: scapystack shell --attach")
    inside = f"sudo ip netns exec {setup.netns} " if setup.netns else ""
    tries = [f"ping {setup.host}"]
    ports = {service.name: service.local_port for service in services}
    if "echo" in ports:
        tries.append(f"nc {setup.host} {ports['echo']}")
    if "http" in ports:
        port = "" if ports["http"] == 80 else f":{ports['http']}"
        tries.append(f"curl http://{setup.host}{port}/")
    if "iperf3" in ports:
        port = "" if ports["iperf3"] == 5201 else f" -p {ports['iperf3']}"
        tries.append(f"iperf3 -c {setup.host}{port}")
    lines.append("try: " + "   ".join(inside + each for each in tries))
    lines.append("help lists commands, Ctrl-D ends it" if prompt else "Ctrl-C ends it")
    return lines


def summary(stack: Stack, services: list[Service], seconds: float) -> str:
    """One line about what went through."""
    interfaces = [iface for iface in stack.net.interfaces if not iface.loopback]
    received, sent = sum(i.rx_frames for i in interfaces), sum(i.tx_frames for i in interfaces)
    rx_bytes, tx_bytes = sum(i.rx_bytes for i in interfaces), sum(i.tx_bytes for i in interfaces)
    accepted = sum(service.accepted for service in services)
    drops = ", ".join(f"{name} {n}" for name, n in sorted(stack.net.counters.drops().items())) or "nothing"
    return (
        f"ran {seconds:.1f} s: received {received} frames ({rx_bytes:,} octets), sent {sent} ({tx_bytes:,} octets), "
        f"served {accepted} connections, dropped {drops}"
    )
