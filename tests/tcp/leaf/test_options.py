"""Options: what is understood, what is skipped, and that Scapy reads and writes the same."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from scapy.layers.inet import TCP

from scapystack.base.segment import ACK, SYN, Segment
from scapystack.layers.tcp.options import encode, encode_syn, encode_timestamps, parse_options

u32 = st.integers(0, 0xFFFFFFFF)


def parsed(data, flags=ACK):
    seg = Segment(b"\x0a\0\0\2", b"\x0a\0\0\1", 1, 2, 0, 0, flags, 0)
    parse_options(data, seg)
    return seg


def fields(seg):
    return seg.mss, seg.wscale, seg.sack_permitted, seg.sack, seg.tsval, seg.tsecr


NOTHING = (None, None, False, (), None, None)


def test_flat_timestamps_are_read():
    """7323/3.2-a"""
    assert fields(parsed(encode_timestamps(7, 9))) == (None, None, False, (), 7, 9)


def test_twelve_octets_of_another_shape_are_read_too():
    assert fields(parsed(b"\x08\x0a\0\0\0\7\0\0\0\x09\1\1")) == (None, None, False, (), 7, 9)


def test_no_options_leave_the_segment_as_it_is():
    assert fields(parsed(b"")) == NOTHING


def test_syn_options_are_all_read():
    """MUST-4, MUST-14"""
    seg = parsed(b"\x02\x04\x05\xb4\x04\x02\x08\x0a\0\0\0\1\0\0\0\2\x01\x03\x03\x07", SYN)
    assert fields(seg) == (1460, 7, True, (), 1, 2)


def test_memoryview_is_read_like_bytes():
    assert parsed(memoryview(b"\x02\x04\x05\xb4"), SYN).mss == 1460


def test_mss_wscale_and_sack_permitted_outside_a_syn_are_ignored():
    """MUST-65, 7323/2.2, 2018/3; the timestamps beside them count (MUST-5)"""
    data = b"\x02\x04\x05\xb4\x04\x02\x08\x0a\0\0\0\1\0\0\0\2\x01\x03\x03\x07"
    assert fields(parsed(data)) == (None, None, False, (), 1, 2)


def test_options_behind_end_of_list_are_not_read():
    """MUST-4"""
    assert parsed(b"\x00\x02\x04\x05\xb4", SYN).mss is None


def test_unknown_kinds_are_skipped():
    """MUST-6"""
    assert parsed(b"\xfd\x06abcd\x02\x04\x05\xb4\x22\x02", SYN).mss == 1460


def test_options_need_not_be_word_aligned():
    """MUST-64"""
    assert fields(parsed(b"\x01\x02\x04\x05\xb4\x03\x03\x02\x08\x0a\0\0\0\1\0\0\0\2", SYN))[:2] == (1460, 2)


@pytest.mark.parametrize(
    "tail", [b"\x03\x00\x07", b"\x03\x01\x07", b"\x03\x04\x07", b"\x08\x0a\0\0\0\1\0\0\0", b"\x03"]
)
def test_illegal_length_ends_parsing_and_keeps_what_was_read(tail):
    """MUST-7, MUST-68"""
    assert fields(parsed(b"\x02\x04\x05\xb4" + tail, SYN)) == (1460, None, False, (), None, None)


@pytest.mark.parametrize(
    "option",
    [
        b"\x02\x03\x05",
        b"\x02\x05\x05\xb4\0",
        b"\x03\x02",
        b"\x03\x04\x07\x07",
        b"\x04\x03\x01",
        b"\x05\x02",
        b"\x05\x06abcd",
        b"\x05\x0cabcdefghij",
        b"\x08\x06abcd",
        b"\x08\x0cabcdefghij",
    ],
)
def test_known_kind_of_a_wrong_length_is_skipped_alone(option):
    """MUST-7"""
    assert fields(parsed(option, SYN)) == NOTHING
    with_mss = parsed(option + b"\x02\x04\x05\xb4", SYN)
    assert with_mss.mss == 1460


def test_window_scale_above_fourteen_is_fourteen():
    """7323/2.3"""
    assert parsed(b"\x03\x03\x0e", SYN).wscale == 14
    assert parsed(b"\x03\x03\x0f", SYN).wscale == 14
    assert parsed(b"\x03\x03\xff", SYN).wscale == 14


def test_mss_of_zero_is_no_mss():
    """MUST-15 then applies"""
    assert parsed(b"\x02\x04\0\0", SYN).mss is None


def test_of_two_equal_kinds_the_last_counts():
    assert parsed(b"\x02\x04\x05\xb4\x02\x04\x02\x18", SYN).mss == 536


@pytest.mark.parametrize("count", [1, 2, 3, 4])
def test_sack_blocks_are_read_in_order(count):
    """2018/3"""
    blocks = tuple((i * 10, i * 10 + 5) for i in range(1, count + 1))
    assert parsed(encode(None, blocks)).sack == blocks


def test_encode_beside_timestamps_holds_three_blocks():
    """2018/3: 40 octets have room for four, or three beside timestamps"""
    blocks = [(1, 2), (3, 4), (5, 6), (7, 8), (9, 10)]
    assert len(encode(None, blocks)) == 36
    data = encode((11, 12), blocks)
    assert len(data) == 40
    seg = parsed(data)
    assert seg.sack == ((1, 2), (3, 4), (5, 6))
    assert (seg.tsval, seg.tsecr) == (11, 12)


def test_encode_nothing_is_nothing():
    assert encode(None, ()) == b""


def test_encode_timestamps_alone_is_the_flat_shape():
    """RFC 7323 appendix A"""
    assert encode((1, 2), ()) == encode_timestamps(1, 2) == b"\x01\x01\x08\x0a\0\0\0\1\0\0\0\2"


def test_encode_syn_stands_in_the_order_of_linux():
    """MUST-14, SHLD-5"""
    full = TCP(bytes(TCP(dataofs=10)) + encode_syn(1460, 7, True, (1, 2)))
    assert [name for name, _ in full.options] == ["MSS", "SAckOK", "Timestamp", "NOP", "WScale"]
    bare = TCP(bytes(TCP(dataofs=8)) + encode_syn(1460, 7, True, None))
    assert [name for name, _ in bare.options] == ["MSS", "NOP", "NOP", "SAckOK", "NOP", "WScale"]
    assert encode_syn(1460, None, False, None) == b"\x02\x04\x05\xb4"


@given(
    st.integers(1, 0xFFFF),
    st.none() | st.integers(0, 14),
    st.booleans(),
    st.none() | st.tuples(u32, u32),
)
def test_encode_syn_parsed_gives_back_what_went_in(mss, wscale, sack_permitted, timestamps):
    """MUST-14, MUST-68, 7323/2.2: whole words, at most 40 octets"""
    data = encode_syn(mss, wscale, sack_permitted, timestamps)
    assert len(data) % 4 == 0
    assert len(data) <= 40
    tsval, tsecr = timestamps or (None, None)
    assert fields(parsed(data, SYN)) == (mss, wscale, sack_permitted, (), tsval, tsecr)


def _edges(n):
    return st.lists(u32, min_size=2 * n, max_size=2 * n)


WELL_FORMED = st.one_of(
    st.just(("NOP", None)),
    st.tuples(st.just("MSS"), st.integers(1, 0xFFFF)),
    st.tuples(st.just("WScale"), st.integers(0, 255)),
    st.just(("SAckOK", b"")),
    st.tuples(st.just("Timestamp"), st.tuples(u32, u32)),
    st.tuples(st.just("SAck"), st.integers(1, 4).flatmap(_edges).map(tuple)),
    st.tuples(st.sampled_from([6, 7, 30, 253, 254]), st.binary(max_size=8)),
)


@given(st.lists(WELL_FORMED, max_size=8), st.booleans())
def test_well_formed_options_read_as_scapy_reads_them(options, syn):
    """MUST-4, MUST-5, MUST-6: Scapy builds them and Scapy dissects them; we must find the same values"""
    while len(raw := bytes(TCP(options=options))[20:]) > 40:
        options = options[:-1]
    theirs = dict(TCP(bytes(TCP(dataofs=5 + len(raw) // 4))[:20] + raw).options)
    seg = parsed(raw, SYN if syn else ACK)
    sack = theirs.get("SAck", ())
    assert seg.sack == tuple(zip(sack[::2], sack[1::2], strict=True))
    assert (seg.tsval, seg.tsecr) == theirs.get("Timestamp", (None, None))
    if syn:
        wscale = theirs.get("WScale")
        assert seg.mss == theirs.get("MSS")
        assert seg.wscale == (None if wscale is None else min(wscale, 14))
        assert seg.sack_permitted == ("SAckOK" in theirs)
    else:
        assert (seg.mss, seg.wscale, seg.sack_permitted) == (None, None, False)


@given(st.binary(max_size=60), st.integers(0, 255))
def test_any_octets_never_raise_and_stay_in_range(data, flags):
    """MUST-7"""
    seg = parsed(memoryview(data), flags)
    assert seg.mss is None or 0 < seg.mss <= 0xFFFF
    assert seg.wscale is None or 0 <= seg.wscale <= 14
    assert (seg.tsval is None) == (seg.tsecr is None)
    assert len(seg.sack) <= 4


# -- Fast Open (RFC 7413) --------------------------------------------------------------------------------------


@pytest.mark.parametrize("size", [0, 4, 6, 8, 14, 16])
def test_fast_open_cookie_is_read_as_it_was_written(size):
    cookie = bytes(range(size))
    data = encode_syn(1460, 7, True, (1, 2), cookie)
    assert len(data) <= 40
    assert len(data) % 4 == 0
    seg = parsed(data, SYN)
    assert seg.fastopen == cookie
    assert fields(seg) == (1460, 7, True, (), 1, 2)


def test_fast_open_option_is_read_and_written_as_scapy_does():
    theirs = TCP(flags="S", options=[("MSS", 1460), ("TFO", (0x01020304, 0x05060708)), ("NOP", None), ("NOP", None)])
    assert bytes(theirs)[20:] == encode_syn(1460, None, False, None, bytes(range(1, 9)))


@pytest.mark.parametrize("length", [3, 4, 5, 7, 17, 19, 20])
def test_fast_open_option_of_a_wrong_length_is_ignored(length):
    """RFC 7413 section 4.1.1."""
    seg = parsed(bytes((34, length)) + bytes(length - 2) + b"\x02\x04\x05\xb4", SYN)
    assert (seg.fastopen, seg.mss) == (None, 1460)


def test_fast_open_option_outside_a_syn_is_ignored():
    """RFC 7413 section 4.1.1."""
    assert parsed(b"\x22\x0a12345678").fastopen is None
