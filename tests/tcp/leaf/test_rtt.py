"""The estimator against the numbers RFC 6298 gives, worked out by hand."""

import pytest

from scapystack.layers.tcp.rtt import RttEstimator

MS = 1_000_000


@pytest.fixture
def rtt() -> RttEstimator:
    return RttEstimator(initial_rto=1_000 * MS, min_rto=200 * MS, max_rto=120_000 * MS)


def test_rto_before_any_sample_is_the_initial_one(rtt):
    """6298/2.1"""
    assert (rtt.rto, rtt.base_rto, rtt.srtt, rtt.rttvar, rtt.min_rtt, rtt.shift) == (1_000 * MS, 1_000 * MS, 0, 0, 0, 0)


def test_first_sample_sets_srtt_to_r_and_rttvar_to_half(rtt):
    """6298/2.2"""
    rtt.sample(400 * MS, 0)
    assert (rtt.srtt, rtt.rttvar, rtt.rto) == (400 * MS, 200 * MS, (400 + 4 * 200) * MS)


def test_second_sample_moves_rttvar_by_a_quarter_with_the_old_srtt(rtt):
    """6298/2.3: RTTVAR = 3/4 * 200 + 1/4 * |400 - 800|, and only then SRTT = 7/8 * 400 + 1/8 * 800"""
    rtt.sample(400 * MS, 0)
    rtt.sample(800 * MS, 0)
    assert (rtt.rttvar, rtt.srtt) == (250 * MS, 450 * MS)
    assert rtt.rto == (450 + 4 * 250) * MS


def test_falling_samples_move_srtt_down(rtt):
    """6298/2.3"""
    rtt.sample(800 * MS, 0)
    rtt.sample(400 * MS, 0)
    assert (rtt.rttvar, rtt.srtt) == (400 * MS, 750 * MS)


def test_steady_samples_leave_the_floor_above_srtt(rtt):
    """6298/2.4 with Linux's 200 ms, and 6298/4: the variance term is never below the floor"""
    for _ in range(200):
        rtt.sample(190 * MS, 0)
    assert rtt.srtt == 190 * MS
    assert rtt.rto == 390 * MS


def test_floor_under_the_whole_of_rto():
    """6298/2.4: computed RTOs of less are rounded up, longer ones stay as they are"""
    rtt = RttEstimator(3_000 * MS, min_rto=1_000 * MS, max_rto=60_000 * MS, above_srtt=False)
    for sample, rto in ((10, 1_000), (333, 1_000), (334, 334 * 3), (1_500, 4_500)):
        fresh = RttEstimator(3_000 * MS, min_rto=1_000 * MS, max_rto=60_000 * MS, above_srtt=False)
        fresh.sample(sample * MS, 0)
        assert fresh.rto == rto * MS
    for _ in range(200):
        rtt.sample(1_200 * MS, 0)
    assert rtt.rto == 1_201 * MS  # 6298/4: and G is the least variance term again


def test_granularity_is_the_least_variance_term():
    """6298/4"""
    rtt = RttEstimator(1_000 * MS, min_rto=0, max_rto=60_000 * MS, granularity=10 * MS)
    for _ in range(200):
        rtt.sample(5 * MS, 0)
    assert rtt.rto == 15 * MS


def test_rto_never_passes_the_ceiling(rtt):
    """6298/2.5"""
    rtt.sample(100_000 * MS, 0)
    assert rtt.rto == 120_000 * MS


def test_back_off_doubles_up_to_the_ceiling(rtt):
    """6298/5.4-5.6"""
    seen = []
    for _ in range(9):
        rtt.back_off()
        seen.append(rtt.rto // MS)
    assert seen == [2_000, 4_000, 8_000, 16_000, 32_000, 64_000, 120_000, 120_000, 120_000]
    assert rtt.shift == 9
    assert rtt.base_rto == 1_000 * MS


def test_reset_backoff_returns_to_the_base(rtt):
    rtt.sample(300 * MS, 0)
    rtt.back_off()
    rtt.back_off()
    rtt.reset_backoff()
    assert (rtt.rto, rtt.shift) == (900 * MS, 0)


def test_sample_after_back_off_computes_rto_afresh(rtt):
    """6298/5.4-5.6: the back-off holds until the next sample"""
    rtt.sample(100 * MS, 0)
    rtt.back_off()
    rtt.sample(100 * MS, 0)
    assert rtt.shift == 0
    assert rtt.rto == rtt.base_rto == 300 * MS


def test_lost_syn_starts_data_with_three_seconds(rtt):
    """6298/5.7"""
    rtt.back_off()
    rtt.after_lost_syn()
    assert (rtt.rto, rtt.base_rto, rtt.shift) == (3_000 * MS, 3_000 * MS, 0)


def test_lost_syn_with_a_sample_keeps_the_measured_rto(rtt):
    """6298/3: a timestamp tells which SYN was answered"""
    rtt.sample(100 * MS, 0)
    rtt.after_lost_syn()
    assert rtt.rto == 300 * MS


def test_lost_syn_keeps_a_longer_initial_rto():
    """6298/5.7: only an RTO of less than 3 s is raised"""
    rtt = RttEstimator(5_000 * MS, 200 * MS, 120_000 * MS)
    rtt.after_lost_syn()
    assert rtt.rto == 5_000 * MS


def test_many_samples_a_window_weigh_as_one(rtt):
    """RFC 7323 appendix G: a window's worth of samples moves SRTT about as far as a single one"""
    rtt.sample(100 * MS, 0)
    one = RttEstimator(1_000 * MS, 200 * MS, 120_000 * MS)
    one.sample(100 * MS, 0)
    one.sample(180 * MS, 0)
    for _ in range(40):
        rtt.sample(180 * MS, 0, expected=40)
    assert abs(rtt.srtt - one.srtt) < 1 * MS
    assert abs(rtt.rttvar - one.rttvar) < 3 * MS


def test_min_rtt_is_the_least_sample(rtt):
    for ms in (30, 20, 50):
        rtt.sample(ms * MS, 0)
    assert rtt.min_rtt == 20 * MS


def test_min_rtt_forgets_after_five_minutes(rtt):
    """8985/6, section 6.2 step 1: on a path that has become longer RACK's window must grow; 300 s as in Linux."""
    minute = 60_000 * MS
    rtt.sample(20 * MS, minute)
    for n in range(2, 6):
        rtt.sample((40 - n) * MS, n * minute)
        assert rtt.min_rtt == 20 * MS
    rtt.sample(50 * MS, 7 * minute)
    assert rtt.min_rtt == 35 * MS
    rtt.sample(60 * MS, 60 * minute)
    assert rtt.min_rtt == 60 * MS, "what is older than the window tells nothing, however little came since"


def test_zero_sample_counts_as_a_sample(rtt):
    """In virtual time a link may have no delay at all."""
    rtt.sample(0, 0)
    assert rtt.srtt > 0
    assert rtt.rto == 200 * MS + 1
