"""The receive queue against a plain bytearray, and what it keeps alive."""

import sys

from hypothesis import given
from hypothesis import strategies as st

from scapystack.layers.tcp.recvqueue import ReceiveQueue, owned


def queue_of(*pieces):
    queue = ReceiveQueue()
    for piece in pieces:
        queue.append(piece)
    return queue


def test_read_takes_across_pieces_in_order():
    queue = queue_of(b"a" * 3000, b"b" * 3000)
    assert queue.read(4000) == b"a" * 3000 + b"b" * 1000
    assert queue.read(4000) == b"b" * 2000
    assert queue.read(4000) == b""


def test_read_of_one_whole_piece_gives_that_piece():
    data = bytes(5000)
    assert queue_of(data).read(65_536) is data


def test_read_of_nothing_gives_nothing():
    queue = queue_of(b"abc")
    assert queue.read(0) == b""
    assert queue.read(-1) == b""
    assert len(queue) == 3


def test_append_of_an_empty_piece_adds_nothing():
    queue = queue_of(b"", memoryview(b""))
    assert len(queue) == 0
    assert queue.views(10) == []


def test_views_taken_stay_as_they_are_while_more_arrives():
    queue = queue_of(b"ab", b"cd")
    first = queue.views(3)
    queue.append(b"ef")
    assert b"".join(first) == b"abc"
    assert queue.read(9) == b"def"


def test_peek_crosses_pieces_and_leaves_them():
    queue = queue_of(b"a" * 3000, memoryview(b"b" * 3000), b"c" * 3000)
    queue.read(1)
    assert queue.peek(4000) == b"a" * 2999 + b"b" * 1001
    assert queue.peek(0) == b""
    assert len(queue) == 8999


def test_discard_drops_and_counts():
    queue = queue_of(b"abc", b"x" * 3000, b"def")
    assert queue.discard(3001) == 3001
    assert queue.discard(99) == 5
    assert len(queue) == 0


def test_piece_read_to_its_end_is_let_go():
    frame = bytes(60_000)
    held = sys.getrefcount(frame)
    for take in (ReceiveQueue.discard, ReceiveQueue.read, ReceiveQueue.views):
        queue = queue_of(memoryview(frame)[54:], b"x" * 3000)
        take(queue, 59_946)
        assert sys.getrefcount(frame) == held
        assert len(queue) == 3000


def test_read_into_fills_what_there_is():
    target = bytearray(6)
    queue = queue_of(b"abcd", b"x" * 3000)
    assert queue.read_into(memoryview(target)) == 6
    assert target == b"abcdxx"
    assert len(queue) == 2998


def test_clear_drops_everything():
    queue = queue_of(b"abc")
    queue.read(1)
    queue.clear()
    assert len(queue) == 0
    queue.append(b"xyz")
    assert queue.read(9) == b"xyz"


def test_many_small_pieces_share_one_buffer():
    """A peer that sends octet by octet must not fill memory with our bookkeeping."""
    queue = queue_of(*[memoryview(b"-x-")[1:2]] * 10_000)
    assert len(queue) == 10_000
    assert len(queue.views(10_000)) == 1


def test_small_view_is_copied_and_lets_go_of_its_frame():
    frame = bytearray(b"h" * 60 + b"data")
    kept = owned(memoryview(frame)[60:])
    frame.clear()  # raises BufferError while a view is about
    assert kept == b"data"


def test_small_part_of_a_large_frame_is_copied():
    frame = bytes(65_000)
    assert type(owned(memoryview(frame)[60_000:])) is bytes


def test_large_view_is_kept_without_a_copy():
    view = memoryview(bytes(65_000))[54:]
    assert owned(view) is view


def test_bytearray_is_copied_for_it_may_change():
    data = bytearray(b"x" * 5000)
    queue = queue_of(data)
    data[0] = 0
    assert queue.read(1) == b"x"


PIECE = st.one_of(st.binary(max_size=8), st.integers(1, 6000).map(lambda n: bytes(i & 0xFF for i in range(n))))
STEP = st.one_of(
    st.tuples(st.just("append"), PIECE, st.booleans()),
    st.tuples(st.sampled_from(["read", "peek", "discard", "views", "read_into"]), st.integers(0, 9000), st.booleans()),
)


@given(st.lists(STEP, max_size=40))
def test_any_steps_agree_with_a_bytearray(steps):
    queue = ReceiveQueue()
    model = bytearray()
    taken = []
    for name, value, as_view in steps:
        if name == "append":
            queue.append(memoryview(b"head" + value)[4:] if as_view else value)
            model += value
            continue
        expected = bytes(model[:value])
        if name == "peek":
            assert queue.peek(value) == expected
        elif name == "read":
            assert queue.read(value) == expected
        elif name == "discard":
            assert queue.discard(value) == len(expected)
        elif name == "views":
            taken.append((queue.views(value), expected))
        else:
            target = bytearray(value)
            assert queue.read_into(memoryview(target)) == len(expected)
            assert target[: len(expected)] == expected
        if name != "peek":
            del model[:value]
        assert len(queue) == len(model)
    assert queue.peek(1 << 20) == model
    assert all(b"".join(views) == expected for views, expected in taken)
    assert all(len(view) for views, _ in taken for view in views)
