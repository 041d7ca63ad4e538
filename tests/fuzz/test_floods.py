"""Floods: however much comes, what a stack keeps stays within its configuration's bounds, and it serves on.

Each test states how many octets the stack may keep of the flood (`KEEPS`), as `tracemalloc` counts them:
the sizes of tables alone would not show what an entry holds on to.
"""

from __future__ import annotations

import gc
import tracemalloc
from collections.abc import Iterable
from random import Random
from typing import Any

import pytest

from scapystack.base.addr import ANY4, ip
from scapystack.base.frames import Frame
from scapystack.base.segment import ACK, FIN, PSH, RST, SYN
from scapystack.base.types import MILLISECOND, SECOND
from scapystack.layers.tcp.state import ESTABLISHED
from scapystack.layers.tcp.user import Connection
from scapystack.stack import NetStack
from tests.fuzz.octets import CODEC, ICMP, TCP, UDP, icmp_message, ip_packet, tcp_segment, udp_datagram
from tests.harness.settings import config_of

OURS, PEER, GATEWAY = ip("10.1.0.1"), ip("10.1.0.2"), ip("10.1.0.3")
OUR_MAC, PEER_MAC = b"\2\0\0\0\0\1", b"\2\0\0\0\0\2"
PORT = 80
MB = 1_000_000


class Victim:
    """A stack at 10.1.0.1/16 with a listener and a UDP socket; what it sends is counted and dropped."""

    def __init__(self, **settings: Any) -> None:
        self.stack = NetStack(config_of(**settings), seed=3)
        self.iface = self.stack.add_interface("eth0", OUR_MAC)
        self.stack.add_address(self.iface, "10.1.0.1/16")
        self.stack.arp.add_static(self.iface, PEER, PEER_MAC)
        self.stack.arp.add_static(self.iface, GATEWAY, PEER_MAC)
        self.stack.add_route("default", via=GATEWAY)
        self.listener = self.stack.tcp.listen(ANY4, PORT, 64)
        self.udp = self.stack.udp.bind(ANY4, 7)
        self.now = 10 * SECOND
        self.random = Random(1)
        self.sent = 0
        self.ports = iter(range(1_024, 65_536))

    def receive(self, packet: bytes, kind: int = 0x0800) -> None:
        data = CODEC.encode_ethernet(OUR_MAC, PEER_MAC, kind) + packet
        self.stack.receive(Frame(data, (), self.iface), self.now)

    def poll(self) -> list[Frame]:
        self.stack.poll(self.now)
        self.stack.take_ready()
        frames = self.stack.take_frames()
        self.sent += len(frames)
        return frames

    def after(self, seconds: float) -> None:
        """Time passes, deadline by deadline."""
        end = self.now + int(seconds * SECOND)
        while (at := self.stack.next_deadline()) is not None and at <= end:
            self.now = max(at, self.now)
            self.poll()
        self.now = end
        self.poll()

    def flood(self, packets: Iterable[bytes], kind: int = 0x0800, *, per_ms: int = 64) -> int:
        """Octets that the stack keeps of all these packets, which come in bursts, one a millisecond."""
        packets = list(packets)
        gc.collect()
        tracemalloc.start()
        try:
            before, _ = tracemalloc.get_traced_memory()
            for number, packet in enumerate(packets):
                self.receive(packet, kind)
                if number % per_ms == per_ms - 1:
                    self.poll()
                    self.now += MILLISECOND
            self.poll()
            gc.collect()
            after, _ = tracemalloc.get_traced_memory()
        finally:
            tracemalloc.stop()
        return after - before

    def segment(
        self, sport: int, seq: int, ack: int, flags: int, payload: bytes = b"", *, src: bytes = PEER, wnd: int = 65_535
    ) -> bytes:
        segment = tcp_segment(src, OURS, sport, PORT, seq, ack, flags, wnd, payload=payload)
        return ip_packet(src, OURS, TCP, segment)

    def connect(self, *, accept: bool = True) -> Connection:
        """The peer opens a connection, its text beginning at sequence number 1."""
        sport = next(self.ports)
        self.receive(self.segment(sport, 0, 0, SYN))
        self.poll()
        c = self.stack.tcp.connections[(OURS, PORT, PEER, sport)]
        self.receive(self.segment(sport, 1, c.snd_nxt, ACK))
        self.poll()
        assert c.state == ESTABLISHED
        if accept:
            assert self.listener.accept() is c
        return c

    def serves(self) -> None:
        """A new connection is accepted and its text read."""
        c = self.connect()
        self.receive(self.segment(c.remote_port, 1, c.snd_nxt, ACK | PSH, b"still there?"))
        self.poll()
        assert c.read(100) == b"still there?"
        c.abort()
        self.poll()
        assert len(self.stack.counters) < 200, "the wire does not name counters"

    def anywhere(self) -> bytes:
        """An address of a host that does not answer: on our network, or behind the gateway."""
        low = self.random.randbytes(2)
        return bytes((10, 1, low[0] | 1, low[1])) if self.random.random() < 0.5 else bytes((172, 16, *low))


