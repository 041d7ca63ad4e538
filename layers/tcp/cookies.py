"""SYN cookies (RFC 4987 section 3.6 and appendix A): a SYN-ACK that keeps nothing of its SYN.

What has to be known when the ACK comes back travels in the numbers that it must repeat: the peer's
MSS in our initial sequence number, and the options that both sides want in the low bits of our
timestamp, as Linux has it. A leaf: it holds a secret and no clock. `Listener` decides when to use it.
"""

from __future__ import annotations

from bisect import bisect_right

from scapystack.base.rng import keyed_hash32
from scapystack.base.types import SECOND, Address, Nanoseconds

PERIOD: Nanoseconds = 64 * SECOND
"""How long one value of the counter in a cookie lasts."""

LIFETIME: Nanoseconds = 2 * PERIOD
"""No cookie is good for longer (the counter's last two values are), so no listener looks for one after that."""

MSS = (88, 536, 1220, 1300, 1360, 1440, 1460, 8960)
"""What a cookie can say of the peer's MSS: the largest that is not above it. In the order of the table: our own
floor; the default; IPv6's default, tunnels of two kinds, PPPoE or IPv6, Ethernet, jumbo frames."""

_MASK = 0xFFFFFFFF
_LOW = 0xFFFFFF
_STAMP_BITS = 6
_NO_WSCALE = 0xF
_SACK = 0x10
_ECN = 0x20


class SynCookies:
    """Makes and checks cookies with one secret `key` (16 to 64 octets).

    A cookie is F(connection) + the peer's initial sequence number + a 64 s counter in the upper 8 bits,
    and in the lower 24 F(connection, counter) + the index in `MSS`. So it moves on by about 250,000 a
    second, as an initial sequence number should (MUST-8, MUST-9, 6528), and of all 2**32 acknowledgment
    numbers 16 are good at a time: a blind guess succeeds once in 268 million.
    """

    __slots__ = ("_key",)

    def __init__(self, key: bytes) -> None:
        self._key = key

    def make(self, now: Nanoseconds, name: bytes, irs: int, mss: int) -> int:
        """The initial sequence number that answers a SYN with `irs` of the connection `name` (see `name_of`)."""
        count = now // PERIOD
        index = max(bisect_right(MSS, mss) - 1, 0)
        return (self._base(name) + irs + (count << 24) + ((self._tag(name, irs, count) + index) & _LOW)) & _MASK

    def check(self, now: Nanoseconds, name: bytes, irs: int, cookie: int) -> int | None:
        """The MSS that a cookie of ours tells of; None for any other number, and for one that is too old."""
        left = (cookie - self._base(name) - irs) & _MASK
        count = now // PERIOD
        age = (count - (left >> 24)) & 0xFF
        if age > 1:
            return None
        index = (left - self._tag(name, irs, count - age)) & _LOW
        return MSS[index] if index < len(MSS) else None

    def _base(self, name: bytes) -> int:
        return keyed_hash32(self._key, b"base", name)

    def _tag(self, name: bytes, irs: int, count: int) -> int:
        # the peer's number is bound in, so that a cookie fits no other SYN of the same connection
        return keyed_hash32(self._key, b"tag", name, irs.to_bytes(4, "big"), count.to_bytes(8, "big"))


def name_of(laddr: Address, lport: int, raddr: Address, rport: int) -> bytes:
    """A connection's name, for `make` and `check`."""
    return laddr + raddr + (lport << 16 | rport).to_bytes(4, "big")


def stamp(ts_now: int, wscale: int | None, sack: bool, ecn: bool) -> int:
    """A timestamp at most 63 ms before `ts_now` whose low bits carry the options of a SYN.

    Never one after `ts_now`: the timestamps that follow must not be older (RFC 7323 section 5).
    """
    bits = (_NO_WSCALE if wscale is None else wscale) | (sack and _SACK) | (ecn and _ECN)
    value = (ts_now >> _STAMP_BITS << _STAMP_BITS) | bits
    return value if value <= ts_now else (value - (1 << _STAMP_BITS)) & _MASK


def unstamp(tsecr: int) -> tuple[int | None, bool, bool]:
    """The peer's window scale (None: it has none), SACK-permitted and ECN, of a timestamp that `stamp` made."""
    wscale = tsecr & _NO_WSCALE
    return None if wscale == _NO_WSCALE else wscale, bool(tsecr & _SACK), bool(tsecr & _ECN)
