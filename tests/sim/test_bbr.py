"""BBR over a bottleneck, as a whole stack runs it: pacing, recovery and rate samples together."""

from __future__ import annotations

import pytest

from tests.sim.bottleneck import Bottleneck

RATE = 2_500_000
LIMIT = RATE * 1_448 / 1_514
"""What a rate that counts frames leaves for octets."""


@pytest.mark.parametrize(("loss", "share"), [(0.0, 0.96), (0.01, 0.95), (0.05, 0.9)])
def test_bbr_over_20_mbit_and_50_ms_fills_the_path_and_leaves_the_queue_low(loss: float, share: float) -> None:
    path = Bottleneck("bbr", rate=RATE, delay_ms=25, queue_ms=200, loss=loss)
    path.run(1)
    before = path.flows[0].received
    path.run(3)
    info = path.sender.info()
    assert path.way.lost >= 2_000 * loss
    assert (path.flows[0].received - before) / 3 > share * LIMIT
    assert info.rtt < 60_000  # of 50.6 ms without a queue, and 250 with a full one
    assert path.drivers[0].stack.counters["tcp.timeouts"] == 0
    assert path.flows[0].intact


def test_bbr_with_a_short_queue_does_not_live_on_losses() -> None:
    path = Bottleneck("bbr", rate=RATE, delay_ms=25, queue_ms=10)
    path.run(2)
    lost, before = path.way.lost, path.flows[0].received
    path.run(2)
    assert (path.flows[0].received - before) / 2 > 0.93 * LIMIT
    assert path.way.lost - lost < 2 * RATE / 1_514 / 20  # a twentieth


def test_bbr_that_joins_another_gets_its_share() -> None:
    path = Bottleneck("bbr", rate=400_000, delay_ms=20, queue_ms=100)
    path.run(3)
    path.start("bbr")
    path.run(12)
    before = [flow.received for flow in path.flows]
    path.run(12)
    got = [(flow.received - was) / 12 for flow, was in zip(path.flows, before, strict=True)]
    assert sum(got) > 0.93 * 400_000 * 1_448 / 1_514
    assert min(got) > 0.3 * max(got)


def test_bbr_same_seed_same_octets_at_the_same_times() -> None:
    runs = []
    for _ in range(2):
        path = Bottleneck("bbr", rate=RATE, delay_ms=25, queue_ms=50, loss=0.02, jitter_ms=2, seed=3)
        path.run(1)
        runs.append(path.digest.hexdigest())
    assert runs[0] == runs[1]
