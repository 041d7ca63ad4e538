"""What a fuzzed stack lives in: `target` with everything open on it, `peer` that it talks with over a wire
which the fuzzer owns, and `friend`, whose connection to the target nobody touches.

The target forwards, to a second interface with a small MTU. Its applications do random things, and so
do the peer's: `Apps`. Read `tests.harness.net` first.
"""

from __future__ import annotations

import contextlib
from random import Random
from typing import Any

from scapystack.base.addr import ANY4, LOCALHOST4, ip
from scapystack.base.config import StackConfig
from scapystack.base.errors import ConfigError
from scapystack.base.frames import Frame
from scapystack.base.guard import arp_packet, icmp_header, ipv4_header, tcp_header, udp_header
from scapystack.layers.tcp.user import Connection
from tests.fuzz.octets import ICMP, L3, TCP, UDP
from tests.harness.net import DELAY, Host, Net
from tests.harness.settings import config_of

TARGET, PEER, FRIEND, FAR, STRANGER = (
    ip(text) for text in ("10.0.0.1", "10.0.0.2", "10.0.0.3", "10.0.1.9", "10.9.9.9")
)
SERVED, ECHO, PEER_SERVED, FRIENDLY = 7, 7, 80, 9000
MAX_CONNECTIONS = 12

TIGHT = {
    "arp_max_entries": 32, "arp_max_queue": 4, "ip_reassembly_max_datagrams": 16, "ip_reassembly_max_bytes": 300_000,
    "ip_reassembly_max_fragments": 64, "tcp_max_syn_backlog": 16, "tcp_max_out_of_order_segments": 32,
    "tcp_max_time_wait": 8, "tcp_max_orphans": 4, "tcp_rcvbuf": 20_000, "tcp_sndbuf": 30_000, "tcp_msl_ms": 500,
    "udp_rcvbuf": 20_000,
}  # fmt: skip


def settings(random: Random) -> StackConfig:
    """The defaults, or bounds that are soon reached; and the features of TCP on or off."""
    changed: dict[str, Any] = dict(TIGHT) if random.random() < 0.6 else {}
    for name in ("tcp_sack", "tcp_timestamps", "tcp_window_scaling"):
        changed[name] = random.random() < 0.7
    changed["tcp_fastopen"] = random.choice((0, 3))
    changed["ip_source_route"] = random.random() < 0.5
    changed["icmp_echo_broadcast"] = random.random() < 0.5
    return config_of(
        ip_forward=random.random() < 0.8, icmp_errors_per_second=100_000, icmp_peer_errors_per_second=100_000, **changed
    )


