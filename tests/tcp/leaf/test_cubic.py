"""CUBIC's windows against a float oracle, its regions, reductions and lulls."""

from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from scapystack.layers.tcp import congestion
from scapystack.layers.tcp.congestion import INFINITE_SSTHRESH
from scapystack.layers.tcp.congestion.cubic import Cubic, cube_root

MSS = 1000
MS = 1_000_000
SECOND = 1000 * MS


def cubic(window=None, mss=MSS):
    """A flow; with a window (octets), one that has just lost something there."""
    cc = Cubic()
    cc.start(mss, 10 * mss)
    if window is not None:
        cc.cwnd = window
        cc.on_loss(window, 0)
        cc.on_recovery_exit(0)
    return cc


def round_trip(cc, now, rtt, step=MSS, limited=True):
    """Acknowledge one window, `step` octets an ACK, spread over the round trip. Returns the time at its end."""
    window = cc.cwnd
    done = 0
    while done < window:
        n = min(step, window - done)
        done += n
        cc.on_ack(n, now + rtt * done // window, rtt, window - done, limited)
    return now + rtt


def run(cc, seconds, rtt=100 * MS, step=2 * MSS, now=0):
    """(time, window) after each round trip."""
    end = now + int(seconds * SECOND)
    seen = []
    while now < end:
        now = round_trip(cc, now, rtt, step)
        seen.append((now, cc.cwnd))
    return seen


def w_cubic(t, w_max, start):
    """RFC 8312 equations 1 and 2 in segments, seconds and floats, K from where the epoch starts."""
    k = ((w_max - start) / 0.4) ** (1 / 3)
    return 0.4 * (t - k) ** 3 + w_max


# -- arithmetic ----------------------------------------------------------------------------------------


@given(st.integers(0, 1 << 200))
def test_cube_root_is_exact(n):
    root = cube_root(n)
    assert root**3 <= n < (root + 1) ** 3


def test_cube_root_of_less_than_nothing_is_0():
    assert cube_root(-8) == 0


@given(st.integers(10, 20_000), st.integers(0, 60_000), st.integers(536, 9_000))
def test_window_function_agrees_with_floats(segments, t_ms, mss):
    """8312/4.1 equations 1 and 2, within an octet or a millionth"""
    cc = cubic(segments * mss, mss)
    start = cc.cwnd / mss
    cc.on_ack(mss, 5 * SECOND, 0, 0, True)
    expected = max(w_cubic(t_ms / 1000, segments, start), 0) * mss
    assert cc.window_at(t_ms * MS) == pytest.approx(expected, rel=1e-6, abs=1)


def test_window_function_starts_at_the_reduced_window_and_is_flat_at_w_max():
    """8312/4.1: W(0) = beta * W_max, and W(K) = W_max with K = cbrt(W_max * (1 - beta) / C)"""
    cc = cubic(1000 * MSS)
    assert cc.cwnd == 700 * MSS
    cc.on_ack(MSS, 0, 100 * MS, 0, True)
    k = round((1000 * 0.3 / 0.4) ** (1 / 3) * SECOND)
    assert cc.window_at(0) == pytest.approx(700 * MSS, abs=1)
    assert cc.window_at(k) == pytest.approx(1000 * MSS, abs=1)
    assert cc.window_at(k + SECOND // 10) - cc.window_at(k - SECOND // 10) <= 1 * MSS


# -- growth --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("step", [4 * MSS, 64 * MSS])
def test_window_follows_the_cubic_however_acks_are_stretched(step):
    """8312/4.3 and 4.4: at the end of a round trip the window is near W(t), up to one that lies a round trip ahead"""
    rtt = 100 * MS
    for at, cwnd in run(cubic(2000 * MSS), 15, rtt, step):
        now = w_cubic(at / SECOND, 2000, 1400)
        ahead = w_cubic((at + rtt) / SECOND, 2000, 1400)
        assert min(now, ahead) - 8 <= cwnd / MSS <= ahead + 1


def test_concave_below_w_max_and_convex_above():
    """8312/4.3, 8312/4.4: ever slower up to K, then ever faster"""
    seen = [cwnd for _, cwnd in run(cubic(2000 * MSS), 22, 100 * MS, 8 * MSS)]
    growth = [after - before for before, after in pairwise(seen)]
    assert min(growth) >= 0
    k = round((600 / 0.4) ** (1 / 3) * 10)
    assert seen[k] == pytest.approx(2000 * MSS, rel=0.002)
    concave, convex = growth[2 : k - 10], growth[k + 10 :]
    assert all(later <= sooner for sooner, later in zip(concave, concave[10:], strict=False))
    assert all(later >= sooner for sooner, later in zip(convex, convex[10:], strict=False))
    assert concave[0] > 20 * growth[k]


def test_growth_in_one_round_trip_is_half_the_window_at_most():
    """RFC 9438 section 4.2: the target is no more than 1.5 * cwnd, however far the curve is away"""
    cc = cubic(100 * MSS)
    assert w_cubic(10, 100, 70) > 170
    cc.on_ack(1, 0, 10 * SECOND, 0, True)
    cc.on_ack(70 * MSS, SECOND, 10 * SECOND, 0, True)
    assert cc.cwnd == 105 * MSS


def test_one_far_ack_grows_no_more_than_a_window_of_acks():
    cc = cubic(2000 * MSS)
    cc.on_ack(MSS, 0, 100 * MS, 0, True)
    target = cc.window_at(200 * MS)
    cc.on_ack(50_000 * MSS, 100 * MS, 100 * MS, 0, True)
    assert cc.cwnd == pytest.approx(target, abs=MSS)


def test_small_growth_is_carried_over():
    """Near the plateau an ACK is worth less than an octet; nothing of it may be lost."""
    cc = cubic(40_000 * MSS)
    end = run(cc, 40, SECOND, 100 * MSS)
    at, cwnd = end[-1]
    assert cwnd / MSS == pytest.approx(w_cubic(at / SECOND, 40_000, 28_000), rel=0.003)


def test_reno_friendly_on_a_short_path_grows_by_alpha_and_then_by_one():
    """8312/4.2, RFC 9438 section 4.3: 9/17 segment a window up to the old window, one from there"""
    cc = cubic(40 * MSS)
    assert cc.cwnd == 28 * MSS
    seen = [cwnd for _, cwnd in run(cc, 0.06, 1 * MS)]
    growth = [after - before for before, after in pairwise(seen)]
    crossing = next(i for i, cwnd in enumerate(seen) if cwnd >= 40 * MSS)
    assert crossing == pytest.approx(12 * 17 / 9, abs=2)
    assert growth[: crossing - 1] == [pytest.approx(9 / 17 * MSS, rel=0.05)] * (crossing - 1)
    assert growth[crossing + 1 :] == [pytest.approx(MSS, rel=0.05)] * (len(growth) - crossing - 1)


def test_reno_friendly_keeps_up_with_reno_under_the_same_losses():
    """8312/4.2: with a loss at 60 segments each time, at least Reno's average window on a 2 ms path"""
    averages = {}
    for name in ("reno", "cubic"):
        cc = congestion.make(name)
        cc.start(MSS, 10 * MSS)
        now = total = rounds = 0
        while rounds < 600:
            now = round_trip(cc, now, 2 * MS)
            total += cc.cwnd
            rounds += 1
            if cc.cwnd >= 60 * MSS:
                cc.on_loss(cc.cwnd, now)
                cc.on_recovery_exit(now)
        averages[name] = total / rounds
    assert averages["cubic"] >= averages["reno"]


def test_change_of_mss_begins_a_new_epoch_without_a_leap():
    """K was computed for other segments: from here to the same plateau, in those there are now"""
    cc = cubic(2000 * MSS)
    now = run(cc, 2)[-1][0]
    window = cc.cwnd
    cc.mss = MSS // 2
    cc.on_ack(MSS, now, 100 * MS, window, True)
    assert cc.cwnd - window <= MSS
    assert cc.window_at(0) == pytest.approx(window, abs=1)


# -- reduction -----------------------------------------------------------------------------------------


def test_loss_takes_the_window_to_seven_tenths_of_what_was_in_flight():
    """8312/4.5, RFC 9438 section 4.6"""
    cc = cubic()
    cc.cwnd = 100 * MSS
    cc.on_loss(80 * MSS, 0)
    assert (cc.ssthresh, cc.cwnd) == (56 * MSS, 56 * MSS)


def test_loss_does_not_count_what_limited_transmit_added():
    """RFC 5681 section 3.2 step 2"""
    cc = cubic()
    cc.cwnd = 100 * MSS
    cc.on_loss(102 * MSS, 0)
    assert cc.ssthresh == 70 * MSS


def test_loss_leaves_two_segments():
    """8312/4.5"""
    cc = cubic()
    cc.on_loss(MSS, 0)
    assert (cc.ssthresh, cc.cwnd) == (2 * MSS, 2 * MSS)


def test_recovery_ends_at_ssthresh():
    cc = cubic()
    cc.cwnd = 100 * MSS
    cc.on_loss(100 * MSS, 0)
    cc.on_recovery_exit(0)
    assert cc.cwnd == 70 * MSS


def assert_plateau(cc, w_max):
    """The next epoch is flat at W_max, when it should be."""
    cc.on_ack(1, 0, 0, 0, True)
    k = round(((w_max - cc.cwnd) / MSS / 0.4) ** (1 / 3) * SECOND)
    assert [cc.window_at(k + d * MS) for d in (-50, 0, 50)] == [pytest.approx(w_max, abs=1)] * 3


def test_fast_convergence_lowers_the_plateau_of_a_flow_that_got_less_far():
    """8312/4.6: W_max * (1 + beta) / 2; one that got as far keeps its own"""
    cc = cubic(1000 * MSS)
    assert_plateau(cc, 1000 * MSS)
    cc.cwnd = 900 * MSS
    cc.on_loss(900 * MSS, 0)
    cc.on_recovery_exit(0)
    assert_plateau(cc, 765 * MSS)
    cc.cwnd = 800 * MSS  # above the lowered W_max
    cc.on_loss(800 * MSS, 0)
    cc.on_recovery_exit(0)
    assert_plateau(cc, 800 * MSS)


def test_timeout_slow_starts_to_beta_and_plateaus_there():
    """8312/4.7: ssthresh by beta, K = 0 and W_max = cwnd where congestion avoidance begins"""
    cc = cubic(1000 * MSS)
    now = run(cc, 3)[-1][0]
    cc.cwnd = 800 * MSS
    cc.on_rto(800 * MSS, now, True)
    assert (cc.ssthresh, cc.cwnd) == (560 * MSS, MSS)
    cc.on_rto(MSS, now, False)
    assert (cc.ssthresh, cc.cwnd) == (560 * MSS, MSS)
    for window in (2, 4, 8, 16, 32, 64, 128, 256, 512):
        now = round_trip(cc, now, 100 * MS)
        assert cc.cwnd == window * MSS
    cc.on_ack(48 * MSS, now, 100 * MS, 0, True)
    assert cc.cwnd == 560 * MSS
    assert cc.window_at(0) == 560 * MSS
    assert cc.window_at(SECOND) == 560 * MSS + 400


def test_timeout_in_fast_recovery_counts_from_the_window_that_was_left():
    """8312/4.7 on the window that was left, not on all that recovery has sent since: ssthresh never rises"""
    cc = cubic()
    cc.cwnd = 100 * MSS
    cc.on_loss(100 * MSS, 0)
    cc.on_rto(260 * MSS, 0, True)
    assert (cc.ssthresh, cc.cwnd) == (49 * MSS, MSS)
    cc.cwnd = 60 * MSS  # and after it cwnd counts again
    cc.on_rto(60 * MSS, 0, True)
    assert cc.ssthresh == 42 * MSS


def test_spurious_loss_gives_the_window_back_once():
    cc = cubic()
    cc.cwnd = 100 * MSS
    cc.on_loss(100 * MSS, 0)
    cc.on_spurious(0)
    assert cc.cwnd == 100 * MSS
    cc.on_loss(100 * MSS, 0)
    assert cc.ssthresh == 70 * MSS
    cc.on_recovery_exit(0)
    cc.cwnd = 80 * MSS
    cc.on_rto(80 * MSS, 0, True)
    assert cc.ssthresh == 56 * MSS


def test_octets_past_ssthresh_count_in_congestion_avoidance():
    cc = cubic()
    cc.cwnd = 20 * MSS
    cc.on_rto(20 * MSS, 0, True)
    cc.cwnd = 10 * MSS
    cc.on_ack(9 * MSS, 0, MS, 0, True)  # 4 to the threshold of 14, 5 beyond: 5 * alpha / 14
    assert cc.cwnd == 14 * MSS + 9 * MSS * 5 // (17 * 14)


@pytest.mark.parametrize("timeout", [False, True])
def test_spurious_reduction_is_taken_back_and_the_epoch_goes_on(timeout):
    """RFC 9438 section 4.9: as if nothing had been, but for the time it took"""
    cc, twin = cubic(2000 * MSS), cubic(2000 * MSS)
    now = run(cc, 3)[-1][0]
    run(twin, 3)
    assert cc.cwnd == twin.cwnd
    (cc.on_rto(cc.cwnd, now, True) if timeout else cc.on_loss(cc.cwnd, now))
    assert cc.cwnd < twin.cwnd
    pause = 300 * MS
    cc.on_spurious(now + pause)
    assert (cc.cwnd, cc.ssthresh) == (twin.cwnd, twin.ssthresh)
    ours, theirs = run(cc, 2, now=now + pause), run(twin, 2, now=now)
    assert [cwnd for _, cwnd in ours] == [cwnd for _, cwnd in theirs]


def test_spurious_twice_changes_nothing_more():
    cc = cubic(100 * MSS)
    cc.on_loss(70 * MSS, 0)
    cc.on_spurious(0)
    cc.cwnd = 20 * MSS
    cc.on_spurious(0)
    assert cc.cwnd == 20 * MSS


def test_spurious_in_the_first_slow_start_resumes_it():
    cc = cubic()
    cc.on_loss(10 * MSS, 0)
    assert not cc.wants_rtt
    cc.on_spurious(0)
    assert (cc.cwnd, cc.ssthresh, cc.wants_rtt) == (10 * MSS, INFINITE_SSTHRESH, True)


def test_reno_wants_no_samples_and_takes_a_spurious_loss_back():
    cc = congestion.make("reno")
    cc.start(MSS, 10 * MSS)
    assert not cc.wants_rtt
    cc.on_loss(10 * MSS, 0)
    assert cc.cwnd == 5 * MSS
    cc.on_spurious(0)
    assert (cc.cwnd, cc.ssthresh) == (10 * MSS, INFINITE_SSTHRESH)
    cc.on_spurious(0)
    assert (cc.cwnd, cc.ssthresh) == (10 * MSS, INFINITE_SSTHRESH)


# -- lulls ---------------------------------------------------------------------------------------------


def test_time_limited_by_the_application_is_not_in_the_epoch():
    """8312/5.8"""
    cc, twin = cubic(2000 * MSS), cubic(2000 * MSS)
    now = run(cc, 3)[-1][0]
    run(twin, 3)
    window = cc.cwnd
    then = now
    for _ in range(200):
        then += 100 * MS
        cc.on_ack(MSS, then, 100 * MS, 0, False)
    assert cc.cwnd == window
    assert [cwnd for _, cwnd in run(cc, 2, now=then)] == [cwnd for _, cwnd in run(twin, 2, now=now)]


def test_silence_is_not_in_the_epoch():
    """8312/5.8: a closed window, or an idle spell shorter than the timeout, whoever noticed or not"""
    cc, twin = cubic(2000 * MSS), cubic(2000 * MSS)
    now = run(cc, 3)[-1][0]
    run(twin, 3)
    run(cc, 2, now=now + 30 * SECOND)
    run(twin, 2, now=now + 100 * MS)
    assert cc.cwnd == pytest.approx(twin.cwnd, abs=MSS)


def test_idle_restarts_from_the_initial_window_and_returns_to_the_plateau():
    """5681/4.1"""
    cc = cubic(1000 * MSS)
    now = run(cc, 5)[-1][0]
    cc.on_idle(now, SECOND, SECOND)
    assert cc.cwnd > 700 * MSS
    cc.on_idle(now, 60 * SECOND, SECOND)
    assert (cc.cwnd, cc.ssthresh) == (10 * MSS, 700 * MSS)
    seen = [cwnd for _, cwnd in run(cc, 12, now=now + 60 * SECOND)]
    assert seen[:3] == [20 * MSS, 40 * MSS, 80 * MSS]
    assert max(seen[:60]) <= 1000 * MSS
    assert seen[-1] == pytest.approx(1000 * MSS, rel=0.02)


# -- whatever happens ----------------------------------------------------------------------------------

SPANS = st.integers(0, 100 * SECOND)
OCTETS = st.integers(1, 3_000_000)
EVENTS = st.lists(
    st.one_of(
        st.tuples(st.just("ack"), OCTETS, st.booleans()),
        st.tuples(st.just("rtt"), st.integers(1, 10 * SECOND)),
        st.tuples(st.just("loss"), OCTETS),
        st.tuples(st.just("rto"), OCTETS, st.booleans()),
        st.tuples(st.just("exit")),
        st.tuples(st.just("idle"), SPANS),
        st.tuples(st.just("spurious")),
        st.tuples(st.just("mss"), st.integers(200, MSS)),
    ).flatmap(lambda event: st.tuples(SPANS, st.just(event))),
    max_size=30,
)


@given(EVENTS, st.integers(0, 5 * SECOND))
@settings(max_examples=60, deadline=None)
def test_whatever_happens_the_window_is_a_segment_at_least_and_grows_only_when_it_limits(events, srtt):
    cc = cubic()
    now = 0
    recovering = False
    for span, (kind, *args) in events:
        now += span
        before, threshold = cc.cwnd, cc.ssthresh
        if kind == "rtt":
            cc.on_rtt(args[0], now)
        elif kind == "ack" and not recovering:
            cc.on_ack(args[0], now, srtt, cc.cwnd, args[1])
            assert before <= cc.cwnd <= (2 * before if args[1] else before)
        elif kind == "loss" and not recovering:
            cc.on_loss(args[0], now)
            assert 2 * cc.mss <= cc.cwnd == cc.ssthresh <= max(before, 2 * cc.mss)
            recovering = True
        elif kind == "rto":
            cc.on_rto(args[0], now, args[1])
            assert cc.cwnd == cc.mss
            assert not recovering or cc.ssthresh <= max(threshold, 2 * cc.mss)
            recovering = False
        elif kind == "exit" and recovering:
            cc.on_recovery_exit(now)
            recovering = False
        elif kind == "idle":
            cc.on_idle(now, args[0], SECOND)
            assert cc.cwnd <= before
        elif kind == "spurious":
            cc.on_spurious(now)
            assert cc.cwnd >= before or recovering
            recovering = False
        elif kind == "mss":
            cc.mss = min(args[0], cc.mss)
        assert cc.cwnd >= cc.mss
        assert cc.ssthresh >= 2 * cc.mss
