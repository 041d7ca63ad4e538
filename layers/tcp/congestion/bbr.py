"""BBR, version 1 as Linux has it: a model of the path in place of a window that losses cut down.

What a path is like shows in two numbers that cannot be measured at the same time: the bandwidth of its
bottleneck, the greatest delivery rate of the last ten rounds, which shows when the pipe is full; and its
round trip without any queue, the least of the last ten seconds, which shows when it is not. BBR paces at
the bandwidth and keeps about their product in flight. It moves between four modes:

    STARTUP    doubles the rate each round trip, until three rounds in a row brought less than 25% more
    DRAIN      lets go of the queue that this has made
    PROBE_BW   cruises; of eight phases one sends a quarter more and the next one a quarter less
    PROBE_RTT  every ten seconds without a shorter round trip, 200 ms with four segments in flight

A loss by itself says nothing here, so a random one costs nothing; the first round of a recovery sends no
more than was delivered (packet conservation), after that the model holds again.

From draft-cardwell-iccrg-bbr-congestion-control-00 and the paper (ACM Queue 14/5, 2016). The detection of
policers is left out. All in integers: octets, nanoseconds, octets a second, gains in thousandths, so that
every machine computes the same. Read `control` first, then `rate` for what a sample is.
"""

from __future__ import annotations

from scapystack.base.types import MILLISECOND, SECOND, Nanoseconds
from scapystack.layers.tcp.congestion.control import CongestionControl
from scapystack.layers.tcp.congestion.windowmax import WindowMax
from scapystack.layers.tcp.pacing import burst_size
from scapystack.layers.tcp.rate import RateSample

STARTUP, DRAIN, PROBE_BW, PROBE_RTT = range(4)
MODE_NAMES = ("STARTUP", "DRAIN", "PROBE_BW", "PROBE_RTT")

UNIT = 1000
"""A gain of one."""
HIGH_GAIN = 2885
"""2 / ln 2: the least gain that doubles the rate each round trip."""
DRAIN_GAIN = UNIT * UNIT // HIGH_GAIN
CWND_GAIN = 2 * UNIT
"""In PROBE_BW: two products, for ACKs that are delayed or come in bunches."""
CYCLE = (1250, 750, UNIT, UNIT, UNIT, UNIT, UNIT, UNIT)
"""The pacing gain of each phase of PROBE_BW, a phase for each round trip."""

BANDWIDTH_ROUNDS = 10
FULL_PIPE_GROWTH = 1250
FULL_PIPE_ROUNDS = 3
MIN_RTT_NS = 10 * SECOND
PROBE_RTT_NS = 200 * MILLISECOND
MIN_SEGMENTS = 4
"""In flight in PROBE_RTT, and at least at any time: fewer would stall with delayed ACKs."""
EXTRA_ROUNDS = 10
MAX_EXTRA_NS = 100 * MILLISECOND
"""Extra room for bunches of ACKs is never more than this much at the bandwidth."""
MARGIN = 99
"""Percent of the bandwidth that is paced at, so that the queue empties rather than fills."""


