"""Bursts and departure times of a paced sender."""

import pytest

from scapystack.base.types import SECOND
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


def send_a_burst(pacer, now, octets=None):
    """At a million octets a second, in segments of 100: a burst is 900."""
    assert pacer.open(1_000_000, 100, now)
    sent = pacer.left if octets is None else octets
    pacer.sent(sent)
    return sent


def test_first_burst_leaves_at_once_and_the_next_when_its_time_is_up():
    pacer = Pacer()
    now = 5 * SECOND
    assert send_a_burst(pacer, now) == 1_800  # a burst's worth of credit is all that is left of a long silence
    assert pacer.next_at == now + 900_000
    assert not pacer.open(1_000_000, 100, now + 899_999)
    now += 900_000
    assert send_a_burst(pacer, now) == 900
    assert pacer.next_at == now + 900_000


def test_part_of_a_burst_moves_the_next_by_as_much():
    pacer = Pacer()
    send_a_burst(pacer, SECOND)
    at = pacer.next_at
    send_a_burst(pacer, at, 300)
    assert pacer.left == 600
    assert pacer.next_at == at + 300_000


def test_probe_outside_of_a_burst_counts():
    pacer = Pacer()
    send_a_burst(pacer, SECOND)
    at = pacer.next_at
    pacer.sent(100)
    assert pacer.next_at == at + 100_000


def test_late_timer_loses_nothing_of_the_rate():
    """Each departure half a burst late: a thousand milliseconds carry a million octets."""
    pacer = Pacer()
    send_a_burst(pacer, SECOND)
    start = now = pacer.next_at
    sent = 0
    while now < start + SECOND:
        now = max(now, pacer.next_at) + 450_000
        sent += send_a_burst(pacer, now)
    assert 0.999 < sent * SECOND / ((pacer.next_at - start) * 1_000_000) <= 1.0
    assert 998_000 < sent < 1_002_000


def test_pause_gives_a_fast_sender_a_millisecond_and_a_burst():
    pacer = Pacer()
    assert pacer.open(640_000_000, MSS, SECOND)
    assert pacer.left == MAX_BURST // MSS * MSS + 640_000_000 // 1024 // MSS * MSS
    pacer.sent(pacer.left)
    assert not pacer.open(640_000_000, MSS, SECOND)
    assert SECOND < pacer.next_at < SECOND + 110_000


def test_pause_gives_no_more_than_two_bursts_back_to_back():
    pacer = Pacer()
    send_a_burst(pacer, SECOND)
    now = 60 * SECOND
    left = 0
    while pacer.next_at <= now:
        left += send_a_burst(pacer, now)
    assert left == 1_800
