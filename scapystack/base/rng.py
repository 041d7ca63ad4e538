"""The stack's only randomness: a keyed, seeded generator, the same on every machine.

BLAKE2b in counter mode: from one seed everything follows (tests get the same bytes every time),
and without the seed nothing can be foretold (ports, IP ids, initial sequence numbers: RFC 6056,
RFC 6528). A live stack takes its seed from the operating system; a test passes one in.
"""

from __future__ import annotations

from hashlib import blake2b


class Rng:
    """A deterministic stream of numbers drawn from `seed` (an int or up to 64 octets)."""

    __slots__ = ("_counter", "_pool", "key")

    def __init__(self, seed: int | bytes) -> None:
        if isinstance(seed, int):
            seed = seed.to_bytes(64, "big", signed=True)
        self.key = blake2b(seed, digest_size=32, person=b"scapystack-rng").digest()
        self._counter = 0
        self._pool = b""

    def bytes(self, n: int) -> bytes:
        """`n` octets."""
        pool = self._pool
        while len(pool) < n:
            self._counter += 1
            pool += blake2b(self._counter.to_bytes(8, "big"), key=self.key).digest()
        self._pool = pool[n:]
        return pool[:n]

    def u16(self) -> int:
        """A number in [0, 2**16)."""
        return int.from_bytes(self.bytes(2), "big")

    def u32(self) -> int:
        """A number in [0, 2**32)."""
        return int.from_bytes(self.bytes(4), "big")

    def below(self, n: int) -> int:
        """A number in [0, n); the bias of a 64-bit draw is below 2**-32 for any n here."""
        return int.from_bytes(self.bytes(8), "big") % n

    def chance(self, probability: float) -> bool:
        """True with the given probability."""
        return int.from_bytes(self.bytes(7), "big") < probability * (1 << 56)

    def derive(self, label: str) -> Rng:
        """An independent generator for one purpose, itself a function of the seed alone."""
        return Rng(blake2b(label.encode(), key=self.key, digest_size=64).digest())


def keyed_hash32(key: bytes, *parts: bytes) -> int:
    """A keyed pseudo-random function to 32 bits, for RFC 6528 and RFC 6056."""
    return int.from_bytes(blake2b(b"".join(parts), key=key, digest_size=4).digest(), "big")


def keyed_hash(key: bytes, size: int, *parts: bytes) -> bytes:
    """The same to `size` octets (at most 64): a message authentication code of `parts`, joined."""
    return blake2b(b"".join(parts), key=key, digest_size=size).digest()
