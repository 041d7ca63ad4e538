"""CUBIC and Reno over a bottleneck in virtual time: sane, the same each time, and HyStart++ before the loss."""

from __future__ import annotations

import pytest

from scapystack.layers.tcp.congestion import INFINITE_SSTHRESH
from tests.sim.bottleneck import Bottleneck

RATE = 500_000


@pytest.mark.parametrize("name", ["cubic", "reno"])
def test_bulk_over_a_bottleneck_uses_most_of_it(name: str) -> None:
    path = Bottleneck(name, rate=RATE, delay_ms=20, queue_ms=60)
    path.run(6)
    assert path.sender.info().congestion == name
    assert 0.75 * RATE < path.goodput < RATE
    assert path.way.lost > 0  # the algorithm has found the limit


def test_same_seed_same_octets_at_the_same_times() -> None:
    runs = []
    for seed in (3, 3, 4):
        path = Bottleneck("cubic", rate=RATE, delay_ms=20, queue_ms=60, loss=0.01, jitter_ms=2, seed=seed)
        path.run(3)
        assert path.way.lost > 3
        runs.append(path.digest.hexdigest())
    assert runs[0] == runs[1] != runs[2]


def test_first_slow_start_on_a_deep_queue_ends_before_anything_is_lost() -> None:
    """RFC 9406: timestamps give a sample with each ACK, and the round trip has grown."""
    path = Bottleneck("cubic", rate=RATE, delay_ms=50, queue_ms=2_000)
    path.run(5)
    info = path.sender.info()
    assert path.way.lost == 0
    assert 2 * RATE // 10 < info.snd_ssthresh_bytes < 2 * RATE < INFINITE_SSTHRESH
    assert path.goodput > 0.8 * RATE


def test_first_slow_start_without_a_queue_goes_on() -> None:
    """RFC 9406: where the round trip stays, the window doubles on."""
    path = Bottleneck("cubic", rate=0, delay_ms=50, queue_ms=0)
    path.run(0.95)
    assert path.sender.info().snd_ssthresh == INFINITE_SSTHRESH
    assert path.sender.cc.cwnd > 1_000_000


def test_loss_right_after_a_long_recovery_takes_the_window_down() -> None:
    """5681/3.2-b: many windows were SACKed behind the last hole, and none of them is in flight."""
    path = Bottleneck("reno", rate=2_500_000, delay_ms=25, queue_ms=100, reorder=0.03)
    path.run(0.9)
    first = path.sender.cc.ssthresh
    assert 300_000 < first < 400_000  # half of what the path and its queue have taken, and slow start's last round
    path.run(3)
    assert path.sender.cc.ssthresh <= first
    assert path.way.lost < 400
