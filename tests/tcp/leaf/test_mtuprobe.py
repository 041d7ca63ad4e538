"""The search for the path MTU by probes, against paths that carry so much and no more (RFC 4821 section 7)."""

from __future__ import annotations

import random

import pytest

from scapystack.layers.tcp.mtuprobe import CLOSE, UNKNOWN, MtuProbe

MINUTES_10 = 600
WAIT = 5


def search(probe: MtuProbe, carries: int, *, limit: int = 1500, now: int = 0, loss: float = 0.0, seed: int = 1) -> int:
    """Probe until the search is over; how many probes it took."""
    rng = random.Random(seed)
    sent = 0
    while size := probe.next_size(limit, now):
        sent += 1
        assert probe.low < size <= limit
        assert sent < 100
        probe.sent(size, 0, 1)
        assert not probe.next_size(limit, now), "one at a time"
        if size > carries or rng.random() < loss:
            probe.lost(now, WAIT, MINUTES_10)
            now += WAIT
        else:
            probe.passed(now, MINUTES_10)
    return sent


def test_probe_of_the_whole_size_is_enough_where_nothing_is_wrong() -> None:
    """4821/7."""
    probe = MtuProbe(1064)
    assert search(probe, 1500) == 1
    assert probe.low == 1500


def test_search_asks_for_sizes_that_paths_have() -> None:
    """4821/7: section 7.3: from below, for only what is lost costs anything."""
    probe = MtuProbe(1064)
    asked = []
    while size := probe.next_size(1500, 0):
        asked.append(size)
        probe.sent(size, 0, 1)
        if size > 1420:
            probe.lost(0, 0, MINUTES_10)
        else:
            probe.passed(0, MINUTES_10)
    assert asked == [1500, 1500, 1280, 1400, 1420, 1450, 1450, 1435, 1435, 1427, 1427]
    assert probe.low == 1420


@pytest.mark.parametrize("carries", [1064, 1065, 1071, 1072, 1280, 1400, 1420, 1476, 1480, 1492, 1499])
def test_search_ends_within_eight_octets(carries: int) -> None:
    """4821/7, 8899/5: section 7.3: converged, and after few probes."""
    probe = MtuProbe(1064)
    assert search(probe, carries) <= 2 * 7
    assert carries - CLOSE < probe.low <= carries


def test_search_of_large_frames() -> None:
    """4821/7: from 1,064 to 9,000 in no more than 14 sizes, two probes for each that does not pass."""
    for carries in range(1064, 9001, 331):
        probe = MtuProbe(1064)
        assert search(probe, carries, limit=9000) <= 2 * 14
        assert carries - CLOSE < probe.low <= carries


def test_search_is_not_misled_by_a_probe_lost_at_random() -> None:
    """4821/7: a size is too large when two of it were lost."""
    found = []
    for seed in range(200):
        probe = MtuProbe(1064)
        search(probe, 1500, loss=0.05, seed=seed)
        found.append(probe.low)
    assert sum(size < 1500 - CLOSE for size in found) <= 3  # one in 400 is expected


def test_search_begins_again_after_its_interval() -> None:
    """4821/7: section 7.3: it asks for the most again, so that a path that has grown is used."""
    probe = MtuProbe(1064)
    search(probe, 1400)
    over = probe.again_at
    assert probe.next_size(1500, over - 1) == 0
    assert probe.next_size(1500, over) == 1500
    assert search(probe, 1500, now=over) == 1
    assert probe.low == 1500


def test_search_waits_after_a_lost_probe() -> None:
    """4821/7: section 7.6.2."""
    probe = MtuProbe(1064)
    probe.sent(1500, 0, 1)
    assert not probe.lost(100, 30, MINUTES_10)
    assert (probe.next_size(1500, 129), probe.next_size(1500, 130)) == (0, 1500)


def test_probe_lost_among_others_says_nothing() -> None:
    """4821/7: section 7.6.4: the same size again, as if nobody had asked."""
    probe = MtuProbe(1064)
    for now in range(0, 100, 10):
        probe.sent(1500, 0, 1)
        probe.inconclusive(now, 10)
    assert probe.next_size(1500, 100) == 1500
    assert (probe.losses, probe.high) == (0, UNKNOWN)


def test_black_hole_falls_to_the_base_then_by_half_to_the_floor() -> None:
    """4821/7: section 7.7."""
    probe = MtuProbe(9000)
    sizes = []
    for _ in range(4):
        probe.fall(1064, 300, 0)
        sizes.append(probe.low)
    assert sizes == [1064, 532, 300, 300]


def test_black_hole_that_was_none_is_left_with_one_probe() -> None:
    """4821/7: after an outage, say."""
    probe = MtuProbe(1500)
    probe.fall(1064, 552, 7)
    probe.fall(1064, 552, 7)
    assert search(probe, 1500, now=7) == 1
    assert probe.low == 1500


def test_black_hole_counts_for_one_lost_probe() -> None:
    """4821/7: another one says that the size is too large indeed."""
    probe = MtuProbe(1500)
    probe.fall(1064, 552, 0)
    probe.sent(1500, 0, 1)
    probe.lost(0, WAIT, MINUTES_10)
    assert probe.high == 1499
    assert probe.next_size(1500, WAIT) == 1280


def test_limit_that_falls_ends_the_search_and_one_that_grows_goes_on() -> None:
    """ICMP has told more in the meantime, or has been forgotten."""
    probe = MtuProbe(1064)
    assert probe.next_size(1200, 0) == 1200
    assert probe.next_size(1070, 0) == 0
    search(probe, 1500, limit=1200)
    assert (probe.next_size(1200, 0), probe.next_size(1500, 0)) == (0, 1500)
