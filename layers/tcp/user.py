"""`Connection`: the calls of an application on a connection (RFC 9293 section 3.9.1).

SEND, RECEIVE, CLOSE, ABORT and STATUS under the names `write`, `read`, `close`, `abort` and `info`.
None of them waits: they take or give what they can now, and what must leave does so in the next output
pass. Sockets (`scapystack.sockets`) build the waiting on top. OPEN is `Tcp.connect` and `Tcp.listen`.
"""

from __future__ import annotations

import errno

from scapystack.base.errors import os_error
from scapystack.base.seq import seq_sub
from scapystack.base.types import Buffer
from scapystack.layers.tcp import handshake, pathmtu, timers
from scapystack.layers.tcp.congestion import make
from scapystack.layers.tcp.info import TcpInfo, snapshot
from scapystack.layers.tcp.pacing import Pacer
from scapystack.layers.tcp.state import (
    CAN_RECEIVE,
    CAN_SEND,
    CLOSE_WAIT,
    CLOSED,
    CWR,
    ESTABLISHED,
    FIN_WAIT_1,
    FIN_WAIT_2,
    LAST_ACK,
    RECOVERY,
    SYN_RECEIVED,
    SYN_SENT,
    SYNCHRONIZED,
    TIME_WAIT,
)
from scapystack.layers.tcp.tcb import Tcb
from scapystack.layers.tcp.window import window_opened

MASK = 0xFFFFFFFF


