"""A listener and some connections among hostile peers and a moody application, by seed.

Every step is one segment, one call or some time; after most of them, or (in bursts) some, the output pass runs and
the invariants of `tests.harness.tcp_invariants` must hold: nothing raises, no timer is lost, no window shrinks,
tables agree, memory is bounded.
"""

from __future__ import annotations

import errno
import random
from collections.abc import Callable

import pytest

from scapystack.base.segment import Segment
from scapystack.layers.tcp.options import encode_syn
from scapystack.layers.tcp.state import CLOSED, SYN_SENT
from scapystack.layers.tcp.user import Connection
from tests.harness.tcp import OURS, PEER, PORT, TcpWire
from tests.harness.tcp_invariants import Edges, check

MASK = 0xFFFFFFFF
STEPS = 120
NEAR = [0, 0, 0, 1, -1, 2, 10, -10, 100, 1460, -1460, 65_534, 65_535, 65_536, -65_535, 1 << 31, (1 << 31) - 1]
EXPECTED = {
    errno.EPIPE, errno.ENOTCONN, errno.ECONNRESET, errno.ECONNREFUSED, errno.ETIMEDOUT, errno.EADDRINUSE,
    errno.ECONNABORTED, errno.EHOSTUNREACH,
}  # fmt: skip
FLAGS = ["A", "A", "A", "PA", "FA", "RA", "R", "S", "SA", "UA", "F", ".", "SF", "SR", "FSRPAUEC", "UPFA", "P"]


