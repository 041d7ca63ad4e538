"""A listening socket: its half-open children (the SYN queue) and those that wait for `accept`.

RFC 9293 section 3.10.1 and 3.10.7.2. Both queues are bounded (4987), for each listener and for the stack.
`backlog` rules the accept queue, which is first in, first out: a SYN that would overflow it is dropped, so that
the peer tries again. A SYN that would overflow the SYN queue is answered with a cookie (`cookies`), of which
nothing is kept; with `tcp.syn_cookies` off it takes the place of the oldest that waits there.
"""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING

from scapystack.base.addr import endpoint_text
from scapystack.base.events import Endpoint
from scapystack.base.segment import ACK, ECE, FIN, RST, SYN, Segment
from scapystack.base.types import MILLISECOND, Address, Nanoseconds
from scapystack.layers.tcp import cookies, early, ecn, handshake
from scapystack.layers.tcp.fastopen import PendingRequests
from scapystack.layers.tcp.input import segment_arrives
from scapystack.layers.tcp.options import encode_syn
from scapystack.layers.tcp.output import syn_window
from scapystack.layers.tcp.pathmtu import mss_for
from scapystack.layers.tcp.state import SYN_RECEIVED
from scapystack.layers.tcp.tcb import Options

if TYPE_CHECKING:
    from scapystack.layers.tcp.demux import Tcp
    from scapystack.layers.tcp.tcb import Tcb
    from scapystack.layers.tcp.user import Connection

_CROWDED_RETRIES = 2


