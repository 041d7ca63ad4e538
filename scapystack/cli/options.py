"""The options that every command with a stack of its own has, and the stack that they describe.

`link_options` puts them on a command, which gets them as one dict; `opened` makes the stack, joins it
to the host as they say, and puts everything back. Read `setting_up` for the order of things.
"""

from __future__ import annotations

import ipaddress
import os
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeVar

import click

from scapystack.base.addr import BROADCAST4, first_neighbour, interface_address, ip, is_multicast, is_unspecified, mac
from scapystack.base.config import PROFILES, StackConfig
from scapystack.base.errors import ConfigError
from scapystack.cli.home import leave_routes
from scapystack.cli.logs import in_lines

if TYPE_CHECKING:
    from scapystack.link.tap import TapLink
    from scapystack.sockets import Stack

F = TypeVar("F", bound=Callable[..., Any])

DEFAULT_ADDRESS = "10.0.0.1/24"
CODECS = ("compiled", "scapy", "paranoid")


def settings_option(about: str) -> Callable[[F], F]:
    """`--set NAME=VALUE`; what it lists with `help` are the numbers of the linux profile."""

    def listed(ctx: click.Context, param: click.Parameter, values: tuple[str, ...]) -> tuple[str, ...]:
        if "help" in values:
            from scapystack.shell.settings import text_of, values_of  # noqa: PLC0415

            for name, value in values_of(StackConfig()).items():
                click.echo(f"{name}={text_of(value)}")
            ctx.exit()
        return values

    return click.option("--set", "settings", multiple=True, metavar="NAME=VALUE", help=about, callback=listed)


def link_options(function: F) -> F:
    """Add the options; the command takes them as keyword arguments and hands them to `opened`."""
    for option in reversed(_OPTIONS):
        function = option(function)
    return function


def recording_options(function: F) -> F:
    """Add those that write down what happens; they go to `opened` with the others."""
    for option in reversed(_RECORDING):
        function = option(function)
    return function


_RECORDING: tuple[Callable[[Any], Any], ...] = (
    click.option("--record", metavar="FILE", help="Write down all that goes into the stack, for `scapystack rerun`."),
    click.option("--trace", metavar="FILE", help="Write all TCP variables at each event to this file (docs/trace.md)."),
)
_OPTIONS: tuple[Callable[[Any], Any], ...] = (
    click.option("--tap", metavar="NAME", default="", help="The TAP: one that exists, or a new one's name."),
    click.option("--address", metavar="ADDR/LEN", default=DEFAULT_ADDRESS, help=f"The stack's ({DEFAULT_ADDRESS})."),
    click.option("--gateway", metavar="ADDR", help="The stack's default gateway."),
    click.option("--direct", metavar="ADDR/LEN", help="The kernel's end of the TAP (the stack's neighbour)."),
    click.option("--bridge", metavar="IFACE", help="Join the LAN of this interface or bridge instead."),
    click.option("--netns", metavar="NAME", help="The namespace of the kernel's end; made if there is none."),
    click.option("--mac", "hardware", metavar="MAC", help="The stack's hardware address."),
    click.option("--mtu", type=click.IntRange(68, 65_521), metavar="N", help="The largest IP packet (1500)."),
    click.option("--no-offload", is_flag=True, help="Finish checksums and cut segments here, not in the kernel."),
    click.option("--codec", type=click.Choice(CODECS), default="compiled", help="How headers are read and written."),
    click.option("--seed", metavar="TEXT", help="Everything random follows from it (the system's)."),
    click.option(
        "--profile", type=click.Choice(tuple(PROFILES)), default="linux", help="What TCP's numbers are (linux)."
    ),
    settings_option("A setting (tcp.congestion=reno); help lists them."),
    click.option(
        "-w",
        "capture",
        metavar="FILE",
        help="Write every frame to this pcapng (or .pcap) file; - is standard output (run).",
    ),
    click.option("-v", "--verbose", is_flag=True, help="Print a line for every packet."),
)


@dataclass(slots=True)
class Setup:
    """The stack that was made, and what was done to the host for it."""

    stack: Stack
    tap: TapLink
    address: str
    peer: str
    """The address that the kernel's end was given, or ""."""
    bridge: str
    netns: str
    made_netns: bool

    @property
    def host(self) -> str:
        """The stack's address alone."""
        return self.address.partition("/")[0]


