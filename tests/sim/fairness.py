"""Two flows that share a bottleneck: how evenly, by Jain's index, over 60 simulated seconds.

`python -m tests.sim.fairness` prints a table of pairs and paths. Read `tests.sim.bottleneck` first.
"""

from __future__ import annotations

from collections.abc import Sequence

from scapystack.base.types import MILLISECOND
from scapystack.layers.tcp.congestion import names
from tests.sim.bottleneck import Bottleneck

RATE = 500_000
DELAY_MS = 20
QUEUE_MS = 100
SECONDS = 60
LATE_S = 5


def jain(shares: Sequence[float]) -> float:
    """Jain's index (R. Jain, D. Chiu, W. Hawe, DEC-TR-301, 1984): 1 for equal shares, 1/n for one that has all."""
    return sum(shares) ** 2 / (len(shares) * sum(share * share for share in shares))


def shares(
    first: str,
    second: str,
    *,
    rate: int = RATE,
    delay_ms: float = DELAY_MS,
    queue_ms: float = QUEUE_MS,
    seed: int = 1,
    seconds: int = SECONDS,
) -> list[float]:
    """Octets a second that each of two flows has got in so many seconds from the second one's start.

    That is 5 s and a bit, by the seed, after the first one's, which has the path to itself until then.
    """
    path = Bottleneck(first, rate=rate, delay_ms=delay_ms, queue_ms=queue_ms, seed=seed)
    path.run(LATE_S)
    path.sim.run_for(path.rng.below(200) * MILLISECOND)
    path.start(second)
    before = [flow.received for flow in path.flows]
    path.run(seconds)
    assert all(flow.intact for flow in path.flows)
    return [(flow.received - was) / seconds for flow, was in zip(path.flows, before, strict=True)]


PATHS = {
    "4 Mbit/s, 40 ms, queue 100 ms": (RATE, DELAY_MS, QUEUE_MS),
    "4 Mbit/s, 40 ms, queue 20 ms": (RATE, DELAY_MS, 20),
    "20 Mbit/s, 50 ms, queue 50 ms": (2_500_000, 25, 50),
}


if __name__ == "__main__":
    for title, (rate, delay_ms, queue_ms) in PATHS.items():
        for number, one in enumerate(names()):
            for other in names()[number:]:
                for seed in (1, 2, 3):
                    got = shares(one, other, rate=rate, delay_ms=delay_ms, queue_ms=queue_ms, seed=seed)
                    rates = " + ".join(f"{share * 8 / 1e6:5.2f}" for share in got)
                    print(f"{title:30} {one:5} then {other:5} seed {seed}: {rates} Mbit/s, Jain {jain(got):.3f}")