class Bbr(CongestionControl):
    """BBR's model and what follows from it. A round begins when what was sent after the last one began arrives."""

    __slots__ = (
        "_bandwidth", "_conserving", "_cycle", "_cycle_at", "_entering", "_extra", "_extra_acked", "_extra_at",
        "_full_bandwidth", "_full_rounds", "_limited_until", "_min_rtt_at", "_pacing_rate", "_prior_cwnd",
        "_probe_rtt_round", "_probe_rtt_until", "_recovering", "_restarting", "_round", "_round_end",
        "full_pipe", "min_rtt", "mode",
    )  # fmt: skip

    name = "bbr"
    wants_rate = True
    own_recovery = True

    def __init__(self) -> None:
        super().__init__()
        self.wants_rtt = True  # of the handshake alone: the first flight is paced by it
        self.mode = STARTUP
        self.min_rtt: Nanoseconds = 0
        """The round trip without a queue; 0: not measured yet."""
        self.full_pipe = False
        """Whether STARTUP has found the bandwidth."""
        self._min_rtt_at: Nanoseconds = 0
        self._bandwidth = WindowMax(BANDWIDTH_ROUNDS)
        self._pacing_rate = self._first_rate()
        self._round = 0
        self._round_end = 0  # total_delivered at which it began: what is sent from then on ends it
        self._full_bandwidth = 0
        self._full_rounds = 0
        self._cycle = 0
        self._cycle_at: Nanoseconds = 0
        self._prior_cwnd = 0  # before the recovery or the PROBE_RTT that has taken it down
        self._recovering = False
        self._entering = False  # from `on_loss` to the next sample
        self._conserving = False
        self._restarting = False  # the first flight after idleness
        self._probe_rtt_until: Nanoseconds = 0  # 0: the flight has not fallen to four segments yet
        self._probe_rtt_round = False  # a round of PROBE_RTT has gone by
        self._limited_until = -1  # what was sent up to this total_delivered was held back by PROBE_RTT
        self._extra = WindowMax(EXTRA_ROUNDS)  # octets acknowledged beyond what the bandwidth explains
        self._extra_at: Nanoseconds = 0
        self._extra_acked = 0

    def start(self, mss: int, initial_window: int) -> None:
        """Begin in STARTUP, paced by the handshake's round trip; by 1 ms where it was not measured."""
        super().start(mss, initial_window)
        self._pacing_rate = self._first_rate()

    def _first_rate(self) -> int:
        return self.cwnd * HIGH_GAIN * SECOND // ((self.min_rtt or MILLISECOND) * UNIT)

    @property
    def bandwidth(self) -> int:
        """The bottleneck's, as far as it is known, in octets a second; 0: no sample yet."""
        return self._bandwidth.best

    @property
    def pacing_rate(self) -> int:
        """Octets a second, always."""
        return self._pacing_rate

    def on_rtt(self, rtt: int, now: Nanoseconds) -> None:
        """The first one, the handshake's as a rule; later ones come with the rate samples."""
        self.wants_rtt = False
        self.min_rtt = rtt
        self._min_rtt_at = now

    # -- the model -------------------------------------------------------------------------------------

    def on_rate(self, sample: RateSample, now: Nanoseconds) -> None:
        """Take what one ACK tells, then set rate and window by it."""
        new_round = sample.delivered > 0 and sample.prior_delivered >= self._round_end
        if new_round:
            if not self._round:
                self._min_rtt_at = now  # nothing has been sent that could have measured it since the handshake
            self._round += 1
            self._round_end = sample.total_delivered
            self._conserving = False
        if sample.delivered > 0 and sample.interval_ns > 0:
            self._take_bandwidth(sample, new_round, now)
        self._take_rtt(sample, new_round, now)
        self._next_mode(sample, now)
        self._set_rate()
        self._set_window(sample)
        if sample.delivered:
            self._restarting = False

    def _take_bandwidth(self, sample: RateSample, new_round: bool, now: Nanoseconds) -> None:
        rate = sample.delivered * SECOND // sample.interval_ns
        held = self._bandwidth
        limited = sample.app_limited or sample.prior_delivered <= self._limited_until
        if not limited or rate >= held.best:  # a lower bound counts where it raises the estimate
            held.add(rate, self._round)
        if new_round and not limited and not self.full_pipe:
            self._look_for_full_pipe()
        self._take_extra(sample.acked, now)

    def _look_for_full_pipe(self) -> None:
        """Once a round: growth has ended when three rounds in a row stayed below a quarter more."""
        if self._bandwidth.best * UNIT >= self._full_bandwidth * FULL_PIPE_GROWTH:
            self._full_bandwidth = self._bandwidth.best
            self._full_rounds = 0
            return
        self._full_rounds += 1
        self.full_pipe = self._full_rounds >= FULL_PIPE_ROUNDS

    def _take_extra(self, acked: int, now: Nanoseconds) -> None:
        """How far a bunch of ACKs runs ahead of the bandwidth; a receiver that takes 64 KB at once makes such.

        An epoch lasts while more was acknowledged since its beginning than the bandwidth explains.
        """
        expected = self._bandwidth.best * (now - self._extra_at) // SECOND
        if self._extra_acked <= expected:
            self._extra_at = now
            self._extra_acked = expected = 0
        self._extra_acked += acked
        self._extra.add(min(self._extra_acked - expected, self.cwnd), self._round)

    def _take_rtt(self, sample: RateSample, new_round: bool, now: Nanoseconds) -> None:
        """The least round trip, and PROBE_RTT where ten seconds have brought no shorter one."""
        rtt = sample.rtt_ns
        expired = self.min_rtt > 0 and now - self._min_rtt_at > MIN_RTT_NS
        if rtt and (expired or rtt <= self.min_rtt or not self.min_rtt):
            self.min_rtt = rtt
            self._min_rtt_at = now
        if expired and not self._restarting and self.mode != PROBE_RTT:
            self._save_window()
            self.mode = PROBE_RTT
            self._probe_rtt_until = 0
        if self.mode == PROBE_RTT:
            self._limited_until = sample.total_delivered + sample.in_flight
            if self._probe_rtt_until:
                self._probe_rtt_round |= new_round
                if self._probe_rtt_round:
                    self._end_probe_rtt(now)
            elif sample.in_flight <= MIN_SEGMENTS * self.mss:
                self._probe_rtt_until = now + PROBE_RTT_NS
                self._probe_rtt_round = False
                self._round_end = sample.total_delivered

    def _end_probe_rtt(self, now: Nanoseconds) -> None:
        if now >= self._probe_rtt_until:
            self._min_rtt_at = now
            self.cwnd = max(self.cwnd, self._prior_cwnd)
            self._resume(now)

    # -- modes -----------------------------------------------------------------------------------------

    def _resume(self, now: Nanoseconds) -> None:
        if not self.full_pipe:
            self.mode = STARTUP
            return
        self.mode = PROBE_BW
        # anywhere but in the phase that drains, so that flows that began together do not probe together
        self._cycle = (2 + now % 7) % len(CYCLE)
        self._cycle_at = now

    def _next_mode(self, sample: RateSample, now: Nanoseconds) -> None:
        mode = self.mode
        if mode == PROBE_BW:
            if self._phase_is_over(sample, now):
                self._cycle = (self._cycle + 1) % len(CYCLE)
                self._cycle_at = now
            return
        if mode == STARTUP and self.full_pipe:
            mode = self.mode = DRAIN
            self.ssthresh = self._in_flight(UNIT)  # for whoever looks: where STARTUP has ended
        if mode == DRAIN and sample.in_flight <= self._in_flight(UNIT):
            self._resume(now)

    def _phase_is_over(self, sample: RateSample, now: Nanoseconds) -> bool:
        gain = CYCLE[self._cycle]
        long_enough = now - self._cycle_at > self.min_rtt
        if gain > UNIT:  # until what it sends more has shown: it is in flight, or was too much
            return long_enough and (sample.lost > 0 or sample.prior_in_flight >= self._in_flight(gain))
        if gain < UNIT:  # until the queue of the phase before is gone
            return long_enough or sample.prior_in_flight <= self._in_flight(UNIT)
        return long_enough

    def _gains(self) -> tuple[int, int]:
        """Of the pacing rate and of the window."""
        mode = self.mode
        if mode == PROBE_BW:
            return CYCLE[self._cycle], CWND_GAIN
        if mode == STARTUP:
            return HIGH_GAIN, HIGH_GAIN
        return (DRAIN_GAIN, HIGH_GAIN) if mode == DRAIN else (UNIT, UNIT)

    # -- what follows ----------------------------------------------------------------------------------

    def _product(self, gain: int) -> int:
        """Bandwidth times round trip times `gain`, in octets; the initial window while either is unknown."""
        product = self._bandwidth.best * self.min_rtt
        return -(-product * gain // (SECOND * UNIT)) if product else self.initial_window

    def _in_flight(self, gain: int) -> int:
        """What to have in flight at `gain`: the product, and what sits in the two ends' bursts."""
        probing = 2 * self.mss if self.mode == PROBE_BW and not self._cycle else 0
        return self._product(gain) + 3 * burst_size(self._pacing_rate, self.mss) + probing

    def _set_rate(self) -> None:
        rate = self._bandwidth.best * self._gains()[0] * MARGIN // (100 * UNIT)
        if self.full_pipe or rate > self._pacing_rate:  # the first samples are held back by the window
            self._pacing_rate = max(rate, 1)

    def _set_window(self, sample: RateSample) -> None:
        acked = sample.acked
        least = MIN_SEGMENTS * self.mss
        if acked and not self._recovery_rules(sample):
            target = self._in_flight(self._gains()[1])
            cwnd = self.cwnd
            if self.full_pipe:
                target += min(self._extra.best, self._bandwidth.best * MAX_EXTRA_NS // SECOND)
                cwnd = min(cwnd + acked, target)
            elif cwnd < target or sample.total_delivered < self.initial_window:
                cwnd += acked
            self.cwnd = max(cwnd, least)
        if self.mode == PROBE_RTT:
            self.cwnd = min(self.cwnd, least)

    def _recovery_rules(self, sample: RateSample) -> bool:
        """Take losses off the window; True while packet conservation alone rules it."""
        if sample.lost:
            self.cwnd = max(self.cwnd - sample.lost, self.mss)
        if self._recovering and not sample.is_recovery:  # over; or ECN's, which says nothing here
            self._end_recovery()
        elif self._entering:
            self._entering = False
            self._conserving = True
            self._round_end = sample.total_delivered
            self.cwnd = max(sample.in_flight + sample.acked, self.mss)
        if self._conserving:
            self.cwnd = max(self.cwnd, sample.in_flight + sample.acked)
        return self._conserving

    # -- what happens to the connection ------------------------------------------------------------------

    def _save_window(self) -> None:
        held_down = self._recovering or self.mode == PROBE_RTT
        self._prior_cwnd = max(self._prior_cwnd, self.cwnd) if held_down else self.cwnd

    def on_ack(self, acked: int, now: Nanoseconds, srtt: int, flight: int, cwnd_limited: bool) -> None:
        """The sample that comes behind tells more."""

    def on_loss(self, flight: int, now: Nanoseconds) -> None:
        """The model stands; one round of packet conservation, from the next sample on."""
        self._save_window()
        self._recovering = self._entering = True

    def on_rto(self, flight: int, now: Nanoseconds, first: bool) -> None:
        """All is lost: one segment, and the window opens by what arrives; the pipe may have become another."""
        self._save_window()
        self._recovering = True
        self._entering = self._conserving = False
        self._full_bandwidth = 0
        self.cwnd = self.mss

    def on_recovery_exit(self, now: Nanoseconds) -> None:
        """The window is what it was before the losses."""
        self._end_recovery()

    def _end_recovery(self) -> None:
        if self._recovering:
            self._recovering = self._entering = self._conserving = False
            self.cwnd = max(self.cwnd, self._prior_cwnd)

    def on_spurious(self, now: Nanoseconds) -> None:
        """Nothing was lost; and the rounds without growth may have been the reordering's."""
        self._full_bandwidth = self._full_rounds = 0
        self._end_recovery()

    def on_idle(self, now: Nanoseconds, idle_ns: int, rto: int) -> None:
        """The model stands and the rate spreads the first flight: at the bandwidth, not at a probe's gain."""
        self._restarting = True
        self._extra_at = now
        self._extra_acked = 0
        if self.mode == PROBE_BW:
            self._pacing_rate = max(self._bandwidth.best * MARGIN // 100, 1)
        elif self.mode == PROBE_RTT and self._probe_rtt_until:
            self._end_probe_rtt(now)
