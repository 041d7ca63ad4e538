"""Sequence arithmetic against plain integers: whatever lies within half the space compares as they do."""

from hypothesis import given
from hypothesis import strategies as st

from scapystack.base.seq import (
    HALF,
    MASK,
    seq_add,
    seq_between,
    seq_ge,
    seq_gt,
    seq_le,
    seq_lt,
    seq_max,
    seq_sub,
)

EDGES = st.sampled_from([0, 1, HALF - 1, HALF, HALF + 1, MASK - 1, MASK])
NUMBER = st.one_of(EDGES, st.integers(0, MASK))
STEP = st.one_of(st.sampled_from([0, 1, -1, HALF - 1, 1 - HALF]), st.integers(1 - HALF, HALF - 1))


@given(NUMBER, STEP)
def test_comparison_agrees_with_the_sign_of_the_step(a, step):
    b = seq_add(a, step)
    assert seq_lt(a, b) == (step > 0) == seq_gt(b, a)
    assert seq_le(a, b) == (step >= 0) == seq_ge(b, a)
    assert seq_gt(a, b) == (step < 0)
    assert seq_ge(a, b) == (step <= 0)
    assert seq_max(a, b) == (b if step > 0 else a)


@given(NUMBER, STEP)
def test_difference_undoes_the_sum(a, step):
    b = seq_add(a, step)
    assert 0 <= b <= MASK
    assert seq_sub(b, a) == step
    assert seq_add(b, -step) == a


@given(NUMBER, st.integers(0, 1 << 30), STEP)
def test_between_agrees_with_offsets_from_the_low_end(low, width, step):
    assert seq_between(low, seq_add(low, step), seq_add(low, width)) == (0 <= step < width)


@given(NUMBER, NUMBER, STEP)
def test_comparison_does_not_hang_on_where_the_space_begins(a, shift, step):
    b = seq_add(a, step)
    assert seq_lt(a, b) == seq_lt(seq_add(a, shift), seq_add(b, shift))
