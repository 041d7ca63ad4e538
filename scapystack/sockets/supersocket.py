"""Scapy's sockets on a stack: `L2Socket` for the frames of an interface, `L3Socket` for the stack's IP layer.

`sr`, `srp`, `sniff`, `AsyncSniffer`, `bridge_and_sniff` and answering machines use them (docs/scapy.md). What comes
while nobody reads waits in the socket's own queue, so that nothing is lost between two calls. Reading goes on beside
the stack's own connections: their segments are a sniffer's to see, and no answer to what `sr` has sent.

An `Inbox` is the half that the stack holds, a tap; so a socket that the program forgets is closed.
"""

from __future__ import annotations

import os
import select
import time
import weakref
from collections import deque
from contextlib import suppress
from errno import EAFNOSUPPORT, ENODEV
from typing import TYPE_CHECKING, Any

from scapy.layers.inet import IP
from scapy.layers.inet6 import IPv6
from scapy.layers.l2 import Ether
from scapy.supersocket import SuperSocket

from scapystack.base.addr import ip
from scapystack.base.errors import ConfigError, os_error
from scapystack.base.frames import Frame
from scapystack.base.offload import finished
from scapystack.hooks.filters import matcher
from scapystack.layers.raw import PROTO_RAW
from scapystack.sockets.claims import Flow, flow_of

if TYPE_CHECKING:
    from scapystack.base.iface import Interface
    from scapystack.hooks.filters import Filter, Match
    from scapystack.sockets.facade import Stack

MAX_FRAMES = 65_536
MAX_OCTETS = 64 << 20
"""What one socket keeps for its reader; more is counted (`dropped`) and lost, as by the kernel."""
_IP_TYPES = (b"\x08\x00", b"\x86\xdd")
_ETHER = 14


class Inbox:
    """Frames for one socket. Everything but `take` may be called by the socket's own threads, without the lock.

    The descriptor (an eventfd) is readable while something lies here: who reads takes it down first and puts it up
    again if more is left, who adds to an empty queue puts it up; so neither needs a lock. It is open as long as
    somebody has the inbox: a thread may sleep by it, in `next` or in Scapy's `select`, while another one closes the
    socket, and its number must mean nothing else until that thread has woken and gone.
    """

    def __init__(
        self, stack: Stack, interface: Interface | None, match: Match | None, *, listen: bool, ip: bool
    ) -> None:
        """`listen`: both ways and everything; `ip`: IP packets alone."""
        self.sent: set[Flow] = set()
        """Flows of the stack's own connections that the socket has sent to."""
        self._interface = interface
        self._match = match
        self._listen = listen
        self._ip = ip
        self.fd = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)
        weakref.finalize(self, os.close, self.fd)
        self.frames: deque[tuple[bytes, int]] = deque()
        self.dropped = 0
        self.ended = False
        self._came = 0  # octets, ever; `take` alone counts these, `next` those: no count is lost between two threads
        self._went = 0
        self._stack = stack
        with stack.driver.lock:
            stack.net.taps.append(self.take)
            stack.inboxes.add(self)

    def take(self, way: str, frame: Frame) -> None:
        """The tap: keep what is wanted, as it would look on a wire."""
        if self.ended or not self._wants(way, frame):
            return
        if len(self.frames) >= MAX_FRAMES or self._came - self._went >= MAX_OCTETS:
            self.dropped += 1
            return
        data = finished(frame)
        self._came += len(data)
        self.frames.append((data, frame.at))
        if len(self.frames) == 1:
            os.eventfd_write(self.fd, 1)

    def _wants(self, way: str, frame: Frame) -> bool:
        if self._ip and frame.head[12:14] not in _IP_TYPES:
            return False
        iface = frame.iface
        if self._interface is not None and iface is not self._interface:
            return False
        if not self._listen:
            if way == "tx" or self._is_live(frame):
                return False
        elif way == "rx" and iface is not None and iface.loopback:
            return False  # it was seen when it left
        return self._match is None or bool(self._match(frame))

    def _is_live(self, frame: Frame) -> bool:
        """Whether it belongs to a connection of the stack that the socket has no part in."""
        flow = flow_of(frame)
        return flow is not None and flow in self._stack.net.tcp.connections and flow not in self.sent

    def next(self) -> tuple[bytes, int] | None:
        """The first frame and when it came (ns); None where nothing comes any more and none is left. Waits."""
        while True:
            with suppress(BlockingIOError):
                os.eventfd_read(self.fd)
            try:
                item = self.frames.popleft()
            except IndexError:
                if self.ended:
                    os.eventfd_write(self.fd, 1)
                    return None
                select.select([self.fd], [], [])
                continue
            self._went += len(item[0])
            if self.frames or self.ended:
                os.eventfd_write(self.fd, 1)
            return item

    def end(self) -> None:
        """Nothing will come any more: whoever waits wakes. By any thread, and harmless when repeated."""
        if not self.ended:
            self.ended = True
            os.eventfd_write(self.fd, 1)

    def release(self) -> None:
        """Take the tap away. Under the driver's lock; harmless when repeated."""
        self.end()
        with suppress(ValueError):
            self._stack.net.taps.remove(self.take)
        self._stack.inboxes.discard(self)


