"""Initial sequence numbers (RFC 6528; MUST-8, MUST-9, SHLD-1) and timestamp offsets (RFC 7323).

A leaf: it holds a secret and no clock.
"""

from __future__ import annotations

from scapystack.base.rng import keyed_hash32
from scapystack.base.types import Address, Nanoseconds

_TICK_NS = 4_000  # RFC 9293 section 3.4.1: the clock ticks about every 4 us


class IsnGenerator:
    """ISN = M + F(connection, key): a 4 us clock, and keyed BLAKE2b as the pseudo-random function.

    `key` is the secret: 16 to 64 octets (RFC 6528 section 3: 128 bits are enough).
    """

    __slots__ = ("_key",)

    def __init__(self, key: bytes) -> None:
        self._key = key

    def isn(self, now_ns: Nanoseconds, laddr: Address, lport: int, raddr: Address, rport: int) -> int:
        """The initial send sequence number for this 4-tuple at this time."""
        ports = (lport << 16 | rport).to_bytes(4, "big")
        f = keyed_hash32(self._key, b"isn", laddr, raddr, ports)
        return (now_ns // _TICK_NS + f) & 0xFFFFFFFF

    def timestamp_offset(self, laddr: Address, raddr: Address) -> int:
        """What to add to the timestamp clock towards `raddr`: the same for all its connections.

        It hides the stack's uptime (RFC 7323 section 5.4), and since it hangs on the addresses alone
        the peer sees timestamps that grow from one connection to the next, which its PAWS and
        RFC 6191 want. Linux does the same.
        """
        return keyed_hash32(self._key, b"timestamp", laddr, raddr)
