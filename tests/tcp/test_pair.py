"""Two TCP layers over a bad wire: the octets arrive whole, and nobody waits longer than the losses explain."""

from __future__ import annotations

from hashlib import sha256
from typing import Any

import pytest

from scapystack.layers.tcp.state import CLOSED, ESTABLISHED, TIME_WAIT
from tests.harness.octets import pattern
from tests.harness.tcp_pair import Pair

OPTIONS: list[dict[str, Any]] = [
    {"timestamps": t, "sack": s, "window_scaling": w}
    for t in (False, True)
    for s in (False, True)
    for w in (False, True)
]
LINKS = [{"mtu": mtu, "gso_max": gso} for mtu in (128, 576, 1500) for gso in (0, 64_000)]
SMALL = {"rcvbuf": 2_000, "sndbuf": 1_500}
LARGE = {"rcvbuf": 4_194_304, "sndbuf": 200_000}


@pytest.mark.parametrize("options", OPTIONS, ids=lambda o: "+".join(k for k, v in o.items() if v) or "plain")
@pytest.mark.parametrize("link", LINKS, ids=lambda o: f"{o['mtu']}-{o['gso_max']}")
def test_pair_good_wire_never_waits_for_more_than_a_delayed_ack(link: dict[str, Any], options: dict[str, Any]) -> None:
    """MUST-40: and nothing is sent twice."""
    pair = Pair(**link, **options, a=LARGE, b=SMALL)
    pair.transfer(12_000, 20_000)
    assert not pair.waited("rtx", "persist")
    assert max(pair.waited("delack"), default=0) <= 40
    assert pair.a.core.counters["tcp.retrans_segs"] == pair.b.core.counters["tcp.retrans_segs"] == 0


@pytest.mark.parametrize(
    "buffers", [(SMALL, SMALL), (SMALL, LARGE), (LARGE, SMALL), (LARGE, LARGE)], ids=["ss", "sl", "ls", "ll"]
)
@pytest.mark.parametrize("loss", [0.01, 0.05, 0.1, 0.2])
def test_pair_losses_cost_no_more_timeouts_than_there_were(loss: float, buffers: tuple[dict[str, int], ...]) -> None:
    """Every wait for a timer is the work of a segment lost before it."""
    for seed, options in enumerate(OPTIONS[:: 1 if loss < 0.2 else 3]):
        pair = Pair(seed=seed, loss=loss, **options, a=buffers[0], b=buffers[1], gso_max=64_000 * (seed & 1))
        pair.transfer(20_000, 12_000, limit_s=400)
        assert len(pair.waited("rtx", "persist")) <= pair.lost
        if not pair.lost:
            assert not pair.waited("rtx", "persist")


@pytest.mark.parametrize("seed", range(24))
def test_pair_all_faults_at_once_still_deliver_every_octet(seed: int) -> None:
    """Loss, duplicates, reordering; any MSS, buffers and options; writers and readers of every pace."""
    pair = Pair(
        seed=seed,
        loss=(0, 0.02, 0.1)[seed % 3],
        duplicate=0.05,
        reorder=(0.05, 0.3)[seed & 1],
        delay_ms=(0.1, 3, 40)[seed % 3],
        **LINKS[seed % 6],
        **OPTIONS[seed % 8],
        nodelay=bool(seed & 4),
        a=(SMALL, LARGE)[seed >> 1 & 1],
        b=(SMALL, LARGE)[seed & 1],
    )
    slow = {"read_every_ms": 5, "read_size": 700}
    pair.transfer(
        20_000,
        9_000,
        limit_s=400,
        a_app={"write_size": 1 + seed * 37},
        b_app=slow if seed & 2 else {"write_size": 5_000},
    )


def test_pair_reordering_alone_never_times_out() -> None:
    """Duplicate ACKs may resend too early; no timer has to run."""
    pair = Pair(seed=3, reorder=0.3, delay_ms=5)
    pair.transfer(60_000, 60_000)
    assert not pair.waited("rtx", "persist")


def test_pair_same_seed_same_octets() -> None:
    def run() -> tuple[str, int]:
        seen = sha256()
        pair = Pair(seed=9, loss=0.05, reorder=0.1, drop=lambda _, octets: bool(seen.update(octets)))
        pair.transfer(20_000, 20_000)
        return seen.hexdigest(), pair.now

    assert run() == run()


def test_pair_stalled_reader_then_reads_on() -> None:
    """MUST-36, MUST-37: zero-window probes keep the connection for as long as it takes."""
    pair = Pair(b={"rcvbuf": 4_000}, a={"r2_ms": 10_000})
    ca, cb = pair.open()
    ca.write(b"x" * 20_000)
    pair.a.poll()
    end = pair.now + 3_600_000_000_000
    pair.run(lambda: pair.now >= end, limit_s=4_000)
    assert ca.state == cb.state == ESTABLISHED
    assert 30 < pair.a.core.counters["tcp.window_probes"] < 60
    pair.b.enter()
    assert cb.read(4_000) == b"x" * 4_000
    pair.b.poll()
    got = 4_000

    def read_on() -> bool:
        nonlocal got
        pair.b.enter()
        got += len(cb.read(4_000))
        pair.b.poll()
        return got == 20_000

    before = pair.now
    pair.run(read_on, limit_s=5)
    assert pair.now - before < 300_000_000