class Listener(Endpoint):
    """What `Tcp.listen` returns. `options` are inherited by the connections it accepts."""

    __slots__ = (
        "backlog", "cookies_until", "half_open", "local_addr", "local_port", "open", "options", "pending", "queue",
        "reuse", "tcp",
    )  # fmt: skip

    def __init__(self, tcp: Tcp, local: Address, port: int, backlog: int, reuse: bool = False) -> None:
        super().__init__()
        self.tcp = tcp
        self.local_addr = local
        self.local_port = port
        self.backlog = max(backlog, 1)
        self.reuse = reuse
        self.options = Options.of(tcp.config)
        self.half_open: dict[tuple[Address, int, Address, int], Tcb] = {}  # the oldest first
        self.queue: deque[Connection] = deque()
        self.cookies_until: Nanoseconds = 0  # an ACK may bring a cookie back: one was sent of late
        self.pending = PendingRequests()
        self.open = True

    # -- the application ---------------------------------------------------------------------------

    @property
    def readable(self) -> bool:
        """Whether `accept` would give a connection."""
        return bool(self.queue)

    def accept(self) -> Connection | None:
        """The connection that has waited longest, or None."""
        if not self.queue:
            return None
        connection = self.queue.popleft()
        connection.listener = None
        self.tcp.waiting -= 1
        return connection

    def close(self) -> None:
        """Stop listening. What was not accepted is reset (as BSD and Linux do)."""
        if not self.open:
            return
        self.open = False
        self.tcp.unlisten(self)
        for child in [*self.half_open.values(), *self.queue]:
            self.tcp.reset(child, 0)

    # -- segments ----------------------------------------------------------------------------------

    def segment_arrives(self, seg: Segment) -> None:
        """RFC 9293 section 3.10.7.2: a segment for the port, of no connection."""
        counters = self.tcp.core.counters
        flags = seg.flags
        if flags & RST:
            counters["tcp.drop.rst_listen"] += 1
        elif flags & ACK:
            if flags & SYN or not self._take_cookie(seg):
                self.tcp.send_rst_for(seg)
        elif flags & SYN and not flags & FIN:
            self._open(seg)
        else:
            counters["tcp.drop.listen_flags"] += 1

    def _open(self, seg: Segment) -> None:
        """A SYN: remember it, or answer it without."""
        tcp = self.tcp
        if self._accept_queue_full():
            return
        config = tcp.config
        full = len(self.half_open) >= config.max_syn_backlog or tcp.half_open >= config.max_half_open
        # a SYN that takes the place of a connection in TIME-WAIT needs a number behind that one's: no cookie's
        forgettable = (seg.dst, seg.dport, seg.src, seg.sport) not in tcp.connections
        if forgettable and (config.syn_cookies == "always" or (full and config.syn_cookies == "on")):
            self._send_cookie(seg)
            return
        if full and not self._recycle():
            return
        child = self._child(seg)
        if child is not None:
            child.syn_pending = True
            child.mark_dirty()
            if early.take_syn_data(self, child, seg):
                handshake.start_sending(child)
                self._enqueue(child)

    def synack_retries(self) -> int:
        """How often a SYN and ACK is sent again: in a queue more than half full twice (7 s in all), for there
        most will never be answered, and who is old has had its time (RFC 4987 section 3.3, as Linux does).
        """
        config = self.tcp.config
        crowded = 2 * len(self.half_open) > config.max_syn_backlog or 2 * self.tcp.half_open > config.max_half_open
        return min(config.synack_retries, _CROWDED_RETRIES) if crowded else config.synack_retries

    def _recycle(self) -> bool:
        """RFC 4987 section 3.4: drop the half-open connection that has waited longest. False if there is none.

        A handshake that takes less time than a flood takes to fill the queue gets through.
        """
        tcp = self.tcp
        if not self.half_open:
            tcp.core.counters["tcp.drop.syn_queue"] += 1  # other listeners have filled the stack's
            return False
        tcp.core.counters["tcp.half_open_recycled"] += 1
        tcp.close(next(iter(self.half_open.values())), 0)
        return True

    def _accept_queue_full(self) -> bool:
        tcp = self.tcp
        if len(self.queue) >= self.backlog or tcp.waiting >= tcp.config.max_accept_queue:
            tcp.core.counters["tcp.drop.accept_queue"] += 1
            return True
        return False

    def _child(self, syn: Segment) -> Connection | None:
        """A half-open connection that has taken this SYN; None where there is no way back."""
        child = self.tcp.child(self, syn)
        if child is not None:
            child.listener = self
            self.half_open[child.key] = child
            self.tcp.half_open += 1
            handshake.take_syn(child, syn)
            child.move(SYN_RECEIVED)
        return child

    def admit(self, child: Tcb) -> bool:
        """The child's handshake is complete: queue it. False if there is no room; the ACK is then ignored."""
        if self._accept_queue_full():
            return False
        self._enqueue(child)
        return True

    def _enqueue(self, child: Tcb) -> None:
        """From the SYN queue to the accept queue."""
        del self.half_open[child.key]
        self.queue.append(child)  # type: ignore[arg-type]  # a child is made as a Connection
        self.tcp.half_open -= 1
        self.tcp.waiting += 1
        self.tcp.core.mark_ready(self)

    def forget(self, child: Tcb) -> None:
        """The child ended before it was accepted."""
        if self.half_open.pop(child.key, None) is not None:
            self.tcp.half_open -= 1
        else:
            self.queue.remove(child)  # type: ignore[arg-type]
            self.tcp.waiting -= 1

    # -- SYN cookies (RFC 4987 section 3.6) ------------------------------------------------------------

    def _send_cookie(self, seg: Segment) -> None:
        """Answer a SYN with everything that the ACK must bring back; nothing is kept, nothing sent again.

        Scaling, SACK and ECN are agreed to only beside timestamps, for only those can tell of them later.
        """
        tcp = self.tcp
        now = tcp.core.now
        config = tcp.config
        try:
            route = tcp.ip.route(seg.src, seg.dst)
        except OSError:
            tcp.core.counters["tcp.drop.no_route"] += 1
            return
        self.cookies_until = now + cookies.LIFETIME
        o = self.options
        timestamps = wscale = None
        sack = agreed = False
        if seg.tsval is not None and config.timestamps:
            sack = seg.sack_permitted and config.sack
            agreed = ecn.agrees(config, seg)
            scaled = seg.wscale is not None and config.window_scaling
            clock = (now // MILLISECOND + tcp.isns.timestamp_offset(seg.dst, seg.src)) & 0xFFFFFFFF
            timestamps = (cookies.stamp(clock, seg.wscale if scaled else None, sack, agreed), seg.tsval)
            wscale = handshake.window_shift(o.rcvbuf) if scaled else None
        name = cookies.name_of(seg.dst, seg.dport, seg.src, seg.sport)
        iss = tcp.cookies.make(now, name, seg.seq, handshake.peer_mss(seg))
        tcp.core.counters["tcp.syncookies_sent"] += 1
        mss = mss_for(route, config, o)
        options = encode_syn(mss, wscale, sack, timestamps)
        window = syn_window(o.rcvbuf, mss, timestamps is not None)
        flags = SYN | ACK | (ECE if agreed else 0)
        tcp.answer(route, seg, iss, (seg.seq + 1) & 0xFFFFFFFF, flags, window, options, o.tos & ~ecn.MASK, o.ttl)

    def _take_cookie(self, seg: Segment) -> bool:
        """An ACK that may bring back a cookie of ours: rebuild the child and let the segment reach it.

        False if the segment deserves a RST. Only while cookies were sent of late, so that nobody can open
        connections by guessing in quiet times (as Linux).
        """
        tcp = self.tcp
        now = tcp.core.now
        if now >= self.cookies_until:
            return False
        irs = (seg.seq - 1) & 0xFFFFFFFF
        iss = (seg.ack - 1) & 0xFFFFFFFF
        name = cookies.name_of(seg.dst, seg.dport, seg.src, seg.sport)
        mss = tcp.cookies.check(now, name, irs, iss)
        if mss is None:
            tcp.core.counters["tcp.syncookies_failed"] += 1
            # text or FIN may follow an ACK that was lost, or dropped below: what is first will bring the cookie again
            return seg.length > 0
        if self._accept_queue_full():
            return True
        child = self._child(self._syn_of(seg, irs, mss))
        if child is None:
            return True
        tcp.core.counters["tcp.syncookies_recv"] += 1
        child.begin_at(iss)
        child.snd_nxt = seg.ack
        if seg.tsecr is not None:
            seg.tsecr = 0  # it told of options, so it times nothing
        segment_arrives(child, seg)
        return True

    def _syn_of(self, seg: Segment, irs: int, mss: int) -> Segment:
        """The SYN that a cookie was sent for, as far as its ACK tells."""
        syn = Segment(seg.src, seg.dst, seg.sport, seg.dport, irs, 0, SYN, seg.wnd)
        syn.mss = mss
        if seg.tsval is not None and seg.tsecr is not None and self.tcp.config.timestamps:
            syn.tsval = seg.tsval
            syn.wscale, syn.sack_permitted, asked = cookies.unstamp(seg.tsecr)
            syn.flags |= ecn.SETUP if asked else 0
        return syn

    def __repr__(self) -> str:
        where = endpoint_text(self.local_addr, self.local_port)
        return f"<Listener {where} queue={len(self.queue)}/{self.backlog} half-open={len(self.half_open)}>"
