"""`Path`: a congestion control alone on a path, in virtual time, without a TCP: octets, a bottleneck, ACKs.

    path = Path(make("bbr"), rate=10_000_000, rtt_ms=20, queue_ms=50, loss=0.01)
    path.run(ms=3_000)
    path.goodput(since_ms=1_000), path.queue_ms()

It does what `on_rate` is promised: paces by `pacing_rate`, counts what is in flight, takes rate samples as
draft-cheng-iccrg-delivery-rate-estimation has them, and finds a loss three packets later.
"""

from __future__ import annotations

import heapq
from collections import deque
from dataclasses import dataclass

from scapystack.base.rng import Rng
from scapystack.base.types import MILLISECOND, SECOND
from scapystack.layers.tcp.congestion import CongestionControl, initial_window
from scapystack.layers.tcp.pacing import Pacer
from scapystack.layers.tcp.rate import RateSample

MSS = 1448


@dataclass(slots=True)
class Packet:
    number: int
    sent_at: int
    first_sent_at: int
    delivered: int
    delivered_at: int
    app_limited: bool
    repairs: int | None  # the number of a lost one that it sends again


class Path:
    """A sender that `cc` rules, and its path. `app_rate` (octets a second) limits it by its application."""

    def __init__(
        self, cc: CongestionControl, *, rate: int, rtt_ms: float, queue_ms: float = 100, loss: float = 0.0,
        bunch_ms: float = 0, handshake: bool = True, start_ms: int = 1_000, seed: int = 1,
    ) -> None:  # fmt: skip
        self.cc = cc
        self.rate = rate
        self.rtt_ms = rtt_ms
        self.queue_ms_limit = queue_ms
        self.loss = loss
        self.bunch = round(bunch_ms * MILLISECOND)
        self.app_rate = 0
        self.rng = Rng(seed)
        self.began = self.now = start_ms * MILLISECOND
        self.pacer = Pacer()
        self.line_free_at = 0
        self.credit = 0  # octets that the application has still to send, where it is limited
        self.credit_at = self.now
        self.sent = 0
        self.dropped = 0
        self.delivered = 0
        self.delivered_at = 0
        self.first_sent_at = 0
        self.in_flight = 0
        self.limited_until = -1
        self.recovery_until = -1
        self.outstanding: dict[int, Packet] = {}
        self.missing: set[int] = set()  # lost, and not delivered by a later one yet
        self.owed: deque[int] = deque()  # those of them that are to be sent again
        self.arrivals: list[tuple[int, int]] = []  # (when its ACK is back, number)
        self.log: list[tuple[int, int, int, int]] = []  # at each ACK: time, delivered, queue in ns, in flight
        if handshake and cc.wants_rtt:
            cc.on_rtt(round(rtt_ms * MILLISECOND), self.now)
        cc.start(MSS, initial_window(MSS))

    # -- time ------------------------------------------------------------------------------------------

    def run(self, ms: float) -> None:
        """Let so much time pass."""
        end = self.now + round(ms * MILLISECOND)
        while True:
            self._send()
            times = [end]
            if self.arrivals:
                times.append(self.arrivals[0][0])
            if self._may_send():
                times.append(self.pacer.next_at)
            if self.app_rate:
                times.append(self.now + MILLISECOND)
            self.now = max(min(times), self.now)
            if self.arrivals and self.arrivals[0][0] <= self.now:
                self._acknowledge()
            elif self.now >= end:
                return

    def _may_send(self) -> bool:
        if self.in_flight + MSS > self.cc.cwnd:
            return False
        if not self.app_rate:
            return True
        self.credit += (self.now - self.credit_at) * self.app_rate // SECOND
        self.credit_at = self.now
        if self.credit >= MSS:
            return True
        self.limited_until = self.delivered + self.in_flight
        return False

    def _send(self) -> None:
        while self._may_send() and self.pacer.next_at <= self.now:
            rate = self.cc.pacing_rate
            assert rate
            assert self.pacer.open(rate, MSS, self.now)
            while self.pacer.left >= MSS and self._may_send():
                self._emit()
                self.pacer.sent(MSS)

    def _emit(self) -> None:
        now = self.now
        if not self.in_flight:
            self.first_sent_at = self.delivered_at = now
        limited = self.delivered <= self.limited_until
        number, self.sent = self.sent, self.sent + 1
        repairs = self.owed.popleft() if self.owed else None
        self.outstanding[number] = Packet(
            number, now, self.first_sent_at, self.delivered, self.delivered_at, limited, repairs
        )  # fmt: skip
        self.in_flight += MSS
        self.credit -= MSS
        free_at = max(now, self.line_free_at)
        if free_at - now > self.queue_ms_limit * MILLISECOND or (self.loss and self.rng.chance(self.loss)):
            self.dropped += 1
            return
        self.line_free_at = free_at + MSS * SECOND // self.rate
        back = self.line_free_at + round(self.rtt_ms * MILLISECOND)
        if self.bunch:
            back = -(-back // self.bunch) * self.bunch
        heapq.heappush(self.arrivals, (back, number))

    # -- ACKs ------------------------------------------------------------------------------------------

    def _acknowledge(self) -> None:
        """All that have come back by now, as one ACK."""
        now = self.now
        prior = self.in_flight
        newest: Packet | None = None
        acked = 0
        while self.arrivals and self.arrivals[0][0] <= now:
            packet = self.outstanding.pop(heapq.heappop(self.arrivals)[1], None)
            if packet is not None:
                acked += MSS
                newest = packet
                if packet.repairs is not None:
                    self.missing.discard(packet.repairs)
        if newest is None:
            return
        self.in_flight -= acked
        self.delivered += acked
        self.delivered_at = now
        self.first_sent_at = newest.sent_at
        lost = [n for n in self.outstanding if n <= newest.number - 3]
        for n in lost:
            repairs = self.outstanding.pop(n).repairs
            self.owed.append(n if repairs is None else repairs)
            self.missing.add(self.owed[-1])
            self.in_flight -= MSS
        was = self.recovery_until >= 0
        if lost and not was:
            self.recovery_until = self.sent
            self.cc.on_loss(self.in_flight, now)
        elif (
            was
            and min(self.outstanding, default=self.sent) >= self.recovery_until
            and not any(n < self.recovery_until for n in self.missing)
        ):
            self.recovery_until = -1
            self.cc.on_recovery_exit(now)
        interval = max(newest.sent_at - newest.first_sent_at, now - newest.delivered_at)
        sample = RateSample(
            delivered=self.delivered - newest.delivered, interval_ns=interval, rtt_ns=now - newest.sent_at,
            acked=acked, lost=len(lost) * MSS, in_flight=self.in_flight, prior_in_flight=prior,
            prior_delivered=newest.delivered, total_delivered=self.delivered, app_limited=newest.app_limited,
            is_recovery=self.recovery_until >= 0,
        )  # fmt: skip
        self.cc.on_rate(sample, now)
        self.log.append((now, self.delivered, max(self.line_free_at - now, 0), self.in_flight))

    # -- what came of it ---------------------------------------------------------------------------------

    def _since(self, ms: float) -> list[tuple[int, int, int, int]]:
        return [entry for entry in self.log if entry[0] >= self.began + ms * MILLISECOND]

    def goodput(self, since_ms: float = 0) -> float:
        """Octets a second that arrived from then on."""
        part = self._since(since_ms)
        return (part[-1][1] - part[0][1]) * SECOND / (part[-1][0] - part[0][0])

    def queue_ms(self, since_ms: float = 0) -> float:
        """The mean wait at the bottleneck from then on."""
        part = self._since(since_ms)
        return sum(entry[2] for entry in part) / len(part) / MILLISECOND

    def least_in_flight(self, since_ms: float, until_ms: float) -> int:
        """Octets."""
        return min(e[3] for e in self._since(since_ms) if e[0] <= self.began + until_ms * MILLISECOND)
