"""Bursts and departure times of a paced sender."""

import pytest

from scapystack.base.types import MILLISECOND, SECOND
from scapystack.layers.tcp.pacing import MAX_BURST, Pacer, burst_size

MSS = 1448


@pytest.mark.parametrize(
    ("rate", "segments"),
    [(1, 1), (149_999, 1), (150_000, 2), (2_500_000, 2), (5_000_000, 3), (60_000_000, 40), (10**10, 45)],
)
def test_burst_is_a_millisecond_of_whole_segments_within_bounds(rate, segments):
    assert burst_size(rate, MSS) == segments * MSS <= MAX_BURST


def test_burst_of_very_large_segments_is_at_least_two():
    assert burst_size(10**9, 40_000) == 80_000


def test_first_burst_leaves_at_once_and_the_next_when_its_time_is_up():
    pacer = Pacer()
    now = 5 * SECOND
    assert pacer.next_at <= now
    pacer.sent(1_000, 1_000_000, 1_000, now)
    # nothing was sent for long: a burst's worth of credit is all that is left of that
    assert pacer.next_at == now
    pacer.sent(1_000, 1_000_000, 1_000, now)
    assert pacer.next_at == now + MILLISECOND
    pacer.sent(2_500, 1_000_000, 1_000, now + MILLISECOND)
    assert pacer.next_at == now + MILLISECOND + 2_500_000


def test_late_timer_loses_nothing_of_the_rate():
    """Each departure a third of an interval late: a thousand bursts take the time of a thousand."""
    pacer = Pacer()
    now = 0
    for _ in range(1_000):
        now = max(now, pacer.next_at) + 333_000
        pacer.sent(1_000, 1_000_000, 1_000, now)
    assert 999 * MILLISECOND <= now <= 1_001 * MILLISECOND


def test_pause_gives_no_more_than_two_bursts_back_to_back():
    pacer = Pacer()
    pacer.sent(1_000, 1_000_000, 1_000, SECOND)
    now = 60 * SECOND
    left = 0
    while pacer.next_at <= now:
        pacer.sent(1_000, 1_000_000, 1_000, now)
        left += 1
    assert left == 2
