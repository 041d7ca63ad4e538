"""`Tracer`: watches the TCP of one stack and tells of every event of its connections, with all their variables.

An event is a segment that came (`in`), one that left (`out`), a timer that was due (`timer`), an ICMP error
(`icmp`), or a change of state (`state`). A tracer stands in four places: between IP and TCP on the way in, between
TCP and IP on the way out, before the timers, and among the observers of states. Attached it costs 0.06 ms an
event, the line of JSON included; a stack without one runs the same code as if this file did not exist.
Read `layers.tcp.info` first.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import fields
from typing import Any, TypeAlias

from scapystack.base.addr import ip_text
from scapystack.base.datagram import PROTO_TCP, Datagram, IcmpError, IpOutput, Route
from scapystack.base.frames import CSUM_NONE
from scapystack.base.guard import tcp_header
from scapystack.base.segment import Segment, flags_text
from scapystack.base.types import Buffer, Nanoseconds
from scapystack.hooks.around import Around
from scapystack.layers.tcp.demux import Key, Tcp
from scapystack.layers.tcp.info import TIMERS, TcpInfo, snapshot
from scapystack.layers.tcp.options import parse_options
from scapystack.layers.tcp.state import CLOSED, STATE_NAMES
from scapystack.layers.tcp.tcb import Tcb
from scapystack.stack import NetStack

Event: TypeAlias = dict[str, Any]
"""One line of a trace: what happened, and every field of `TcpInfo`."""

_VARIABLES = tuple(field.name for field in fields(TcpInfo))


class Tracer:
    """Tells `sink` of each event, as soon as the stack is done with it, until `detach`.

    `clock` answers the time, in nanoseconds since 1970 (a simulation gives its own). Make and detach it where the
    stack may be touched (`driver.entered()`). Changes of state that a segment or a timer brings about follow it.
    """

    def __init__(
        self, net: NetStack, sink: Callable[[Event], None], *, clock: Callable[[], Nanoseconds] = time.time_ns
    ) -> None:
        self.net = net
        self.sink = sink
        self.clock = clock
        self.connections = 0
        """How many were met so far; each has its number, from 1."""
        self._tcp: Tcp = net.tcp
        self._decode = net.core.codec.decode_tcp
        self._numbers: dict[Tcb, int] = {c: self._next() for c in net.tcp.connections.values()}
        self._moves: list[Event] | None = None
        self._way_out = _WayOut(net.tcp.ip, self)
        net.ipv4.register(PROTO_TCP, self)
        net.tcp.ip = self._way_out
        net.tcp.observers.append(self._moved)
        self._around = Around(net.tcp, "expire", self._expire)

    def detach(self) -> None:
        """Watch no longer. The last tracer that was attached goes first."""
        self.net.ipv4.register(PROTO_TCP, self._tcp)
        self._tcp.ip = self._way_out.ip
        self._tcp.observers.remove(self._moved)
        self._around.end()

    # -- what happens ----------------------------------------------------------------------------------

    def input(self, datagram: Datagram) -> None:
        """What IP hands to TCP: passed on, and then told of."""
        d = datagram
        buf = d.payload
        key = None
        if not tcp_header(buf, d.src, d.dst, d.csum == CSUM_NONE):  # else TCP drops it, whoever it was for
            key = (d.dst, buf[2] << 8 | buf[3], d.src, buf[0] << 8 | buf[1])
        self._caused("in", key, lambda: self._tcp.input(datagram), lambda: {"segment": self._segment(buf)})

    def icmp_error(self, error: IcmpError) -> None:
        """An error that IP hands to TCP."""
        quote = error.quote
        key = (error.src, quote[0] << 8 | quote[1], error.dst, quote[2] << 8 | quote[3])
        about = {"icmp": {"type": error.type, "code": error.code, "mtu": error.mtu, "from": ip_text(error.reporter)}}
        self._caused("icmp", key, lambda: self._tcp.icmp_error(error), lambda: about)

    def left(self, route: Route, src: bytes | None, head: bytes, octets: int) -> None:
        """A segment leaves: the variables stand as they do then."""
        c = self._tcp.connections.get((src or route.src, head[0] << 8 | head[1], route.dst, head[2] << 8 | head[3]))
        if c is not None:
            self._tell(self._number(c), c, "out", {"segment": self._segment(head, octets)})

    def _expire(self, expire: Callable[[Tcb, Nanoseconds], None], c: Tcb, now: Nanoseconds) -> None:
        due = [name for name in TIMERS if getattr(c, name + "_at") <= now]
        number = self._number(c)
        self._moves = []
        expire(c, now)
        if due:
            self._tell(number, c, "timer", {"timers": due})
        self._let_go()

    def _moved(self, c: Tcb, old: int, new: int) -> None:
        if old == CLOSED:
            self._numbers[c] = self._next()
        event = self._event(self._number(c), c, "state", {"from": STATE_NAMES[old], "to": STATE_NAMES[new]})
        if new == CLOSED:
            del self._numbers[c]
        if self._moves is None:
            self.sink(event)
        else:
            self._moves.append(event)

    def _caused(
        self, what: str, key: Key | None, cause: Callable[[], None], about: Callable[[], dict[str, Any]]
    ) -> None:
        """Have TCP act, then tell of it and of the changes of state that came of it."""
        connections = self._tcp.connections
        c = connections.get(key) if key is not None else None
        number = self._number(c) if c is not None else 0
        self._moves = []
        cause()
        if key is not None and (there := connections.get(key)) is not None and there is not c:
            c, number = there, self._number(there)  # it came into being, in the place of an old one perhaps
        if c is not None:
            self._tell(number, c, what, about())
        self._let_go()

    # -- telling ---------------------------------------------------------------------------------------

    def _let_go(self) -> None:
        moves, self._moves = self._moves, None
        for event in moves or ():
            self.sink(event)

    def _tell(self, number: int, c: Tcb, what: str, about: dict[str, Any]) -> None:
        self.sink(self._event(number, c, what, about))

    def _event(self, number: int, c: Tcb, what: str, about: dict[str, Any]) -> Event:
        info = snapshot(c)
        event: Event = {"at": self.clock(), "connection": number, "event": what, **about}
        event.update((name, getattr(info, name)) for name in _VARIABLES)
        return event

    def _number(self, c: Tcb) -> int:
        number = self._numbers.get(c)
        if number is None:
            number = self._numbers[c] = self._next()
        return number

    def _next(self) -> int:
        self.connections += 1
        return self.connections

    def _segment(self, buf: Buffer, octets: int = 0) -> dict[str, Any]:
        """The header in plain numbers, options that were there included; `octets` in all, 0: as many as given."""
        sport, dport, seq, ack, dataofs, _, flags, wnd, _, up = self._decode(buf, 0)
        seg = Segment(b"", b"", sport, dport, seq, ack, flags & 0xFF, wnd, up)
        parse_options(bytes(buf[20 : dataofs * 4]), seg)
        shown: dict[str, Any] = {
            "flags": flags_text(seg.flags), "seq": seq, "ack": ack, "len": max(0, (octets or len(buf)) - dataofs * 4),
            "wnd": wnd,
        }  # fmt: skip
        for name in ("up", "mss", "wscale", "sack", "tsval", "tsecr"):
            value = getattr(seg, name)
            if value or (value is not None and name == "wscale"):
                shown[name] = value
        return shown


class _WayOut:
    """What TCP takes for IP: tells the tracer of each segment, and is IP in all else."""

    def __init__(self, ip: IpOutput, tracer: Tracer) -> None:
        self.ip = ip
        self.tracer = tracer
        self.route = ip.route
        self.fresh = ip.fresh
        self.update_pmtu = ip.update_pmtu
        self.advise = ip.advise
        self.is_local = ip.is_local

    def send(
        self,
        route: Route,
        proto: int,
        head: bytes,
        payload: tuple[Buffer, ...] = (),
        length: int = 0,
        **how: Any,
    ) -> None:
        """Tell of it, and send it."""
        self.tracer.left(route, how.get("src"), head, length or len(head) + sum(map(len, payload)))
        self.ip.send(route, proto, head, payload, length, **how)
