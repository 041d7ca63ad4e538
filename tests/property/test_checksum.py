"""The checksum equals Scapy's on any octets, whole or in pieces."""

from hypothesis import given
from hypothesis import strategies as st
from scapy.utils import checksum as scapy_checksum

from scapystack.base.checksum import checksum, finish, partial_sum, sum_parts

octets = st.binary(max_size=80) | st.binary(min_size=1000, max_size=1100) | st.integers(0, 3000).map(bytes)


@given(octets)
def test_checksum_equals_scapy(data):
    assert checksum(data) == scapy_checksum(data)


@given(st.lists(octets, max_size=5))
def test_sum_parts_equals_the_sum_of_the_whole(parts):
    assert sum_parts(parts) == partial_sum(b"".join(parts))


@given(octets.filter(lambda data: len(data) % 2 == 0 and any(data)))
def test_checksum_in_place_sums_to_zero(data):
    assert partial_sum(data + checksum(data).to_bytes(2, "big")) == 0
    assert finish(partial_sum(data)) == checksum(data)


@given(octets.filter(any), st.data())
def test_checksum_sees_every_single_bit(data, draw):
    at = draw.draw(st.integers(0, len(data) * 8 - 1))
    changed = bytearray(data)
    changed[at // 8] ^= 1 << at % 8
    assert checksum(changed) != checksum(data) or not any(changed)
