"""Two flows of one kind share a bottleneck evenly, though one comes later."""

from __future__ import annotations

import pytest

from tests.sim import fairness


def test_jains_index_is_one_for_equals_and_a_half_for_one_of_two() -> None:
    assert fairness.jain([3.0, 3.0]) == 1
    assert fairness.jain([3.0, 0.0]) == 0.5
    assert fairness.jain([4.0, 2.0]) == 0.9


@pytest.mark.parametrize("seed", [1, 2])
@pytest.mark.parametrize("name", ["cubic", "reno"])
def test_two_flows_share_a_bottleneck_evenly(name: str, seed: int) -> None:
    shares = fairness.shares(name, name, seed=seed, seconds=30)
    assert fairness.jain(shares) > 0.9
    assert sum(shares) > 0.85 * fairness.RATE
