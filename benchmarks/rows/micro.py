"""Single pieces of the stack: codec, checksum, cutting and joining, demux, timers, reassembly, the memory link."""

from __future__ import annotations

import random
from collections.abc import Callable

from benchmarks import codec, feed, memory
from benchmarks.row import Row, microseconds
from scapystack.base.checksum import checksum
from scapystack.base.frames import CSUM_PARTIAL, Frame
from scapystack.base.offload import split
from scapystack.base.segment import ACK
from scapystack.base.timers import TimerHeap
from scapystack.base.types import MILLISECOND, SECOND, Nanoseconds
from scapystack.layers.tcp.options import encode_timestamps
from scapystack.layers.tcp.reassembly import Reassembly
from scapystack.link.memory import MemoryLink

MSS = 1448
Once = Callable[[], object]


def checksumming(size: int) -> Callable[[], Once]:
    """The Internet checksum of so many octets."""
    data = random.Random(1).randbytes(size)
    return lambda: lambda: checksum(data)


def super_segment() -> Frame:
    """44 segments in one frame, as TCP makes them."""
    segment = feed.tcp(5_000, 80, 1, 1, ACK, data=bytes(44 * MSS))
    data = feed.ipv4(feed.TCP, segment)
    return Frame(data[:54], (data[54:],), None, CSUM_PARTIAL, 34, 16, MSS)


def cutting() -> Once:
    """Cut and finish."""
    frame = super_segment()
    return lambda: split(frame)


def joining() -> Once:
    """The other way round."""
    from scapystack.base.coalesce import coalesce  # noqa: PLC0415 - there was none once, and old commits are measured

    frames = split(super_segment())

    def once() -> None:
        joined = coalesce([Frame(frame.data, (), None) for frame in frames])
        assert len(joined) == 1

    return once


def demux(known: bool) -> Callable[[], Once]:
    """A segment that changes nothing, to one of 1,000 connections in turn; or to none of them."""

    def make() -> Once:
        host = memory.Host(1_000)
        ends = [host.fresh(1_024 + n) for n in range(1_000)]
        options = encode_timestamps(host.now // MILLISECOND, 0)
        port = memory.PORT if known else 9
        frames = [feed.ipv4(feed.TCP, feed.tcp(c.remote_port, port, 1, c.snd_nxt, ACK, options)) for c in ends]
        at = 0

        def once() -> None:
            nonlocal at
            host.net.receive(feed.frame(frames[at], host.iface), host.now)
            at = (at + 1) % 1_000

        return once

    return make


class Ticker:
    """Something with one deadline that moves on whenever it is due."""

    __slots__ = ("at", "heap_at", "step")

    def __init__(self, step: int) -> None:
        self.heap_at: Nanoseconds | None = None
        self.at = self.step = step

    def next_at(self) -> Nanoseconds:
        """When it is due."""
        return self.at

    def expire(self, now: Nanoseconds) -> None:
        """Move on."""
        self.at = now + self.step


def tickers() -> tuple[TimerHeap, list[Ticker]]:
    """10,000 owners with a deadline each."""
    heap = TimerHeap()
    owners = [Ticker(1_000_000 + n * 97) for n in range(10_000)]
    for owner in owners:
        heap.arm(owner, owner.at)
    return heap, owners


def firing() -> Once:
    """Every deadline passes."""
    heap, owners = tickers()
    now = 0

    def once() -> None:
        nonlocal now
        now += 2_000_000
        assert heap.expire(now) == len(owners)

    return once


def putting_off() -> Once:
    """Deadlines are put off before they come, as RTOs are."""
    heap, owners = tickers()
    now = 0

    def once() -> None:
        nonlocal now
        now += 1_000
        for owner in owners[:500]:
            owner.at = now + 10 * SECOND
            heap.arm(owner, owner.at)
            heap.next_deadline()

    return once


def behind_a_gap(order: Callable[[list[int]], list[int]]) -> Callable[[], Once]:
    """256 segments behind a gap, then the one that fills it."""
    numbers = order(list(range(1, 257)))
    data = bytes(MSS)

    def make() -> Once:
        def once() -> None:
            held = Reassembly(4_096)
            for n in numbers:
                held.insert(n * MSS, data, 0)
                held.blocks(3)
            assert len(held.pop(MSS)) == 256

        return once

    return make


def shuffled(numbers: list[int]) -> list[int]:
    """In any order."""
    return random.Random(1).sample(numbers, len(numbers))


def memory_link() -> Once:
    """64 frames of an MTU through a memory link."""
    one, two = MemoryLink.pair()
    frames = [Frame(bytes(1514))] * 64

    def once() -> None:
        one.write(frames)
        assert len(two.read(64)) == 64

    return once


ROWS: list[Row] = [
    microseconds(
        "codec.dissect",
        "Ether/IP/TCP, 1,448 octets: every field, both checksums",
        lambda: lambda: codec.CODEC.dissect(codec.DATA),
    ),
    microseconds("codec.dissect-scapy", "  the same by Scapy alone", lambda: codec.scapy_dissect),
    microseconds(
        "codec.build", "Ether/IP/TCP, 1,448 octets: from values, both checksums", lambda: codec.compiled_build
    ),
    microseconds("codec.build-scapy", "  the same by Scapy alone", lambda: codec.scapy_build),
    microseconds("checksum.1448", "Internet checksum of 1,448 octets", checksumming(MSS)),
    microseconds("checksum.64k", "Internet checksum of 65,536 octets", checksumming(65_536)),
    microseconds("frames.cut", "a super-segment cut into 44, a segment", cutting, 44),
    microseconds("frames.join", "44 segments joined, a segment", joining, 44),
    microseconds("demux.connection", "an ACK that says nothing new, to one of 1,000 connections", demux(True)),
    microseconds("demux.nobody", "the same to no connection, beside 1,000", demux(False)),
    microseconds("timers.fire", "10,000 owners: one that is due acts, and is armed anew", firing, 10_000),
    microseconds("timers.put-off", "10,000 owners: a deadline put off before it comes", putting_off, 500),
    microseconds("reassembly.run", "a segment behind one gap, SACK blocks asked for", behind_a_gap(list), 257),
    microseconds("reassembly.shuffled", "a segment of 256 in any order, the same", behind_a_gap(shuffled), 257),
    microseconds("link.memory", "a frame of 1,514 octets through a memory link", memory_link, 64),
]