class Apps:
    """Applications on a host that do whatever the interface lets them, one random call at a time."""

    def __init__(self, random: Random, host: Host, peer: bytes, port: int) -> None:
        self.random = random
        self.host = host
        self.peer = peer
        self.peer_port = port
        stack = host.stack
        self.listeners = [stack.tcp.listen(ANY4, p, 4) for p in (SERVED, PEER_SERVED, 8_080)]
        for listener in self.listeners:
            listener.options.fastopen = 3
        self.connections: list[Connection] = []
        self.udp = [stack.udp.bind(ANY4, ECHO), stack.udp.bind(host.address, 53)]
        self.udp[0].broadcast = True
        self.raw = [stack.raw.open(proto) for proto in (ICMP, TCP, 99)]
        self.pings = stack.icmp.open(77)
        self.calls = [self.accept, self.accept, self.connect, self.connect, self.options, self.datagrams, self.ping,
                      self.look, self.shake] + 3 * [self.write, self.read, self.end]  # fmt: skip

    def act(self) -> None:
        """One call; an OSError is an answer like any other."""
        with contextlib.suppress(OSError):
            self.random.choice(self.calls)()

    def _any(self) -> Connection | None:
        return self.random.choice(self.connections) if self.connections else None

    def accept(self) -> None:
        for listener in self.listeners:
            while len(self.connections) < MAX_CONNECTIONS and (c := listener.accept()) is not None:
                self.connections.append(c)

    def connect(self) -> None:
        if len(self.connections) < MAX_CONNECTIONS:
            port = self.random.choice((self.peer_port, self.peer_port, 1))
            local_port = self.random.choice((0, 0, PEER_SERVED + 1, 3_000))  # few ports: TIME-WAIT is met again
            remote = self.random.choice((self.peer,) * 8 + (self.host.address, LOCALHOST4, ip("10.77.0.1")))
            reuse, fast = self.random.random() < 0.5, self.random.random() < 0.5
            self.connections.append(
                self.host.stack.tcp.connect(remote, port, local_port=local_port, reuse=reuse, fastopen=fast)
            )

    def write(self) -> None:
        if (c := self._any()) is not None:
            data = bytes(self.random.choice((1, 10, 1_000, 5_000, 40_000)))
            if self.random.random() < 0.1:
                c.write_urgent(data[:100])
            else:
                c.write(data)

    def read(self) -> None:
        if (c := self._any()) is not None:
            call = self.random.choice(
                (c.read, c.peek, c.discard, c.views, lambda n: c.read_into(memoryview(bytearray(n))))
            )
            call(self.random.choice((1, 100, 100_000)))

    def end(self) -> None:
        if (c := self._any()) is None:
            return
        how = self.random.choice(("close", "close", "shut", "shut", "shut_read", "abort", "linger"))
        if how == "shut":
            c.shutdown_write()
            return
        if how == "shut_read":
            c.shutdown_read()
            return
        self.connections.remove(c)
        if how == "abort":
            c.abort()
        else:
            c.options.linger_s = 0 if how == "linger" else None
            c.close()

    def options(self) -> None:
        if (c := self._any()) is None:
            return
        draw = self.random
        o = c.options
        o.nodelay, o.cork, o.quickack, o.oobinline = (draw.random() < 0.3 for _ in range(4))
        o.keepalive = draw.random() < 0.5
        o.keepalive_idle_ms = draw.choice((10, 1_000, 50_000))
        o.keepalive_interval_ms = draw.choice((50, 1_000))
        o.user_timeout_ms = draw.choice((0, 0, 1_000))
        o.mss = draw.choice((0, 0, 88, 500))
        o.rcvbuf = max(o.rcvbuf, draw.choice((2_000, 100_000)))  # a smaller one cannot take back what is queued
        o.ip_options = draw.choice((b"", b"", bytes((7, 11, 4)) + bytes(8)))
        c.options_changed()

    def datagrams(self) -> None:
        for endpoint in self.udp:
            while (item := endpoint.recv()) is not None:
                endpoint.send(item[0], item[1], item[2])
        data = bytes(self.random.choice((0, 100, 3_000, 30_000)))
        destination = self.random.choice(
            (self.peer, self.peer, ip("10.0.0.255"), ip("10.0.0.77"), FAR, self.host.address)
        )
        self.udp[0].send(data, destination, self.random.choice((ECHO, 9)))

    def ping(self) -> None:
        while self.pings.recv() is not None:
            pass
        remote = self.random.choice((self.peer, self.peer, self.host.address, STRANGER))
        self.pings.send(remote, self.random.randrange(9), bytes(self.random.choice((0, 56, 2_000))))

    def shake(self) -> None:
        """The ground moves: routes and neighbours go, and come back."""
        stack = self.host.stack
        with contextlib.suppress(ConfigError):
            if self.random.random() < 0.5:
                stack.remove_route("default")
            else:
                stack.add_route("default", via=self.peer)
        if self.random.random() < 0.2:
            stack.arp.flush()

    def look(self) -> None:
        """What people and tools ask for."""
        stack = self.host.stack
        for c in stack.tcp.connections.values():
            c.info()
            repr(c)
        stack.arp.entries()
        for raw in self.raw:
            while raw.recv() is not None:
                pass


