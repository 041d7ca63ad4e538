"""Sequence arithmetic at its edges, by example (RFC 9293 section 3.4)."""

import pytest

from scapystack.base.seq import (
    seq_add,
    seq_between,
    seq_ge,
    seq_gt,
    seq_le,
    seq_lt,
    seq_max,
    seq_sub,
)

TOP = 0xFFFFFFFF


@pytest.mark.parametrize(
    ("early", "late"), [(0, 1), (TOP, 0), (TOP - 10, 10), (0x7FFFFFFF, 0x80000000), (5, 5 + 0x7FFFFFFF)]
)
def test_comparison_across_every_edge(early, late):
    assert seq_lt(early, late)
    assert seq_le(early, late)
    assert seq_gt(late, early)
    assert seq_ge(late, early)
    assert not seq_lt(late, early)
    assert not seq_le(late, early)
    assert not seq_gt(early, late)
    assert not seq_ge(early, late)
    assert seq_max(early, late) == seq_max(late, early) == late


@pytest.mark.parametrize("n", [0, 1, 0x80000000, TOP])
def test_number_is_neither_before_nor_after_itself(n):
    assert seq_le(n, n)
    assert seq_ge(n, n)
    assert not seq_lt(n, n)
    assert not seq_gt(n, n)
    assert seq_max(n, n) == n


def test_sum_wraps_both_ways():
    assert seq_add(TOP, 1) == 0
    assert seq_add(0, -1) == TOP
    assert seq_add(TOP - 1, 1460) == 1458


def test_difference_is_signed():
    assert seq_sub(5, TOP) == 6
    assert seq_sub(TOP, 5) == -6
    assert seq_sub(0x80000000, 0) == -0x80000000


@pytest.mark.parametrize(
    ("low", "x", "high", "expected"),
    [
        (10, 10, 20, True),
        (10, 19, 20, True),
        (10, 20, 20, False),
        (10, 9, 20, False),
        (TOP, 3, 5, True),
        (7, 7, 7, False),
    ],
)
def test_between_holds_its_low_end_and_not_its_high_one(low, x, high, expected):
    assert seq_between(low, x, high) is expected
