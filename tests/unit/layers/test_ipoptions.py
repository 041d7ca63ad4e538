"""IP options, octet by octet: every length and pointer checked, routes and times recorded."""

import pytest

from scapystack.base.addr import ip
from scapystack.layers.ipoptions import (
    OptionError,
    depart,
    find,
    followed,
    for_fragments,
    next_hop,
    padded,
    record,
    return_route,
    walk,
)

A, B, C, D = (ip(f"10.0.0.{n}") for n in (1, 2, 3, 4))
RR = b"\x07\x0b\x04" + bytes(8)
LSRR = b"\x83\x0b\x04" + B + C


def test_ipoptions_walk_passes_padding_and_unknown_kinds():
    assert list(walk(b"\1\1" + RR + b"\x99\4ab\0\x99\0")) == [(7, 2, 11), (0x99, 13, 4)]


@pytest.mark.parametrize(
    ("options", "at"),
    [
        (b"\x07\0\4\0", 1),
        (b"\x07\1\4\0", 1),
        (b"\x07\5\4\0", 1),
        (b"\1\1\1\x07", 3),
        (b"\x07\2\0\0", 1),
        (b"\x07\x07\3\0\0\0\0\0", 2),
        (b"\x07\x07\5\0\0\0\0\0", 2),
        (b"\x07\6\4\0\0\0\0\0", 2),
        (b"\x83\x07\1\0\0\0\0\0", 2),
        (LSRR + LSRR + b"\0\0", 11),
        (b"\x44\3\5\0", 1),
        (b"\x44\4\5\2", 3),
        (b"\x44\x08\4\0\0\0\0\0", 2),
        (b"\x44\x08\5\1\0\0\0\0", 2),
        (b"\x44\x0c\x09\1" + bytes(8), 2),
    ],
)
def test_ipoptions_impossible_option_named_by_its_octet(options, at):
    """hostile/ip-options."""
    with pytest.raises(OptionError) as caught:
        find(options)
    assert caught.value.at == at


def test_ipoptions_full_ones_are_no_error():
    assert find(b"\x07\x07\x08" + A + b"\0").record_route == 0
    assert find(b"\x44\x08\x09\0" + bytes(4)).timestamp == 0
    assert find(b"\x83\x07\x08" + A + b"\0").source_route == 0


def test_ipoptions_record_route_fills_up_and_then_stays():
    options = RR + b"\0"
    for address, expected in ((A, A + bytes(4)), (B, A + B), (C, A + B)):
        options = record(options, find(options), address, 0)
        assert options[3:11] == expected
    assert options[2] == 12


def test_ipoptions_timestamp_enters_time_and_address():
    bare = record(b"\x44\x0c\5\0" + bytes(8), find(b"\x44\x0c\5\0" + bytes(8)), A, 5)
    assert bare == b"\x44\x0c\x09\0\x80\0\0\5" + bytes(4)
    both = record(b"\x44\x0c\5\1" + bytes(8), find(b"\x44\x0c\5\1" + bytes(8)), A, 5)
    assert both == b"\x44\x0c\x0d\1" + A + b"\x80\0\0\5"


def test_ipoptions_timestamp_meant_for_another_is_left_alone():
    options = b"\x44\x0c\5\3" + B + bytes(4)
    assert record(options, find(options), A, 5) == options
    assert record(options, find(options), B, 5) == b"\x44\x0c\x0d\3" + B + b"\x80\0\0\5"


def test_ipoptions_full_timestamp_counts_overflow_to_its_end():
    options = b"\x44\x08\x09\0" + bytes(4)
    for n in range(1, 16):
        options = record(options, find(options), A, 0)
        assert options[3] == n << 4
    with pytest.raises(OptionError):
        record(options, find(options), A, 0)


def test_ipoptions_source_route_followed_hop_by_hop():
    options = LSRR + b"\0"
    assert next_hop(options, find(options)) == B
    options = followed(options, find(options), A)
    assert options == b"\x83\x0b\x08" + A + C + b"\0"
    options = followed(options, find(options), D)
    assert options == b"\x83\x0b\x0c" + A + D + b"\0"
    assert next_hop(options, find(options)) is None


def test_ipoptions_return_route_is_what_was_recorded_reversed():
    """MUST-53."""
    assert return_route(b"\x83\x0b\x0c" + A + D + b"\0") == b"\x83\x0b\4" + D + A + b"\0"
    assert return_route(b"\x89\x07\x08" + A + b"\0") == b"\x89\x07\4" + A + b"\0"
    assert return_route(RR + b"\0") == b""
    assert return_route(b"\x83\3\4\0") == b""
    assert return_route(b"\x83\0") == b""


def test_ipoptions_departing_packet_goes_to_the_first_hop():
    """MUST-51."""
    assert depart(LSRR + b"\0", D) == (B, b"\x83\x0b\4" + C + D + b"\0")
    assert depart(RR + b"\0", D) == (D, RR + b"\0")
    assert depart(b"\x83\0\0\0", D) == (D, b"\x83\0\0\0")


def test_ipoptions_copied_ones_only_in_later_fragments():
    assert for_fragments(RR + b"\1" + LSRR + b"\x94\4\0\0\0") == padded(LSRR + b"\x94\4\0\0")
    assert for_fragments(RR + b"\0") == b""
    assert for_fragments(b"\x94\0") == b""
