"""Fast Open on a connection (RFC 7413 section 4.2): data in a SYN, delivered before the handshake ends.

A server asks `take_syn_data` of each SYN, a client's connect asks `prepare`; what both must remember
until the handshake is over is the connection's `fastopen`. The cookies and tables are in `fastopen`.
"""

from __future__ import annotations

import errno
from typing import TYPE_CHECKING

from scapystack.base.segment import Segment
from scapystack.layers.tcp.fastopen import CLIENT, SERVER, FastOpen
from scapystack.layers.tcp.state import SYN_SENT
from scapystack.layers.tcp.tcb import Tcb

if TYPE_CHECKING:
    from scapystack.layers.tcp.listen import Listener

MASK = 0xFFFFFFFF


# -- server ----------------------------------------------------------------------------------------------


def take_syn_data(listener: Listener, c: Tcb, seg: Segment) -> bool:
    """RFC 7413 section 4.2.2, "Server: Receiving SYN", for a child of `listener` that has learned from `seg`.

    True if its cookie is good: the data is delivered, and `c` is to be accepted without waiting for the
    handshake. Otherwise nothing of the data is kept; a cookie may have been put in the SYN-ACK's options.
    """
    limit = listener.options.fastopen
    if seg.fastopen is None or not limit or not c.config.fastopen & SERVER:
        return False
    now = c.core.now
    counters = c.core.counters
    if not listener.pending.room(limit, now):
        counters["tcp.fastopen_listen_overflow"] += 1
        return False
    cookies = c.tcp.fastopen_cookies
    fresh = cookies.cookie(seg.src, seg.dst, now)
    if not cookies.valid(seg.fastopen, seg.src, seg.dst, now):
        counters["tcp.fastopen_passive_fail" if seg.fastopen else "tcp.fastopen_cookie_reqd"] += 1
        c.fastopen = FastOpen(fresh)
        return False
    counters["tcp.fastopen_passive"] += 1
    listener.pending.begin()
    # the cookie of a key that expires soon is exchanged in passing
    c.fastopen = FastOpen(None if seg.fastopen == fresh else fresh, listener.pending, now)
    payload = seg.payload[: c.rcv_wnd]
    if len(payload):
        c.recvq.append(payload)
        c.rcv_nxt = c.last_ack_sent = (c.rcv_nxt + len(payload)) & MASK
        c.syn_data = True
    return True


def completed(c: Tcb) -> None:
    """The handshake that a server's `fastopen` was about is done."""
    fast, c.fastopen = c.fastopen, None
    if fast is not None and fast.pending is not None:
        fast.pending.completed()


# -- client ----------------------------------------------------------------------------------------------


def prepare(c: Tcb) -> None:
    """Have an active open use Fast Open (RFC 7413 sections 4.2.1 and 4.2.2, "Client: Sending SYN").

    With a cookie of the server's the SYN waits for data to carry (`Tcb.deferred`); without one it
    leaves and asks for one, or says nothing of it where that has failed lately.
    """
    cache = c.tcp.fastopen_cache
    known = cache.find(c.local_addr, c.remote_addr)
    if not c.config.fastopen & CLIENT or not cache.allowed(c.local_addr, c.remote_addr, c.remote_port, c.core.now):
        c.fastopen = FastOpen(None)
    elif known is None:
        c.fastopen = FastOpen(b"")
    else:
        c.fastopen = FastOpen(known.cookie)
        c.peer_mss = known.mss
        c.syn_pending = False


def data_for_syn(c: Tcb, options: int) -> int:
    """How many octets our first SYN, with so many of options, carries (section 4.1.3: within the server's MSS)."""
    fast = c.fastopen
    if fast is None or not fast.option or c.passive:
        return 0
    fast.data = max(min(len(c.sendbuf), c.snd_mss - options), 0)
    return fast.data


def answered(c: Tcb, seg: Segment) -> None:
    """The peer has acknowledged our SYN: section 4.2.2, "Client: Receiving SYN-ACK".

    Data that it has not taken counts as never sent, and leaves in the first ACK.
    """
    fast, c.fastopen = c.fastopen, None
    assert fast is not None
    taken = (seg.ack - c.iss - 1) & MASK
    c.sendbuf.ack(taken)
    c.snd_una = c.snd_nxt = seg.ack
    if fast.cookie is None:
        return
    name = (c.local_addr, c.remote_addr)
    cache = c.tcp.fastopen_cache
    cache.learn(*name, seg.fastopen or None, c.peer_mss)
    if fast.data:
        c.core.counters["tcp.fastopen_active" if taken else "tcp.fastopen_active_fail"] += 1
    if not taken:
        c.note().fastopen_fail = 3 if c.syn_retransmitted else 2 if fast.data else 1
    if taken or seg.fastopen:
        c.syn_data = taken > 0
        cache.worked(*name, c.remote_port)
    elif fast.data or not fast.cookie or c.syn_retransmitted:
        # section 4.1.3.1: no data taken and no cookie given, be it for good or because a SYN was swallowed
        cache.failed(*name, c.remote_port, c.core.now)


def ended(c: Tcb, error: int) -> None:
    """The connection ends in the middle of the handshake that `fastopen` is about."""
    fast, c.fastopen = c.fastopen, None
    if fast is None:
        return
    if fast.pending is not None:
        fast.pending.abandoned(fast.began, c.core.now)
    elif c.state == SYN_SENT and fast.cookie is not None and error not in (0, errno.ECONNREFUSED):
        # section 4.1.3.1: an ICMP error, or no answer at all
        c.tcp.fastopen_cache.failed(c.local_addr, c.remote_addr, c.remote_port, c.core.now)