class Chaos:
    """One run: a wire, its random numbers, and the connections it knows of."""

    def __init__(self, seed: int) -> None:
        r = self.random = random.Random(seed)
        self.wire = TcpWire(
            gso_max=r.choice([0, 0, 64_000]), mtu=r.choice([1500, 1500, 576, 9000]), seed=seed,
            timestamps=r.random() < 0.5, sack=r.random() < 0.7, window_scaling=r.random() < 0.7,
            rcvbuf=r.choice([500, 3000, 20_000, 65_535, 4_194_304]), sndbuf=r.choice([100, 5000, 100_000]),
            msl_ms=r.choice([10, 30_000]), fin_wait_2_ms=r.choice([50, 60_000]), r2_ms=r.choice([3_000, 900_000]),
            max_syn_backlog=4, max_orphans=r.choice([0, 1, 100]), max_time_wait=r.choice([0, 1, 100]),
            max_send_bytes=r.choice([0, 30_000, 1 << 28]), max_receive_bytes=r.choice([0, 30_000, 1 << 28]),
            max_out_of_order_bytes=r.choice([0, 2_000, 1 << 26]), max_half_open=r.choice([2, 100]),
            max_accept_queue=r.choice([1, 100]), syn_cookies=r.choice(["on", "on", "off", "always"]),
            max_out_of_order_segments=r.choice([3, 4096]), quick_acks=r.choice([0, 16]), fastopen=r.choice([0, 3, 3]),
            congestion=r.choice(["reno", "cubic", "bbr"]), loss_probes=r.random() < 0.5, ecn=r.choice(["off", "on"]),
            mtu_probing=r.choice([0, 1, 2]),
        )  # fmt: skip
        self.calm = r.choice([0.3, 0.9])
        self.edges = Edges()
        self.wire.ip.watchers.append(self.sent)
        self.ended: list[Connection] = []
        self.wire.tcp.listen(OURS, PORT, 2).options.fastopen = r.choice([0, 1, 8])

    def sent(self, seg: Segment) -> None:
        c = self.wire.tcp.connections.get((OURS, seg.sport, PEER, seg.dport))
        if c is not None:
            self.edges.see(c, seg)

    # -- one step ----------------------------------------------------------------------------------------

    def step(self) -> None:
        step: Callable[[], None] = self.random.choice(
            [self.syn] * 2 + [self.polite] * 4 + [self.rude] * 2 + [self.application] * 3 + [self.time, self.other]
        )
        try:
            step()
        except OSError as error:
            if error.errno not in EXPECTED:
                raise
        if self.random.random() < self.calm:
            self.settle()

    def settle(self) -> None:
        wire = self.wire
        wire.flush()
        check(wire.tcp)
        wire.clear()
        assert len(wire.tcp.connections) < 200

    def pick(self) -> Connection | None:
        known = list(self.wire.tcp.connections.values())
        if known and self.random.random() < 0.9:
            return self.random.choice(known)
        return self.random.choice(self.ended) if self.ended else None

    # -- the peer ----------------------------------------------------------------------------------------

    def syn(self) -> None:
        r = self.random
        stamps = (self.wire.peer_ts, 0) if r.random() < 0.5 else None
        options = encode_syn(
            r.choice([0, 1, 88, 536, 1460, 65_535]), r.choice([None, 0, 7, 14, 255]), r.random() < 0.5, stamps,
            self.cookie(),
        )  # fmt: skip
        data = b"w" * r.choice([0, 0, 1, 500, 1400, 5000])
        sport = r.choice([1000, 1001, 1002, 1003, r.randrange(1, 65_536)])
        self.wire.raw(
            "S", r.randrange(1 << 32), 0, sport=sport, wnd=r.choice([0, 1, 1000, 65_535]), options=options, payload=data
        )
        c = self.wire.tcp.connections.get((OURS, PORT, PEER, sport))
        if c is not None and r.random() < 0.8:
            self.wire.flush()
            self.wire.send(c, "A", wnd=r.choice([0, 100, 65_535]), flush=False)

    def cookie(self) -> bytes | None:
        """A Fast Open cookie of ours, a wrong one, a request or none."""
        r = self.random
        good = self.wire.tcp.fastopen_cookies.cookie(PEER, OURS, self.wire.core.now)
        return r.choice([None, None, good, good, b"", r.randbytes(r.choice([4, 8, 16]))])

    def polite(self) -> None:
        """What a peer that means well could send."""
        c, r = self.pick(), self.random
        if c is None:
            return
        if c.state == SYN_SENT:
            taken = r.choice([1, c.flight, r.randint(0, c.flight)])
            options = encode_syn(1460, 7, True, None, self.cookie())
            self.wire.send(c, "SA", seq=r.randrange(1 << 32), ack=taken, options=options, flush=False)
            return
        una, nxt = (c.snd_una - c.iss) & MASK, (c.snd_nxt - c.iss) & MASK
        ack = r.choice([nxt, nxt, una, r.randint(una, nxt) if una <= nxt else nxt])
        seq = (c.rcv_nxt - c.irs) & MASK
        wnd = r.choice([0, 1, 50, 2000, 65_535, 65_535])
        kind = r.randrange(8)
        data = b"x" * r.choice([1, 10, 500, 1448, 1460, 5000])
        if kind < 3:
            self.wire.send(c, "A", seq=seq, ack=ack, wnd=wnd, flush=False)
        elif kind < 5:
            self.wire.send(c, "PA", seq=seq, ack=ack, wnd=wnd, payload=data, flush=False)
        elif kind == 5:
            self.wire.send(
                c, "A", seq=(seq + r.choice([1, 500, 1460, 3000])) & MASK, ack=ack, wnd=wnd, payload=data, flush=False
            )
        elif kind == 6:
            self.wire.send(c, "FA", seq=seq, ack=ack, wnd=wnd, payload=data[: r.choice([0, 100])], flush=False)
        else:
            self.wire.send(
                c, "UA", seq=seq, ack=ack, wnd=wnd, payload=data, up=r.choice([0, 1, len(data), 9, 65_535]), flush=False
            )

    def rude(self) -> None:
        """What an attacker, a bug or an old connection could send."""
        c, r = self.pick(), self.random
        if c is None:
            return
        base_seq = r.choice([c.rcv_nxt, c.rcv_nxt, c.rcv_adv, c.irs, r.randrange(1 << 32)])
        base_ack = r.choice([c.snd_una, c.snd_nxt, c.snd_nxt, c.iss, r.randrange(1 << 32)])
        options = r.choice([b"", b"", r.randbytes(r.choice([4, 12, 40])), b"\x01\x01\x08\x0a" + r.randbytes(8)])
        if c.ts_ok and r.random() < 0.7:
            options = (
                b"\x01\x01\x08\x0a"
                + ((c.ts_recent + r.choice([0, 1, -1, 1 << 31])) & MASK).to_bytes(4, "big")
                + b"\0" * 4
            )
        self.wire.raw(
            r.choice(FLAGS), base_seq + r.choice(NEAR), base_ack + r.choice(NEAR), wnd=r.choice([0, 1, 65_535]),
            up=r.choice([0, 1, 100, 65_535]), payload=b"y" * r.choice([0, 0, 1, 100, 3000]), options=options,
            sport=c.remote_port, dport=c.local_port,
        )  # fmt: skip

    def other(self) -> None:
        c, r = self.pick(), self.random
        if c is None:
            return
        type_, code = r.choice([(3, 1), (3, 3), (3, 4), (4, 0), (11, 0), (12, 0)])
        seq = r.choice([None, r.randrange(1 << 32)])
        self.wire.icmp(c, type_, code, errno.EHOSTUNREACH, hard=code == 3, mtu=r.choice([0, 68, 576, 1400]), seq=seq)

    def time(self) -> None:
        self.settle()
        self.wire.after(ms=self.random.choice([0.01, 1, 40, 200, 1000, 5000, 100_000]))

    # -- the application -----------------------------------------------------------------------------------

    def application(self) -> None:
        r, tcp = self.random, self.wire.tcp
        kind = r.randrange(16)
        if kind == 0:
            fast = r.random() < 0.5
            c = tcp.connect(PEER, r.choice([80, 81]), local_port=r.choice([0, 2000]), reuse=True, fastopen=fast)
            if fast and r.random() < 0.8:
                c.write(b"v" * r.choice([0, 1, 1000, 3000]))
            return
        if kind == 1:
            listener = tcp.listeners.get((OURS, PORT))
            if listener is None:
                tcp.listen(OURS, PORT, r.choice([1, 3]), reuse=True)
            elif r.random() < 0.3:
                listener.close()
            return
        if kind <= 4:
            for listener in tcp.listeners.values():
                listener.accept()
            return
        c = self.pick()
        if c is None or not c.held or c.listener is not None:
            return
        if c not in self.ended and len(self.ended) < 50:
            self.ended.append(c)
        self.call(c, kind)

    def call(self, c: Connection, kind: int) -> None:
        r = self.random
        o = c.options
        if kind <= 7:
            c.write(b"z" * r.choice([1, 10, 1460, 3000, 20_000]))
        elif kind == 8:
            c.write_urgent(b"!" * r.choice([1, 100]))
        elif kind <= 10:
            c.read(r.choice([1, 1000, 1 << 20]))
            c.read_urgent()
            assert c.urgent_left >= 0
        elif kind == 11:
            c.shutdown_write()
        elif kind == 12:
            r.choice([c.close, c.close, c.abort, c.shutdown_read])()
        elif kind == 13:
            o.nodelay, o.cork, o.quickack = r.random() < 0.5, r.random() < 0.5, r.random() < 0.5
            o.oobinline = r.random() < 0.5
            c.options_changed()
        elif kind == 14:
            o.keepalive = r.random() < 0.5
            o.keepalive_idle_ms, o.keepalive_interval_ms = r.choice([1, 1000]), r.choice([1, 1000])
            o.user_timeout_ms = r.choice([0, 0, 500])
            c.options_changed()
        else:
            o.linger_s = r.choice([None, 0])
            o.mss = r.choice([0, 100, 1000])
            c.options_changed()


@pytest.mark.parametrize("seed", range(60))
def test_chaos_any_steps_leave_the_invariants_true(seed: int) -> None:
    chaos = Chaos(seed)
    for _ in range(STEPS):
        chaos.step()
    # left alone, the layer comes to rest: no timer for ever but those that wait for somebody
    wire = chaos.wire
    chaos.settle()
    for c in list(wire.tcp.connections.values()):
        if c.held and c.listener is None:
            c.close()
    for listener in list(wire.tcp.listeners.values()):
        listener.close()
    chaos.settle()
    wire.after(ms=4_000_000)
    check(wire.tcp)
    assert not wire.tcp.connections
    assert wire.deadline_ms() is None
    assert all(c.state == CLOSED for c in chaos.ended)
