"""`Tcp`: the tables of one stack's connections and listeners, and the way between them and IP.

A segment is checked once (`base.guard`), decoded once to a `Segment`, and goes to the connection of
its 4-tuple, else to a listener, else it is answered with RST (RFC 9293 section 3.10.7.1). After a
burst, `flush` runs the output pass over the connections that were marked. Read `tcb` for what a
connection is, `input` for what happens to a segment, `output` for what leaves.
"""

from __future__ import annotations

import errno
from collections import OrderedDict
from collections.abc import Callable

from scapystack.base.addr import ANY4, BROADCAST4, is_multicast, is_unspecified
from scapystack.base.checksum import pseudo_sum
from scapystack.base.config import TcpConfig
from scapystack.base.core import Core
from scapystack.base.datagram import CAST_UNICAST, PROTO_TCP, Datagram, IcmpError, IpOutput, Route
from scapystack.base.errors import os_error
from scapystack.base.frames import CSUM_NONE
from scapystack.base.guard import tcp_header
from scapystack.base.segment import ACK, FIN, RST, SYN, Segment
from scapystack.base.seq import seq_gt
from scapystack.base.types import MILLISECOND, SECOND, Address, Nanoseconds
from scapystack.layers.ipoptions import return_route
from scapystack.layers.ports import pick
from scapystack.layers.ratelimit import Jittered
from scapystack.layers.tcp import early, icmp, timers
from scapystack.layers.tcp.bound import BoundPorts
from scapystack.layers.tcp.cookies import SynCookies
from scapystack.layers.tcp.fastopen import CookieCache, ServerCookies
from scapystack.layers.tcp.input import segment_arrives
from scapystack.layers.tcp.isn import IsnGenerator
from scapystack.layers.tcp.listen import Listener
from scapystack.layers.tcp.memory import Memory, level
from scapystack.layers.tcp.options import encode_timestamps, parse_options
from scapystack.layers.tcp.output import acceptable_seq, output, send_ack
from scapystack.layers.tcp.pathmtu import set_mss
from scapystack.layers.tcp.state import CLOSED, SYN_RECEIVED, SYN_SENT, SYNCHRONIZED, TIME_WAIT
from scapystack.layers.tcp.tcb import NEVER, Options, Tcb
from scapystack.layers.tcp.transmit import emit
from scapystack.layers.tcp.user import Connection

MASK = 0xFFFFFFFF
Key = tuple[Address, int, Address, int]
"""local address, local port, remote address, remote port"""


