"""A layer of the user's own in a stack: a Scapy `Packet` class and a handler, bound by EtherType, IP protocol or port.

    @stack.layer(Hello, udp=4000)
    def hello(packet, via):
        via.reply(Hello(number=packet.number + 1))

`via` is a `Via`: how the packet came, and the way back. docs/own-layer.md has a whole file for it. The handler runs in
the driver's round and must not block; what it raises is logged once (`driver.errors`).
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Any

from scapystack.base.addr import ANY4, ip, ip_text, mac, mac_text
from scapystack.base.datagram import CAST_UNICAST, PROTO_ICMP, PROTO_TCP, PROTO_UDP, Datagram, IcmpError
from scapystack.base.errors import ConfigError
from scapystack.base.frames import Frame
from scapystack.layers.ethernet import HEADER, TYPE_ARP, TYPE_IPV4
from scapystack.sockets.services.base import Service, Session

if TYPE_CHECKING:
    from scapystack.base.iface import Interface
    from scapystack.base.types import Address, Buffer
    from scapystack.layers.tcp.user import Connection
    from scapystack.runtime.driver import Driver

Handler = Callable[[Any, "Via"], object]

MAX_PACKET = 1 << 20
"""Octets of a stream in which a packet must end; a connection that sends more is closed."""
_TYPES = range(0x0600, 0x10000)


class Via:
    """How a packet came: `src` and `dst` (MAC or IP addresses as text), the sender's port or 0; and the way back."""

    __slots__ = ("_back", "dst", "sport", "src")

    def __init__(self, src: str, dst: str, sport: int, back: Callable[[bytes], object]) -> None:
        self.src = src
        self.dst = dst
        self.sport = sport
        self._back = back

    def reply(self, packet: Any) -> None:
        """Send a packet, or octets, back by the binding through which this one came. Raises OSError (no route)."""
        self._back(bytes(packet))


class OwnLayer:
    """A layer that is bound: `send` sends by it, `close` ends it. What does not dissect counts `layer.drop.dissect`."""

    def __init__(self, driver: Driver, kind: Any, handler: Handler) -> None:
        self.driver = driver
        self.net = driver.stack
        self.kind = kind
        self.handler = handler

    def take(self, data: Buffer, via: Via) -> None:
        """Give the handler what came."""
        try:
            packet = self.kind(bytes(data))
        except Exception:  # Scapy's own, of any kind: octets from a wire
            self.net.counters["layer.drop.dissect"] += 1
            return
        self.handler(packet, via)

    def send(self, packet: Any, to: Any, iface: Interface | None = None) -> None:
        """Send by the binding: `to` is a MAC address (by `iface`, or the first), an IP address, or (host, port).

        Raises ConfigError (no link to send by) and OSError (no route).
        """
        with self.driver.entered():
            self._send(bytes(packet), to, iface)

    def _send(self, data: bytes, to: Any, iface: Interface | None) -> None:
        raise ConfigError("a layer on a TCP port sends by `via.reply`")

    def close(self) -> None:
        """Take nothing more."""


class OnEthernet(OwnLayer):
    """Behind the Ethernet header, by EtherType."""

    def __init__(self, driver: Driver, kind: Any, handler: Handler, ethertype: int) -> None:
        super().__init__(driver, kind, handler)
        if ethertype not in _TYPES:
            raise ConfigError(f"an EtherType is a number from 0x0600 to 0xffff, not {ethertype:#x}")
        self._type = ethertype
        with driver.entered() as net:
            if ethertype in net.ethernet.handlers or ethertype in (TYPE_IPV4, TYPE_ARP):
                raise ConfigError(f"EtherType {ethertype:#06x} has a layer already")
            net.ethernet.handlers[ethertype] = self._input

    def _input(self, frame: Frame, iface: Interface, data: Buffer, cast: int) -> None:
        src = bytes(data[6:12])
        back = partial(self.net.ethernet.output, iface, src, self._type)
        self.take(data[HEADER:], Via(mac_text(src), mac_text(bytes(data[:6])), 0, back))

    def _send(self, data: bytes, to: Any, iface: Interface | None) -> None:
        if iface is None:
            if len(self.net.interfaces) < 2:
                raise ConfigError("there is no link to send by: attach one to the stack first")
            iface = self.net.interfaces[1]
        self.net.ethernet.output(iface, mac(to), self._type, data)

    def close(self) -> None:
        with self.driver.entered() as net:
            net.ethernet.handlers.pop(self._type, None)


class OnIp(OwnLayer):
    """Behind the IP header, by protocol; a transport of the stack's."""

    def __init__(self, driver: Driver, kind: Any, handler: Handler, proto: int) -> None:
        super().__init__(driver, kind, handler)
        if not 0 <= proto <= 255:
            raise ConfigError(f"an IP protocol is a number from 0 to 255, not {proto}")
        self._proto = proto
        with driver.entered() as net:
            if proto in net.ipv4.transports or proto in (PROTO_ICMP, PROTO_TCP, PROTO_UDP):
                raise ConfigError(f"IP protocol {proto} has a layer already")
            net.ipv4.register(proto, self)

    def input(self, datagram: Datagram) -> None:
        """A packet of the protocol, whole and for us."""
        source = datagram.dst if datagram.cast == CAST_UNICAST else None
        back = partial(self._out, datagram.src, source)
        self.take(datagram.payload, Via(ip_text(datagram.src), ip_text(datagram.dst), 0, back))

    def icmp_error(self, error: IcmpError) -> None:
        """What became of a packet that was sent: IP has no use for it, and the handler no place."""

    def _out(self, dst: Address, source: Address | None, data: bytes) -> None:
        self.net.ipv4.send(self.net.ipv4.route(dst, source), self._proto, data, (), len(data))

    def _send(self, data: bytes, to: Any, iface: Interface | None) -> None:
        self._out(ip(to), None, data)

    def close(self) -> None:
        with self.driver.entered() as net:
            net.ipv4.transports.pop(self._proto, None)


