"""The out-of-order queue by small examples; the property test beside it knows the rest."""

import sys

from scapystack.layers.tcp.reassembly import Reassembly

TOP = 0xFFFFFFFF


def held(queue, rcv_nxt):
    return b"".join(bytes(piece) for piece in queue.pop(rcv_nxt))


def test_data_behind_a_gap_waits_for_it():
    """SHLD-31"""
    queue = Reassembly(8)
    assert queue.insert(105, b"fgh", 100)
    assert not queue.pop(100)
    assert held(queue, 105) == b"fgh"
    assert (len(queue), queue.size, bool(queue)) == (0, 0, False)


def test_several_gaps_close_one_after_the_other():
    queue = Reassembly(8)
    queue.insert(104, b"e", 100)
    queue.insert(102, b"c", 100)
    assert held(queue, 102) == b"c"
    assert held(queue, 103) == b""
    assert held(queue, 104) == b"e"


def test_pop_trims_what_was_delivered_already():
    queue = Reassembly(8)
    queue.insert(102, b"cdef", 100)
    queue.insert(110, b"k", 100)
    assert held(queue, 104) == b"ef"
    assert queue.size == 1


def test_pop_forgets_what_was_passed_by():
    queue = Reassembly(8)
    queue.insert(102, b"cd", 100)
    queue.insert(106, b"gh", 100)
    assert queue.pop(109) == []
    assert (len(queue), queue.size, queue.blocks(4)) == (0, 0, ())


def test_overlap_keeps_the_first_copy():
    """RFC 9293 section 3.10.7.4: trimmed to what is new"""
    queue = Reassembly(8)
    queue.insert(104, b"EF", 100)
    queue.insert(102, b"cdefgh", 100)
    assert held(queue, 102) == b"cdEFgh"


def test_sequence_numbers_wrap():
    queue = Reassembly(8)
    queue.insert(2, b"x", TOP - 3)
    queue.insert(TOP - 1, b"abcd", TOP - 3)
    assert queue.blocks(4) == ((TOP - 1, 3),)
    assert held(queue, TOP - 1) == b"abcdx"


def test_blocks_name_the_last_segment_first():
    """2018/3"""
    queue = Reassembly(16)
    for seq in (110, 120, 130, 140):
        queue.insert(seq, b"..", 100)
    assert queue.blocks(3) == ((140, 142), (130, 132), (120, 122))
    queue.insert(112, b"..", 100)
    assert queue.blocks(3) == ((110, 114), (140, 142), (130, 132))


def test_blocks_of_joined_ranges_are_one():
    """2018/3: the first block is the whole range around the segment"""
    queue = Reassembly(16)
    for seq in (110, 130, 114, 112):
        queue.insert(seq, b"..", 100)
    assert queue.blocks(4) == ((110, 116), (130, 132))


def test_blocks_after_pop_name_only_what_is_held():
    queue = Reassembly(16)
    for seq in (110, 120):
        queue.insert(seq, b"..", 100)
    queue.pop(110)
    assert queue.blocks(4) == ((120, 122),)


def test_blocks_of_ranges_long_unchanged_are_still_told():
    """2018/3: no range is forgotten because others changed since"""
    queue = Reassembly(64)
    for seq in range(600, 100, -10):
        queue.insert(seq, b"..", 100)
    for seq in range(110, 190, 10):
        queue.pop(seq)
    assert queue.blocks(3) == ((190, 192), (200, 202), (210, 212))
    assert len(queue.blocks(99)) == 42


def test_report_of_a_burst_begins_with_the_oldest_range_and_ends_with_the_last():
    """2018/3, RFC 2018 section 4: as many as the ranges that have changed, each told of in up to `limit` of them."""
    queue = Reassembly(16)
    for seq in (110, 120, 130):
        queue.insert(seq, b"..", 100)
    assert queue.fresh == 3
    assert queue.report(2) == ((110, 112), (120, 122))
    assert queue.report(2) == ((120, 122), (110, 112))
    assert queue.report(2) == ((130, 132), (120, 122))
    assert queue.fresh == 0
    assert queue.report(2) == ((130, 132), (120, 122))  # and again, if another ACK is due


def test_report_counts_a_range_once_however_often_it_changed():
    queue = Reassembly(16)
    for seq in (110, 120, 112, 122, 114):
        queue.insert(seq, b"..", 100)
    assert queue.fresh == 2
    assert queue.report(1) == ((120, 124),)
    queue.insert(116, b"....", 100)
    assert queue.fresh == 1
    assert queue.report(4) == ((110, 124),)
    queue.insert(140, b"..", 100)
    assert queue.fresh == 1
    queue.pop(110)
    queue.pop(140)
    assert queue.fresh == 0