def test_flood_of_syns_half_open_bounded_and_forgotten() -> None:
    victim = Victim(tcp_max_syn_backlog=256)
    tcp = victim.stack.tcp
    kept = victim.flood(victim.segment(1_024 + n % 60_000, n, 0, SYN, src=victim.anywhere()) for n in range(3_000))
    limits = victim.stack.config
    assert len(victim.listener.half_open) == limits.tcp.max_syn_backlog == len(tcp.connections)
    assert len(victim.stack.arp.table) <= limits.arp.max_entries
    assert victim.stack.counters["tcp.syncookies_sent"] > 2_500
    assert kept < 5 * MB
    victim.after(200)  # the last SYN and ACK has been sent for the last time
    assert not tcp.connections
    assert not victim.listener.half_open
    victim.serves()


def test_flood_of_syns_from_the_link_a_new_neighbour_gets_in() -> None:
    """Each bogus source has to be asked for by ARP; one that answers is served, cookie and all (4987)."""
    victim = Victim(tcp_max_syn_backlog=0)
    near, mac, sport = ip("10.1.200.200"), b"\2\0\0\0\0\7", 5_000
    flood = iter(
        [victim.segment(1_024 + n, n, 0, SYN, src=b"\x0a\1" + bytes((1 + n % 99, n % 251))) for n in range(9_000)]
    )

    def a_second_of_flood(answers: bool) -> bytes | None:
        """The answer to our SYN among all that leaves, if our neighbour's address is found out in time."""
        for _ in range(1_000):
            for _ in range(2):
                victim.receive(next(flood))
            for frame in victim.poll():
                if answers and frame.data[12:14] == b"\x08\x06" and frame.data[38:42] == near:
                    victim.receive(CODEC.encode_arp(1, 0x0800, 6, 4, 2, mac, near, OUR_MAC, OURS), 0x0806)
                elif frame.data[:6] == mac:
                    return frame.data
            victim.now += MILLISECOND
        return None

    assert a_second_of_flood(answers=False) is None
    assert len(victim.stack.arp.table) == victim.stack.config.arp.max_entries
    victim.receive(victim.segment(sport, 0, 0, SYN, src=near))
    answer = a_second_of_flood(answers=True)
    assert answer is not None
    iss = int.from_bytes(answer[38:42], "big")
    victim.receive(victim.segment(sport, 1, iss + 1, ACK, src=near))
    c = victim.listener.accept()
    assert c is not None
    assert c.remote_addr == near
    a_second_of_flood(answers=False)
    entry = victim.stack.arp.lookup(victim.iface, near)
    assert entry is not None
    assert entry.mac == mac
    assert len(victim.stack.arp.table) == victim.stack.config.arp.max_entries


def test_flood_of_handshakes_accept_queue_bounded() -> None:
    victim = Victim()
    kept = 0
    for _ in range(victim.listener.backlog):
        victim.connect(accept=False)
    syns = [victim.segment(next(victim.ports), 0, 0, SYN) for _ in range(1_000)]
    acks = [victim.segment(next(victim.ports), 1, 1, ACK) for _ in range(1_000)]
    kept = victim.flood(syns + acks)
    assert len(victim.listener.queue) == victim.listener.backlog
    assert len(victim.stack.tcp.connections) == victim.listener.backlog
    assert kept < MB
    while victim.listener.accept() is not None:
        pass
    victim.serves()


@pytest.mark.parametrize("size", [8, 1_400])
def test_flood_of_first_fragments_reassembly_bounded(size: int) -> None:
    """hostile/fragments."""
    victim = Victim()
    kept = victim.flood(
        ip_packet(victim.anywhere(), OURS, UDP, bytes(size), ident=n & 0xFFFF, flags=1) for n in range(3_000)
    )
    limits = victim.stack.config.ip
    table = victim.stack.ipv4.reassembly
    assert len(table) <= limits.reassembly_max_datagrams
    assert table.held <= limits.reassembly_max_bytes
    assert kept < MB
    victim.after(61)
    assert len(table) == 0
    assert table.held == 0
    victim.serves()


