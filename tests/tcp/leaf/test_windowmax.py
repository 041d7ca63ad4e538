"""The greatest value of the last rounds, beside what `max` says."""

from scapystack.base.rng import Rng
from scapystack.layers.tcp.congestion.windowmax import WindowMax


def test_best_of_nothing_is_zero():
    assert WindowMax(10).best == 0


def test_value_counts_for_the_window_and_no_longer():
    held = WindowMax(3)
    held.add(9, 0)
    for at, best in ((1, 9), (2, 9), (3, 5), (4, 5)):
        held.add(5, at)
        assert held.best == best


def test_smaller_value_takes_over_when_the_greater_expires():
    held = WindowMax(3)
    for at, value in enumerate((9, 7, 5, 3)):
        held.add(value, at)
    assert held.best == 7


def test_gap_longer_than_the_window_forgets_all():
    held = WindowMax(10)
    held.add(9, 0)
    held.add(1, 50)
    assert held.best == 1


def test_any_values_give_what_max_gives():
    rng = Rng(7)
    held = WindowMax(10)
    seen = []
    at = 0
    for _ in range(3_000):
        at += rng.below(3)
        value = rng.below(1_000)
        seen.append((at, value))
        held.add(value, at)
        assert held.best == max(v for a, v in seen[-60:] if a > at - 10)
        assert len(held._kept) <= 10
