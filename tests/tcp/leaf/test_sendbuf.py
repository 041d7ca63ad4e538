"""The send buffer by small examples: what is shared, what is copied, what is let go."""

import pytest

from scapystack.layers.tcp import sendbuf
from scapystack.layers.tcp.sendbuf import SendBuffer


def buffer_of(*pieces):
    buf = SendBuffer()
    for piece in pieces:
        buf.append(piece)
    return buf


def text(parts):
    return b"".join(bytes(part) for part in parts)


def test_slice_counts_from_the_first_octet_not_acknowledged():
    buf = buffer_of(b"abcdef")
    buf.ack(2)
    assert text(buf.slice(0, 2)) == b"cd"
    assert text(buf.slice(3, 9)) == b"f"
    assert buf.slice(4, 9) == ()
    assert len(buf) == 4


def test_large_bytes_are_sent_from_where_they_lie():
    data = bytes(100_000)
    buf = buffer_of(data)
    assert buf.slice(0, 100_000)[0] is data
    assert buf.slice(1000, 1448)[0].obj is data


def test_large_view_of_bytes_is_not_copied():
    data = bytes(100_000)
    buf = buffer_of(memoryview(data)[10:])
    assert buf.slice(5, 10)[0].obj is data


def test_small_view_lets_go_of_what_it_was_cut_from():
    frame = bytearray(b"abc" * 1000)
    buf = buffer_of(memoryview(frame)[:3])
    frame.clear()  # raises BufferError while a view is about
    assert text(buf.slice(0, 3)) == b"abc"


def test_mutable_data_is_copied():
    first = bytearray(b"a" * 5000)
    second = bytearray(b"b" * 5000)
    buf = buffer_of(first, memoryview(second), bytearray(b"c"))
    first[0] = second[0] = 0
    assert text(buf.slice(0, 10_001)) == b"a" * 5000 + b"b" * 5000 + b"c"


def test_small_writes_become_few_parts():
    """SHLD-28: full segments out of many one-octet writes"""
    buf = buffer_of(*[b"x"] * 20_000)
    assert len(buf) == 20_000
    assert len(buf.slice(0, 20_000)) <= 4


def test_slice_stays_as_it_is_when_more_is_written_and_acknowledged():
    buf = buffer_of(b"a", b"b", b"c")
    views = buf.slice(0, 3)
    for _ in range(10_000):
        buf.append(b"yz")
        buf.ack(1)
    assert text(views) == b"abc"


def test_views_of_small_writes_cannot_be_written_through():
    buf = buffer_of(b"a", b"b")
    assert all(memoryview(view).readonly for view in buf.slice(0, 2))


def test_ack_of_everything_lets_go_of_large_chunks():
    data = bytearray(50_000)
    frozen = bytes(data)
    buf = buffer_of(frozen, frozen)
    buf.ack(50_001)
    assert len(buf) == 49_999
    buf.ack(60_000)
    assert len(buf) == 0
    assert buf.slice(0, 1) == ()


def test_empty_write_adds_no_part():
    buf = buffer_of(b"", b"a", bytearray(), memoryview(b""))
    assert buf.slice(0, 9) == (b"a",)


def test_clear_leaves_a_buffer_that_can_be_used_again():
    buf = buffer_of(b"abc", b"def")
    buf.clear()
    buf.append(b"ghi")
    assert text(buf.slice(0, 9)) == b"ghi"


def test_sending_on_never_searches(monkeypatch):
    """A full buffer has thousands of chunks; going on from where the last slice ended costs the same."""
    buf = buffer_of(*[bytes([i]) * 5000 for i in range(40)])
    sent = text(buf.slice(0, 62_500))
    buf.ack(50_000)
    monkeypatch.setattr(sendbuf, "bisect_right", lambda *_: pytest.fail("searched"))
    at = len(sent) - 50_000
    while part := text(buf.slice(at, 2_500)):
        sent += part
        at += len(part)
    assert sent == b"".join(bytes([i]) * 5000 for i in range(40))


def test_slice_anywhere_after_the_cursor_moved_finds_its_place():
    buf = buffer_of(*[bytes([i]) * 5000 for i in range(20)])
    for at in (99_999, 0, 50_000, 4_999, 5_000, 70_001, 12):
        assert text(buf.slice(at, 1)) == bytes([at // 5000])
