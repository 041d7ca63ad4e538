"""BBR: alone on a path of `harness.path`, and its answers to single samples."""

import pytest

from scapystack.base.types import MILLISECOND, SECOND
from scapystack.layers.tcp.congestion.bbr import (
    CYCLE,
    DRAIN,
    HIGH_GAIN,
    MIN_SEGMENTS,
    PROBE_BW,
    PROBE_RTT,
    STARTUP,
    UNIT,
    Bbr,
)
from scapystack.layers.tcp.pacing import burst_size
from scapystack.layers.tcp.rate import RateSample
from tests.harness.path import MSS, Path

RATE = 5_000_000
RTT_MS = 20
BDP = RATE * RTT_MS // 1000


def path(**how):
    return Path(Bbr(), **{"rate": RATE, "rtt_ms": RTT_MS, **how})


# --- on a path


def test_path_without_loss_is_filled_and_its_queue_nearly_empty():
    p = path()
    p.run(ms=3_000)
    cc = p.cc
    assert cc.mode == PROBE_BW
    assert cc.full_pipe
    assert 0.99 * RATE < cc.bandwidth <= RATE
    assert cc.min_rtt == RTT_MS * MILLISECOND
    assert p.goodput(since_ms=500) > 0.98 * RATE
    assert p.queue_ms(since_ms=500) < RTT_MS / 4
    assert p.dropped == 0


def test_startup_fills_the_pipe_and_drains_what_it_queued():
    """Doublings from ten segments to the product of 69, then three rounds with two more products queued."""
    p = path()
    p.run(ms=6 * RTT_MS)
    assert p.cc.bandwidth > 0.9 * RATE
    assert p.cc.mode == STARTUP
    p.run(ms=9 * RTT_MS)
    assert RTT_MS < p.queue_ms(since_ms=10 * RTT_MS) < 2.3 * RTT_MS
    assert p.cc.full_pipe
    p.run(ms=10 * RTT_MS)
    assert p.cc.mode == PROBE_BW
    assert p.queue_ms(since_ms=24 * RTT_MS) < RTT_MS / 2


def test_path_whose_round_trip_the_handshake_did_not_measure_is_filled():
    p = path(handshake=False)
    p.run(ms=2_000)
    assert p.goodput(since_ms=500) > 0.95 * RATE


@pytest.mark.parametrize(("loss", "share"), [(0.01, 0.97), (0.05, 0.9), (0.15, 0.65)])
def test_random_loss_costs_little_more_than_what_is_lost(loss, share):
    p = path(loss=loss)
    p.run(ms=4_000)
    assert p.dropped > p.sent * loss / 2
    assert p.goodput(since_ms=500) > share * RATE


def test_short_queue_loses_little_once_the_pipe_is_known():
    p = path(queue_ms=5)
    p.run(ms=1_000)
    dropped, sent = p.dropped, p.sent
    p.run(ms=3_000)
    assert p.goodput(since_ms=1_000) > 0.95 * RATE
    assert p.dropped - dropped < (p.sent - sent) // 20


def test_receiver_that_acknowledges_in_bunches_gets_the_whole_rate():
    """A bunch every 10 ms on a path of 2 ms: two products of bandwidth and round trip are far too little."""
    p = path(rtt_ms=2, bunch_ms=10)
    p.run(ms=2_000)
    assert p.goodput(since_ms=500) > 0.95 * RATE
    assert p.queue_ms(since_ms=500) < 5
    # what the window would be without room for bunches fills a third of the path
    assert 2 * p.cc.bandwidth * p.cc.min_rtt // SECOND + 3 * burst_size(RATE, MSS) < 0.7 * RATE / 100


def test_path_that_becomes_slower_is_followed_within_some_rounds():
    p = path()
    p.run(ms=1_000)
    p.rate = RATE // 2
    p.run(ms=2_000)
    assert 0.95 * p.rate < p.cc.bandwidth < 1.05 * p.rate
    assert p.queue_ms(since_ms=2_500) < 15


