"""Octets to send, in which whatever goes wrong on their way shows."""

from __future__ import annotations


def pattern(size: int, salt: int = 0) -> bytes:
    """`size` octets of which no four stand elsewhere: they show a gap, a repetition or an exchange."""
    return b"".join((i * 2654435761 + salt & 0xFFFFFFFF).to_bytes(4, "big") for i in range(size // 4 + 1))[:size]
