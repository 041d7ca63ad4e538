"""Two TCP layers joined by a bad wire, in virtual time: no IP, no link, no clock.

    pair = Pair(seed=1, loss=0.05)
    pair.open()
    pair.transfer(50_000, 20_000)               # octets each way; both ends close and are gone

The wire loses, doubles and delays segments as its seed says, cuts super-segments as a link would,
and every step is followed by the invariants of `tcp_invariants`. `waits` tells what the simulation
had to wait for when nothing was under way: the timer's name and the time, so that a test can say
that no wait was longer than the losses explain.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from heapq import heappop, heappush
from itertools import count
from typing import Any

from scapystack.base.addr import ip
from scapystack.base.core import Core
from scapystack.base.datagram import Datagram, Route
from scapystack.base.frames import CSUM_PARTIAL
from scapystack.base.iface import Interface
from scapystack.base.rng import Rng
from scapystack.base.segment import FIN, PSH, RST, SYN, Segment
from scapystack.base.types import MILLISECOND, SECOND, Address, Buffer
from scapystack.codec import make_codec
from scapystack.layers.tcp.demux import Tcp
from scapystack.layers.tcp.user import Connection
from tests.harness.octets import pattern
from tests.harness.settings import tcp_config_of
from tests.harness.tcp_invariants import Edges, check

MASK = 0xFFFFFFFF
TIMERS = ("rtx", "persist", "delack", "keepalive", "wait")


class Host:
    """One TCP layer with an IP that puts everything on the wire."""

    def __init__(
        self, pair: Pair, name: str, address: Address, seed: int, mtu: int, gso_max: int, **config: Any
    ) -> None:
        self.pair = pair
        self.name = name
        self.address = address
        settings = tcp_config_of(**{"orphan_ms": 0, **config})  # nobody gives up, whatever is lost
        self.core = Core(settings, make_codec("compiled"), Rng(seed))
        self.iface = Interface(name, b"\2\0\0\0\0\1", mtu=mtu, gso_max=gso_max)
        self.tcp = Tcp(self.core, self)
        self.edges = Edges()

    # -- as IP -----------------------------------------------------------------------------------------

    def route(self, dst: Address, src: Address | None = None) -> Route:
        return Route(dst, src or self.address, self.iface, dst, self.iface.mtu)

    def fresh(self, route: Route) -> bool:
        return True

    def is_local(self, address: Address) -> bool:
        return address == self.address

    def update_pmtu(self, dst: Address, mtu: int) -> None: ...

    def advise(self, route: Route) -> None: ...

    def send(
        self, route: Route, proto: int, head: bytes, payload: tuple[Buffer, ...] = (), length: int = 0,
        *, gso_size: int = 0, **how: Any,
    ) -> None:  # fmt: skip
        data = b"".join(payload)
        assert gso_size or 20 + len(head) + len(data) <= self.iface.mtu, "a packet larger than the MTU"
        assert len(data) <= max(self.iface.gso_max, self.iface.mtu)
        sport, dport, seq, ack, _, _, flags, wnd, _, up = self.core.codec.decode_tcp(head, 0)
        c = self.tcp.connections.get((self.address, sport, route.dst, dport))
        if c is not None:
            self.edges.see(c, Segment(self.address, route.dst, sport, dport, seq, ack, flags, wnd, up, data))
        size = gso_size or len(data) or 1
        for at in range(0, max(len(data), 1), size):
            last = at + size >= len(data)
            cut = self.core.codec.encode_tcp(
                sport,
                dport,
                (seq + at) & MASK,
                ack,
                len(head) >> 2,
                0,
                flags if last else flags & ~(FIN | PSH),
                wnd,
                0,
                up,
            )
            self.pair.carry(self, route.dst, cut + head[20:] + data[at : at + size], bool(flags & (SYN | RST)))

    # -- time ------------------------------------------------------------------------------------------

    def enter(self) -> None:
        self.core.now = self.pair.now

    def poll(self) -> None:
        """What a driver does at the end of a round."""
        self.core.now = self.pair.now
        self.core.timers.expire(self.pair.now)
        self.tcp.flush()
        if self.pair.checking:
            check(self.tcp)


class App:
    """Writes `data` as the send buffer takes it, closes, and keeps what comes until the end of stream.

    With `read_every_ms` it reads `read_size` octets at a time at that pace; else all at once. `sent` octets
    of `data` were written before.
    """

    def __init__(
        self, host: Host, c: Connection, data: bytes, *, write_size: int = 1 << 30, read_every_ms: int = 0,
        read_size: int = 1 << 30, sent: int = 0,
    ) -> None:  # fmt: skip
        self.host = host
        self.c = c
        self.data = data
        self.write_size = write_size
        self.sent = sent
        self.got = bytearray()
        self.read_every_ms = read_every_ms
        self.read_size = read_size
        self.shut = False
        self.eof = False
        self.failed = 0
        if read_every_ms:
            self._read_later()

    def step(self) -> None:
        """Whatever can be done now."""
        c = self.c
        if c.error:
            self.failed = c.error
            return
        if not self.read_every_ms:
            self._read(1 << 30)
        while self.sent < len(self.data) and c.connected:
            n = c.write(self.data[self.sent : self.sent + self.write_size])
            if not n:
                break
            self.sent += n
        if self.sent == len(self.data) and c.connected and not self.shut:
            self.shut = True
            c.shutdown_write()
        if self.shut and self.eof and c.held:
            c.close()

    def _read(self, n: int) -> None:
        self.got += self.c.read(n)
        self.eof = self.eof or self.c.eof

    def _read_later(self) -> None:
        def tick() -> None:
            self.host.enter()
            self._read(self.read_size)
            if not self.eof and not self.c.error:
                self._read_later()

        self.host.pair.at(self.host.pair.now + self.read_every_ms * MILLISECOND, tick)

    @property
    def done(self) -> bool:
        return self.shut and self.eof and len(self.c.sendbuf) == 0 and self.c.state in (0, 10)


class Pair:
    """Hosts `a` and `b`. `loss`, `duplicate` and `reorder` are probabilities; delays in milliseconds."""

    def __init__(
        self, *, seed: int = 1, loss: float = 0.0, duplicate: float = 0.0, reorder: float = 0.0, delay_ms: float = 10,
        mtu: int = 1500, gso_max: int = 0, a: dict[str, Any] | None = None, b: dict[str, Any] | None = None,
        drop: Callable[[int, bytes], bool] | None = None, checking: bool = True, **config: Any,
    ) -> None:  # fmt: skip
        self.random = random.Random(seed)
        self.now = 1_000 * SECOND
        self.loss = loss
        self.duplicate = duplicate
        self.reorder = reorder
        self.delay = int(delay_ms * MILLISECOND)
        self.drop = drop
        self.checking = checking
        self.events: list[tuple[int, int, Callable[[], None]]] = []
        self.order = count()
        self.carried = 0
        self.lost = 0
        self.lost_at: list[int] = []
        self.waits: list[tuple[str, float]] = []
        self.apps: list[App] = []
        self.a = Host(self, "a", ip("10.0.0.1"), seed * 2 + 1, mtu, gso_max, **{**config, **(a or {})})
        self.b = Host(self, "b", ip("10.0.0.2"), seed * 2 + 2, mtu, gso_max, **{**config, **(b or {})})
        self.started = self.now

    # -- the wire ----------------------------------------------------------------------------------------

    def at(self, when: int, what: Callable[[], None]) -> None:
        heappush(self.events, (when, next(self.order), what))

    def carry(self, sender: Host, dst: Address, octets: bytes, bare: bool) -> None:
        """Put a segment on the wire, or lose it."""
        receiver = self.b if sender is self.a else self.a
        assert dst == receiver.address
        self.carried += 1
        r = self.random
        if r.random() < self.loss or (self.drop is not None and self.drop(self.carried, octets)):
            self.lost += 1
            self.lost_at.append(self.now)
            return
        copies = 2 if r.random() < self.duplicate else 1
        for _ in range(copies):
            late = self.delay
            if r.random() < self.reorder:
                late += int(r.random() * 4 * self.delay)
            self.at(self.now + late, lambda: self._arrive(sender, receiver, octets))

    def _arrive(self, sender: Host, receiver: Host, octets: bytes) -> None:
        receiver.enter()
        view = memoryview(octets)
        receiver.tcp.input(Datagram(sender.address, receiver.address, 6, view, view, receiver.iface, csum=CSUM_PARTIAL))

    # -- time --------------------------------------------------------------------------------------------

    def _next_timer(self) -> tuple[int, str] | None:
        best: tuple[int, str] | None = None
        for host in (self.a, self.b):
            for c in host.tcp.connections.values():
                for name in TIMERS:
                    at: int = getattr(c, name + "_at")
                    if best is None or at < best[0]:
                        best = (at, name)
        return best

    def step(self) -> bool:
        """Go to the next event; False if there is none."""
        deadlines = [d for h in (self.a, self.b) if (d := h.core.timers.next_deadline()) is not None]
        timer = min(deadlines, default=None)
        if self.events and (timer is None or self.events[0][0] <= timer):
            self.now = max(self.now, self.events[0][0])
            while self.events and self.events[0][0] <= self.now:
                heappop(self.events)[2]()
        elif timer is not None:
            if not self.events:
                named = self._next_timer()
                self.waits.append((named[1] if named else "?", (timer - self.now) / MILLISECOND))
            self.now = timer
        else:
            return False
        self.round()
        return True

    def round(self) -> None:
        """Both hosts do what is due, their applications first."""
        for app in self.apps:
            app.host.enter()
            app.step()
        self.a.poll()
        self.b.poll()

    def run(self, until: Callable[[], bool], *, limit_s: float) -> None:
        """Let time pass until `until`; fails after `limit_s` of virtual time, or when nothing is left to happen."""
        end = self.now + int(limit_s * SECOND)
        while not until():
            assert self.step(), f"nothing is left to happen: {self.state()}"
            assert self.now <= end, f"{limit_s} s of virtual time have passed: {self.state()}"

    def state(self) -> str:
        return " | ".join(
            [f"{c!r} {app.sent}/{len(app.data)} got={len(app.got)} " for app in self.apps for c in [app.c]]
            + [f"waits={self.waits[-5:]} lost={self.lost}/{self.carried}"]
        )

    @property
    def elapsed_ms(self) -> float:
        return (self.now - self.started) / MILLISECOND

    def waited(self, *names: str) -> list[float]:
        """The waits for these timers, in milliseconds, while nothing else was under way."""
        return [ms for name, ms in self.waits if name in names]

    # -- what tests do -------------------------------------------------------------------------------------

    def open(self, *, limit_s: float = 300) -> tuple[Connection, Connection]:
        """A connection from `a` to port 80 of `b`; both ends of it."""
        listener = self.b.tcp.listen(self.b.address, 80, 8)
        self.a.enter()
        ca = self.a.tcp.connect(self.b.address, 80)
        self.a.poll()
        self.run(lambda: ca.connected and listener.readable, limit_s=limit_s)
        cb = listener.accept()
        assert cb is not None
        return ca, cb

    def open_fast(
        self, data: Buffer, *, cookie: bytes | None = None, limit_s: float = 300
    ) -> tuple[Connection, Connection]:
        """The same with `data` in the SYN (RFC 7413), by the right cookie or this one; not all need be established."""
        listener = self.b.tcp.listen(self.b.address, 80, 8)
        listener.options.fastopen = 8
        names = (self.a.address, self.b.address)
        good = self.b.tcp.fastopen_cookies.cookie(*names, self.now)
        self.a.tcp.fastopen_cache.learn(*names, cookie or good, self.b.iface.mtu - 40)
        self.a.enter()
        ca = self.a.tcp.connect(self.b.address, 80, fastopen=True)
        assert ca.write(data) == len(data)
        self.a.poll()
        self.run(lambda: listener.readable, limit_s=limit_s)
        cb = listener.accept()
        assert cb is not None
        return ca, cb

    def transfer(
        self, a_to_b: int, b_to_a: int, *, limit_s: float = 300, a_app: dict[str, Any] | None = None,
        b_app: dict[str, Any] | None = None, ends: tuple[Connection, Connection] | None = None,
    ) -> tuple[App, App]:  # fmt: skip
        """Open, move so many octets each way, close; both streams must arrive whole."""
        ca, cb = ends or self.open(limit_s=limit_s)
        self.waits.clear()
        one = App(self.a, ca, pattern(a_to_b, 1), **(a_app or {}))
        two = App(self.b, cb, pattern(b_to_a, 2), **(b_app or {}))
        self.apps = [one, two]
        self.round()
        self.run(lambda: one.done and two.done, limit_s=limit_s)
        assert bytes(two.got) == one.data
        assert bytes(one.got) == two.data
        assert not one.failed
        assert not two.failed
        return one, two
