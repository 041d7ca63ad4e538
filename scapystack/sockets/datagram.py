"""`DatagramSocket` (UDP) and `RawSocket` (IP with the transport in the application's hands).

Read `base` and `channel` first. Sending never waits: a datagram goes out at once, or waits for ARP in
the stack's own bounded queue. What was peeked at is held here until it is read.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable
from errno import EADDRNOTAVAIL, EDESTADDRREQ, EINVAL, ENOPROTOOPT, ENOTCONN, EOPNOTSUPP, EPIPE
from functools import partial
from typing import TYPE_CHECKING, Any

from scapystack.base.addr import ANY4, LOCALHOST4, is_multicast
from scapystack.base.errors import os_error
from scapystack.base.types import Address, Buffer
from scapystack.sockets import constants as c
from scapystack.sockets.address import text_address
from scapystack.sockets.base import Socket
from scapystack.sockets.channel import Channel, always, never, readable

if TYPE_CHECKING:
    from scapystack.base.iface import Interface
    from scapystack.sockets.waiting import Ground
    from scapystack.stack import NetStack

_OWN = frozenset(("reuse", "keepalive", "linger_s"))  # known, kept, and without effect on datagrams
_SNDBUF = 212_992

Received = tuple[bytes, Address, int]


class _MessageSocket(Socket):
    """What UDP and raw sockets share: messages with an address, options kept until there is an endpoint."""

    def __init__(self, ground: Ground, kind: c.SocketKind, proto: int) -> None:
        super().__init__(ground, kind, proto)
        self._channel.can_read = never  # until there is an endpoint
        self._held: Received | None = None  # peeked at and not yet read
        self._settings: dict[str, Any] = {
            "broadcast": False,
            "ttl": 0,
            "tos": 0,
            "rcvbuf": self._net.config.udp.rcvbuf,
            "sndbuf": _SNDBUF,  # read back only: nothing waits in a send buffer
            "oobinline": False,
            "hdrincl": False,
        }
        self._linger_s: int | None = None
        self._groups: set[tuple[Interface, Address]] = set()
        self._read_shut = False
        self._write_shut = False

    # -- the endpoint ------------------------------------------------------------------------------

    @abstractmethod
    def _open(self) -> Any:
        """The endpoint, made now if there is none yet."""

    def _attach(self, endpoint: Any) -> Any:
        for name in ("broadcast", "ttl", "tos", "rcvbuf"):
            setattr(endpoint, name, self._settings[name])
        self._channel.attach(endpoint, readable, always)
        return endpoint

    @abstractmethod
    def _next(self) -> Received | None:
        """The next message: octets, source, port (0 where there are no ports)."""

    @abstractmethod
    def _put(self, data: Buffer, to: tuple[Address, int] | None) -> int: ...

    # -- sending -----------------------------------------------------------------------------------

    def send(self, data: Buffer, flags: int = 0) -> int:
        """Send to the connected peer. Raises OSError: EDESTADDRREQ, EMSGSIZE, ECONNREFUSED, ..."""
        octets = _octets(data)
        return self._at_once(lambda: self._send(octets, flags, None))

    def sendall(self, data: Buffer, flags: int = 0) -> None:
        """As `send`: a message goes as a whole."""
        self.send(data, flags)

    def _send_to(self, data: Buffer, flags: int, address: object) -> int:
        octets = _octets(data)
        to = self._unpack(address)
        return self._at_once(lambda: self._send(octets, flags, to))

    def _send(self, data: Buffer, flags: int, to: tuple[Address, int] | None) -> int:
        if self._write_shut:
            raise os_error(EPIPE)
        if flags and flags & c.MSG_OOB:
            raise os_error(EOPNOTSUPP)
        return self._put(data, to)

    # -- receiving ---------------------------------------------------------------------------------

    def recvfrom(self, bufsize: int, flags: int = 0) -> tuple[bytes, Any]:
        """One message, cut to `bufsize` octets (whole with MSG_TRUNC), and where it came from.

        A pending ICMP error is raised once: ECONNREFUSED on a connected socket whose peer is not
        there.
        """
        if bufsize < 0:
            raise ValueError("negative buffersize in recvfrom")
        data, source, port = self._perform(lambda: self._take(flags), Channel.wait_for_read, flags)
        if len(data) > bufsize and not flags & c.MSG_TRUNC:
            data = data[:bufsize]
        return data, text_address(source, port)

    def recvfrom_into(self, buffer: bytearray | memoryview, nbytes: int = 0, flags: int = 0) -> tuple[int, Any]:
        """As `recvfrom`, into a buffer. With MSG_TRUNC the count is the message's own length."""
        view = memoryview(buffer).cast("B")
        if view.readonly:
            raise TypeError(f"recvfrom_into() takes a read-write bytes-like object, not {type(buffer).__name__}")
        if nbytes < 0:
            raise ValueError("negative buffersize in recvfrom_into")
        if nbytes > len(view):
            raise ValueError("nbytes is greater than the length of the buffer")
        size = nbytes or len(view)
        data, source, port = self._perform(lambda: self._take(flags), Channel.wait_for_read, flags)
        n = min(len(data), size)
        view[:n] = data[:n]
        return len(data) if flags & c.MSG_TRUNC else n, text_address(source, port)

    def _take(self, flags: int) -> Received | None:
        if flags and flags & c.MSG_OOB and self._kind == c.SOCK_RAW:
            raise os_error(EOPNOTSUPP)
        channel = self._channel
        message = self._held
        if message is None and channel.endpoint is not None:
            message = self._next()
        if message is None and self._read_shut:
            return b"", ANY4, 0
        if message is not None and flags & c.MSG_PEEK:
            self._held = message
            channel.held = True
        else:
            self._held = None
            channel.held = self._read_shut
        return message

    def shutdown(self, how: int) -> None:
        """End a direction of a connected socket. Raises OSError (ENOTCONN, EINVAL)."""
        self._at_once(lambda: self._shutdown(how))

    def _shutdown(self, how: int) -> None:
        if how not in (c.SHUT_RD, c.SHUT_WR, c.SHUT_RDWR):
            raise os_error(EINVAL)
        self._read_shut |= how != c.SHUT_WR
        self._write_shut |= how != c.SHUT_RD
        if self._read_shut:
            self._channel.held = True  # end of file lies ready
        self._channel.wake()
        if self._names()[1] is None:
            raise os_error(ENOTCONN)  # and yet it is done: so do programs on Linux wake a thread in recvfrom()

    # -- options -----------------------------------------------------------------------------------

    def _protocol(self) -> int:
        return self._proto

    def _listening(self) -> bool:
        return False

    def _take_error(self) -> int:
        endpoint = self._channel.endpoint
        error = 0 if endpoint is None else int(endpoint.error)
        if error:
            endpoint.error = 0
        return error

    def _read_setting(self, name: str) -> Any:
        return getattr(self, "_" + name) if name in _OWN else self._settings[name]

    def _write_setting(self, name: str, value: Any) -> None:
        if name in _OWN:
            setattr(self, "_" + name, value)
            return
        if name == "hdrincl" and self._kind != c.SOCK_RAW:
            raise os_error(ENOPROTOOPT)
        self._settings[name] = value
        endpoint = self._channel.endpoint
        if endpoint is not None and name in ("broadcast", "ttl", "tos", "rcvbuf"):
            setattr(endpoint, name, value)

    def _join(self, data: bytes) -> None:
        """IP_ADD_MEMBERSHIP with a struct ip_mreq: group, and one of our addresses or 0.0.0.0."""
        interface, group = self._membership(data)
        if (interface, group) in self._groups:
            raise OSError(98, "Address already in use")
        self._net.join_group(interface, group)
        self._groups.add((interface, group))

    def _leave(self, data: bytes) -> None:
        member = self._membership(data)
        if member not in self._groups:
            raise os_error(EADDRNOTAVAIL)
        self._groups.remove(member)
        self._net.leave_group(*member)

    def _membership(self, data: bytes) -> tuple[Interface, Address]:
        if len(data) < 8:
            raise os_error(EINVAL)
        group, local = data[:4], data[4:8]
        if not is_multicast(group):
            raise os_error(EINVAL)
        if local == ANY4:
            return self._net.ipv4.route(group).iface, group
        for interface in self._net.interfaces:
            if any(entry.address == local for entry in interface.addresses):
                return interface, group
        raise OSError(19, "No such device")

    def _held_besides(self) -> list[Callable[[], None]]:
        return [partial(_leave_group, self._net, *member) for member in self._groups]


