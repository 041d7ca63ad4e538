"""Type names used in every room. Addresses travel packed, as they stand on the wire."""

from typing import TypeAlias

Buffer: TypeAlias = bytes | bytearray | memoryview
"""Anything that holds octets and can be sliced."""

Address: TypeAlias = bytes
"""A packed IP address: 4 octets (IPv4) or 16 (IPv6)."""

Mac: TypeAlias = bytes
"""A packed 48-bit hardware address: 6 octets."""

Nanoseconds: TypeAlias = int
"""A point in time (`_at`) or a span, in integer nanoseconds. The core never reads a clock."""

MICROSECOND = 1_000
MILLISECOND = 1_000_000
SECOND = 1_000_000_000
