"""What our stream readers keep octets in does what asyncio's bytearray does."""

import asyncio
import sys

from hypothesis import given
from hypothesis import strategies as st

from scapystack.sockets.aio.reader import Pieces, stream_reader

LETTERS = st.binary(max_size=6).map(lambda data: data.translate(bytes(b"ab"[each & 1] for each in range(256))))
STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("extend"), LETTERS.filter(bool)),
        st.tuples(st.just("take"), st.integers(0, 9)),
        st.tuples(st.just("find"), st.tuples(LETTERS.filter(bool), st.integers(0, 6))),
        st.tuples(st.just("startswith"), st.tuples(LETTERS, st.integers(0, 6))),
        st.tuples(st.just("clear"), st.none()),
    )
)


@given(STEPS)
def test_pieces_are_what_a_bytearray_is(steps):
    pieces, plain = Pieces(), bytearray()
    for step, argument in steps:
        if step == "extend":
            pieces.extend(argument)
            plain.extend(argument)
        elif step == "take":
            assert pieces[:argument] == plain[:argument]
            del pieces[:argument]
            del plain[:argument]
        elif step == "find":
            separator, start = argument
            assert pieces.find(separator, start) == plain.find(separator, start)
        elif step == "startswith":
            prefix, start = argument
            assert pieces.startswith(prefix, start) == plain.startswith(prefix, start)
        else:
            pieces.clear()
            plain.clear()
        if sys.version_info >= (3, 12):
            assert memoryview(pieces) == plain
        assert (bytes(pieces), len(pieces), bool(pieces)) == (plain, len(plain), bool(plain))


def test_piece_that_is_read_whole_is_not_copied():
    async def read():
        reader = stream_reader(65_536, asyncio.get_running_loop())
        piece = bytes(1_000)
        reader.feed_data(piece)
        return piece, await reader.read(2_000)

    fed, read_one = asyncio.run(read())
    assert read_one == fed
    if sys.version_info < (3, 12):  # later readers copy what they read, once
        assert read_one is fed


def test_every_way_of_reading_takes_from_the_same_octets():
    async def read():
        reader = stream_reader(65_536, asyncio.get_running_loop())
        reader.feed_data(b"line\nab")
        reader.feed_data(b"cdef;rest")
        reader.feed_eof()
        return [
            await reader.readline(),
            await reader.read(1),
            await reader.readexactly(2),
            await reader.readuntil(b";"),
            reader.at_eof(),
            await reader.read(),
            reader.at_eof(),
        ]

    assert asyncio.run(read()) == [b"line\n", b"a", b"bc", b"def;", False, b"rest", True]