def _octets(data: Buffer) -> bytes:
    """The message as it is now. Raises TypeError for what has no octets: a number is none, though `bytes` takes it."""
    return data if type(data) is bytes else bytes(memoryview(data))


def _this_host(remote: Address) -> Address:
    """What is meant: connect(2) takes the unspecified address for this host."""
    return LOCALHOST4 if remote == ANY4 else remote


def _leave_group(net: NetStack, interface: Interface, group: Address) -> None:
    """An interface that was taken away has taken its memberships along."""
    if interface in net.interfaces:
        net.leave_group(interface, group)


class DatagramSocket(_MessageSocket):
    """A UDP socket: `bind connect send sendto recv recvfrom close` and their relatives."""

    def __init__(self, ground: Ground, proto: int = 0) -> None:
        """Not for applications: they call `Stack.socket`."""
        super().__init__(ground, c.SOCK_DGRAM, proto)

    def _protocol(self) -> int:
        return c.IPPROTO_UDP

    def bind(self, address: object) -> None:
        """Take a local address; port 0 is any free one. Raises OSError: EADDRINUSE, EADDRNOTAVAIL, EINVAL."""
        local, port = self._unpack(address)
        self._at_once(lambda: self._bind(local, port))

    def _bind(self, local: Address, port: int) -> Any:
        if self._channel.endpoint is None:
            return self._attach(self._net.udp.bind(local, port, reuse=self._reuse))
        if local == ANY4 or self._net.ipv4.is_local(local):
            raise os_error(EINVAL)
        raise os_error(EADDRNOTAVAIL)

    def _open(self) -> Any:
        endpoint = self._channel.endpoint
        return self._bind(ANY4, 0) if endpoint is None else endpoint

    def connect(self, address: object) -> None:
        """Send to and receive from this peer only; its ICMP errors are raised from now on."""
        remote, port = self._unpack(address)
        self._at_once(lambda: self._open().connect(_this_host(remote), port))

    def _next(self) -> Received | None:
        message: Received | None = self._channel.endpoint.recv()
        return message

    def _put(self, data: Buffer, to: tuple[Address, int] | None) -> int:
        endpoint = self._open()
        if to is None:
            return int(endpoint.send(data))
        if to[1] == 0:
            raise os_error(EINVAL)
        return int(endpoint.send(data, _this_host(to[0]), to[1]))


