"""`Memory`: what the connections of one stack hold together, so that all of them have a bound. A leaf.

Every connection's queues are bounded by themselves (its buffers, its window, a number of pieces); their
sum would still be thousands of times that. So each queue counts what it holds here too, and where
the sum reaches its setting:

- `sending` (`tcp.max_send_bytes`): `Connection.write` takes no more from those that hold `SHARE` or more;
- `received` (`tcp.max_receive_bytes`): windows open no further than `SHARE`, and text for those that hold
  more than that is dropped, so that the peer sends it again later;
- `out_of_order` (`tcp.max_out_of_order_bytes`): whoever holds most gives up its far end (`level`).

`SHARE` is everybody's even then. So nobody waits for memory that others have: what a connection holds is its own
to work off, and that makes it go on.
"""

from __future__ import annotations

from collections.abc import Sequence

SHARE = 16_384
"""Octets that a connection may always hold, each way: a window of this much can be said with any scale."""

PIECE = 184
"""What a piece held out of order costs beside its octets: the object, its place in four lists."""


class Memory:
    """Octets, by what they are for. The queues add and take away what they hold; who asks is `Tcp`."""

    __slots__ = ("out_of_order", "received", "sending")

    def __init__(self) -> None:
        self.out_of_order = 0  # with PIECE for each
        self.received = 0
        self.sending = 0


def level(sizes: Sequence[int], room: int) -> int:
    """The most that each may keep of its own, so that all keep no more than `room`: a tide line.

    Those below keep everything, so that who holds little does not pay for who holds much.
    """
    left = len(sizes)
    for size in sorted(sizes):
        share = room // left
        if size > share:
            return share
        room -= size
        left -= 1
    return max(sizes, default=0)