@contextmanager
def opened(options: dict[str, Any], *, scapy_routes: bool = False) -> Iterator[Stack]:
    """A running stack as the options of `link_options` say; packets of `-v` go to standard error.

    Standard output is the command's own: a capture to it is a ConfigError. With `scapy_routes` Scapy knows the host's
    routes, for programs that send with it.
    """
    if not scapy_routes:
        leave_routes()
    if options["capture"] == "-":
        raise ConfigError("standard output is taken by what arrives: give -w the name of a file")
    with setting_up(options, packets_to=sys.stderr) as setup, setup.stack as stack:
        yield stack


@contextmanager
def setting_up(options: dict[str, Any], *, packets_to: Any) -> Iterator[Setup]:
    """The same, not yet started, with an account of it. Raises ConfigError, LinkError.

    The arguments are looked at first, all of them; then the namespace, the TAP, the kernel's side of it
    (unless the TAP was there before), the capture, the stack.
    """
    config = configured(options["settings"], options["profile"])
    peer = checked(options)
    with ExitStack() as until_end:
        until_end.enter_context(in_lines())
        yield _join(until_end, options, config, peer, packets_to)


def _join(until_end: ExitStack, options: dict[str, Any], config: StackConfig, peer: str, packets_to: Any) -> Setup:
    from scapystack.cli import guardian  # noqa: PLC0415 - nothing here is needed for --help or bad arguments
    from scapystack.link.hostsetup import HostSetup  # noqa: PLC0415
    from scapystack.link.netns import exists  # noqa: PLC0415
    from scapystack.link.tap import TapLink  # noqa: PLC0415
    from scapystack.runtime.signals import exit_on_signals  # noqa: PLC0415

    exit_on_signals()
    netns: str | None = options["netns"]
    guard = until_end.enter_context(guardian.Guardian())
    host = until_end.enter_context(HostSetup())
    made_netns = netns is not None and not exists(netns)
    if netns is not None and made_netns:
        guard.start()
        host.namespace(netns)
    tap = TapLink(
        options["tap"],
        netns=netns,
        offload=not options["no_offload"],
        mac=options["hardware"],
        seed=None if options["seed"] is None else options["seed"].encode(),
        mtu=options["mtu"],
    )
    until_end.callback(tap.close)
    if not tap.created and not options["direct"]:
        peer = ""
    bridge = ""
    if options["bridge"]:
        guard.start()
        bridge, peer = host.bridged(tap.name, options["bridge"], netns), ""
    elif peer:
        if not options["direct"]:
            free_network(peer, netns, tap.name)
        if not tap.created:
            guard.start()
        host.direct(tap.name, peer, netns)
    stack = _stack(until_end, options, config, tap)
    until_end.callback(stack.close)
    if options.get("trace"):
        _trace(until_end, stack, options["trace"])
    if options["verbose"]:
        print_packets(stack, packets_to)
    if bridge or not tap.created:  # on a TAP made just now there is nobody who could know us from before
        announce(stack)
    return Setup(stack, tap, options["address"], peer, bridge, netns or "", made_netns)


def announce(stack: Stack) -> None:
    """Tell the LAN where our addresses are now, in case somebody remembers another place (RFC 5227 section 3)."""
    with stack.driver.entered() as net:
        for iface in net.interfaces[1:]:
            for entry in iface.addresses:  # those that are probed for first are announced by themselves
                net.arp.announce(iface, entry.address)


def _stack(until_end: ExitStack, options: dict[str, Any], config: StackConfig, tap: TapLink) -> Stack:
    from scapystack.sockets import Stack  # noqa: PLC0415
    from scapystack.stack import NetStack  # noqa: PLC0415

    link: Any = tap
    if options["capture"]:
        from scapystack.link.capture import CaptureLink  # noqa: PLC0415

        link = CaptureLink(tap, options["capture"])
    seed = os.urandom(32) if options["seed"] is None else options["seed"].encode()
    net = NetStack(config, seed=seed, codec=options["codec"])
    if options.get("record"):
        from scapystack.replay.record import Recorder  # noqa: PLC0415

        until_end.callback(Recorder(options["record"], net, seed, options["codec"]).close)
    return Stack(options["address"], link=link, gateway=options["gateway"], net=net)


def _trace(until_end: ExitStack, stack: Stack, path: str) -> None:
    from scapystack.trace import TraceFile  # noqa: PLC0415

    def end() -> None:
        with stack.driver.entered():
            trace.close()

    with stack.driver.entered() as net:
        trace = TraceFile(net, path)
    until_end.callback(end)


def configured(settings: tuple[str, ...], profile: str = "linux") -> StackConfig:
    """The profile with `NAME=VALUE` applied in order. Raises ConfigError."""
    config = StackConfig.profile(profile)
    for name, value in overrides(settings).items():
        config.set(name, value)
    config.check()
    return config