class RawSocket(_MessageSocket):
    """A raw IP socket: whole packets of one protocol in; out with our IP header, or (IP_HDRINCL) yours.

    Protocol IPPROTO_RAW (255) means IP_HDRINCL, and nothing to receive.
    """

    def __init__(self, ground: Ground, proto: int) -> None:
        """Not for applications: they call `Stack.socket`."""
        super().__init__(ground, c.SOCK_RAW, proto)
        self._peer: Address | None = None
        self._settings["hdrincl"] = proto == c.IPPROTO_RAW
        with self._driver.entered():
            self._attach(self._net.raw.open(proto, ANY4))

    def bind(self, address: object) -> None:
        """Take only packets to this address, and send from it. Raises OSError (EADDRNOTAVAIL)."""
        local, _ = self._unpack(address)
        self._at_once(lambda: self._bind(local))

    def _bind(self, local: Address) -> None:
        if local != ANY4 and not self._net.ipv4.is_local(local):
            raise os_error(EADDRNOTAVAIL)
        self._channel.endpoint.local_addr = local

    def connect(self, address: object) -> None:
        """Send to this host; take packets from it alone. Raises OSError (ENETUNREACH)."""
        peer = _this_host(self._unpack(address)[0])
        self._at_once(lambda: self._net.ipv4.route(peer))
        self._peer = peer

    def _names(self) -> tuple[tuple[Address, int], tuple[Address, int] | None]:
        endpoint = self._channel.endpoint
        local = ANY4 if endpoint is None else endpoint.local_addr
        return (local, self._proto), None if self._peer is None else (self._peer, 0)

    def _open(self) -> Any:
        return self._channel.endpoint

    def _next(self) -> Received | None:
        while (message := self._channel.endpoint.recv()) is not None:
            packet, source = message
            if self._peer is None or source == self._peer:
                return packet, source, 0
        return None

    def _put(self, data: Buffer, to: tuple[Address, int] | None) -> int:
        peer = self._peer if to is None else _this_host(to[0])
        if peer is None:
            raise os_error(EDESTADDRREQ)
        self._channel.endpoint.send(data, peer, hdrincl=bool(self._settings["hdrincl"]))
        return len(data)