class OnUdp(OwnLayer):
    """The text of datagrams to a UDP port (0: one that is free, `port` then)."""

    def __init__(self, driver: Driver, kind: Any, handler: Handler, port: int) -> None:
        super().__init__(driver, kind, handler)
        with driver.entered() as net:
            try:
                self._endpoint = net.udp.bind(ANY4, port)
            except OSError as error:
                raise ConfigError(f"cannot bind a layer to UDP port {port}: {error.strerror}") from None
            self._endpoint.on_ready = self._ready
        self.port = self._endpoint.local_port

    def _ready(self) -> None:
        endpoint = self._endpoint
        while endpoint.readable:
            try:
                message = endpoint.recv_message()
            except OSError:
                continue  # an ICMP error about an earlier answer
            if message is None:
                return
            back = partial(endpoint.send, dst=message.src, port=message.port, src=message.dst)
            self.take(message.data, Via(ip_text(message.src), ip_text(message.dst), message.port, back))

    def _send(self, data: bytes, to: Any, iface: Interface | None) -> None:
        self._endpoint.send(data, ip(to[0]), to[1])

    def close(self) -> None:
        with self.driver.entered():
            self._endpoint.on_ready = None
            self._endpoint.close()


class OnTcp(OwnLayer):
    """The streams of connections to a TCP port; `kind.tcp_reassemble`, as Scapy has it, says where a packet ends."""

    def __init__(self, driver: Driver, kind: Any, handler: Handler, port: int) -> None:
        super().__init__(driver, kind, handler)
        if not callable(getattr(kind, "tcp_reassemble", None)):
            raise ConfigError(f"{kind.__name__} needs Scapy's tcp_reassemble, to say where in a stream a packet ends")
        self._service = _Streams(self, port)
        self._service.open()

    def close(self) -> None:
        self._service.close()


class _Stream(Session):
    """One connection: what came and is no whole packet yet, and what was answered and found no room yet."""

    __slots__ = ("_answers", "_came", "_metadata", "_session")

    def __init__(self, service: Service, connection: Connection) -> None:
        super().__init__(service, connection)
        self._came = b""
        self._answers = b""
        self._metadata: dict[str, Any] = {}
        self._session: dict[str, Any] = {}

    def serve(self) -> None:
        """Read no more while answers wait, so that the peer's window holds it back."""
        connection = self.connection
        self._write(b"")
        while not self._answers and connection.available:
            self._came += connection.read(MAX_PACKET)
            self._packets()
        if connection.eof and not self._answers:
            self.finish()

    def _packets(self) -> None:
        streams = self.service
        assert isinstance(streams, _Streams)
        layer = streams.layer
        c = self.connection
        via = Via(ip_text(c.remote_addr), ip_text(c.local_addr), c.remote_port, self._write)
        while self._came:
            try:
                packet = layer.kind.tcp_reassemble(self._came, self._metadata, self._session)
                rest = b"" if packet is None else _beyond(packet)
            except Exception:  # Scapy's own, of any kind: octets from a wire
                layer.net.counters["layer.drop.dissect"] += 1
                self.finish()
                return
            if packet is None:
                break
            self._came = rest
            self._metadata.clear()
            layer.handler(packet, via)
        if len(self._came) > MAX_PACKET:
            layer.net.counters["layer.drop.too_long"] += 1
            self.finish()

    def _write(self, data: bytes) -> None:
        self._answers += data
        if self._answers:
            self._answers = self._answers[self.connection.write(self._answers) :]
            self.connection.want_write = bool(self._answers)


class _Streams(Service):
    session = _Stream

    def __init__(self, layer: OnTcp, port: int) -> None:
        super().__init__(layer.driver, port)
        self.name = f"the layer {layer.kind.__name__}"  # type: ignore[misc]  # each has its own
        self.layer = layer


def _beyond(packet: Any) -> bytes:
    """What of the octets is behind the packet, taken off it: Scapy leaves it there as padding."""
    from scapy.packet import Padding  # noqa: PLC0415 - loaded by now: there is a packet

    padding = packet.getlayer(Padding)
    if padding is None or padding.underlayer is None:
        return b""
    padding.underlayer.remove_payload()
    return bytes(padding.load)


_KINDS: dict[str, Callable[..., OwnLayer]] = {"ethertype": OnEthernet, "proto": OnIp, "udp": OnUdp, "tcp": OnTcp}


def bound(driver: Driver, kind: Any, handler: Handler, **by: int | None) -> OwnLayer:
    """Bind a layer by the one of ethertype, proto, udp and tcp that is given. Raises ConfigError."""
    given = [(name, value) for name, value in by.items() if value is not None]
    if len(given) != 1 or given[0][0] not in _KINDS:
        raise ConfigError("a layer is bound by one of ethertype=, proto=, udp= and tcp=")
    if not hasattr(kind, "fields_desc"):
        raise ConfigError(f"{kind!r} is not a Packet class of Scapy's")
    name, value = given[0]
    return _KINDS[name](driver, kind, handler, value)