class Tcp:
    """The TCP layer of a stack. `observers` are called with (connection, old state, new state)."""

    def __init__(self, core: Core, ip: IpOutput) -> None:
        self.core = core
        self.ip = ip
        self.config: TcpConfig = core.config.tcp
        self.isns = IsnGenerator(core.rng.derive("tcp-isn").bytes(32))
        self.cookies = SynCookies(core.rng.derive("tcp-cookies").bytes(32))
        self.rng = core.rng.derive("tcp-ports")
        self.fastopen_cache = CookieCache(self.config.fastopen_cache)
        self.fastopen_cookies = ServerCookies(core.rng.derive("tcp-fastopen").bytes(32), self.config.fastopen_key_ms)
        self.connections: dict[Key, Connection] = {}
        self.listeners: dict[tuple[Address, int], Listener] = {}
        self.ports: dict[int, int] = {}  # local port: how many connections have it
        self.bound = BoundPorts()
        self.time_wait: OrderedDict[Key, Tcb] = OrderedDict()
        self.orphans: dict[Tcb, None] = {}  # the oldest first
        self.half_open = 0  # of all listeners: SYN queues,
        self.waiting = 0  # and accept queues
        self.memory = Memory()
        self.dirty: list[Tcb] = []
        self.observers: list[Callable[[Tcb, int, int], None]] = []
        self.segs_in = 0
        self.segs_out = 0
        self._jitter = core.rng.derive("tcp-limits")
        self._resets = Jittered()
        self._decode = core.codec.decode_tcp
        self.encode = core.codec.encode_tcp

    # -- in ------------------------------------------------------------------------------------------

    def input(self, d: Datagram) -> None:
        """Take a datagram of protocol 6 (RFC 9293 section 3.10.7)."""
        counters = self.core.counters
        self.segs_in += 1
        buf = d.payload
        reason = tcp_header(buf, d.src, d.dst, d.csum == CSUM_NONE)
        if reason:
            counters["tcp.drop." + reason] += 1
            return
        if d.cast != CAST_UNICAST or _bad_source(d.src):
            counters["tcp.drop.address"] += 1  # MUST-57, MUST-63
            return
        sport, dport, seq, ack, dataofs, _, flags, wnd, _, up = self._decode(buf, 0)
        header = dataofs << 2
        seg = Segment(d.src, d.dst, sport, dport, seq, ack, flags & 0xFF, wnd, up, buf[header:], d.tos, d.gso_size)
        if header > 20:  # MUST-5: whatever the segment
            parse_options(buf[20:header], seg)
        c = self.connections.get((d.dst, dport, d.src, sport))
        if c is not None and not (c.state == TIME_WAIT and seg.flags & SYN and self._reopens(c, seg)):
            segment_arrives(c, seg)
        else:
            listener = self._listener(d.dst, dport)
            if listener is not None:
                listener.segment_arrives(seg)
            else:
                counters["tcp.no_port"] += 1
                self.send_rst_for(seg)
        if d.more:
            self._follow(d, seg, seq + len(buf) - header)
        if d.options:
            self._came_by(d, seg)

    def _follow(self, d: Datagram, seg: Segment, seq: int) -> None:
        """The segments that a link has found behind `seg`: they are like it in all but number and text."""
        for text in d.more:
            c = self.connections.get((d.dst, seg.dport, d.src, seg.sport))
            if c is None:  # one answer was enough
                return
            seg.seq = seq & MASK
            seg.payload = text
            segment_arrives(c, seg)
            seq += len(text)

    def _listener(self, local: Address, port: int) -> Listener | None:
        return self.listeners.get((local, port)) or self.listeners.get((ANY4, port))

    def _reopens(self, c: Tcb, seg: Segment) -> bool:
        """MAY-2: a SYN newer than all of the old connection may take its place in TIME-WAIT.

        SHLD-4, RFC 6191 section 2: newer by its timestamp if both have one, and by its sequence number where the
        timestamps are equal or the new one has none. One with timestamps drops what was sent without.
        """
        if seg.flags & (ACK | RST | FIN) or self._listener(c.local_addr, c.local_port) is None:
            return False
        if seg.tsval is None or not self.config.timestamps or (c.ts_ok and seg.tsval == c.ts_recent):
            return seq_gt(seg.seq, c.rcv_nxt)
        return not c.ts_ok or seq_gt(seg.tsval, c.ts_recent)

    def _yields(self, c: Tcb) -> bool:
        """Whether an open of ours may take the place of `c`: in TIME-WAIT, and so long that timestamps tell them apart.

        RFC 6191 the other way round: each of our segments is newer than all that the old connection has
        sent (RFC 7323 appendix B.2), and our numbers begin behind its own.
        """
        if c.state != TIME_WAIT or not c.ts_ok or not self.config.timestamps or not self.config.time_wait_reuse_ms:
            return False
        return self.core.now - c.ts_recent_at >= self.config.time_wait_reuse_ms * MILLISECOND

    def _came_by(self, d: Datagram, seg: Segment) -> None:
        """MUST-53: what a peer sent by a source route is answered along it; SHLD-24: the last one counts.

        MUST-52: a connection that we opened keeps the route that its application gave.
        """
        c = self.connections.get((d.dst, seg.dport, d.src, seg.sport))
        if c is None or not c.passive or c.heard_at != self.core.now:
            return
        way = return_route(d.options)
        if way and way != c.options.ip_options:
            c.options.ip_options = way
            set_mss(c)

    def icmp_error(self, error: IcmpError) -> None:
        """RFC 9293 section 3.9.2.2 (MUST-54); the rules stand in `icmp`."""
        icmp.icmp_error(self, error)

    # -- out -----------------------------------------------------------------------------------------

    def flush(self) -> None:
        """The output pass: every connection that was marked sends what it may."""
        dirty = self.dirty
        while dirty:
            self.dirty = []
            rest = iter(dirty)
            for c in rest:
                c.dirty = False
                if c.state != CLOSED:
                    try:
                        output(c)
                    except Exception as error:  # of a congestion control, or of who stands around what output calls
                        if c.dirty:  # not again in this pass
                            c.dirty = False
                            self.dirty.remove(c)
                        self.dirty += rest  # which is to be raised, perhaps, and they are marked
                        self.core.failed(error, "in TCP's output")
            dirty = self.dirty

    def expire(self, c: Tcb, now: Nanoseconds) -> None:
        """A deadline of `c` is due."""
        timers.expire(c, now)

    def send_rst_for(self, seg: Segment) -> None:
        """Answer a segment that belongs nowhere (RFC 9293 section 3.10.7.1); never a RST with a RST."""
        if seg.flags & RST:
            self.core.counters["tcp.drop.rst_no_connection"] += 1
            return
        if not self._resets.take(self._jitter, self.core.now, self.config.rsts_per_second, SECOND):
            self.core.counters["tcp.drop.rst_limit"] += 1
            return
        if seg.flags & ACK:
            seq, ack, flags = seg.ack, 0, RST
        else:
            seq, ack, flags = 0, seg.end, RST | ACK
        options = b""
        if seg.tsval is not None and self.config.rst_timestamps:
            options = encode_timestamps(0, seg.tsval)  # RFC 7323 section 5.2
        try:
            route = self.ip.route(seg.src, seg.dst)
        except OSError:
            self.core.counters["tcp.drop.no_route"] += 1
            return
        self.core.counters["tcp.resets_sent"] += 1
        self.answer(route, seg, seq, ack, flags, options=options)

    def answer(
        self, route: Route, seg: Segment, seq: int, ack: int, flags: int, window: int = 0, options: bytes = b"",
        tos: int = 0, ttl: int = 0,
    ) -> None:  # fmt: skip
        """Send a segment of no connection back to where `seg` came from."""
        length = 20 + len(options)
        pseudo = pseudo_sum(seg.dst, seg.src, PROTO_TCP, length)
        head = self.encode(seg.dport, seg.sport, seq, ack, length >> 2, 0, flags, window, pseudo, 0)
        self.segs_out += 1
        self.ip.send(route, PROTO_TCP, head + options, (), length, csum_offset=16, tos=tos, ttl=ttl, df=True)

    def challenge(self, c: Tcb) -> None:
        """A challenge ACK, limited for each connection by itself (5961/7; a shared limit leaks: CVE-2016-5696)."""
        if c.challenges is None:
            c.challenges = Jittered()
        config = self.config
        period = config.challenge_period_ms * MILLISECOND
        if not c.challenges.take(self._jitter, self.core.now, config.challenge_acks, period):
            self.core.counters["tcp.drop.challenge_limit"] += 1
            return
        self.core.counters["tcp.challenge_acks"] += 1
        c.ack_now = True
        c.mark_dirty()

    def reroute(self, c: Tcb) -> Route:
        """Ask IP anew for the way of `c`; its MSS follows the MTU, down and up (MUST-16, RFC 1191 section 6.3).

        Raises OSError where there is no way.
        """
        old = c.route
        c.route = route = self.ip.route(c.remote_addr, c.local_addr)
        if route.mtu != old.mtu:
            set_mss(c)
        return route

    def advise(self, c: Tcb) -> None:
        """MUST-20, R1 reached: tell IP that this way may be dead (RFC 1122 section 3.3.1.4)."""
        self.core.counters["tcp.r1_reached"] += 1
        self.ip.advise(c.route)
        c.report(errno.ETIMEDOUT)

    # -- opening -------------------------------------------------------------------------------------

    def reserve(self, local: Address, port: int, *, reuse: bool = False) -> int:
        """What bind(2) does: hold a port (0: a free one) for a later `listen` or `connect`; the port.

        Raises OSError: EADDRINUSE, EADDRNOTAVAIL. `unreserve` gives it back.
        """
        if not is_unspecified(local) and not self.ip.is_local(local):
            raise os_error(errno.EADDRNOTAVAIL)
        if port == 0:
            port = self._pick(lambda p: self._port_taken(local, p) or p in self.ports or p in self.bound)
        elif (
            self._port_taken(local, port)
            or self.bound.clash(local, port, reuse)
            or (not reuse and self._served(local, port))
        ):
            raise os_error(errno.EADDRINUSE)
        self.bound.add(local, port, reuse)
        return port

    def unreserve(self, local: Address, port: int, *, reuse: bool = False) -> None:
        """Let go of what `reserve` held; the arguments are the same."""
        self.bound.remove(local, port, reuse)

    def listen(self, local: Address, port: int, backlog: int, *, reuse: bool = False) -> Listener:
        """A passive OPEN (MUST-41, MUST-42, MUST-43). Port 0 takes a free one.

        Raises OSError: EADDRINUSE, EADDRNOTAVAIL.
        """
        if not is_unspecified(local) and not self.ip.is_local(local):
            raise os_error(errno.EADDRNOTAVAIL)
        if port == 0:
            port = self._pick(lambda p: self._port_taken(local, p) or p in self.ports or p in self.bound)
        elif self._port_taken(local, port) or (not reuse and self._served(local, port)):
            raise os_error(errno.EADDRINUSE)
        listener = Listener(self, local, port, backlog, reuse)
        self.listeners[(local, port)] = listener
        return listener

    def _port_taken(self, local: Address, port: int) -> bool:
        """Whether another listener has the port at this address, or at all of them."""
        if (local, port) in self.listeners or (ANY4, port) in self.listeners:
            return True
        return is_unspecified(local) and any(p == port for _, p in self.listeners)

    def _served(self, local: Address, port: int) -> bool:
        """Whether an old connection of a listener (TIME-WAIT above all) still has the port."""
        if port not in self.ports:
            return False
        any_ = is_unspecified(local)
        return any(c.passive and k[1] == port and (any_ or k[0] == local) for k, c in self.connections.items())

    def unlisten(self, listener: Listener) -> None:
        """The listener is closed; its port is free."""
        self.listeners.pop((listener.local_addr, listener.local_port), None)

    def connect(
        self,
        remote: Address,
        port: int,
        *,
        local: Address | None = None,
        local_port: int = 0,
        reuse: bool = False,
        options: Options | None = None,
        fastopen: bool = False,
    ) -> Connection:
        """An active OPEN: the connection in SYN-SENT, its SYN due in the next output pass.

        With `fastopen` what is written before the handshake is done is kept, and leaves with the SYN where
        the server's cookie is known: then the SYN waits for the first `write` (RFC 7413).

        Raises OSError: ENETUNREACH, EADDRNOTAVAIL, EADDRINUSE; MUST-46: ENETUNREACH for a remote
        address that is broadcast, multicast or unspecified.
        """
        if is_multicast(remote) or remote == BROADCAST4 or is_unspecified(remote) or not port:
            raise os_error(errno.ENETUNREACH)
        if local is not None and is_unspecified(local):
            local = None
        route = self.ip.route(remote, local)  # MUST-44, MUST-45
        if route.cast != CAST_UNICAST:
            raise os_error(errno.ENETUNREACH)
        source = local or route.src
        if not local_port:
            local_port = self._pick(
                lambda p: (
                    ((old := self.connections.get((source, p, remote, port))) is not None and not self._yields(old))
                    or (source, p) in self.listeners
                    or (ANY4, p) in self.listeners
                    or p in self.bound
                )
            )
        key = (source, local_port, remote, port)
        old = self.connections.get(key)
        if old is not None and not (old.state == TIME_WAIT and reuse) and not self._yields(old):
            raise os_error(errno.EADDRINUSE)
        c = Connection(self, key[:2], key[2:], route, options or Options.of(self.config))
        self._add(c)
        c.move(SYN_SENT)
        c.rcv_wscale = c.offered_wscale()
        c.syn_pending = True
        if fastopen:
            early.prepare(c)
            set_mss(c)
        c.mark_dirty()
        return c

    def child(self, listener: Listener, seg: Segment) -> Connection | None:
        """A connection for a SYN that a listener takes; None where there is no way back."""
        try:
            route = self.ip.route(seg.src, seg.dst)
        except OSError:
            self.core.counters["tcp.drop.no_route"] += 1
            return None
        options = Options(**{name: getattr(listener.options, name) for name in Options.__dataclass_fields__})
        c = Connection(self, (seg.dst, seg.dport), (seg.src, seg.sport), route, options)
        c.passive = True
        self._add(c)
        return c

    def _add(self, c: Connection) -> None:
        old = self.connections.get(c.key)
        if old is not None:
            # MAY-2: in the place of one in TIME-WAIT, with numbers behind all that it used
            self.close(old, 0)
            if not seq_gt(c.iss, old.snd_nxt):
                c.begin_at((old.snd_nxt + 0x10000) & MASK)
        self.connections[c.key] = c
        self.ports[c.local_port] = self.ports.get(c.local_port, 0) + 1

    def _pick(self, in_use: Callable[[int], bool]) -> int:
        port = pick(self.rng, self.config.ephemeral_low, self.config.ephemeral_high, in_use)
        if port is None:
            raise os_error(errno.EADDRINUSE)
        return port

    def opened(self, c: Tcb) -> None:
        """The handshake of `c` is complete."""
        self.core.counters["tcp.passive_opens" if c.passive else "tcp.active_opens"] += 1

    # -- ending --------------------------------------------------------------------------------------

    def reset(self, c: Tcb, error: int) -> None:
        """ABORT: a RST to the peer where it knows of us, and the connection is gone."""
        if (c.state in SYNCHRONIZED and c.state != TIME_WAIT) or c.state == SYN_RECEIVED:
            self.core.counters["tcp.resets_sent"] += 1
            emit(c, acceptable_seq(c), RST | ACK)  # with timestamps (RFC 7323 section 5.2)
        self.close(c, error)

    def close(self, c: Tcb, error: int) -> None:
        """Delete the TCB. `error` is what the application learns (MUST-12); 0 is a normal end.

        What was received and not read stays readable.
        """
        if c.state == CLOSED:
            return
        key = c.key
        self.connections.pop(key, None)
        left = self.ports.get(c.local_port, 0) - 1
        if left > 0:
            self.ports[c.local_port] = left
        else:
            self.ports.pop(c.local_port, None)
        self.time_wait.pop(key, None)
        self.orphans.pop(c, None)
        if c.listener is not None:
            c.listener.forget(c)
            c.listener = None
        if c.fastopen is not None:
            early.ended(c, error)
        c.error = error
        c.move(CLOSED)
        c.rtx_at = c.probe_at = c.reorder_at = c.persist_at = c.delack_at = c.keepalive_at = c.wait_at = NEVER
        c.sendbuf.clear()
        c.drop_out_of_order()
        c.recvq.detach()
        c.syn_pending = c.ack_now = False
        if error:
            self.core.counters["tcp.connections_failed"] += 1
        self.core.mark_ready(c)

    def orphaned(self, c: Tcb) -> None:
        """The application has let go of `c`. Of too many such that have work left the oldest is reset: it has had
        the most time, and who makes orphans on purpose does not have others' reset.
        """
        c.held = False
        if c.state == TIME_WAIT:
            return
        self.orphans[c] = None
        if len(self.orphans) > self.config.max_orphans:
            self.core.counters["tcp.drop.orphans"] += 1
            self.reset(next(iter(self.orphans)), 0)

    def entered_time_wait(self, c: Tcb) -> None:
        """Bound the number of connections in TIME-WAIT, orphans no longer: the oldest goes first."""
        self.orphans.pop(c, None)
        self.time_wait[c.key] = c
        if len(self.time_wait) > self.config.max_time_wait:
            _, oldest = next(iter(self.time_wait.items()))
            self.core.counters["tcp.time_wait_overflow"] += 1
            if oldest.ack_now:
                send_ack(oldest)  # of a FIN in this very burst: without it the peer would send that in vain
            self.close(oldest, 0)

    def prune_out_of_order(self) -> None:
        """All connections hold too much behind gaps: those with the most give up their far ends, down to one level.

        To seven eighths of the bound, so that the next time is far. (10,000 holders take 5 ms; a peer has to send
        an eighth of the bound for it.)
        """
        self.core.counters["tcp.out_of_order_pruned"] += 1
        holders = [c.ooo for c in self.connections.values() if c.ooo]
        kept = level([ooo.cost for ooo in holders], self.config.max_out_of_order_bytes * 7 // 8)
        for ooo in holders:
            ooo.keep(kept)


def _bad_source(src: Address) -> bool:
    """MUST-63: nobody can have sent this."""
    return is_multicast(src) or is_unspecified(src) or src == BROADCAST4
