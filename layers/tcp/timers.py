"""What time brings a connection: the retransmission, delayed-ACK, persist, keep-alive and wait timers.

`expire` runs when one of the deadlines in the `Tcb` is due, clears or moves each that is, and marks
what the output pass has to do. (RFC 9293 sections 3.8.1 to 3.8.6, RFC 6298, RFC 1122 section 4.2.3.)
"""

from __future__ import annotations

import errno

from scapystack.base.types import MILLISECOND, SECOND, Nanoseconds
from scapystack.layers.tcp import pathmtu, recovery
from scapystack.layers.tcp.output import probe_window, send_keepalive, send_new, send_probe
from scapystack.layers.tcp.state import FIN_WAIT_2, SYN_RECEIVED, SYN_SENT, SYNCHRONIZED, TIME_WAIT
from scapystack.layers.tcp.tcb import NEVER, Tcb

_KEPT_ALIVE = SYNCHRONIZED - {TIME_WAIT}
_MOMENT = MILLISECOND
_UNREAD = SECOND
"""So long may frames wait to be read without a break, and no timer takes for lost what their ACKs are for: 1,000
connections that all send have thousands under way, and a link's queue holds more than is read in 200 ms."""


def expire(c: Tcb, now: Nanoseconds) -> None:
    """Act on every deadline of `c` at or before `now`."""
    if c.delack_at <= now:
        c.delack_at = NEVER
        c.ack_now = True  # SHLD-18, MUST-40
        c.mark_dirty()
    if c.pace_at <= now:
        c.pace_at = NEVER
        c.mark_dirty()
    core = c.core
    if core.more and now - core.more_since < _UNREAD:
        # the ACK may wait to be read
        at = now + _MOMENT
        c.reorder_at, c.probe_at, c.rtx_at = max(c.reorder_at, at), max(c.probe_at, at), max(c.rtx_at, at)
    if c.reorder_at <= now:
        c.reorder_at = NEVER
        recovery.on_reorder_timer(c, now)
    if c.probe_at <= now:
        c.probe_at = NEVER
        _loss_probe(c, now)
    if c.rtx_at <= now:
        c.rtx_at = NEVER
        _retransmission(c, now)
    if c.persist_at <= now:
        c.persist_at = NEVER
        _persist(c, now)
    if c.keepalive_at <= now:
        c.keepalive_at = NEVER
        _keepalive(c, now)
    if c.wait_at <= now:
        c.wait_at = NEVER
        if c.state in (TIME_WAIT, FIN_WAIT_2):
            c.tcp.close(c, 0)


# -- retransmission ------------------------------------------------------------------------------------


def _retransmission(c: Tcb, now: Nanoseconds) -> None:
    if c.state in (SYN_SENT, SYN_RECEIVED):
        _resend_syn(c)
        return
    if c.snd_una == c.snd_nxt:
        return
    if c.snd_wnd == 0:
        # SHLD-17: data past a window that closed is not lost; it is probed for (MUST-35)
        _persist(c, now)
        return
    if _gave_up(c, c.board.delivered_at, now):
        c.tcp.close(c, errno.ETIMEDOUT)
        return
    if pathmtu.on_timeout(c):
        recovery.resend_all(c)
    recovery.on_timeout(c, now)
    c.core.counters["tcp.timeouts"] += 1
    if c.retransmits == c.config.r1_retries:
        c.tcp.advise(c)  # MUST-20, SHLD-9, SHLD-10


def _gave_up(c: Tcb, since: Nanoseconds, now: Nanoseconds) -> bool:
    """R2 (MUST-20), the application's own limit (MUST-21, RFC 5482), or that of a connection that no application holds.

    They count from when the peer has last taken something, or from when the text left that it has not.
    """
    limit = c.user_limit or c.config.r2_ms * MILLISECOND
    if not c.held:
        limit = min(limit, c.config.orphan_ms * MILLISECOND or limit)
    return now - since >= limit


def _resend_syn(c: Tcb) -> None:
    """MUST-22: the same mechanism for SYN, with limits of its own (MUST-23)."""
    config = c.config
    steady = config.syn_linear_timeouts if c.state == SYN_SENT else 0
    retries = config.syn_retries
    limit = retries + min(steady, retries) if c.state == SYN_SENT else config.synack_retries
    if c.listener is not None:
        limit = c.listener.synack_retries()
    overdue = c.options.user_timeout_ms and c.core.now - c.heard_at >= c.options.user_timeout_ms * MILLISECOND
    if c.retransmits >= limit or overdue:
        c.tcp.close(c, errno.ETIMEDOUT if not c.soft_error else c.soft_error)
        return
    c.retransmits += 1
    c.total_retrans += 1
    c.note().timeout(c.core.now)
    c.core.counters["tcp.retrans_segs"] += 1
    if c.retransmits > steady:
        c.rtt.back_off()  # 6298/5.4-5.6
    c.syn_retransmitted = True
    if c.fastopen is not None:
        c.fastopen.plain = True  # RFC 7413 section 4.2.2: the next one without data and option
    c.syn_pending = True
    c.mark_dirty()