class Connection(Tcb):
    """A connection as an application holds it. Made by `Tcp.connect` and `Listener.accept`."""

    __slots__ = ()

    # -- what it is ------------------------------------------------------------------------------------

    @property
    def connected(self) -> bool:
        """Whether the handshake is done, or need not be waited for (`Tcb.early`), and the connection not ended."""
        return self.state in SYNCHRONIZED or self.early

    @property
    def readable(self) -> bool:
        """Whether `read` has something to say: data, the end of the stream, or an error."""
        return bool(self.recvq) or self.fin_received or self.rcv_shut or self.state == CLOSED

    @property
    def eof(self) -> bool:
        """Whether the peer's FIN (or `shutdown_read`) was reached and all before it is read."""
        return not self.recvq and (self.fin_received or self.rcv_shut or (self.state == CLOSED and not self.error))

    @property
    def available(self) -> int:
        """Octets that `read` would give now."""
        return len(self.recvq)

    @property
    def writable(self) -> bool:
        """Whether `write` would take a useful amount, or raise."""
        if (self.state in CAN_SEND or self.early) and not self.write_shut:
            return self.writable_room()
        return self.state not in (SYN_SENT, SYN_RECEIVED) or self.early or self.deferred

    @property
    def write_space(self) -> int:
        """Octets that `write` would take now."""
        return max(0, self.send_limit() - len(self.sendbuf))

    @property
    def unsent(self) -> int:
        """Octets written and not yet acknowledged by the peer."""
        return len(self.sendbuf)

    # -- SEND ------------------------------------------------------------------------------------------

    def write(self, data: Buffer) -> int:
        """Take octets for the peer; their number, 0 while the send buffer is full.

        A `bytes` object is kept, not copied; anything that may change is copied. Raises OSError: the
        connection's error, EPIPE after `shutdown_write` or `close`, ENOTCONN before the handshake.
        """
        if (self.state not in CAN_SEND and not self._takes_early()) or self.write_shut:
            raise self._cannot_send()
        limit = self.send_limit()
        room = limit - len(self.sendbuf)
        n = len(data)
        if (room - n) * 3 < limit:
            self.want_write = True  # no longer `writable`: `on_ready` tells when it is again
            if n > room:
                if room <= 0:
                    return 0
                data = memoryview(data)[:room]
                n = room
        if n:
            if self.snd_una == self.snd_nxt:
                self._restart_after_idle()
            self.sendbuf.append(data)
            self.mark_dirty()
        return n

    def _takes_early(self) -> bool:
        """Whether Fast Open lets the application write before the handshake is done; a SYN that has waited leaves."""
        if self.deferred:
            self.heard_at = self.core.now
            self.syn_pending = True
            self.mark_dirty()
        return self.early or (self.state == SYN_SENT and self.fastopen is not None)

    def write_urgent(self, data: Buffer) -> int:
        """`write`, and point SND.UP behind its last octet (MUST-30, MUST-31). ENOTCONN in SYN-SENT."""
        if self.state == SYN_SENT:
            raise self._cannot_send()
        n = self.write(data)
        if n:
            syn = self.early and self.snd_nxt == self.iss  # yet to be sent
            self.snd_up = (self.snd_una + syn + len(self.sendbuf)) & MASK
            self.ack_now = True  # where no text may leave now, the pointer does
        return n

    def _restart_after_idle(self) -> None:
        """5681/4.1: a window from long ago says nothing about the path now."""
        idle = self.core.now - self.last_data_at
        if self.last_data_at and idle > self.rtt.rto:
            self.cc.on_idle(self.core.now, idle, self.rtt.rto)

    def _cannot_send(self) -> OSError:
        if self.error:
            return self.take_error_as_exception()
        if self.state in (SYN_SENT, SYN_RECEIVED) and not self.early:
            return os_error(errno.ENOTCONN)
        return os_error(errno.EPIPE)

    # -- RECEIVE ---------------------------------------------------------------------------------------

    def read(self, n: int) -> bytes:
        """Up to `n` octets; b"" when nothing is there, and at the end (`eof` tells which).

        Raises the connection's error once all that came before it was read.
        """
        if not self.recvq:
            self._nothing_to_read()
            return b""
        data = self.recvq.read(n if self.rcv_up is None else self._up_to_mark(n))
        self._was_read()
        return data

    def read_into(self, view: memoryview) -> int:
        """`read` into a buffer; the number of octets."""
        if not self.recvq:
            self._nothing_to_read()
            return 0
        n = self.recvq.read_into(view if self.rcv_up is None else view[: self._up_to_mark(len(view))])
        self._was_read()
        return n

    def views(self, n: int) -> list[Buffer]:
        """`read` without a copy: up to `n` octets as the pieces in which they came."""
        if not self.recvq:
            self._nothing_to_read()
            return []
        pieces = self.recvq.views(n if self.rcv_up is None else self._up_to_mark(n))
        self._was_read()
        return pieces

    def discard(self, n: int) -> int:
        """`read`, and look at nothing; the number of octets dropped."""
        if not self.recvq:
            self._nothing_to_read()
            return 0
        n = self.recvq.discard(n if self.rcv_up is None else self._up_to_mark(n))
        self._was_read()
        return n

    def peek(self, n: int) -> bytes:
        """Up to `n` octets that the next `read` will give again."""
        if not self.recvq:
            self._nothing_to_read()
            return b""
        return self.recvq.peek(n if self.rcv_up is None else self._up_to_mark(n))

    def _nothing_to_read(self) -> None:
        if self.error and not self.fin_received:
            raise self.take_error_as_exception()

    def _was_read(self) -> None:
        if self.rcv_up is not None and self._to_mark() < 0:
            self.rcv_up = None  # back to normal mode
        if self.state in CAN_RECEIVE and window_opened(self):
            self.ack_now = True
            self.mark_dirty()

    # -- urgent data (MUST-32, MUST-33) ------------------------------------------------------------------

    def _to_mark(self) -> int:
        """Octets still to be read in front of the mark; negative behind it. Only while RCV.UP is set.

        The mark is the octet that the urgent pointer stands behind: out of line it lies between two
        octets of the stream, in line (SO_OOBINLINE) it is the next to be read.
        """
        assert self.rcv_up is not None
        behind = seq_sub((self.rcv_nxt - self.fin_received) & MASK, self.rcv_up)
        waits = self.oob_seq is not None or self.options.oobinline
        return len(self.recvq) - behind - waits

    def _up_to_mark(self, n: int) -> int:
        """As much of `n` as one read may take: none crosses the mark (RFC 9293 section 3.9.1.3)."""
        left = self._to_mark()
        return min(n, left) if left > 0 else n

    @property
    def urgent_left(self) -> int:
        """Octets up to the urgent pointer that were not read yet, those not received yet included.

        0 when there are none. Out of line the urgent octet itself does not count: `read_urgent` gives it.
        """
        if self.rcv_up is None:
            return 0
        return max(self._to_mark() + self.options.oobinline, 0)

    @property
    def at_mark(self) -> bool:
        """Whether all in front of the urgent mark was read and nothing behind it (sockatmark)."""
        return self.rcv_up is not None and self._to_mark() == 0

    def read_urgent(self) -> int | None:
        """The urgent octet that was taken out of line, once; None if there is none yet."""
        octet, self.oob = self.oob, None
        return octet

    # -- CLOSE and ABORT -------------------------------------------------------------------------------

    def shutdown_write(self) -> None:
        """Send FIN behind what is queued; receiving goes on (half-close, MAY-1)."""
        if self.state in (CLOSED, SYN_SENT):
            raise self._cannot_send() if self.error else os_error(errno.ENOTCONN)
        self._finish()

    def shutdown_read(self) -> None:
        """Take nothing more: what comes is acknowledged and dropped, `read` says end of stream."""
        if self.state in (CLOSED, SYN_SENT):
            raise os_error(errno.ENOTCONN)
        self.rcv_shut = True
        self.rcv_up = None
        self.recvq.clear()
        self._was_read()
        self.core.mark_ready(self)

    def _finish(self) -> None:
        """Queue the FIN. RFC 9293 section 3.10.4: the state changes at once, the FIN goes last."""
        self.write_shut = True
        if self.fin_queued:
            return
        self.fin_queued = True
        if self.state == ESTABLISHED:
            self.move(FIN_WAIT_1)
        elif self.state == CLOSE_WAIT:
            self.move(LAST_ACK)
        self.mark_dirty()

    def close(self) -> None:
        """Let go of the connection: it finishes by itself.

        With unread data, or a linger time of zero, it is reset instead (SHLD-3, RFC 2525 section 2.17).
        """
        if not self.held:
            return
        if self.state == CLOSED:
            self.held = False
            return
        unread = bool(self.recvq) or self.options.linger_s == 0
        self.recvq.clear()
        if self.state == SYN_SENT:
            self.tcp.close(self, 0)
        elif unread and self.state != TIME_WAIT:  # MUST-13: nothing cuts TIME-WAIT short
            self.core.counters["tcp.abort_on_close"] += 1
            self.tcp.reset(self, 0)
        else:
            self.tcp.orphaned(self)
            if self.state == CLOSED:
                return
            self._finish()
            if self.state == FIN_WAIT_2:
                self.wait_at = self.core.now + self.config.fin_wait_2_ms * 1_000_000
                self.arm(self.wait_at)

    def abort(self) -> None:
        """ABORT: RST to the peer, everything queued is dropped."""
        self.recvq.clear()
        self.tcp.reset(self, errno.ECONNABORTED)

    # -- STATUS and options ------------------------------------------------------------------------------

    def take_error_as_exception(self) -> OSError:
        """The pending error as the standard exception; asked for once, it is gone."""
        number, self.error = self.error, 0
        return os_error(number)

    def options_changed(self) -> None:
        """Have changed `options` take effect: they are read live, but timers and sizes are not."""
        if self.connected:
            timers.start_keepalive(self)
            pathmtu.set_mss(self)
        if self.cc.name != self.options.congestion:
            self._switch_congestion()
        self.mark_dirty()

    def _switch_congestion(self) -> None:
        fresh = make(self.options.congestion)
        if fresh.wants_rtt and self.rtt.min_rtt:
            fresh.on_rtt(self.rtt.min_rtt, self.core.now)
        fresh.start(self.snd_mss, self.cc.initial_window)
        fresh.cwnd = self.cc.cwnd
        fresh.ssthresh = self.cc.ssthresh
        if self.ca_state in (CWR, RECOVERY):  # one that had no threshold began it: the window is what there is to go by
            fresh.ssthresh = min(fresh.ssthresh, fresh.cwnd)
        self.cc = fresh
        self.pacer = None if fresh.pacing_rate is None else Pacer()

    def offered_wscale(self) -> int:
        """The shift that our SYN offers."""
        return handshake.window_shift(self.options.rcvbuf)

    def info(self) -> TcpInfo:
        """A snapshot of the variables (STATUS), under Linux's names and RFC 9293's."""
        return snapshot(self)