def test_pair_window_update_lost_is_probed_for() -> None:
    """MUST-36: the only segment that could reopen the window does not arrive."""
    updates: list[int] = []

    def drop(_: int, octets: bytes) -> bool:
        empty = len(octets) == (octets[12] >> 4) * 4
        if empty and octets[14:16] != b"\0\0" and closed and not updates:
            updates.append(1)
            return True
        return False

    closed = False
    pair = Pair(drop=drop, timestamps=False, window_scaling=False, b={"rcvbuf": 3_000})
    ca, cb = pair.open()
    ca.write(b"x" * 6_000)
    pair.a.poll()
    pair.run(lambda: ca.snd_wnd == 0, limit_s=5)
    closed = True
    pair.b.enter()
    cb.read(6_000)
    pair.b.poll()
    assert updates
    pair.run(lambda: len(cb.recvq) == 3_000, limit_s=2)


@pytest.mark.parametrize("which", range(1, 9))
def test_pair_any_one_segment_of_open_and_close_lost(which: int) -> None:
    """MUST-22: SYN, SYN-ACK, ACK, and both FINs are sent again until they get through."""
    pair = Pair(drop=lambda n, _: n == which)
    one, two = pair.transfer(100, 100, limit_s=70)
    assert {one.c.state, two.c.state} <= {CLOSED, TIME_WAIT}
    assert sum(pair.waited("rtx")) <= 3_500


def test_pair_simultaneous_open_and_close() -> None:
    """MUST-10: both ends send SYN, and later FIN, at the same moment."""
    pair = Pair(seed=4)
    ends = []
    for host, other in ((pair.a, pair.b), (pair.b, pair.a)):
        host.enter()
        ends.append(host.tcp.connect(other.address, 7, local_port=7))
    pair.a.poll()
    pair.b.poll()
    pair.run(lambda: all(c.connected for c in ends), limit_s=1)
    one, two = pair.transfer(5_000, 5_000, ends=(ends[0], ends[1]))
    assert one.c.state == two.c.state == TIME_WAIT


@pytest.mark.parametrize("loss", [0.0, 0.1])
def test_pair_urgent_data_through_a_bad_wire(loss: float) -> None:
    """MUST-30, MUST-31: the mark stays where it was set, across super-segments and losses."""
    pair = Pair(seed=2, loss=loss, gso_max=64_000)
    ca, cb = pair.open()
    cb.options.oobinline = True
    pair.a.enter()
    ca.write(b"a" * 3_000)
    ca.write_urgent(b"u" * 100_000)
    ca.write(b"z" * 10_000)
    pair.a.poll()
    parts: list[tuple[bool, bytes]] = []

    def read() -> bool:
        pair.b.enter()
        while data := cb.read(1 << 20):
            parts.append((cb.urgent_left > 0 or cb.at_mark, data))
        pair.b.poll()
        return sum(len(data) for _, data in parts) == 113_000

    pair.run(read, limit_s=60)
    assert b"".join(data for _, data in parts) == b"a" * 3_000 + b"u" * 100_000 + b"z" * 10_000
    after = sum(len(data) for urgent, data in parts if not urgent)
    assert after <= 10_001 + 3_000  # urgent mode ends with the last urgent octet
    assert any(urgent for urgent, _ in parts)


@pytest.mark.parametrize("seed", range(16))
def test_pair_fast_open_delivers_every_octet_once(seed: int) -> None:
    """RFC 7413: over a bad wire, with a good cookie and with one that the server has forgotten."""
    pair = Pair(
        seed=seed,
        loss=(0, 0.05, 0.2)[seed % 3],
        duplicate=0.05,
        reorder=(0.05, 0.3)[seed & 1],
        fastopen=3,
        **LINKS[seed % 6],
        **OPTIONS[seed % 8],
        a=SMALL,
    )
    ends = pair.open_fast(pattern(1_000, 1), cookie=b"crumbled" if seed & 4 else None)
    assert ends[1].early != bool(seed & 4)
    pair.transfer(20_000, 9_000, limit_s=900, a_app={"sent": 1_000}, ends=ends)


def test_pair_fast_open_saves_a_round_trip() -> None:
    """RFC 7413 section 1: question and answer in one round trip and not two."""
    took = []
    for fast in (True, False):
        pair = Pair(delay_ms=50, fastopen=3 if fast else 0)
        began = pair.now
        _, cb = pair.open_fast(b"question")
        pair.run(lambda: cb.available == 8, limit_s=1)  # noqa: B023
        took.append((pair.now - began) // 1_000_000)
    assert took == [50, 150]