def test_path_that_becomes_faster_is_followed_by_the_probing_phases():
    p = path(rate=RATE // 2)
    p.run(ms=1_000)
    p.rate = RATE
    p.run(ms=1_500)
    assert p.cc.bandwidth > 0.95 * RATE


def test_path_that_becomes_longer_is_measured_with_the_pipe_drained():
    """PROBE_RTT: ten seconds without a shorter round trip, then 200 ms with four segments in flight."""
    p = path(rate=1_000_000)
    p.run(ms=1_000)
    p.rtt_ms = 60
    p.run(ms=8_500)
    assert p.cc.min_rtt == 20 * MILLISECOND
    p.run(ms=2_000)
    assert p.cc.mode == PROBE_BW
    assert 60 * MILLISECOND <= p.cc.min_rtt < 75 * MILLISECOND
    assert p.least_in_flight(9_500, 11_500) <= MIN_SEGMENTS * MSS
    p.run(ms=2_000)
    assert p.cc.bandwidth > 950_000  # what PROBE_RTT held back was not taken for the path's
    assert p.goodput(since_ms=12_000) > 950_000


def test_application_that_sends_little_does_not_lower_the_estimate():
    p = path()
    p.run(ms=1_000)
    p.app_rate = RATE // 10
    p.credit, p.credit_at = 0, p.now
    p.run(ms=3_000)
    assert p.goodput(since_ms=2_000) < 0.11 * RATE
    assert p.cc.bandwidth > 0.95 * RATE
    p.app_rate = 0
    p.run(ms=500)
    assert p.goodput(since_ms=4_100) > 0.95 * RATE


def test_application_limited_from_the_start_does_not_end_startup():
    p = path()
    p.app_rate = RATE // 10
    p.run(ms=2_000)
    assert p.cc.mode == STARTUP
    p.app_rate = 0
    p.run(ms=1_000)
    assert p.cc.bandwidth > 0.95 * RATE


def test_two_flows_begun_at_different_times_probe_in_different_phases():
    phases = set()
    for start_ms in range(1_000, 1_007):
        p = path(start_ms=start_ms)
        p.run(ms=400)
        assert p.cc.mode == PROBE_BW
        phases.add(p.cc.pacing_rate)
    assert len(phases) > 1


def test_same_samples_give_the_same_windows_and_rates():
    logs = []
    for _ in range(2):
        p = path(loss=0.02, seed=3)
        p.run(ms=1_000)
        logs.append((p.log, p.cc.cwnd, p.cc.pacing_rate))
    assert logs[0] == logs[1]


# --- sample by sample


class Ack:
    """Samples of a path of RATE and RTT_MS, each the next round if not said otherwise."""

    def __init__(self, cc=None, rtt_ms=RTT_MS):
        self.cc = cc or Bbr()
        self.now = SECOND
        self.delivered = 0
        self.rtt = rtt_ms * MILLISECOND
        if cc is None:
            self.cc.on_rtt(self.rtt, self.now)
            self.cc.start(MSS, 10 * MSS)

    def __call__(self, rate=RATE, acked=10 * MSS, after_ms=RTT_MS, same_round=False, **fields):
        self.now += round(after_ms * MILLISECOND)
        prior, self.delivered = self.delivered, self.delivered + acked
        sample = RateSample(
            delivered=rate * self.rtt // SECOND, interval_ns=self.rtt, rtt_ns=self.rtt, acked=acked,
            prior_delivered=-1 if same_round else prior, total_delivered=self.delivered, in_flight=10 * MSS,
        )  # fmt: skip
        sample.prior_in_flight = sample.in_flight + acked
        for name, value in fields.items():
            setattr(sample, name, value)
        self.cc.on_rate(sample, self.now)


@pytest.fixture
def ack():
    return Ack()


@pytest.fixture
def cruising(ack):
    """In PROBE_BW with bandwidth and round trip known."""
    for _ in range(60):
        ack(in_flight=0)
    assert ack.cc.mode == PROBE_BW
    return ack


def test_start_paces_the_first_flight_over_the_handshakes_round_trip():
    cc = Bbr()
    assert cc.wants_rtt
    cc.on_rtt(20 * MILLISECOND, SECOND)
    cc.start(MSS, 10 * MSS)
    assert cc.pacing_rate == 10 * MSS * 50 * HIGH_GAIN // UNIT
    assert not cc.wants_rtt
    assert (cc.cwnd, cc.mode) == (10 * MSS, STARTUP)


def test_start_without_a_round_trip_takes_a_millisecond():
    cc = Bbr()
    cc.start(MSS, 10 * MSS)
    assert cc.pacing_rate == 10 * MSS * 1000 * HIGH_GAIN // UNIT


def test_startup_ends_after_three_rounds_without_a_quarter_more(ack):
    for rate in (1_000_000, 1_250_000, 1_562_500):
        ack(rate)
    ack(1_900_000)
    ack(1_900_000, same_round=True)
    ack(1_940_000)
    assert not ack.cc.full_pipe
    ack(1_950_000)
    assert ack.cc.full_pipe
    assert ack.cc.mode != STARTUP


def test_startup_takes_the_rate_up_and_never_down(ack):
    first = ack.cc.pacing_rate
    ack(100_000)
    assert ack.cc.pacing_rate == first
    ack(5_000_000)
    assert ack.cc.pacing_rate == 5_000_000 * HIGH_GAIN * 99 // (100 * UNIT)


def test_drain_lasts_until_no_more_than_the_product_is_in_flight(ack):
    while not ack.cc.full_pipe:
        ack(in_flight=3 * BDP)
    assert ack.cc.mode == DRAIN
    assert ack.cc.pacing_rate < RATE * 0.36
    ack(in_flight=2 * BDP)
    assert ack.cc.mode == DRAIN
    ack(in_flight=BDP)
    assert ack.cc.mode == PROBE_BW


def test_probe_bw_goes_through_its_phases_a_round_trip_each(cruising):
    cc = cruising.cc
    seen = []
    for _ in range(16):
        cruising(after_ms=RTT_MS + 1, prior_in_flight=2 * BDP)
        seen.append(round(cc.pacing_rate * 100 * UNIT / (99 * cc.bandwidth)))
    start = seen.index(CYCLE[0])
    assert [*seen[start:8], *seen[:start]] == list(CYCLE) or seen[start : start + 8] == list(CYCLE)
    assert seen[:8] == seen[8:]


def test_probing_phase_lasts_until_its_octets_are_in_flight_or_lost(cruising):
    cc = cruising.cc

    def to_the_probe():
        while cc.pacing_rate <= cc.bandwidth:
            cruising(after_ms=RTT_MS + 1, prior_in_flight=2 * BDP)

    to_the_probe()
    for _ in range(3):
        cruising(after_ms=RTT_MS + 1, prior_in_flight=BDP)
        assert cc.pacing_rate > cc.bandwidth
    cruising(after_ms=RTT_MS + 1, prior_in_flight=BDP, lost=MSS)
    assert cc.pacing_rate < 0.8 * cc.bandwidth
    # and the draining one no longer than there is something to drain
    cruising(after_ms=1, prior_in_flight=BDP)
    assert 0.98 * cc.bandwidth < cc.pacing_rate < cc.bandwidth


def test_window_of_probe_bw_is_two_products_the_ends_bursts_and_a_bunch_of_acks(cruising):
    cc = cruising.cc
    while cc.pacing_rate != cc.bandwidth * 99 // 100:
        cruising(after_ms=RTT_MS + 1, prior_in_flight=2 * BDP)
    assert cc.cwnd == 2 * BDP + 3 * burst_size(cc.pacing_rate, MSS) + 10 * MSS


def test_loss_begins_a_round_of_packet_conservation_and_its_end_restores(cruising):
    cc = cruising.cc
    before = cc.cwnd
    cc.on_loss(20 * MSS, cruising.now)
    assert cc.cwnd == before
    cruising(acked=2 * MSS, lost=3 * MSS, in_flight=15 * MSS, same_round=True, is_recovery=True, after_ms=1)
    assert cc.cwnd == 17 * MSS
    cruising(acked=2 * MSS, in_flight=15 * MSS, same_round=True, is_recovery=True, after_ms=1)
    assert cc.cwnd == 17 * MSS  # as much goes out as was delivered
    cruising(acked=2 * MSS, in_flight=15 * MSS, is_recovery=True, after_ms=20)
    assert cc.cwnd == 19 * MSS  # the second round grows again
    cruising(acked=MSS, lost=4 * MSS, in_flight=15 * MSS, same_round=True, is_recovery=True, after_ms=1)
    assert cc.cwnd == 16 * MSS
    cc.on_recovery_exit(cruising.now)
    assert cc.cwnd == before


def test_sample_outside_of_recovery_ends_it_too(cruising):
    cc = cruising.cc
    before = cc.cwnd
    cc.on_loss(20 * MSS, cruising.now)
    cruising(acked=MSS, in_flight=10 * MSS, same_round=True, is_recovery=True, after_ms=1)
    assert cc.cwnd == 11 * MSS
    cruising(acked=0, in_flight=10 * MSS, same_round=True, is_recovery=True, after_ms=1)
    assert cc.cwnd == 11 * MSS
    cruising(acked=MSS, in_flight=10 * MSS, same_round=True, after_ms=1)
    assert cc.cwnd >= before


def test_congestion_that_ecn_tells_of_changes_nothing(cruising):
    cc = cruising.cc
    before = (cc.cwnd, cc.pacing_rate)
    cc.on_loss(20 * MSS, cruising.now)
    cruising(acked=MSS, in_flight=10 * MSS, same_round=True, after_ms=1)
    assert (cc.cwnd, cc.pacing_rate) == before


def test_timeout_leaves_one_segment_and_keeps_the_model(cruising):
    cc = cruising.cc
    before, rate = cc.cwnd, cc.bandwidth
    cc.on_rto(20 * MSS, cruising.now, True)
    assert (cc.cwnd, cc.bandwidth) == (MSS, rate)
    cruising(acked=MSS, in_flight=0, is_recovery=True)
    assert cc.cwnd == MIN_SEGMENTS * MSS
    cruising(acked=6 * MSS, in_flight=0, is_recovery=True)
    assert cc.cwnd == 10 * MSS
    cruising(acked=MSS, in_flight=MSS)
    assert cc.cwnd >= before


def test_timeout_without_a_loss_is_taken_back(cruising):
    cc = cruising.cc
    before = cc.cwnd
    cc.on_rto(20 * MSS, cruising.now, True)
    cc.on_spurious(cruising.now)
    assert cc.cwnd == before


def test_samples_without_a_rate_or_a_round_trip_change_no_model(cruising):
    cc = cruising.cc
    before = (cc.bandwidth, cc.min_rtt, cc.mode, cc.pacing_rate)
    cruising(acked=0, delivered=0, interval_ns=0, rtt_ns=0, after_ms=0)
    assert (cc.bandwidth, cc.min_rtt, cc.mode, cc.pacing_rate) == before


def test_idleness_restarts_at_the_bandwidth_and_without_probe_rtt(cruising):
    cc = cruising.cc
    while cc.pacing_rate <= cc.bandwidth:
        cruising(after_ms=RTT_MS + 1, prior_in_flight=2 * BDP)
    cwnd = cc.cwnd
    cruising.now += 30 * SECOND
    cc.on_idle(cruising.now, 30 * SECOND, SECOND)
    assert cc.pacing_rate == cc.bandwidth * 99 // 100
    cruising(acked=MSS, rtt_ns=25 * MILLISECOND, app_limited=True, rate=100_000)
    assert cc.mode == PROBE_BW
    assert cc.min_rtt == 25 * MILLISECOND
    assert cc.cwnd >= cwnd


def test_long_wait_between_handshake_and_first_data_is_no_reason_to_probe(ack):
    ack(after_ms=30_000)
    assert ack.cc.mode == STARTUP


def test_probe_rtt_holds_four_segments_for_200_ms_and_a_round(cruising):
    cc = cruising.cc
    before = cc.cwnd
    cruising(after_ms=10_001, rtt_ns=40 * MILLISECOND, in_flight=20 * MSS)
    assert cc.mode == PROBE_RTT
    assert cc.cwnd == MIN_SEGMENTS * MSS
    cruising(acked=16 * MSS, rtt_ns=30 * MILLISECOND, in_flight=4 * MSS, after_ms=20)
    cruising(acked=4 * MSS, rtt_ns=22 * MILLISECOND, in_flight=4 * MSS, after_ms=190, rate=200_000)
    assert cc.mode == PROBE_RTT
    cruising(acked=4 * MSS, rtt_ns=22 * MILLISECOND, in_flight=4 * MSS, after_ms=20, rate=200_000)
    assert cc.mode == PROBE_BW
    assert cc.min_rtt == 22 * MILLISECOND
    assert cc.cwnd >= before
    assert cc.bandwidth == RATE
