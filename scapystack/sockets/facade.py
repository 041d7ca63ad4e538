"""`Stack`: a whole TCP/IP stack that a program holds in its hand: `with Stack(link=...) as stack`.

It puts a `NetStack`, a `Driver`, a thread and links together and makes sockets; each of them stays in
reach (`net`, `driver`) for whoever wants to look closer. Read `base.Socket` for what sockets promise.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from errno import EAFNOSUPPORT, EINVAL, ENETDOWN, EPROTONOSUPPORT
from functools import cached_property
from typing import TYPE_CHECKING, Any, Self, TypeVar

from scapystack.base.addr import first_neighbour
from scapystack.base.errors import ConfigError, os_error
from scapystack.runtime.driver import Driver
from scapystack.runtime.thread import StackThread
from scapystack.sockets import constants as c
from scapystack.sockets.base import Socket
from scapystack.sockets.claims import Claims
from scapystack.sockets.datagram import DatagramSocket, RawSocket
from scapystack.sockets.ping import Pinger, PingReply
from scapystack.sockets.stream import StreamSocket
from scapystack.sockets.waiting import Ground
from scapystack.stack import NetStack

if TYPE_CHECKING:
    from types import ModuleType

    from scapystack.base.codec import Codec
    from scapystack.base.config import StackConfig
    from scapystack.base.iface import Interface
    from scapystack.hooks.filters import Filter
    from scapystack.link.base import Link
    from scapystack.link.hostsetup import HostSetup
    from scapystack.runtime.virtual import Simulation
    from scapystack.sockets.aio import AsyncStack
    from scapystack.sockets.module import SocketModule
    from scapystack.sockets.own import OwnLayer, Via
    from scapystack.sockets.scapynames import ScapyNames, StackInterface
    from scapystack.sockets.supersocket import Inbox, L2Socket, L3Socket

PacketFunction = TypeVar("PacketFunction", bound="Callable[[Any], Any]")

_KINDS: dict[int, Callable[[Ground, int], Socket]] = {
    c.SOCK_STREAM: StreamSocket,
    c.SOCK_DGRAM: DatagramSocket,
    c.SOCK_RAW: RawSocket,
}
_PROTOCOLS: dict[int, Sequence[int]] = {
    c.SOCK_STREAM: (0, c.IPPROTO_TCP),
    c.SOCK_DGRAM: (0, c.IPPROTO_UDP),
    c.SOCK_RAW: range(1, 256),
}
_DEFAULT = -1.0
PATIENCE_S = 2.0
"""How long `Stack.close` waits for an acknowledgement."""


class Stack:
    """A stack, its driver, and (from `start` or `with` on) the thread that runs it.

    `address` (`10.0.0.1/24`) goes to the interface of `link`; without a link there is only the
    loopback until `attach`. `seed` None takes one from the operating system; with a seed, everything
    that happens follows from it and from what comes in when. Raises ConfigError.
    """

    def __init__(
        self,
        address: str = "10.0.0.1/24",
        *,
        link: Link | None = None,
        gateway: str | None = None,
        config: StackConfig | None = None,
        seed: int | bytes | None = None,
        codec: str | Codec = "compiled",
        net: NetStack | None = None,
        driver: Driver | None = None,
        simulation: Simulation | None = None,
        ground: Ground | None = None,
    ) -> None:
        """`net`: a core that was made before, with its own configuration, seed and codec (one that is recorded).

        `driver`: one that exists and that somebody else runs; the stack is then its stack.

        `simulation`: take part in it, in virtual time and without a thread; a call that waits runs it.
        `ground`: what calls wait on, for whoever has to end the waiting (the net shell).
        """
        self._host: HostSetup | None = None
        self._thread: StackThread | None = None
        self._owned = driver is None
        self.closed = False
        if driver is None:
            if net is None:
                net = NetStack(config, seed=os.urandom(32) if seed is None else seed, codec=codec)
            driver = Driver(net) if simulation is None else simulation.add(net)
        self.driver = driver
        self.net = driver.stack
        self.simulated = simulation is not None
        self._ground = ground if ground is not None else Ground(driver, simulation)
        self.claims = Claims(self.net)
        """TCP flows that somebody has begun by hand, with Scapy."""
        self.inboxes: set[Inbox] = set()
        """The queues of open supersockets."""
        try:
            if link is not None:
                self.attach(link, address)
            if gateway is not None:
                with driver.entered() as net:
                    net.add_route("default", via=gateway)
        except BaseException:
            self.close()
            raise

    @classmethod
    def tap(
        cls,
        name: str = "",
        address: str = "10.0.0.1/24",
        *,
        peer: str | None = None,
        netns: str | None = None,
        offload: bool = True,
        gateway: str | None = None,
        config: StackConfig | None = None,
        seed: int | bytes | None = None,
        codec: str | Codec = "compiled",
    ) -> Self:
        """A stack on a TAP of the kernel's, in namespace `netns` (None: this one), not started yet.

        `name` is that of a TAP that exists or of one to be made ("": the kernel chooses). `peer`
        (`10.0.0.2/24`) is the address that the kernel's end gets; None is the first other host of the
        stack's network for a TAP that is made here, and leaves one that exists as it is. `close` puts
        back what was changed. Raises LinkError (no right to make a TAP, ...) and ConfigError.
        """
        from scapystack.link.hostsetup import HostSetup  # noqa: PLC0415  # what only a TAP needs
        from scapystack.link.tap import TapLink  # noqa: PLC0415

        neighbour = peer or first_neighbour(address)
        if neighbour is None:
            raise ConfigError(f"{address} leaves no address for a neighbour: give one as `peer`")
        link = TapLink(name, netns=netns, offload=offload, seed=seed)
        host = None
        try:
            if peer is not None or link.created:
                host = HostSetup()
                host.direct(link.name, neighbour, netns)
            made = cls(address, link=link, gateway=gateway, config=config, seed=seed, codec=codec)
        except BaseException:
            if host is not None:
                host.close()
            link.close()
            raise
        made._host = host
        return made

    def attach(self, link: Link, *addresses: str) -> Interface:
        """Join the network at the other end of `link` under `addresses`. Raises ConfigError."""
        with self.driver.entered() as net:
            interface = self.driver.attach(link)
            for address in addresses:
                net.add_address(interface, address)
            return interface

    # -- running -----------------------------------------------------------------------------------

    def asyncio(self) -> AsyncStack:
        """The same stack in an asyncio event loop: `async with Stack.tap().asyncio() as stack: ...`."""
        from scapystack.sockets.aio import AsyncStack  # noqa: PLC0415  # with asyncio, 60 ms

        return AsyncStack(self)

    def start(self) -> Self:
        """Run the stack in a thread of its own; at once if it runs already. RuntimeError: closed, or in a loop."""
        if self.closed:
            raise RuntimeError("the stack is closed")
        if self.driver.hosted:
            raise RuntimeError("an event loop runs the stack already")
        if self._owned and not self.simulated and self._thread is None:
            self._thread = StackThread(self.driver)
            self._thread.start()
        return self

    def close(self, patience_s: float = PATIENCE_S) -> None:
        """Close every socket (blocked calls end with EBADF), see data out, stop the thread, close the links.

        As a kernel does behind a program's end, it goes on until peers have acknowledged what sockets took and the
        FIN behind it: `patience_s` at most without progress, a minute in all; then who has not is sent a RST. With 0
        nothing is waited for, nor is it in a simulation (whose time is the program's) or from inside the driver.
        """
        if self.closed:
            return
        self.closed = True
        try:
            with self.driver.lock:
                sockets = list(self._ground.sockets)
            for sock in sockets:
                sock.close_now()
            with self.driver.lock:
                for inbox in list(self.inboxes):
                    inbox.end()
            if patience_s > 0 and self._owned and not self.simulated:
                self._see_out(patience_s)
        finally:
            self._put_away()

    def _see_out(self, patience_s: float) -> None:
        driver = self.driver
        inside = driver.inside or (self._thread is not None and self._thread.is_current)
        if inside or driver.hosted or not self.net.tcp.connections:
            return
        from scapystack.sockets.farewell import see_out  # noqa: PLC0415 - who has nothing open needs none

        if self._thread is None:
            self._thread = StackThread(driver)
        self._thread.start()  # for one that the program ran by itself, or whose thread was stopped
        see_out(self._ground, patience_s)

    def _put_away(self) -> None:
        if self._thread is not None:
            self._thread.stop()
            self._thread = None
        if self._owned:
            self.driver.close()
        if self._host is not None:
            self._host.close()
            self._host = None

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(self, *error: object) -> None:
        self.close()

    # -- sockets -----------------------------------------------------------------------------------

    def socket(self, family: int = c.AF_INET, type: int = c.SOCK_STREAM, proto: int = 0) -> Socket:
        """A new socket, as `socket.socket`: SOCK_STREAM, SOCK_DGRAM, or SOCK_RAW with a protocol.

        SOCK_NONBLOCK may be added to the type. Raises OSError: EAFNOSUPPORT, EPROTONOSUPPORT, EINVAL,
        ENETDOWN once the stack is closed.
        """
        if self.closed:
            raise os_error(ENETDOWN)
        if family != c.AF_INET:
            raise os_error(EAFNOSUPPORT)
        kind = type & ~(c.SOCK_NONBLOCK | c.SOCK_CLOEXEC)
        make = _KINDS.get(kind)
        if make is None:
            raise os_error(EINVAL)
        if proto not in _PROTOCOLS[kind]:
            raise os_error(EPROTONOSUPPORT)
        made = make(self._ground, proto)
        if type & c.SOCK_NONBLOCK:
            made.setblocking(False)
        return made

    def create_connection(
        self,
        address: tuple[str, int],
        timeout: float | None = _DEFAULT,
        source_address: tuple[str, int] | None = None,
    ) -> Socket:
        """Connect to `(host, port)`, as `socket.create_connection`.

        `timeout` (seconds, None: none; left out: the default of the `socket` module) is for the
        connecting and stays on the socket. Raises OSError and TimeoutError.
        """
        sock = self.socket(c.AF_INET, c.SOCK_STREAM)
        try:
            if timeout != _DEFAULT:
                sock.settimeout(timeout)
            if source_address is not None:
                sock.bind(source_address)
            sock.connect(address)
        except BaseException:
            sock.close()
            raise
        return sock

    def create_server(
        self,
        address: tuple[str, int],
        *,
        family: int = c.AF_INET,
        backlog: int | None = None,
        reuse_port: bool = False,
        dualstack_ipv6: bool = False,
    ) -> Socket:
        """A listening socket on `(host, port)`, as `socket.create_server`, with SO_REUSEADDR set.

        Raises OSError (EADDRINUSE, EADDRNOTAVAIL) and ValueError for what there is not:
        `reuse_port`, `dualstack_ipv6`.
        """
        if reuse_port or dualstack_ipv6:
            raise ValueError("neither SO_REUSEPORT nor dual-stack sockets are supported")
        sock = self.socket(family, c.SOCK_STREAM)
        try:
            sock.setsockopt(c.SOL_SOCKET, c.SO_REUSEADDR, 1)
            sock.bind(address)
            sock.listen(backlog)
        except BaseException:
            sock.close()
            raise
        return sock

    # -- hooks -------------------------------------------------------------------------------------

    def hook(
        self, way: str, level: str = "frame", *, filter: Filter = None, whole: bool = False
    ) -> Callable[[PacketFunction], PacketFunction]:
        """Have a function see, change, drop, delay or add packets: `@stack.hook("rx", "segment", filter="port 80")`.

        It is called under the driver's lock with a Scapy packet for each that comes (`rx`) or leaves (`tx`), wire-size
        unless `whole`, and returns None (pass), `DROP`, a packet, `Delay(ms)` or a list: see `hooks.PacketHook` and
        docs/hooks.md. What it raises is logged once, and the packet passes. Raises ConfigError.
        """
        from scapystack.hooks import PacketHook  # noqa: PLC0415 - ctypes and Scapy, for who hooks

        def attach(function: PacketFunction) -> PacketFunction:
            made = PacketHook(function, way, level, filter=filter, whole=whole)
            with self.driver.lock:
                getattr(self.net.hooks, way).append(made)
            return function

        return attach

    def unhook(self, function: Callable[[Any], Any]) -> None:
        """Take a function's hooks away, on both ways. Raises ConfigError if it has none."""
        from scapystack.hooks.packets import hooks_of  # noqa: PLC0415

        with self.driver.lock:
            hooks = self.net.hooks
            found = [(each, hook) for each in (hooks.rx, hooks.tx) for hook in hooks_of(function, each)]
            for each, hook in found:
                each.remove(hook)
        if not found:
            raise ConfigError(f"{function!r} hooks nothing here")

    # -- Scapy on top ------------------------------------------------------------------------------

    @cached_property
    def scapy_names(self) -> ScapyNames:
        """The stack's entries in Scapy's tables of interfaces and routes."""
        from scapystack.sockets.scapynames import ScapyNames  # noqa: PLC0415 - with Scapy

        return ScapyNames(self)

    @contextmanager
    def scapy(self) -> Iterator[StackInterface]:
        """Have Scapy's own calls go through the stack: `with stack.scapy() as iface: sr1(IP(dst=...)/ICMP())`.

        Inside, Scapy's routing table prefers the stack's routes, and its interfaces (`tap0@stack`) can be named;
        `iface` is the first of them, without the loopback, and so is `conf.iface`. Raises ConfigError: there is none.
        """
        leave = self.scapy_names.enter()
        try:
            if not self.scapy_names.interfaces:
                raise ConfigError("the stack has no interface but its loopback")
            with self.scapy_names.interfaces[0].chosen() as iface:
                yield iface
        finally:
            leave()

    def l2socket(self, interface: Interface | None = None, *, filter: Filter = None, listen: bool = False) -> L2Socket:
        """A Scapy `SuperSocket` for frames of an interface (None: the first); with `listen` one to sniff by, both ways.

        `filter` is an expression as tcpdump takes it, or what `hook` takes. Raises ConfigError.
        """
        from scapystack.sockets.supersocket import L2Socket  # noqa: PLC0415 - with Scapy

        interfaces = self.net.interfaces[1:]
        if not interfaces and interface is None:
            raise ConfigError("the stack has no interface but its loopback")
        return L2Socket(self, interface or interfaces[0], filter=filter, listen=listen)

    def l3socket(self, *, filter: Filter = None) -> L3Socket:
        """A Scapy `SuperSocket` for IP packets, by the stack's routes. Raises ConfigError."""
        from scapystack.sockets.supersocket import L3Socket  # noqa: PLC0415 - with Scapy

        return L3Socket(self, None, filter=filter, listen=False)

    def socket_module(self) -> SocketModule:
        """A stand-in for the `socket` module (constants, errors, `socket`, `create_connection`, `getaddrinfo`)."""
        from scapystack.sockets.module import SocketModule  # noqa: PLC0415 - for who stands in

        return SocketModule(self)

    @contextmanager
    def sockets_for(self, *modules: ModuleType) -> Iterator[SocketModule]:
        """Have imported modules open their sockets here: `with stack.sockets_for(scapy.layers.http): ...`.

        `ssl` wraps such sockets too. It holds for every thread that uses the module. Raises ValueError for a module
        that does not use `socket`.
        """
        from scapystack.sockets.module import standing_in  # noqa: PLC0415

        with standing_in(self.socket_module(), *modules) as stand_in:
            yield stand_in

    def layer(self, kind: Any, **by: int | None) -> Callable[[Callable[[Any, Via], object]], OwnLayer]:
        """Have a handler take the packets of a layer of one's own: `@stack.layer(Hello, ethertype=0x88B5)`.

        `kind` is a Scapy Packet class; it is bound by one of `ethertype`, `proto` (of IP), `udp` and `tcp` (ports). The
        handler gets the packet and a `Via` to answer by; what is returned sends and closes. docs/own-layer.md shows
        it. Raises ConfigError.
        """
        from scapystack.sockets.own import bound  # noqa: PLC0415 - for who has one

        return lambda handler: bound(self.driver, kind, handler, **by)

    # -- asking around -----------------------------------------------------------------------------

    def pinger(self) -> Pinger:
        """A `Pinger` for several echo requests under one identifier."""
        return Pinger(self._ground)

    def ping(self, host: str, *, size: int = 56, timeout: float = 1.0, ttl: int = 0, df: bool = False) -> PingReply:
        """One ICMP echo with `size` octets; the answer. Raises TimeoutError and OSError as `Pinger.ping`."""
        with self.pinger() as pinger:
            return pinger.ping(host, 1, bytes(i & 0xFF for i in range(size)), timeout=timeout, ttl=ttl, df=df)
