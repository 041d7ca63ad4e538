"""HyStart++ in CUBIC's first slow start (RFC 9406): rounds, what ends it, what resumes it."""

import pytest

from scapystack.layers.tcp.congestion import INFINITE_SSTHRESH
from scapystack.layers.tcp.congestion.cubic import Cubic

MSS = 1000
MS = 1_000_000


def cubic():
    cc = Cubic()
    cc.start(MSS, 10 * MSS)
    return cc


def slow_round(cc, now, rtts, limited=True):
    """One round of slow start: every ACK covers an equal part of the window and has its sample."""
    window, left = cc.cwnd, cc.cwnd
    for i, rtt in enumerate(rtts):
        n = window * (i + 1) // len(rtts) - window * i // len(rtts)
        left -= n
        if cc.wants_rtt:
            cc.on_rtt(rtt * MS, now)
        # what the ACKs of this round have let go is in flight too
        cc.on_ack(n, now, rtt * MS, left + cc.cwnd - window + (window - left - n), limited)
    return now + max(rtts) * MS


def steady(rtt, n=10):
    return [rtt] * n


def into_css(rtt=60):
    """A flow in its first round of CSS, after rounds of 50 ms."""
    cc = cubic()
    now = 0
    for _ in range(3):
        now = slow_round(cc, now, steady(50))
    assert cc.cwnd == 80 * MSS
    now = slow_round(cc, now, steady(rtt))
    return cc, now


def test_hystart_steady_round_trip_doubles_each_round():
    cc = cubic()
    now = 0
    for window in (20, 40, 80, 160, 320, 640):
        now = slow_round(cc, now, steady(50))
        assert cc.cwnd == window * MSS
    assert cc.ssthresh == INFINITE_SSTHRESH


def test_hystart_growing_round_trip_ends_slow_start_after_five_slower_rounds():
    """RFC 9406 section 4.2: CSS at a quarter of the pace, then ssthresh = cwnd without a loss"""
    cc, now = into_css()
    # seven ACKs at full pace, from the eighth on a quarter
    assert cc.cwnd == (80 + 7 * 8 + 3 * 2) * MSS
    for _ in range(4):
        window = cc.cwnd
        now = slow_round(cc, now, steady(60))
        assert cc.cwnd == pytest.approx(window * 5 / 4, rel=0.001)
        assert cc.ssthresh == INFINITE_SSTHRESH
    window = cc.cwnd
    slow_round(cc, now, steady(60))
    assert cc.ssthresh == window
    assert not cc.wants_rtt
    # 8312/4.8: congestion avoidance from here with K = 0
    assert window <= cc.cwnd < window + 2 * MSS
    assert cc.window_at(0) == window


def test_hystart_jitter_resumes_slow_start():
    """RFC 9406 section 4.2: the round trip has fallen below what it was when CSS began"""
    cc, now = into_css()
    now = slow_round(cc, now, steady(60))
    window = cc.cwnd
    now = slow_round(cc, now, steady(51))
    assert window * 1.25 < cc.cwnd
    window = cc.cwnd
    for _ in range(6):
        now = slow_round(cc, now, steady(51))
        assert cc.cwnd == 2 * window
        window = cc.cwnd
    assert cc.ssthresh == INFINITE_SSTHRESH


@pytest.mark.parametrize(
    ("base", "later", "ends"),
    [
        (8, 11, False), (8, 12, True),  # no less than 4 ms
        (80, 89, False), (80, 90, True),  # an eighth
        (400, 415, False), (400, 416, True),  # no more than 16 ms
    ],
)  # fmt: skip
def test_hystart_threshold_is_an_eighth_between_4_and_16_ms(base, later, ends):
    """RFC 9406 section 4.2"""
    cc = cubic()
    now = 0
    for _ in range(3):
        now = slow_round(cc, now, steady(base))
    slow_round(cc, now, steady(later))
    assert (cc.cwnd < 160 * MSS) is ends


def test_hystart_one_long_sample_means_nothing():
    """The least of a round counts: a delayed ACK is no queue."""
    cc = cubic()
    now = 0
    for window in (20, 40, 80, 160, 320):
        now = slow_round(cc, now, [90] * 6 + [50] + [90] * 3)
        assert cc.cwnd == window * MSS


def test_hystart_round_of_few_acks_judges_nothing():
    """RFC 9406 section 4.2, N_RTT_SAMPLE: one ACK may cover 64 KB"""
    cc = cubic()
    now = 0
    for i, window in enumerate((20, 40, 80, 160, 320)):
        now = slow_round(cc, now, steady(50 + 20 * i, 7))
        assert cc.cwnd == window * MSS


def test_hystart_is_for_the_first_slow_start_only():
    """RFC 9406: after a timeout ssthresh is known"""
    cc = cubic()
    cc.cwnd = 1000 * MSS
    cc.on_rto(1000 * MSS, 0, True)
    now = 0
    cc.cwnd = 10 * MSS
    for i, window in enumerate((20, 40, 80, 160)):
        cc.on_rtt(50 * MS, now)
        now = slow_round(cc, now, steady(50 + 20 * i))
        assert cc.cwnd == window * MSS
    assert not cc.wants_rtt


def test_hystart_sample_of_the_handshake_is_not_a_round():
    cc = Cubic()
    for _ in range(20):
        cc.on_rtt(10 * MS, 0)
    cc.start(MSS, 10 * MSS)
    now = slow_round(cc, 0, steady(50))
    assert cc.cwnd == 20 * MSS
    slow_round(cc, now, steady(50))
    assert cc.cwnd == 40 * MSS


def test_hystart_switched_to_with_a_known_threshold_wants_no_samples():
    cc = cubic()
    cc.ssthresh = 50 * MSS
    assert cc.wants_rtt
    cc.on_rtt(50 * MS, 0)
    assert not cc.wants_rtt
