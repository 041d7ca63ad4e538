"""`Tcb`: every variable of one connection, under the names of RFC 9293 section 3.3.1.

It has no rules of its own beyond moving between states and arming its timers: what arrives is
handled in `handshake`, `input`, `ack` and `recovery`, what leaves in `output`, what time brings in
`timers`, and what an application asks in `user`, whose `Connection` is this plus those calls.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from scapystack.base.addr import endpoint_text
from scapystack.base.checksum import pseudo_sum
from scapystack.base.config import TcpConfig
from scapystack.base.datagram import PROTO_TCP, Route
from scapystack.base.events import Endpoint
from scapystack.base.types import MILLISECOND, Address, Nanoseconds
from scapystack.layers.ratelimit import Jittered
from scapystack.layers.tcp.congestion import CongestionControl, make
from scapystack.layers.tcp.episode import Episode
from scapystack.layers.tcp.fastopen import FastOpen
from scapystack.layers.tcp.memory import SHARE
from scapystack.layers.tcp.mtuprobe import MtuProbe
from scapystack.layers.tcp.pacing import Pacer
from scapystack.layers.tcp.rack import Rack
from scapystack.layers.tcp.reassembly import NOTHING, Reassembly
from scapystack.layers.tcp.recvqueue import ReceiveQueue
from scapystack.layers.tcp.rtt import RttEstimator
from scapystack.layers.tcp.scoreboard import Scoreboard
from scapystack.layers.tcp.sendbuf import SendBuffer
from scapystack.layers.tcp.state import CLOSED, OPEN, STATE_NAMES, SYN_SENT, SYNCHRONIZED, TRANSITIONS
from scapystack.layers.tcp.tally import IDLE, Tally

if TYPE_CHECKING:
    from scapystack.layers.tcp.demux import Tcp
    from scapystack.layers.tcp.listen import Listener

NEVER: Nanoseconds = 1 << 62
"""A deadline that is not set: later than any clock, so that `min()` needs no test for None."""


@dataclass(slots=True)
class Options:
    """What an application may set on a connection; a listener's are inherited by its children."""

    nodelay: bool = False
    cork: bool = False
    quickack: bool = False
    keepalive: bool = False  # MUST-25: off by default
    keepalive_idle_ms: int = 7_200_000  # MUST-27, MUST-28
    keepalive_interval_ms: int = 75_000
    keepalive_probes: int = 9
    user_timeout_ms: int = 0
    rcvbuf: int = 4_194_304
    sndbuf: int = 4_194_304
    mss: int = 0
    ttl: int = 0
    tos: int = 0
    linger_s: float | None = None
    oobinline: bool = False
    fastopen: int = 0  # a listener's: how many Fast Open requests may be pending; 0: none is taken
    congestion: str = "cubic"
    ip_options: bytes = b""  # sent in every packet (MUST-51: a source route; MAY-10, MAY-11: others)
    report_errors: bool = True  # SHLD-20: off, a soft error is noted and nobody is woken

    @classmethod
    def of(cls, config: TcpConfig) -> Options:
        """The defaults that the stack's configuration gives."""
        return cls(
            nodelay=config.nodelay,
            keepalive_idle_ms=config.keepalive_idle_ms,
            keepalive_interval_ms=config.keepalive_interval_ms,
            keepalive_probes=config.keepalive_probes,
            user_timeout_ms=config.user_timeout_ms,
            rcvbuf=config.rcvbuf,
            sndbuf=config.sndbuf,
            congestion=config.congestion,
        )


class Ecn:
    """What a connection that uses ECN remembers (RFC 3168 section 6.1); the rules stand in `ecn`."""

    __slots__ = ("cwr", "echo", "quiet_until", "seen", "sends", "until")

    def __init__(self) -> None:
        self.sends = True  # our text may be marked ECT
        self.seen = False  # the peer's was
        self.echo = False  # ECE is due with every ACK, until CWR comes
        self.cwr = False  # CWR is due with the next new text
        self.until = 0  # SND.NXT when the window was last reduced, as on the board: up to there that is once
        self.quiet_until: Nanoseconds = 0

    def reduced(self, nxt: int) -> None:
        """The window was reduced, for whatever reason."""
        self.cwr = self.sends
        self.until = nxt


