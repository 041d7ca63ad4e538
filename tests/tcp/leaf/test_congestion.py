"""Reno's windows, in octets: slow start, congestion avoidance, loss, timeout, idleness."""

import pytest

from scapystack.base.errors import ConfigError
from scapystack.layers.tcp import congestion
from scapystack.layers.tcp.congestion import INFINITE_SSTHRESH, initial_window

MSS = 1000
SECOND = 1_000_000_000


@pytest.fixture
def reno():
    cc = congestion.make("reno")
    cc.start(MSS, 10 * MSS)
    return cc


def ack(cc, octets, limited=True):
    cc.on_ack(octets, 0, 50_000_000, cc.cwnd, limited)


def one_round_trip(cc, step):
    """Acknowledge one window, `step` octets an ACK."""
    left = cc.cwnd
    while left > 0:
        ack(cc, min(step, left))
        left -= step


def test_make_unknown_name_says_which_there_are():
    with pytest.raises(ConfigError, match=r"'vegas'.*one of: .*reno"):
        congestion.make("vegas")


def test_make_gives_a_new_object_each_time():
    assert congestion.make("reno") is not congestion.make("reno")
    assert congestion.make("reno").name == "reno"
    assert "reno" in congestion.names()


def test_start_opens_the_initial_window_and_no_threshold(reno):
    """5681/3.1-a"""
    assert (reno.cwnd, reno.ssthresh, reno.pacing_rate) == (10 * MSS, INFINITE_SSTHRESH, None)


@pytest.mark.parametrize(
    ("mss", "window"), [(1460, 14_600), (1448, 14_480), (536, 5_360), (8960, 17_920), (65_000, 130_000)]
)
def test_initial_window_is_ten_segments_and_no_more_than_14600(mss, window):
    """5681/3.1-a: RFC 6928 section 2"""
    assert initial_window(mss) == window


def test_initial_window_after_a_lost_syn_is_one_segment(reno):
    """5681/3.1-d"""
    reno.start(MSS, initial_window(MSS, 1))
    assert reno.cwnd == MSS


@pytest.mark.parametrize("step", [MSS, 2 * MSS, 10 * MSS])
def test_slow_start_doubles_in_a_round_trip_however_acks_are_stretched(reno, step):
    """5681/3.1-b, MUST-19"""
    one_round_trip(reno, step)
    assert reno.cwnd == 20 * MSS


def test_slow_start_counts_octets_not_acks(reno):
    """5681/3.1-b: an ACK for 10 octets opens the window by 10 (ACK division gains nothing)"""
    for _ in range(100):
        ack(reno, 10)
    assert reno.cwnd == 11 * MSS


def test_slow_start_after_timeout_one_far_ack_opens_no_burst(reno):
    """RFC 3465 section 2.3: an ACK that jumps ahead tells nothing of what left the network lately"""
    reno.on_rto(64 * MSS, 0, True)
    ack(reno, 50 * MSS)
    assert reno.cwnd == 2 * MSS


def test_slow_start_stops_at_ssthresh(reno):
    """5681/3.1-b"""
    reno.ssthresh = 15 * MSS
    ack(reno, 9 * MSS)
    assert reno.cwnd == 15 * MSS


def test_congestion_avoidance_adds_one_segment_a_round_trip(reno):
    """5681/3.1-b, RFC 3465 section 2.1"""
    reno.ssthresh = 10 * MSS
    for n in range(11, 15):
        one_round_trip(reno, MSS)
        assert reno.cwnd == n * MSS


def test_octets_past_ssthresh_count_towards_congestion_avoidance(reno):
    """5681/3.1-b: an ACK that crosses the threshold is split there, nothing is counted twice"""
    reno.ssthresh = 12 * MSS
    ack(reno, 8 * MSS)
    assert reno.cwnd == 12 * MSS
    ack(reno, 6 * MSS - 1)
    assert reno.cwnd == 12 * MSS
    ack(reno, 1)
    assert reno.cwnd == 13 * MSS


def test_congestion_avoidance_takes_stretched_acks_the_same(reno):
    reno.ssthresh = 10 * MSS
    ack(reno, 10 * MSS)
    assert reno.cwnd == 11 * MSS


@pytest.mark.parametrize("ssthresh", [5 * MSS, 100 * MSS])
def test_window_that_was_not_used_does_not_grow(reno, ssthresh):
    """RFC 7661 section 4.3: growth only where cwnd held the sender back"""
    reno.ssthresh = ssthresh
    for _ in range(50):
        ack(reno, MSS, limited=False)
    assert reno.cwnd == 10 * MSS


def test_loss_halves_what_was_in_flight(reno):
    """5681/3.2-c: equation 4, from FlightSize and not from cwnd"""
    reno.cwnd = 40 * MSS
    reno.on_loss(20 * MSS, 0)
    assert (reno.ssthresh, reno.cwnd) == (10 * MSS, 10 * MSS)


def test_loss_with_little_in_flight_leaves_two_segments(reno):
    """5681/3.2-c"""
    reno.on_loss(MSS, 0)
    assert (reno.ssthresh, reno.cwnd) == (2 * MSS, 2 * MSS)


def test_recovery_ends_at_ssthresh(reno):
    """6582/3.2"""
    reno.on_loss(20 * MSS, 0)
    reno.on_recovery_exit(0)
    assert reno.cwnd == reno.ssthresh == 10 * MSS


def test_timeout_takes_ssthresh_down_once_for_a_segment(reno):
    """5681/3.1-c"""
    reno.on_rto(20 * MSS, 0, True)
    assert (reno.ssthresh, reno.cwnd) == (10 * MSS, MSS)
    reno.on_rto(MSS, 1, False)
    assert (reno.ssthresh, reno.cwnd) == (10 * MSS, MSS)


def test_growth_after_a_loss_starts_counting_afresh(reno):
    """RFC 3465 section 2.1: octets counted towards the old window do not open the new one"""
    reno.ssthresh = 10 * MSS
    ack(reno, 9 * MSS)
    reno.on_loss(20 * MSS, 0)
    reno.on_recovery_exit(0)
    ack(reno, 10 * MSS - 1)
    assert reno.cwnd == 10 * MSS
    ack(reno, 1)
    assert reno.cwnd == 11 * MSS


def test_idle_for_longer_than_rto_restarts_from_the_initial_window(reno):
    """5681/4.1"""
    reno.cwnd = 80 * MSS
    reno.ssthresh = 60 * MSS
    reno.on_idle(0, 2 * SECOND, 2 * SECOND)
    assert reno.cwnd == 80 * MSS
    reno.on_idle(0, 3 * SECOND, 2 * SECOND)
    assert (reno.cwnd, reno.ssthresh) == (10 * MSS, 60 * MSS)


def test_idle_never_opens_a_small_window(reno):
    """5681/4.1: RW = min(IW, cwnd)"""
    reno.on_rto(20 * MSS, 0, True)
    reno.on_idle(0, 3 * SECOND, 2 * SECOND)
    assert reno.cwnd == MSS
