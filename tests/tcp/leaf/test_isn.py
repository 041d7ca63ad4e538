"""Initial sequence numbers move with the clock and differ by connection and by secret."""

from scapystack.layers.tcp.isn import IsnGenerator

A = b"\x0a\0\0\1"
B = b"\x0a\0\0\2"
KEY = bytes(range(32))


def test_isn_advances_by_one_each_four_microseconds():
    """MUST-8, 6528"""
    isn = IsnGenerator(KEY)
    first = isn.isn(1_000_000, A, 80, B, 4000)
    assert (isn.isn(1_004_000, A, 80, B, 4000) - first) & 0xFFFFFFFF == 1
    assert (isn.isn(2_001_000_000, A, 80, B, 4000) - first) & 0xFFFFFFFF == 500_000


def test_isn_wraps_within_32_bits():
    """MUST-8: the clock cycles about every 4.77 hours"""
    isn = IsnGenerator(KEY)
    assert isn.isn(0, A, 80, B, 4000) == isn.isn(4_000 << 32, A, 80, B, 4000)
    assert all(0 <= isn.isn(t * 10**12, A, 80, B, 4000) < 1 << 32 for t in range(100))


def test_isn_of_each_connection_differs():
    """SHLD-1: F takes in all four parts of the connection's name"""
    isn = IsnGenerator(KEY)
    names = [(A, 80, B, 4000), (A, 81, B, 4000), (A, 80, A, 4000), (A, 80, B, 4001), (B, 4000, A, 80)]
    assert len({isn.isn(0, *name) for name in names}) == len(names)


def test_isn_without_the_secret_cannot_be_told():
    """MUST-9: another key, another space; the same key, the same"""
    name = (A, 80, B, 4000)
    assert IsnGenerator(KEY).isn(0, *name) != IsnGenerator(KEY[::-1]).isn(0, *name)
    assert IsnGenerator(KEY).isn(0, *name) == IsnGenerator(KEY).isn(0, *name)


def test_isn_takes_ipv6_addresses():
    isn = IsnGenerator(KEY)
    assert isn.isn(0, A * 4, 80, B * 4, 4000) != isn.isn(0, B * 4, 80, A * 4, 4000)


def test_timestamp_offset_hangs_on_the_addresses_alone():
    """RFC 7323 section 5.4"""
    isn = IsnGenerator(KEY)
    assert isn.timestamp_offset(A, B) == isn.timestamp_offset(A, B)
    assert isn.timestamp_offset(A, B) != isn.timestamp_offset(B, A)
    assert isn.timestamp_offset(A, B) != IsnGenerator(KEY[::-1]).timestamp_offset(A, B)
    assert 0 <= isn.timestamp_offset(A, B) < 1 << 32
