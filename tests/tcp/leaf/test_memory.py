"""The level that many are cut down to: fair, and within the room."""

from hypothesis import given
from hypothesis import strategies as st

from scapystack.layers.tcp.memory import level


def test_level_takes_from_those_who_have_most():
    assert level([10, 20, 1000, 2000], 500) == 235
    assert level([100, 100, 100], 150) == 50
    assert level([7], 0) == 0


def test_level_of_what_fits_takes_from_nobody():
    assert level([10, 20, 30], 60) == 30
    assert level([], 60) == 0


@given(st.lists(st.integers(0, 10_000), max_size=50), st.integers(0, 100_000))
def test_level_is_the_highest_that_fits(sizes, room):
    cut = level(sizes, room)
    assert sum(min(size, cut) for size in sizes) <= room
    if any(size > cut for size in sizes):
        assert sum(min(size, cut + 1) for size in sizes) > room