def _loss_probe(c: Tcb, now: int) -> None:
    """8985/7, section 7.3: the ACK is overdue."""
    rack = c.rack
    board = c.board
    if board.una == board.nxt or board.sacked.size or board.lost_octets:
        return
    if rack.probe_end is None and rack.sampled and board.nxt - board.una <= c.snd_wnd:  # SHLD-16
        rack.probe_resent = send_probe(c)
        rack.probe_end = board.nxt
        rack.sampled = False
        c.core.counters["tcp.loss_probes"] += 1
    c.rtx_at = now + c.patience(c.rtt.rto, board.delivered_at)
    c.arm(c.rtx_at)


# -- persist -------------------------------------------------------------------------------------------


def _persist(c: Tcb, now: Nanoseconds) -> None:
    """The window is closed, or too small to be worth it, or the application corked: probe or push."""
    if c.snd_una == c.snd_nxt and not c.sendbuf and (c.fin_sent or not c.fin_queued):
        return
    if c.snd_wnd > c.flight:
        # RFC 9293 section 3.8.6.2.1: the override timeout. A window that does not come back ages: a peer that
        # has less room now would get one segment a timeout for ever
        c.usual_snd_wnd = max(c.snd_wnd, c.usual_snd_wnd >> 1)
        send_new(c, force=True)
        return
    if c.persist_shift == 0 or c.heard_at >= c.unanswered_since:
        c.unanswered_since = now
    if c.persist_shift and _probed_enough(c, now):
        return
    probe_window(c)
    interval = min(c.rtt.base_rto << (c.persist_shift + 1), c.config.max_rto_ms * MILLISECOND)  # SHLD-30
    c.persist_shift = min(c.persist_shift + 1, 16)
    c.persist_at = now + c.patience(interval, c.board.delivered_at)
    c.arm(c.persist_at)


def _probed_enough(c: Tcb, now: Nanoseconds) -> bool:
    """Whether the connection was given up: never while the probes are answered (MUST-37), unless we were told to.

    An application tells so by a limit of its own, or by letting go; else unanswered probes run into R2.
    """
    told = c.options.user_timeout_ms or not c.held
    taken_at = c.board.delivered_at
    if not _gave_up(c, taken_at if told else c.unanswered_since, now):
        return False
    if c.heard_at > taken_at:
        c.tcp.reset(c, errno.ETIMEDOUT)  # it is there, and must learn that no more will come
    else:
        c.tcp.close(c, errno.ETIMEDOUT)
    return True


# -- keep-alive (MAY-5) ----------------------------------------------------------------------------------------


def start_keepalive(c: Tcb) -> None:
    """Arm the timer if the application asked for it (MUST-24)."""
    c.keepalive_sent = 0
    if c.options.keepalive and c.state in _KEPT_ALIVE:
        c.keepalive_at = max(c.heard_at + c.options.keepalive_idle_ms * MILLISECOND, c.core.now)
        c.arm(c.keepalive_at)
    else:
        c.keepalive_at = NEVER


def _keepalive(c: Tcb, now: Nanoseconds) -> None:
    o = c.options
    if not o.keepalive or c.state not in _KEPT_ALIVE:
        return
    idle_at = max(c.heard_at, c.last_data_at) + o.keepalive_idle_ms * MILLISECOND
    if c.snd_una != c.snd_nxt or (idle_at > now and not c.keepalive_sent):
        # MUST-26: only when nothing was sent or received for the interval
        c.keepalive_at = idle_at if idle_at > now else now + o.keepalive_interval_ms * MILLISECOND
        c.arm(c.keepalive_at)
        return
    if c.keepalive_sent >= o.keepalive_probes:  # MUST-29: never after one alone
        c.core.counters["tcp.keepalive_drops"] += 1
        c.tcp.reset(c, errno.ETIMEDOUT)
        return
    c.keepalive_sent += 1
    c.core.counters["tcp.keepalive_probes"] += 1
    send_keepalive(c)
    c.keepalive_at = now + o.keepalive_interval_ms * MILLISECOND
    c.arm(c.keepalive_at)
