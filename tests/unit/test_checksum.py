"""The Internet checksum at its edges; that it equals Scapy's is in tests/property/test_checksum.py."""

import pytest

from scapystack.base.checksum import checksum, finish, partial_sum, pseudo_sum, sum_parts


def test_checksum_rfc1071_example():
    # RFC 1071 section 3: the sum of these words is ddf2
    words = bytes.fromhex("0001 f203 f4f5 f6f7")
    assert partial_sum(words) == 0xDDF2
    assert checksum(words) == 0xFFFF - 0xDDF2


def test_checksum_of_a_real_ipv4_header_with_its_field_zero():
    header = bytes.fromhex("4500 0073 0000 4000 4011 0000 c0a8 0001 c0a8 00c7")
    assert checksum(header) == 0xB861
    done = header[:10] + b"\xb8\x61" + header[12:]
    assert partial_sum(done) == 0


def test_checksum_odd_length_pads_with_zero():
    assert partial_sum(b"\x12\x34\x56") == partial_sum(b"\x12\x34\x56\0") == 0x1234 + 0x5600


@pytest.mark.parametrize("n", [0, 1, 2, 20, 1023, 1024, 1500])
def test_checksum_zero_in_both_forms(n):
    # all zero has the sum +0, and a multiple of 0xFFFF that is not zero has the sum -0
    assert checksum(bytes(n)) == 0xFFFF
    assert checksum(b"\xff\xff" * (n + 1)) == 0


@pytest.mark.parametrize("n", [*range(12), *range(1020, 1034), 1448, 1449, 65535])
@pytest.mark.parametrize("kind", [bytes, bytearray, memoryview])
def test_partial_sum_every_length_and_kind_of_buffer(n, kind):
    data = bytes(i * 7 & 255 for i in range(n))
    by_words = 0
    for i in range(0, n, 2):
        by_words += int.from_bytes(data[i : i + 2].ljust(2, b"\0"), "big")
        by_words = (by_words & 0xFFFF) + (by_words >> 16)
    assert partial_sum(kind(data)) == by_words % 0xFFFF


def test_sum_parts_odd_parts_shift_the_next():
    assert sum_parts([b"\x01", b"\x02\x03", b"\x04"]) == partial_sum(b"\x01\x02\x03\x04")
    assert sum_parts([]) == 0
    assert sum_parts([b"", b"\x01", b"", b"\x02"]) == 0x0102


def test_finish_complements_and_folds():
    assert finish(0xDDF2) == 0x220D
    assert finish(0xDDF2 + 5 * 0xFFFF) == 0x220D
    assert finish(0) == finish(0xFFFF) == 0


def test_pseudo_sum_ipv4_and_ipv6():
    src, dst = b"\x0a\0\0\x01", b"\x0a\0\0\x02"
    assert pseudo_sum(src, dst, 6, 1480) == partial_sum(src + dst + b"\0\x06" + (1480).to_bytes(2, "big"))
    # RFC 8200 section 8.1: 32 bits of length, then 3 octets of zero and the next header
    src, dst = bytes(range(16)), bytes(range(16, 32))
    whole = src + dst + (70_000).to_bytes(4, "big") + b"\0\0\0\x11"
    assert pseudo_sum(src, dst, 17, 70_000) == partial_sum(whole)