class World:
    """The three hosts. `heard` and `said` keep the last frames to and from the target."""

    KEPT = 300

    def __init__(self, seed: int, codec: str = "compiled") -> None:
        self.random = random = Random(seed)
        self.net = Net(fault=self._wire)
        gso = random.choice((0, 0, 60_000))
        self.target = self.net.host("10.0.0.1/24", config=settings(random), seed=seed, codec=codec, gso_max=gso)
        self.peer = self.net.host("10.0.0.2/24", config=settings(random), seed=seed + 1)
        self.friend = self.net.host("10.0.0.3/24", seed=seed + 2)
        self.heard: list[bytes] = []
        self.said: list[bytes] = []
        self.emitted = 0
        stack = self.target.stack
        self.far = stack.add_interface("eth1", "02:00:00:00:01:01", 576)
        stack.add_address(self.far, "10.0.1.1/24")
        stack.add_route("default", via=PEER)
        stack.arp.add_static(self.far, FAR, b"\2\0\0\0\1\x09")
        stack.arp.add_static(self.target.iface, FRIEND, self.friend.iface.mac)
        self.friend.stack.arp.add_static(self.friend.iface, TARGET, self.target.iface.mac)
        self.target.elsewhere = self.well_formed
        self.mutate: Any = None  # what the fuzzer does to the peer's frames
        self._befriend()
        self.apps = [
            Apps(random, self.target, PEER, PEER_SERVED),
            Apps(random, self.peer, TARGET, SERVED),
        ]

    def _befriend(self) -> None:
        listener = self.target.stack.tcp.listen(TARGET, FRIENDLY, 1)
        self.outer = self.friend.stack.tcp.connect(TARGET, FRIENDLY)
        assert self.net.run(until=lambda: listener.readable and self.outer.connected)
        inner = listener.accept()
        assert inner is not None
        self.inner = inner
        listener.close()

    def _wire(self, sender: Host, frame: Frame) -> list[tuple[int, Frame]]:
        if sender is self.target:
            self.well_formed(frame)
            self.said.append(frame.data)
            del self.said[: -self.KEPT]
        elif sender is self.peer:
            self.heard.append(frame.data)
            del self.heard[: -self.KEPT]
            if self.mutate is not None:
                return self.mutate(frame)
        return [(DELAY, frame)]

    def strangers(self) -> list[Connection]:
        """The target's connections but the friend's."""
        return [c for c in self.target.stack.tcp.connections.values() if c is not self.inner]

    def well_formed(self, frame: Frame) -> None:
        """Whatever came in, what goes out is sound: sizes, header checksums, and ours of the transports."""
        self.emitted += 1
        data = frame.data
        assert frame.iface is not None
        if data[12:14] == b"\x08\x06":
            assert not arp_packet(data, L3, len(data) - L3)
            return
        assert data[12:14] == b"\x08\0"
        assert ipv4_header(data, L3, len(data) - L3) == ""
        assert frame.gso_size or len(data) <= L3 + frame.iface.mtu
        src, dst = data[26:30], data[30:34]
        header = (data[L3] & 15) * 4
        whole = not (data[20] & 0x3F or data[21])
        # by a source route the destination that the checksum covers stands elsewhere
        routed = any(kind in data[L3 + 20 : L3 + header] for kind in (b"\x83", b"\x89"))
        if src in (TARGET, ip("10.0.1.1")) and whole and not routed:
            payload = memoryview(data)[L3 + header :]
            verify = not frame.gso_size
            if data[23] == TCP:
                assert tcp_header(payload, src, dst, verify) == ""
            elif data[23] == UDP:
                assert udp_header(payload, src, dst) == ""
            elif data[23] == ICMP:
                assert icmp_header(payload) == ""

    def friend_talks(self, n: int = 3_000) -> None:
        """The connection beside all this passes octets, both ways."""
        text = self.random.randbytes(n)
        for host, here, there in ((self.friend, self.outer, self.inner), (self.target, self.inner, self.outer)):
            self.net.enter(host)
            assert here.write(text) == n
            assert self.net.run(until=lambda there=there: there.available >= n, limit_ms=60_000), (here, there)
            assert there.read(2 * n) == text
