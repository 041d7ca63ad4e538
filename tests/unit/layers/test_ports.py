"""Ephemeral ports (RFC 6056): random, in range, to the last one."""

from scapystack.base.rng import Rng
from scapystack.layers.ports import pick


def test_ports_pick_is_random_and_in_range():
    """6056."""
    rng = Rng(1)
    picks = [pick(rng, 40_000, 40_999, lambda port: False) for _ in range(200)]
    assert all(40_000 <= port <= 40_999 for port in picks)
    assert len(set(picks)) > 150
    assert picks != sorted(picks)


def test_ports_pick_finds_the_last_free_one():
    assert pick(Rng(2), 1_000, 9_999, lambda port: port != 7_777) == 7_777


def test_ports_pick_from_a_full_range_is_none():
    assert pick(Rng(3), 1_000, 1_100, lambda port: True) is None
    assert pick(Rng(3), 5, 4, lambda port: False) is None


def test_ports_pick_of_the_same_seed_is_the_same():
    a, b = Rng(b"seed"), Rng(b"seed")
    assert [pick(a, 1, 65_535, lambda p: False) for _ in range(9)] == [
        pick(b, 1, 65_535, lambda p: False) for _ in range(9)
    ]
