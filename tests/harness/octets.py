"""Octets to send, in which whatever goes wrong on their way shows."""

from __future__ import annotations

from struct import pack


def pattern(size: int, salt: int = 0) -> bytes:
    """`size` octets of which no four stand elsewhere: they show a gap, a repetition or an exchange."""
    n = size // 4 + 1
    step = 2654435761
    return pack(f">{n}I", *[number & 0xFFFFFFFF for number in range(salt, salt + n * step, step)])[:size]