def overrides(settings: tuple[str, ...]) -> dict[str, str]:
    """What `NAME=VALUE` says, by name. Raises ConfigError for what is not that, and for a wrong congestion control."""
    values = {}
    for setting in settings:
        name, equals, value = setting.partition("=")
        if not equals:
            raise ConfigError(f"--set takes NAME=VALUE, not {setting!r}")
        values[name.strip()] = value.strip()
        if name.strip() == "tcp.congestion":
            from scapystack.layers.tcp.congestion import make  # noqa: PLC0415

            make(value.strip())
    return values


def checked(options: dict[str, Any]) -> str:
    """Look at every other option; the address for the kernel's end. Raises ConfigError."""
    name = options["tap"]
    if len(name.encode()) > 15 or "/" in name or any(map(str.isspace, name)):
        raise ConfigError(f"{name!r} cannot be an interface's name (15 letters at most, no blanks)")
    _check_files([options["capture"], options.get("record"), options.get("trace")])
    if options["netns"] == "":
        raise ConfigError("'' cannot be a namespace's name")
    if options["direct"] and options["bridge"]:
        raise ConfigError("--direct and --bridge exclude each other: the TAP is a cable or a port of a LAN")
    if options["direct"] and ipv4_interface(options["direct"]).ip == ipv4_interface(options["address"]).ip:
        raise ConfigError(f"{options['direct']} is the stack's own address; its peer needs another one")
    if options["hardware"] and mac(options["hardware"])[0] & 1:
        raise ConfigError(f"{options['hardware']} is a group's MAC address, not a station's (an odd first octet)")
    network = ipv4_interface(options["address"])
    gateway = options["gateway"]
    if gateway and (ipaddress.ip_address(ip(gateway)) not in network.network or ip(gateway) == network.packed):
        raise ConfigError(f"the gateway {gateway} is no neighbour in {network.network}")
    peer = options["direct"] or first_neighbour(options["address"]) or ""
    if not peer and not options["bridge"]:
        raise ConfigError(f"{network} leaves no address for a neighbour: give one with --direct")
    return peer


def _check_files(written: list[str | None]) -> None:
    """What -w, --record and --trace name. Raises ConfigError."""
    capture = written[0] or ""
    if capture.replace(".", "", 1).isdecimal():  # what -w is elsewhere
        raise ConfigError(
            f"-w names the file of a capture (./{capture} makes one); a time is --timeout in nc, -W in ping"
        )
    if "-" in written[1:]:
        raise ConfigError("--record and --trace write files: - is none")
    paths = [os.path.realpath(path) for path in written if path]
    files = [path for path in paths if os.path.isfile(path) or not os.path.exists(path)]  # /dev/null may take all
    if len(set(files)) < len(files):
        raise ConfigError("-w, --record and --trace need a file each")


def ipv4_interface(text: str) -> ipaddress.IPv4Interface:
    """`10.0.0.1/24`. Raises ConfigError."""
    packed, length = interface_address(text)
    if len(packed) != 4:
        raise ConfigError(f"{text} is an IPv6 address; the stack speaks IPv4 so far")
    if is_unspecified(packed) or is_multicast(packed) or packed == BROADCAST4:
        raise ConfigError(f"{text} is no host's address")
    return ipaddress.IPv4Interface((packed, length))


def free_network(peer: str, netns: str | None, tap: str) -> None:
    """See that no other interface is on the network chosen for the TAP. Raises ConfigError."""
    from scapystack.link.netlink import Netlink  # noqa: PLC0415

    wanted = ipaddress.ip_interface(peer).network
    host = Netlink(netns)
    for interface in host.interfaces():
        if interface.name == tap:
            continue
        for address in host.addresses(interface.name):
            if ipaddress.ip_interface(address).network.overlaps(wanted):
                raise ConfigError(
                    f"{wanted} is in use already ({address} on {interface.name}): choose another network with "
                    "--address, or a namespace with --netns"
                )


def print_packets(stack: Stack, stream: Any) -> None:
    """Have a line printed for every packet that passes the stack's interfaces."""
    import time  # noqa: PLC0415

    from scapystack.describe import Describer, describe  # noqa: PLC0415

    describer = Describer()
    describe(bytes(60))  # so that loading Scapy's layers does not delay the first packet

    def tap(way: str, frame: Any) -> None:
        try:
            print(describer(frame, time.time_ns()), file=stream, flush=True)
        except (OSError, ValueError):  # nobody reads it any more: no reason to lose the frame
            stack.net.taps.remove(tap)

    stack.net.taps.append(tap)
