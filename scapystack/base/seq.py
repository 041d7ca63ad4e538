"""Sequence numbers: arithmetic and comparison modulo 2**32 (RFC 9293 section 3.4).

Plain `<` on sequence numbers is wrong once they wrap; every comparison in the stack goes
through these functions (or, where a profile asked for it, through the same masked subtraction
written out).
"""

MASK = 0xFFFFFFFF
HALF = 0x80000000


def seq_add(a: int, n: int) -> int:
    """`a + n` modulo 2**32; `n` may be negative."""
    return (a + n) & MASK


def seq_sub(a: int, b: int) -> int:
    """The signed distance from `b` to `a`, in [-2**31, 2**31)."""
    return ((a - b + HALF) & MASK) - HALF


def seq_lt(a: int, b: int) -> bool:
    """True if `a` comes before `b`."""
    return (a - b) & HALF != 0


def seq_le(a: int, b: int) -> bool:
    """True if `a` comes before `b` or is `b`."""
    return (b - a) & HALF == 0


def seq_gt(a: int, b: int) -> bool:
    """True if `a` comes after `b`."""
    return (b - a) & HALF != 0


def seq_ge(a: int, b: int) -> bool:
    """True if `a` comes after `b` or is `b`."""
    return (a - b) & HALF == 0


def seq_between(low: int, x: int, high: int) -> bool:
    """True if `low <= x < high` on the circle (empty when `low == high`)."""
    return (x - low) & MASK < (high - low) & MASK


def seq_max(a: int, b: int) -> int:
    """The later of two sequence numbers."""
    return b if (a - b) & HALF else a
