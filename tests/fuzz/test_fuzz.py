"""Nothing from the wire raises: mutated and crafted frames into a stack with everything open on it.

Every round is a world of its own that follows from its seed. Each exception, whatever Python raises, is a
failure, and so is a broken invariant, an unsound frame that leaves, and a harmed connection beside.
`SCAPYSTACK_FUZZ_SECONDS=600 pytest tests/fuzz` goes on with new seeds for that long.
"""

from __future__ import annotations

import os
import time
from collections import Counter
from collections.abc import Iterator

import pytest

from scapystack.base.counternames import MEANINGS
from scapystack.base.frames import CSUM_NONE, CSUM_PARTIAL, CSUM_VALID, Frame
from scapystack.describe import describe
from scapystack.layers.tcp.state import ESTABLISHED, LISTEN, STATE_NAMES
from tests.fuzz.craft import Crafter
from tests.fuzz.octets import L3, Mutator, repaired
from tests.fuzz.world import World
from tests.harness.net import DELAY
from tests.harness.tcp_invariants import check

SECONDS = float(os.environ.get("SCAPYSTACK_FUZZ_SECONDS", "0"))
WAITS_MS = (0, 0, 0, 1, 1, 2, 5, 40, 250, 1_100, 5_000, 61_000)


class Fuzzer:
    """One round: a world, and what is done to it step by step."""

    def __init__(self, seed: int, codec: str = "compiled") -> None:
        self.seed = seed
        self.world = World(seed, codec)
        self.random = self.world.random
        self.mutator = Mutator(self.random)
        self.crafter = Crafter(self.world)
        self.last = b""
        self.step = 0

    def run(self, steps: int) -> World:
        """So many steps; then the friend's connection must work, and the target come to rest."""
        world = self.world
        try:
            world.friend_talks()
            world.mutate = self._wire
            for self.step in range(steps):
                self._step()
                if self.step % 20 == 0:
                    self._check()
            world.mutate = None
            world.net.run(limit_ms=200_000)
            world.friend_talks()
        except BaseException as error:
            error.add_note(f"seed {self.seed}, step {self.step}, last frame {self.last.hex()}")
            raise
        return world

    def _check(self) -> None:
        for host in self.world.net.hosts:
            self.world.net.enter(host)
            self.world.net.collect(host)
            check(host.stack.tcp)

    def _step(self) -> None:
        draw = self.random.random()
        if draw < 0.35:
            for frame in self.crafter.frames():
                self._inject(frame if self.random.random() < 0.9 else self.mutator.mutated(frame))
        elif draw < 0.6 and self.world.heard:
            frame = self.random.choice(self.world.heard)
            self._inject(self.mutator.mutated(frame, self.random.choice(self.world.heard)))
        elif draw < 0.63:
            self._inject(self.random.randbytes(self.random.choice((0, 1, 13, 14, 15, 33, 34, 60, 1_514))))
        elif draw < 0.64:
            self._both_close()
        else:
            apps = self.random.choice(self.world.apps)
            self.world.net.enter(apps.host)
            apps.act()
        if self.random.random() < 0.5:
            self.world.net.run(limit_ms=self.random.choice(WAITS_MS))
        elif self.random.random() < 0.5:
            self.world.net.collect(self.world.target)

    def _both_close(self) -> None:
        """Ends of one connection that close at the same time: the rare way through CLOSING."""
        others = self.world.peer.stack.tcp.connections
        for c in self.world.strangers():
            other = others.get((c.remote_addr, c.remote_port, c.local_addr, c.local_port))
            if other is not None and c.state == other.state == ESTABLISHED:
                for host, end in ((self.world.target, c), (self.world.peer, other)):
                    self.world.net.enter(host)
                    end.shutdown_write()
                return

    def _inject(self, octets: bytes) -> None:
        """Into the target at once, with what a link with offload might say of it, by either interface."""
        self.last = octets
        draw = self.random
        target = self.world.target
        frame = Frame(octets, (), target.iface if draw.random() < 0.9 else self.world.far)
        if draw.random() < 0.2 and octets[23:24] != b"\1":  # the kernel leaves no ICMP checksum open
            frame.csum = draw.choice((CSUM_NONE, CSUM_PARTIAL, CSUM_VALID))
            frame.csum_start = draw.choice((34, 34, 38, 0, 1_000))
            frame.csum_offset = draw.choice((16, 6, 2, 0))
            frame.gso_size = draw.choice((0, 0, 1, 88, 536, 1_448, 65_535))
        target.stack.receive(frame, self.world.net.now)
        if draw.random() < 0.002:
            assert frame.packet is not None
            assert describe(frame)

    def _wire(self, frame: Frame) -> list[tuple[int, Frame]]:
        """What becomes of a frame of the peer: often nothing bad, so that conversations go on."""
        draw = self.random.random()
        if draw < 0.6:
            return [(DELAY, frame)]
        if draw < 0.7:
            return []
        if draw < 0.8:
            return [(DELAY, frame), (self.random.choice((1, 3, 500)) * DELAY, frame)]
        if draw < 0.9:
            return [(self.random.choice((3, 10, 300)) * DELAY, frame)]
        self.last = self.mutator.mutated(frame.data)
        return [(DELAY, Frame(self.last, (), None, frame.csum, gso_size=frame.gso_size))]


@pytest.mark.parametrize("seed", range(6))
def test_any_frames_nothing_raises_and_the_connection_beside_lives(seed: int) -> None:
    Fuzzer(seed).run(700)


@pytest.mark.parametrize("seed", [100, 101])
def test_any_frames_in_paranoid_mode_nothing_raises(seed: int) -> None:
    Fuzzer(seed, "paranoid").run(60)


def test_any_frames_reach_deep_and_nothing_raises() -> None:
    """A fuzzer that is stopped at the first check finds nothing: DEEP is only counted far inside."""
    counters: Counter[str] = Counter()
    states: set[int] = set()
    for seed in seeds(20):
        fuzzer = Fuzzer(seed, "paranoid" if seed % 50 == 49 else "compiled")
        fuzzer.world.target.stack.tcp.observers.append(lambda c, old, new: states.add(new))
        counters.update(fuzzer.run(700).target.stack.counters)
    assert not [name for name in DEEP if counters[name] == 0]
    assert set(counters) <= set(MEANINGS)
    assert states == set(range(len(STATE_NAMES))) - {LISTEN}


def seeds(least: int) -> Iterator[int]:
    """The same ones every time; if it was asked for, new ones behind them until the time is over."""
    yield from range(1_000, 1_000 + least)
    end = time.monotonic() + SECONDS if SECONDS else 0
    while end and time.monotonic() < end:
        yield time.time_ns()


DEEP = (
    "tcp.challenge_acks", "tcp.out_of_order", "tcp.resets_received", "tcp.drop.paws", "tcp.drop.ack_too_new",
    "tcp.passive_opens", "tcp.active_opens", "tcp.retrans_segs", "tcp.trimmed", "icmp.in.error", "icmp.out.error",
    "ip.reassembly.ok", "ip.reassembly.failed", "ip.forwarded", "ip.drop.fragment_overlap", "arp.conflict",
    "udp.drop.no_port",
)  # fmt: skip


def test_mutator_repairs_what_it_says() -> None:
    """A frame that was right stays as it is when it is mended."""
    world = World(3)
    world.friend_talks()
    frames = [frame for frame in world.said if frame[12:14] == b"\x08\0"]
    assert frames
    for frame in frames:
        broken = bytearray(frame)
        broken[L3 + 10] ^= 0xFF
        broken[L3 + 2] ^= 0x55
        assert repaired(bytes(broken)) == frame