def test_report_of_more_ranges_than_are_remembered_is_bounded():
    queue = Reassembly(256)
    for seq in range(110, 1110, 10):
        queue.insert(seq, b"..", 100)
    assert queue.fresh == 24


def test_duplicate_is_named_and_its_range_comes_first():
    """2883/4"""
    queue = Reassembly(16)
    queue.insert(110, b"......", 100)
    queue.insert(130, b"..", 100)
    assert queue.duplicate is None
    queue.insert(112, b"..", 100)
    assert queue.duplicate == (112, 114)
    assert queue.blocks(4) == ((110, 116), (130, 132))


def test_hole_filled_exactly_is_no_duplicate():
    """2883/4"""
    queue = Reassembly(16)
    queue.insert(110, b"..", 100)
    queue.insert(114, b"..", 100)
    queue.insert(112, b"..", 100)
    assert queue.duplicate is None
    assert queue.blocks(4) == ((110, 116),)


def test_duplicate_below_rcv_nxt_is_named():
    """2883/4: the part before the cumulative acknowledgment"""
    queue = Reassembly(16)
    assert queue.insert(96, b"....", 100)
    assert queue.duplicate == (96, 100)
    assert not queue
    queue.insert(98, b"....", 100)
    assert queue.duplicate == (98, 100)
    assert held(queue, 100) == b".."


def test_duplicate_is_the_first_of_several():
    """2883/4: at most one D-SACK block"""
    queue = Reassembly(16)
    queue.insert(110, b"..", 100)
    queue.insert(114, b"..", 100)
    queue.insert(108, b"........", 100)
    assert queue.duplicate == (110, 112)


def test_bound_drops_what_lies_beyond_the_last():
    queue = Reassembly(2)
    assert queue.insert(110, b"a", 100)
    assert queue.insert(120, b"b", 100)
    assert not queue.insert(130, b"c", 100)
    assert queue.blocks(4) == ((120, 121), (110, 111))


def test_bound_gives_up_the_farthest_for_something_nearer():
    """2018/8: a receiver may renege; the octets next to the gap are worth the most"""
    queue = Reassembly(2)
    queue.insert(110, b"a", 100)
    queue.insert(120, b"b", 100)
    assert queue.insert(105, b"c", 100)
    assert queue.blocks(4) == ((105, 106), (110, 111))
    assert (len(queue), queue.size) == (2, 2)


def test_bound_cuts_the_end_of_a_joined_range():
    queue = Reassembly(2)
    queue.insert(110, b"ab", 100)
    queue.insert(112, b"cd", 100)
    assert queue.insert(108, b"yz", 100)
    assert queue.blocks(4) == ((108, 112),)
    assert queue.size == 4


def test_bound_refuses_what_reaches_beyond_the_last_behind_old_octets():
    queue = Reassembly(2)
    queue.insert(110, b"ab", 100)
    queue.insert(112, b"cd", 100)
    assert queue.insert(111, b"bcdefgh", 100) is False
    assert (queue.blocks(4), queue.size) == (((110, 114),), 4)


def test_bound_takes_duplicates_without_complaint():
    queue = Reassembly(1)
    queue.insert(110, b"ab", 100)
    assert queue.insert(111, b"b", 100)
    assert queue.duplicate == (111, 112)


def test_empty_segment_changes_nothing():
    queue = Reassembly(4)
    for seq in (90, 100, 110):
        assert queue.insert(seq, b"", 100)
        assert (queue.duplicate, queue.blocks(4)) == (None, ())


def test_clear_forgets_everything():
    queue = Reassembly(4)
    queue.insert(110, b"ab", 100)
    queue.clear()
    assert (len(queue), queue.size, queue.blocks(4), queue.pop(110)) == (0, 0, (), [])


def test_small_segment_does_not_hold_its_frame():
    """A flood of one-octet segments must not keep a frame buffer each."""
    frame = bytearray(b"header" * 200 + b"x")
    queue = Reassembly(4)
    queue.insert(110, memoryview(frame)[-1:], 100)
    frame.clear()  # raises BufferError while a view is about
    assert held(queue, 110) == b"x"


def test_large_segment_is_kept_without_a_copy():
    frame = bytes(60_000)
    before = sys.getrefcount(frame)
    queue = Reassembly(4)
    queue.insert(110, memoryview(frame)[54:], 100)
    assert queue.pop(110)[0].obj is frame
    assert sys.getrefcount(frame) == before
