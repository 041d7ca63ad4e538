"""TCP as a whole: two stacks on one thread, nothing between them but a list of frames.

Every figure is the cost of the core (and of cutting and checksumming where frames are wire-size), both stacks'
together unless a row says otherwise. So a stack that has a processor to itself does about twice as much.
"""

from __future__ import annotations

import time
from functools import partial

from benchmarks.pair import BATCH, PORT, B, Meter, Pair
from benchmarks.row import Row
from scapystack.base.addr import ANY4
from scapystack.base.frames import Frame
from scapystack.base.offload import split
from scapystack.base.types import MICROSECOND

CHUNK = bytes(1 << 20)


def bulk(seconds: float, *, offload: bool, loss: float = 0.0) -> float:
    """a writes as much as it may, b reads and drops it."""
    pair = Pair(offload=offload, loss=loss)
    c, d = pair.open()
    octets = 0
    meter = Meter(seconds)
    while meter.on():
        for _ in range(8):
            c.write(CHUNK)
            if not pair.exchange():
                pair.wait()
            octets += d.discard(1 << 30)
    return octets / meter.spent / 1e6


def side(seconds: float, *, offload: bool, sender: bool, segments: bool = False) -> float:
    """`bulk`, and only one of the two stacks is on the clock: MB/s, or microseconds a segment."""
    pair = Pair(offload=offload)
    c, d = pair.open()
    octets = 0
    spent = 0.0
    clock = time.thread_time
    while spent < seconds:
        pair.now += 50 * MICROSECOND
        start = clock()
        c.write(CHUNK)
        pair.a.poll(pair.now)
        sent = pair.a.take_frames()
        wire = sent if offload else [part for frame in sent for part in split(frame)]
        middle = clock()
        iface = pair.ifaces[pair.b]
        arrived = [Frame(p.data, (), iface, p.csum, p.csum_start, p.csum_offset, p.gso_size) for p in wire]
        rx_start = clock()
        for number, frame in enumerate(arrived, 1):
            pair.b.receive(frame, pair.now)
            if number % BATCH == 0:
                pair.b.poll(pair.now)
        octets += d.discard(1 << 30)
        pair.b.poll(pair.now)
        acks = pair.b.take_frames()
        rx_end = clock()
        iface = pair.ifaces[pair.a]
        back = [part for ack in acks for part in split(ack)]
        arrived = [Frame(p.data, (), iface) for p in back]
        ack_start = clock()
        for frame in arrived:
            pair.a.receive(frame, pair.now)
        ack_end = clock()
        spent += (middle - start + ack_end - ack_start) if sender else (rx_end - rx_start)
    return spent / octets * c.snd_mss * 1e6 if segments else octets / spent / 1e6


def tcp_echo(seconds: float) -> float:
    """One octet there and back."""
    pair = Pair(offload=True)
    c, d = pair.open()
    c.options.nodelay = d.options.nodelay = True
    count = 0
    meter = Meter(seconds)
    while meter.on():
        for _ in range(50):
            c.write(b"x")
            pair.carry(pair.a, pair.b)
            d.write(d.read(1))
            pair.carry(pair.b, pair.a)
            assert c.read(1) == b"x"
            pair.now += 50 * MICROSECOND
        count += 50
    return count / meter.spent


def connections(seconds: float) -> float:
    """Open, a request of 64 octets, an answer of 64, close on both sides, TIME-WAIT to its end."""
    pair = Pair(offload=True)
    request = bytes(64)
    count = 0
    meter = Meter(seconds)
    while meter.on():
        for _ in range(10):
            c, d = pair.open()
            c.write(request)
            pair.exchange()
            d.write(d.read(100))
            d.close()
            pair.exchange()
            assert len(c.read(100)) == 64
            c.close()
            pair.settle()
        count += 10
    return count / meter.spent


def udp_echo(seconds: float, *, size: int) -> float:
    """A datagram there and back; above the MTU in fragments."""
    pair = Pair(offload=True)
    server = pair.b.udp.bind(ANY4, PORT)
    client = pair.a.udp.bind(ANY4, 0)
    client.connect(B, PORT)
    data = bytes(size)
    count = 0
    turns = 50 if size < 10_000 else 5
    meter = Meter(seconds)
    while meter.on():
        for _ in range(turns):
            client.send(data)
            pair.carry(pair.a, pair.b)
            item = server.recv()
            assert item is not None
            server.send(item[0], item[1], item[2])
            pair.carry(pair.b, pair.a)
            assert client.recv() is not None
        count += turns
    return count / meter.spent


def ping(seconds: float) -> float:
    """56 octets, answered by the stack itself."""
    pair = Pair(offload=True)
    pings = pair.a.icmp.open()
    count = 0
    meter = Meter(seconds)
    while meter.on():
        for number in range(50):
            pings.send(B, number, bytes(56))
            pair.exchange()
            assert pings.recv() is not None
        count += 50
    return count / meter.spent


def many(seconds: float, *, number: int) -> float:
    """Connections that take turns, 10,000 octets each time: what a table full of others costs."""
    pair = Pair(offload=True)
    ends = [pair.open() for _ in range(number)]
    data = bytes(10_000)
    octets = 0
    meter = Meter(seconds)
    while meter.on():
        for c, d in ends[:100]:
            c.write(data)
            pair.exchange()
            octets += d.discard(1 << 30)
        ends.append(ends.pop(0))
        pair.a.next_deadline()
        pair.b.next_deadline()
    return octets / meter.spent / 1e6


def mbps(name: str, what: str, run: partial[float]) -> Row:
    """Megabytes a second."""
    return Row(name, what, "MB/s", run)


ROWS: list[Row] = [
    Row(
        "segment.out", "a segment of 1,448 octets written and sent, its ACK taken", "us",
        partial(side, offload=False, sender=True, segments=True), less=True,
    ),
    Row(
        "segment.in", "a segment of 1,448 octets taken, acknowledged and read", "us",
        partial(side, offload=False, sender=False, segments=True), less=True,
    ),
    mbps("tcp.bulk-wire", "bulk, wire-size, finished checksums", partial(bulk, offload=False)),
    mbps("tcp.bulk-super", "bulk, super-segments, open checksums", partial(bulk, offload=True)),
    mbps("tcp.bulk-super-out", "  its sender alone", partial(side, offload=True, sender=True)),
    mbps("tcp.bulk-super-in", "  its receiver alone", partial(side, offload=True, sender=False)),
    mbps("tcp.bulk-loss", "bulk, wire-size, every 100th frame lost", partial(bulk, offload=False, loss=0.01)),
    mbps("tcp.many", "1,000 connections that take turns, 10,000 octets each", partial(many, number=1_000)),
    Row("tcp.echo", "one octet there and back", "1/s", tcp_echo),
    Row("tcp.connections", "opened, 64 octets each way, closed, TIME-WAIT over", "1/s", connections),
    Row("udp.pair-64", "UDP echo between two stacks, 64 octets", "1/s", partial(udp_echo, size=64)),
    Row("udp.pair-60000", "the same, 60,000 octets in 41 fragments", "1/s", partial(udp_echo, size=60_000)),
    Row("icmp.pair", "ping between two stacks, 56 octets", "1/s", ping),
]  # fmt: skip