def test_flood_of_fragments_of_whole_datagrams_octets_bounded() -> None:
    """hostile/fragments: as many octets as 100 datagrams of 56,000 may wait; the bound is 4 MB."""
    victim = Victim()
    kept = victim.flood(
        ip_packet(PEER, OURS, 99, bytes(1_400), ident=n % 100, flags=1, offset=n // 100 * 175) for n in range(4_000)
    )
    table = victim.stack.ipv4.reassembly
    assert 3 * MB < table.held <= victim.stack.config.ip.reassembly_max_bytes
    assert kept < 6 * MB
    victim.serves()


def test_flood_of_tiny_fragments_of_one_datagram_pieces_bounded() -> None:
    """hostile/fragments."""
    victim = Victim(ip_reassembly_max_fragments=500)
    kept = victim.flood(ip_packet(PEER, OURS, 99, bytes(8), ident=1, flags=1, offset=2 * n) for n in range(4_000))
    assert victim.stack.counters["ip.drop.fragment_too_many"] == 1
    assert victim.stack.ipv4.reassembly.held == 0
    assert kept < MB // 5
    victim.serves()


def test_flood_of_arp_requests_table_bounded() -> None:
    """hostile/arp."""
    victim = Victim()
    draw = victim.random
    kept = victim.flood(
        (
            CODEC.encode_arp(
                1, 0x0800, 6, 4, draw.choice((1, 2)), b"\2" + draw.randbytes(5),
                b"\x0a\1" + draw.randbytes(2), bytes(6), OURS,
            )
            for _ in range(3_000)
        ),
        0x0806,
    )  # fmt: skip
    arp = victim.stack.arp
    assert len(arp.table) <= victim.stack.config.arp.max_entries
    assert arp.lookup(victim.iface, PEER) is not None
    assert kept < MB
    victim.serves()


def test_flood_of_packets_to_nobody_arp_and_what_waits_bounded() -> None:
    """As a router: each packet asks for a neighbour that does not exist, and waits for it."""
    victim = Victim(ip_forward=True, arp_max_queue_bytes=20_000)
    kept = victim.flood(
        ip_packet(ip("192.168.0.1"), b"\x0a\1" + victim.random.randbytes(2), 99, bytes(1_400)) for _ in range(2_500)
    )
    arp = victim.stack.arp
    limits = victim.stack.config.arp
    assert len(arp.table) <= limits.max_entries
    parked = sum(entry.queued for entry in arp.table.values())
    assert parked <= 16 * limits.max_queue_bytes
    assert kept < 3 * MB
    victim.after(10)
    assert not any(entry.queued for entry in arp.table.values())
    assert victim.stack.next_deadline() is None
    victim.serves()


def test_flood_of_segments_to_no_port_resets_limited() -> None:
    """hostile/storms."""
    victim = Victim(tcp_rsts_per_second=100)
    packets = (
        ip_packet(PEER, OURS, TCP, tcp_segment(PEER, OURS, 1_024 + n, 81, n, n, (SYN, ACK, RST, FIN)[n % 4], 1))
        for n in range(3_000)
    )
    kept = victim.flood(packets)  # in 94 ms
    assert victim.sent <= 100
    assert victim.stack.counters["tcp.drop.rst_limit"] > 2_000
    assert kept < MB // 10
    victim.serves()


def test_flood_of_resets_in_the_window_challenges_limited() -> None:
    """hostile/challenge."""
    victim = Victim()
    c = victim.connect()
    kept = victim.flood(
        victim.segment(c.remote_port, 2 + n % 60_000, c.snd_nxt, (RST, SYN)[n % 2]) for n in range(3_000)
    )
    assert c.state == ESTABLISHED
    assert victim.sent <= 2 + victim.stack.config.tcp.challenge_acks
    assert kept < MB // 10
    victim.serves()


def test_flood_of_udp_to_socket_that_does_not_read_bounded() -> None:
    victim = Victim()
    kept = victim.flood(
        ip_packet(PEER, OURS, UDP, udp_datagram(PEER, OURS, 9, 7, bytes(n % 3 * 500))) for n in range(3_000)
    )
    assert victim.stack.counters["udp.drop.rcvbuf"] > 2_000
    assert kept < 2 * victim.stack.config.udp.rcvbuf
    read = 0
    while (item := victim.udp.recv()) is not None:
        read += len(item[0])
    assert 0 < read <= victim.stack.config.udp.rcvbuf
    victim.serves()


def test_flood_of_udp_to_no_port_errors_limited() -> None:
    """hostile/storms."""
    victim = Victim()
    packets = []
    for n in range(3_000):
        src = victim.anywhere()
        packets.append(ip_packet(src, OURS, UDP, udp_datagram(src, OURS, n, 9, b"")))
    kept = victim.flood(packets)
    limits = victim.stack.config.icmp
    assert victim.stack.counters["icmp.out.error"] <= limits.errors_burst + limits.errors_per_second
    assert kept < 4 * MB  # a route and an IP id for each of so many who were answered
    victim.after(10)
    victim.serves()


def test_flood_of_pings_to_raw_and_ping_sockets_bounded() -> None:
    victim = Victim()
    raw = victim.stack.raw.open(ICMP)
    raw.rcvbuf = 100_000
    pings = victim.stack.icmp.open(5)
    rest = (5).to_bytes(2, "big") + bytes(1_000)
    kept = victim.flood(ip_packet(PEER, OURS, ICMP, icmp_message(8 * (n % 2), 0, rest)) for n in range(3_000))
    assert victim.stack.counters["raw.drop.rcvbuf"] > 2_000
    assert victim.stack.counters["icmp.drop.queue_full"] > 200
    assert pings.readable
    assert kept < 2 * MB
    victim.serves()


def test_flood_of_path_mtus_learned_bounded() -> None:
    """Errors that quote what we have really sent, to thousands of destinations."""
    victim = Victim()
    victim.udp.df = True
    quotes = []
    for n in range(3_000):
        victim.udp.send(bytes(600), bytes((172, 16, n >> 8, n & 255)), 53)
        (frame,) = victim.poll()
        quotes.append(frame.data[14:70])
    word = (600).to_bytes(4, "big")
    kept = victim.flood(ip_packet(GATEWAY, OURS, ICMP, icmp_message(3, 4, word + quote)) for quote in quotes)
    assert victim.stack.counters["ip.pmtu.lowered"] == 3_000
    assert kept < MB
    assert victim.stack.ipv4.route(bytes((172, 16, 2_999 >> 8, 2_999 & 255))).mtu == 600
    assert victim.stack.ipv4.route(bytes((172, 16, 0, 0))).mtu == 1_500
    victim.after(601)
    assert victim.stack.ipv4.route(bytes((172, 16, 2_999 >> 8, 2_999 & 255))).mtu == 1_500
    victim.serves()


@pytest.mark.parametrize("size", [1, 100, 1_400])
def test_flood_of_text_behind_gaps_pieces_and_octets_bounded(size: int) -> None:
    """hostile/overlaps: every second piece of the window; and all of it again, in another order."""
    victim = Victim(tcp_max_out_of_order_segments=500)
    c = victim.connect()
    window = c.rcv_wnd
    starts = list(range(2, 1 + window - size, 2 * size))[:1_500]
    victim.random.shuffle(starts)
    packets = [victim.segment(c.remote_port, at, c.snd_nxt, ACK, bytes(size)) for at in starts * 2]
    kept = victim.flood(packets)
    assert 0 < len(c.ooo) <= 500
    assert c.ooo.size <= window
    assert kept < window + 500 * 500
    assert c.available == 0
    victim.serves()


def test_flood_of_single_octets_in_order_costs_what_was_advertised() -> None:
    victim = Victim()
    c = victim.connect()
    kept = victim.flood(victim.segment(c.remote_port, 1 + n, c.snd_nxt, ACK, b"x") for n in range(3_000))
    assert c.available == 3_000
    assert kept < 20_000
    victim.serves()


def test_flood_of_connections_time_wait_bounded() -> None:
    """Each is opened by the peer, closed by us first, and then by the peer."""
    victim = Victim(tcp_max_time_wait=50)
    tcp = victim.stack.tcp

    def one() -> None:
        c = victim.connect()
        c.close()
        victim.poll()
        victim.receive(victim.segment(c.remote_port, 1, c.snd_nxt, ACK | FIN))
        victim.poll()

    for _ in range(200):
        one()
    gc.collect()
    tracemalloc.start()
    before, _ = tracemalloc.get_traced_memory()
    for _ in range(800):
        one()
    gc.collect()
    after, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert len(tcp.time_wait) == 50
    assert len(tcp.connections) == 50
    assert after - before < MB
    victim.after(61)
    assert not tcp.connections
    victim.serves()


def test_flood_of_connections_nobody_holds_bounded() -> None:
    """Closed by us, their FIN never acknowledged: orphans in FIN-WAIT-1."""
    victim = Victim(tcp_max_orphans=50)
    for _ in range(300):
        victim.connect().close()
        victim.poll()
    assert len(victim.stack.tcp.orphans) <= 50
    assert len(victim.stack.tcp.connections) <= 50
    victim.serves()