class StackSocket(SuperSocket):  # type: ignore[misc]  # Scapy has no types
    """What both levels share."""

    closed: bool = False
    _ip = False

    def __init__(
        self, stack: Stack, interface: Interface | None, *, filter: Filter, listen: bool, iface: Any = None
    ) -> None:
        """`listen`: see everything, both ways, and send nothing. Raises ConfigError (a filter that is none)."""
        if stack.simulated:
            raise ConfigError("Scapy's calls wait in real time: they need a stack that a thread runs, not a simulation")
        self._stack = stack
        self._driver = stack.driver
        self._interface = interface
        match = matcher(filter)
        self._since_epoch = time.time() - stack.driver.clock() * 1e-9
        self.iface = iface  # what Scapy shows
        self.promisc = True
        self._leave = stack.scapy_names.enter()
        self._inbox = Inbox(stack, interface, match, listen=listen, ip=self._ip)

    @property
    def dropped(self) -> int:
        """Frames that were wanted and found the queue full."""
        return self._inbox.dropped

    def fileno(self) -> int:
        """Readable while a packet waits; -1 once closed."""
        return -1 if self.closed else self._inbox.fd

    @staticmethod
    def select(sockets: list[Any], remain: float | None = None) -> list[Any]:
        """Those that have a packet. One that another thread has closed counts: its `recv` says that it has ended."""
        try:
            return list(SuperSocket.select(sockets, remain))
        except ValueError:  # it has no descriptor
            closed = [each for each in sockets if getattr(each, "closed", False)]
            if not closed:
                raise
            return closed

    def recv_raw(self, x: int = 65_535) -> tuple[Any, bytes | None, float | None]:
        """Class, octets and time (since the epoch) of the next packet; waits.

        Raises EOFError: stack or socket was closed.
        """
        item = self._inbox.next()
        if item is None:
            raise EOFError
        data, at = item
        return self._class_of(data), self._cut(data), at * 1e-9 + self._since_epoch

    def _class_of(self, data: bytes) -> Any:
        return Ether

    def _cut(self, data: bytes) -> bytes:
        return data

    def _claim(self, frame: Frame) -> None:
        """A frame of Scapy's leaves: its answers are Scapy's."""
        flow = self._stack.claims.sent(frame)
        if flow is not None:
            self._inbox.sent.add(flow)

    def close(self) -> None:
        """Take nothing more. A thread that waits in a call of the socket goes on: nothing came, and nothing will."""
        if getattr(self, "_inbox", None) is None or self.closed:
            return
        self.closed = True
        self._inbox.end()
        self._leave()
        if self._stack.closed:
            self._inbox.release()
        else:  # `__del__` may come in the middle of anything, so no lock is taken here
            self._driver.call_soon(self._inbox.release)


class L2Socket(StackSocket):
    """Whole frames of one interface of the stack: what comes in, and, to `listen`, what leaves as well."""

    desc = "frames of an interface of a scapystack"

    def send(self, x: Any) -> int:
        """Put a frame on the link as it is; its octets. It passes hooks and captures like the stack's own.

        Raises OSError: ENODEV, the interface was taken away.
        """
        data = bytes(x)
        x.sent_time = time.time()
        frame = Frame(data, (), self._interface)
        with self._driver.entered() as net:
            if self._interface not in net.interfaces:
                raise os_error(ENODEV)
            self._claim(frame)
            net.ethernet.emit(frame)
        return len(data)


class L3Socket(StackSocket):
    """IP packets through the stack: its routes and its ARP take them where they belong.

    What comes back is what comes to any interface. A packet for a TCP port that the stack knows nothing of does not
    make it answer with a RST, so that a handshake by hand needs no firewall (`sockets.claims`).
    """

    desc = "IP packets through a scapystack"

    _ip = True

    def _class_of(self, data: bytes) -> Any:
        return IP if data[12:14] == _IP_TYPES[0] else IPv6

    def _cut(self, data: bytes) -> bytes:
        return data[_ETHER:]

    def send(self, x: Any) -> int:
        """Send a packet as it is; its octets. Raises OSError: EMSGSIZE (Scapy's `fragment` cuts), ENETUNREACH."""
        data = bytes(x)
        if len(data) < 20 or data[0] >> 4 != 4:
            raise os_error(EAFNOSUPPORT)
        x.sent_time = time.time()
        with self._driver.entered() as net:
            self._claim(Frame(bytes(12) + _IP_TYPES[0] + data))
            endpoint = net.raw.open(PROTO_RAW)
            try:
                endpoint.broadcast = True
                return endpoint.send(data, ip(data[16:20]), hdrincl=True)
            finally:
                endpoint.close()