class Tcb(Endpoint):
    """The transmission control block. Sequence numbers are modulo 2**32, windows are unscaled (REC-1)."""

    __slots__ = (
        "ack_bytes", "ack_now", "acks_due", "board", "busy_ns", "bytes_received", "ca_state", "cc", "challenges",
        "config", "core", "cwnd_limited", "data_segs_in", "data_segs_out", "delack_at", "dirty", "dsack", "dupacks",
        "ecn", "episode", "error", "fastopen", "fin_at_seq", "fin_queued", "fin_received", "fin_sent", "heap_at",
        "heard_at", "held", "irs", "iss", "keepalive_at", "keepalive_sent", "last_ack_sent", "last_acked",
        "last_data_at", "last_text_at", "listener", "local_addr", "local_port", "max_snd_wnd", "mss_acked",
        "mss_since", "mtu_probe", "oob", "oob_seq", "ooo", "options", "pace_at", "pacer", "passive", "peer_mss",
        "persist_at", "persist_shift", "pmtu_claim", "probe_at", "pseudo", "quick", "rack", "rcv_adv", "rcv_echo",
        "rcv_mss", "rcv_nxt", "rcv_rtt", "rcv_shut", "rcv_up", "rcv_wscale", "recvq", "remote_addr", "remote_port",
        "reorder_at", "retransmits", "route", "rtt", "rtx_at", "sack_ok", "segs_in", "segs_out", "sendbuf", "sending",
        "sending_since", "snd_mss", "snd_nxt", "snd_una", "snd_up", "snd_wl1", "snd_wl2", "snd_wnd", "snd_wscale",
        "soft_error", "state", "syn_at", "syn_data", "syn_pending", "syn_retransmitted", "tally", "tcp",
        "total_retrans", "ts_offset", "ts_ok", "ts_recent", "ts_recent_at", "unanswered_since", "usual_snd_wnd",
        "wait_at", "want_write", "write_shut", "ws_ok",
    )  # fmt: skip

    def __init__(
        self, tcp: Tcp, local: tuple[Address, int], remote: tuple[Address, int], route: Route, options: Options
    ) -> None:
        super().__init__()
        config: TcpConfig = tcp.config
        self.tcp = tcp
        self.core = tcp.core
        self.config = config
        self.options = options
        self.local_addr, self.local_port = local
        self.remote_addr, self.remote_port = remote
        self.route = route
        self.pseudo = pseudo_sum(local[0], remote[0], PROTO_TCP, 0)
        self.state = CLOSED
        self.passive = False  # MUST-11: how it was opened
        self.listener: Listener | None = None  # until it is accepted
        self.held = True  # an application has it, or will
        self.error = 0
        self.soft_error = 0
        self.fastopen: FastOpen | None = None  # while a handshake is under way that has to do with it
        self.syn_data = False  # Fast Open has worked: a SYN's data was taken
        # send sequence space
        self.iss = tcp.isns.isn(tcp.core.now, local[0], local[1], remote[0], remote[1])
        self.snd_una = self.iss
        self.snd_nxt = self.iss
        self.snd_wnd = 0
        self.snd_wl1 = 0
        self.snd_wl2 = 0
        self.snd_up: int | None = None
        self.snd_wscale = 0
        self.max_snd_wnd = 0  # the largest ever (RFC 5961 section 5)
        self.usual_snd_wnd = 0  # the same, halved by each override timeout (RFC 9293 section 3.8.6.2.1)
        self.snd_mss = 536  # MUST-15
        self.peer_mss = 536
        self.mss_acked = 0  # the largest snd_mss with which a full segment was acknowledged (RFC 5927, maxsizeacked)
        self.mss_since = self.iss  # from here on segments may have been as large as snd_mss
        self.mtu_probe: MtuProbe | None = None  # the search for the path MTU (RFC 4821), where there is need of one
        self.pmtu_claim: tuple[int, int] | None = None  # an ICMP error that was doubted: the segment, the MTU
        self.sendbuf = SendBuffer(tcp.memory)
        self.want_write = False
        self.write_shut = False
        self.fin_queued = False
        self.fin_sent = False
        self.syn_pending = False
        self.syn_retransmitted = False
        # receive sequence space
        self.irs = 0
        self.rcv_nxt = 0
        self.rcv_adv = 0  # right edge of the window as it was last advertised
        self.rcv_up: int | None = None
        self.rcv_wscale = 0
        self.rcv_mss = 536
        self.recvq = ReceiveQueue(tcp.memory)
        self.ooo: Reassembly = NOTHING
        self.rcv_shut = False
        self.fin_received = False
        self.fin_at_seq: int | None = None  # where the peer's FIN stands, once it was seen
        self.oob: int | None = None  # the urgent octet, out of line
        self.oob_seq: int | None = None
        # acknowledging
        self.ack_now = False
        self.dsack: tuple[int, int] | None = None  # what came twice, to be told with the next ACK (RFC 2883)
        self.acks_due = 0  # duplicate ACKs owed to a peer that has no SACK
        self.ack_bytes = 0
        self.quick = config.quick_acks
        self.last_ack_sent = 0
        self.challenges: Jittered | None = None
        # options agreed on
        self.ts_ok = False
        self.ts_recent = 0
        self.ts_recent_at: Nanoseconds = 0
        self.ts_offset = tcp.isns.timestamp_offset(local[0], remote[0])
        self.sack_ok = False
        self.ecn: Ecn | None = None
        self.ws_ok = False
        # round-trip time, congestion, loss
        self.rtt = RttEstimator(
            config.initial_rto_ms * MILLISECOND,
            config.min_rto_ms * MILLISECOND,
            config.max_rto_ms * MILLISECOND,
            above_srtt=config.min_rto_above_srtt,
        )
        self.syn_at: Nanoseconds = 0  # when our SYN was sent last; below 0 if it was sent before, too
        self.cc: CongestionControl = make(options.congestion)
        self.cwnd_limited = False
        self.pacer: Pacer | None = None if self.cc.pacing_rate is None else Pacer()
        self.board = Scoreboard()
        self.rack = Rack()
        self.ca_state = OPEN
        self.episode: Episode | None = None  # the last response to congestion
        self.dupacks = 0  # without SACK
        self.last_acked = 0  # octets that the last ACK of something new covered, without SACK
        self.retransmits = 0  # of the segment at SND.UNA, in a row
        self.total_retrans = 0
        self.unanswered_since: Nanoseconds = 0  # the first of the window probes that nobody has answered
        # deadlines
        self.heap_at: Nanoseconds | None = None
        self.rtx_at = NEVER
        self.pace_at = NEVER  # the next burst of a paced sender
        self.probe_at = NEVER  # tail loss probe
        self.reorder_at = NEVER  # RACK's reordering timer
        self.persist_at = NEVER
        self.persist_shift = 0
        self.delack_at = NEVER
        self.keepalive_at = NEVER
        self.keepalive_sent = 0
        self.wait_at = NEVER  # TIME-WAIT, and FIN-WAIT-2 of an orphan
        self.heard_at = tcp.core.now
        self.last_data_at: Nanoseconds = 0  # when we sent text, and when the next of the peer's came
        self.last_text_at: Nanoseconds = 0
        self.dirty = False
        # for `info` alone
        self.segs_out = 0
        self.segs_in = 0
        self.data_segs_out = 0
        self.data_segs_in = 0
        self.bytes_received = 0
        self.rcv_rtt = 0  # smoothed, in nanoseconds
        self.rcv_echo: int | None = None  # TSecr of the text that it was measured by last
        self.sending = IDLE
        self.sending_since: Nanoseconds = 0
        self.busy_ns = 0
        self.tally: Tally | None = None

    def begin_at(self, iss: int) -> None:
        """Use this initial sequence number; only before anything was sent."""
        self.iss = self.snd_una = self.snd_nxt = iss
        self.mss_since = iss

    # -- moving ------------------------------------------------------------------------------------

    def move(self, state: int) -> None:
        """Change state; `TRANSITIONS` has to allow it."""
        if state not in TRANSITIONS[self.state]:
            raise AssertionError(f"{STATE_NAMES[self.state]} does not lead to {STATE_NAMES[state]}")
        old = self.state
        self.state = state
        if self.tcp.observers:
            for observer in tuple(self.tcp.observers):
                try:
                    observer(self, old, state)
                except Exception as error:
                    name = getattr(observer, "__name__", type(observer).__name__)
                    self.core.failed(error, f"in the observer {name}")

    def report(self, error: int) -> None:
        """MUST-47: note a soft error, which ends nothing, and have the application look (SHLD-9, SHLD-25)."""
        self.soft_error = error
        if self.options.report_errors:
            self.core.mark_ready(self)

    def mark_dirty(self) -> None:
        """Have the next output pass look at this connection."""
        if not self.dirty:
            self.dirty = True
            self.tcp.dirty.append(self)

    def note(self) -> Tally:
        """Where to count what seldom happens."""
        if self.tally is None:
            self.tally = Tally()
        return self.tally

    # -- timers (the rules stand in `timers`) ------------------------------------------------------

    def next_at(self) -> Nanoseconds | None:
        """The earliest of the connection's deadlines."""
        at = min(
            self.rtx_at, self.pace_at, self.probe_at, self.reorder_at, self.delack_at, self.persist_at,
            self.keepalive_at, self.wait_at,
        )  # fmt: skip
        return None if at == NEVER else at

    def expire(self, now: Nanoseconds) -> None:
        """Act on the deadlines that are due."""
        self.tcp.expire(self, now)

    def arm(self, at: Nanoseconds) -> None:
        """See that the heap asks by `at`; cheap when it will ask earlier anyway."""
        held = self.heap_at
        if held is None or at < held:
            self.core.timers.arm(self, at)

    def patience(self, wait: Nanoseconds, since: Nanoseconds) -> Nanoseconds:
        """How long to wait for an answer: `wait`, or what the application's limit leaves of it (MUST-21)."""
        limit = self.user_limit
        return min(wait, max(since + limit - self.core.now, MILLISECOND)) if limit else wait

    @property
    def user_limit(self) -> Nanoseconds:
        """What the application lets a peer be silent (MUST-21); 0: R2 rules.

        RFC 5482 section 3.1: longer than the RTO, so that one loss alone ends nothing.
        """
        limit = self.options.user_timeout_ms * MILLISECOND
        return max(limit, 2 * self.rtt.base_rto) if limit and self.state in SYNCHRONIZED else limit

    # -- what follows from the variables -----------------------------------------------------------

    @property
    def key(self) -> tuple[Address, int, Address, int]:
        """Its place in the demultiplexing table."""
        return (self.local_addr, self.local_port, self.remote_addr, self.remote_port)

    @property
    def flight(self) -> int:
        """Sequence numbers sent and not acknowledged, SYN and FIN included."""
        return (self.snd_nxt - self.snd_una) & 0xFFFFFFFF

    @property
    def rcv_wnd(self) -> int:
        """RCV.WND: from RCV.NXT to the right edge last advertised."""
        return (self.rcv_adv - self.rcv_nxt) & 0xFFFFFFFF

    @property
    def early(self) -> bool:
        """In SYN-RECEIVED by Fast Open: the application has the SYN's data and may answer (RFC 7413)."""
        fast = self.fastopen
        return fast is not None and fast.pending is not None

    @property
    def deferred(self) -> bool:
        """In SYN-SENT by Fast Open, the SYN yet to be sent: it waits for what the application writes."""
        return self.state == SYN_SENT and self.snd_nxt == self.iss and not self.syn_pending

    def drop_out_of_order(self) -> None:
        """Forget what was held behind a gap."""
        if self.ooo is not NOTHING:
            self.ooo.clear()
            self.ooo = NOTHING

    def send_limit(self) -> int:
        """The octets that the send buffer may hold now: SO_SNDBUF, or less while the stack holds too much."""
        limit = self.options.sndbuf
        spare = self.config.max_send_bytes - self.tcp.memory.sending
        if spare >= limit:
            return limit
        return min(limit, max(len(self.sendbuf) + spare, SHARE))

    def writable_room(self) -> bool:
        """Whether a third of the send buffer is free, so that a writer wakes to a useful amount."""
        return len(self.sendbuf) * 3 <= self.send_limit() * 2

    def ts_now(self) -> int:
        """The timestamp clock: milliseconds and an offset of the address pair (RFC 7323 section 5.4)."""
        return (self.core.now // MILLISECOND + self.ts_offset) & 0xFFFFFFFF

    def __repr__(self) -> str:
        local = endpoint_text(self.local_addr, self.local_port)
        remote = endpoint_text(self.remote_addr, self.remote_port)
        return f"<Connection {local} {remote} {STATE_NAMES[self.state]}>"
