"""`RangeSet` against a set of integers: any additions and cuts, in any order."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from scapystack.layers.tcp.ranges import RangeSet

RANGES = st.tuples(st.integers(0, 60), st.integers(1, 25)).map(lambda r: (r[0], r[0] + r[1]))
STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("add"), RANGES),
        st.tuples(st.just("overlap"), RANGES),
        st.tuples(st.just("touches"), RANGES),
        st.tuples(st.just("cut"), st.integers(0, 70)),
        st.tuples(st.just("clear"), st.none()),
    ),
    max_size=40,
)


def spans(numbers: set[int]) -> list[tuple[int, int]]:
    """The maximal ranges that a set of integers makes up."""
    out: list[tuple[int, int]] = []
    for n in sorted(numbers):
        if out and out[-1][1] == n:
            out[-1] = (out[-1][0], n + 1)
        else:
            out.append((n, n + 1))
    return out


def of(*ranges: tuple[int, int]) -> RangeSet:
    out = RangeSet()
    for left, right in ranges:
        out.add(left, right)
    return out


@given(STEPS)
def test_any_steps_agree_with_a_set_of_integers(steps):
    ranges = RangeSet()
    model: set[int] = set()
    for name, value in steps:
        if name == "add":
            asked = set(range(*value))
            assert ranges.add(*value) == spans(asked - model)
            model |= asked
        elif name == "overlap":
            assert ranges.overlap(*value) == len(model.intersection(range(*value)))
        elif name == "touches":
            assert ranges.touches(*value) == bool(model.intersection(range(value[0] - 1, value[1] + 1)))
        elif name == "cut":
            gone = {n for n in model if n < value}
            assert ranges.cut(value) == len(gone)
            model -= gone
        else:
            ranges.clear()
            model.clear()
        assert list(zip(ranges.lefts, ranges.rights, strict=True)) == spans(model)
        assert ranges.size == len(model)
        assert len(ranges) == len(spans(model))
        assert all((n in ranges) == (n in model) for n in range(90))


def test_block_that_grew_gives_what_is_new_alone():
    """What a receiver does with each ACK: the same block, a little longer."""
    ranges = of((10, 20))
    assert ranges.add(10, 20) == []
    assert ranges.add(10, 25) == [(20, 25)]
    assert ranges.add(5, 25) == [(5, 10)]
    assert (ranges.lefts, ranges.rights, ranges.size) == ([5], [25], 20)


def test_block_over_holes_gives_each_hole_and_joins_what_it_touches():
    ranges = of((10, 20), (30, 40), (50, 60))
    assert ranges.add(20, 50) == [(20, 30), (40, 50)]
    assert (ranges.lefts, ranges.rights, ranges.size) == ([10], [60], 50)


def test_numbers_beyond_32_bits_are_plain_integers():
    ranges = of(((1 << 32) - 5, (1 << 32) + 5))
    assert 1 << 32 in ranges
    assert ranges.cut(1 << 32) == 5
    assert ranges.lefts == [1 << 32]
