"""Ephemeral ports, chosen so that nobody off the path can guess them (RFC 6056).

UDP and TCP share the choice, each with its own idea of "in use".
"""

from __future__ import annotations

from collections.abc import Callable

from scapystack.base.rng import Rng

_DRAWS = 16


def pick(rng: Rng, low: int, high: int, in_use: Callable[[int], bool]) -> int | None:
    """A port in [low, high] for which `in_use` is false, or None when all are taken.

    RFC 6056 (6056) section 3.3.2 (algorithm 2): draw at random again and again. When the range is so full
    that this does not end soon, walk on from the last draw (section 3.3.1, algorithm 1), so that
    the last free port is found too.
    """
    span = high - low + 1
    if span <= 0:
        return None
    offset = 0
    for _ in range(_DRAWS):
        offset = rng.below(span)
        if not in_use(low + offset):
            return low + offset
    for step in range(1, span):
        port = low + (offset + step) % span
        if not in_use(port):
            return port
    return None
