"""Congestion that is marked and not dropped (RFC 3168): two stacks over a bottleneck that marks."""

from __future__ import annotations

import pytest

from scapystack.base.types import MILLISECOND
from tests.sim.bottleneck import Bottleneck
from tests.sim.fairness import jain

RATE = 500_000
ON = {"ecn": "on"}


def marking(congestion: str, ecn: bool = True) -> Bottleneck:
    """4 Mbit/s, 40 ms; the queue holds 400 ms, and marks what waits in it for more than 30 ms."""
    return Bottleneck(
        congestion, rate=RATE, delay_ms=20, queue_ms=400, mark_ms=30, sender=ON if ecn else None, size=None
    )


@pytest.mark.parametrize("congestion", ["reno", "cubic"])
def test_sender_with_ecn_slows_down_at_a_marking_queue_without_a_loss(congestion: str) -> None:
    """3168/6.1, SHLD-8: it keeps the line full and the queue short."""
    path = marking(congestion)
    path.run(10)
    reductions = path.drivers[0].stack.core.counters["tcp.ecn_reductions"]
    assert reductions >= 5
    assert path.way.marked == path.drivers[1].stack.core.counters["tcp.ecn_ce_received"] > reductions
    assert path.sender.info().delivered_ce > 0
    assert (path.way.lost, path.sender.total_retrans) == (0, 0)
    assert path.goodput > 0.9 * RATE * 1448 / 1514
    assert path.sender.rtt.srtt < 100 * MILLISECOND
    assert path.flows[0].intact


def test_sender_without_ecn_fills_a_marking_queue() -> None:
    """Nothing of it may be marked: the queue grows until it overflows."""
    path = marking("reno", ecn=False)
    path.run(10)
    assert path.way.marked == 0
    assert path.way.lost > 0
    assert path.flows[0].intact


def test_senders_with_ecn_share_a_marking_queue_without_a_loss() -> None:
    path = marking("reno")
    path.run(2)
    path.start("reno")
    path.run(5)
    before = [flow.received for flow in path.flows]
    path.run(20)
    assert path.way.lost == sum(flow.sender.total_retrans for flow in path.flows) == 0
    assert jain([flow.received - was for flow, was in zip(path.flows, before, strict=True)]) > 0.9
