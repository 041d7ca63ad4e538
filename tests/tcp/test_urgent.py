"""Urgent data, both ways: pointer, mark, the octet out of line (RFC 9293 section 3.8.5, RFC 6093)."""

from __future__ import annotations

import pytest

from scapystack.layers.tcp.user import Connection
from tests.harness.tcp import TcpWire


def receiving(*, inline: bool = False) -> tuple[TcpWire, Connection]:
    wire = TcpWire()
    c = wire.established()
    c.options.oobinline = inline
    c.on_ready = lambda: None
    return wire, c


# -- sending -----------------------------------------------------------------------------------------------------


def test_urgent_pointer_stands_behind_the_last_urgent_octet() -> None:
    """MUST-30, MUST-62."""
    wire = TcpWire()
    c = wire.established()
    c.write(b"before")
    c.write_urgent(b"now!")
    c.write(b"after")
    wire.flush()
    wire.expect("PAU seq=1 len=15 up=10")


def test_urgent_pointer_is_in_every_segment_up_to_it_and_in_none_behind() -> None:
    """MUST-62."""
    wire = TcpWire(nodelay=True)
    c = wire.established()
    c.write_urgent(b"u" * 2000)
    c.write(b"x" * 2000)
    wire.flush()
    wire.expect("AU seq=1 up=2000", "AU seq=1461 up=540", "PA seq=2921 up=0")


def test_urgent_mode_of_the_sender_ends_with_the_ack() -> None:
    wire = TcpWire()
    c = wire.established()
    c.write_urgent(b"!")
    wire.flush()
    wire.expect("PAU seq=1 up=1")
    wire.send(c, "A")
    c.write(b"x")
    wire.flush()
    wire.expect("PA seq=2 up=0")
    assert c.snd_up is None


def test_urgent_pointer_goes_again_with_a_retransmission() -> None:
    wire = TcpWire()
    c = wire.established()
    c.write_urgent(b"!")
    wire.flush()
    wire.clear()
    wire.after(ms=c.rtt.rto / 1e6)
    wire.expect("PAU seq=1 len=1 up=1")


def test_urgent_text_of_any_length_is_announced_from_the_start() -> None:
    """MUST-31: further ahead than the field can say, and right as soon as it can."""
    wire = TcpWire(initial_cwnd_segments=100)
    c = wire.established(wnd=0xFFFF)
    c.write_urgent(b"u" * 100_000)
    wire.flush()
    sent = wire.take()
    assert [seg.up for seg in sent[:3]] == [65_535] * 3
    ends = [(seg.seq - c.iss + seg.up, seg.up) for seg in sent]
    assert all(end == 100_001 or up == 65_535 for end, up in ends)
    assert ends[-1][0] == 100_001
    assert all(seg.flags & 0x20 for seg in sent)


def test_urgent_text_leaves_in_single_segments() -> None:
    """MUST-62: a super-segment would be cut with one and the same pointer."""
    wire = TcpWire(gso_max=64_000)
    c = wire.established()
    c.write_urgent(b"u" * 2920)
    wire.flush()
    wire.expect("AU seq=1 len=1460 up=2920", "PAU seq=1461 len=1460 up=1460")


def test_urgent_pointer_goes_ahead_where_text_may_not() -> None:
    """MUST-66, from the sender's side: a closed window holds back the text and not the news."""
    wire = TcpWire()
    c = wire.established()
    wire.send(c, "A", wnd=0)
    c.write_urgent(b"stop")
    wire.flush()
    wire.expect("AU seq=1 len=0 up=4")


def test_urgent_pointer_is_in_no_rst() -> None:
    wire = TcpWire()
    c = wire.established()
    wire.send(c, "A", wnd=0)
    c.write_urgent(b"stop")
    c.abort()
    wire.expect("RA up=0")


# -- receiving ---------------------------------------------------------------------------------------------------


def test_urgent_octet_out_of_line() -> None:
    """MUST-30, MUST-32, MUST-62: the last one before the pointer; the rest is ordinary text."""
    wire, c = receiving()
    wire.send(c, "UPA", payload=b"abcXdef", up=4)
    assert c in wire.core.ready
    assert c.read_urgent() == ord("X")
    assert c.read_urgent() is None
    assert c.read(100) == b"abc"
    assert c.at_mark
    assert c.read(100) == b"def"
    assert not c.at_mark


def test_urgent_octet_in_line() -> None:
    wire, c = receiving(inline=True)
    wire.send(c, "UPA", payload=b"abcXdef", up=4)
    assert c.read_urgent() is None
    assert c.urgent_left == 4
    assert c.read(100) == b"abc"
    assert c.at_mark
    assert c.read(100) == b"Xdef"
    assert (c.at_mark, c.urgent_left) == (False, 0)


@pytest.mark.parametrize("inline", [False, True])
def test_urgent_text_remaining_is_known_before_it_has_come(inline: bool) -> None:
    """MUST-33: what was read, what waits, and what is still on its way."""
    wire, c = receiving(inline=inline)
    wire.send(c, "UA", payload=b"abc", up=10)
    out_of_line = 0 if inline else 1
    assert c.urgent_left == 10 - out_of_line
    assert c.read(2) == b"ab"
    assert c.urgent_left == 8 - out_of_line
    wire.send(c, "A", payload=b"defghi!" + b"xyz")
    assert c.urgent_left == 8 - out_of_line
    assert c.read(100) == b"cdefghi"
    assert c.at_mark
    assert c.read(100) == (b"!xyz" if inline else b"xyz")
    assert c.urgent_left == 0


def test_urgent_pointer_news_wake_the_application_once_each() -> None:
    """MUST-32: when it comes and when it advances, not when it is repeated."""
    wire, c = receiving()
    wire.send(c, "UA", up=10)
    assert c in wire.core.ready
    wire.core.ready.clear()
    c.ready_marked = False
    wire.send(c, "UA", up=10)
    wire.send(c, "UA", up=5)
    assert c not in wire.core.ready
    wire.send(c, "UA", up=11)
    assert c in wire.core.ready


def test_urgent_pointer_that_recedes_is_ignored() -> None:
    wire, c = receiving()
    wire.send(c, "UA", up=10)
    wire.send(c, "UA", up=3)
    assert c.urgent_left == 9


@pytest.mark.parametrize("up", [0, 65_535])
def test_urgent_pointer_at_the_ends_of_its_field(up: int) -> None:
    """Zero says nothing; one past the segment, and past the window, is waited for."""
    wire, c = receiving()
    wire.send(c, "UPA", payload=b"hello", up=up)
    assert c.urgent_left == max(0, up - 1)
    assert c.read_urgent() is None
    assert c.read(100) == b"hello"


def test_urgent_pointer_into_old_text_is_ignored() -> None:
    wire, c = receiving()
    wire.send(c, "PA", payload=b"hello")
    wire.send(c, "UPA", seq=1, payload=b"hello!", up=3)
    assert c.urgent_left == 0
    assert c.read_urgent() is None
    assert c.read(100) == b"hello!"


def test_urgent_octet_behind_a_gap_is_found_once_the_gap_is_filled() -> None:
    wire, c = receiving()
    wire.send(c, "UA", seq=4, payload=b"X", up=1)
    assert c.urgent_left == 3
    wire.send(c, "A", seq=1, payload=b"abc")
    assert c.read_urgent() == ord("X")
    assert c.read(100) == b"abc"


def test_second_urgent_octet_replaces_the_first() -> None:
    wire, c = receiving()
    wire.send(c, "UA", payload=b"aX", up=2)
    wire.send(c, "UA", payload=b"bY", up=2)
    assert c.read_urgent() == ord("Y")
    assert c.read(100) == b"ab"
    assert c.at_mark


def test_second_pointer_before_its_octet_leaves_the_first_in_the_stream() -> None:
    wire, c = receiving()
    wire.send(c, "UA", up=2)
    wire.send(c, "UA", payload=b"aXbY", up=4)
    assert c.read_urgent() == ord("Y")
    assert c.read(100) == b"aXb"


def test_urgent_mode_over_does_not_come_back_after_two_gigabytes() -> None:
    """MUST-32: an old RCV.UP neither hides a new one nor is taken for one."""
    wire, c = receiving()
    wire.send(c, "UA", payload=b"X", up=1)
    wire.send(c, "A", payload=b"a")
    assert c.read_urgent() == ord("X")
    assert c.read(10) == b"a"
    assert c.rcv_up is None
    jump = (1 << 31) + 99
    for name in ("rcv_nxt", "rcv_adv", "irs", "last_ack_sent", "snd_wl1"):
        setattr(c, name, (getattr(c, name) + jump) & 0xFFFFFFFF)
    assert c.urgent_left == 0
    wire.send(c, "UA", payload=b"Y", up=1)
    assert c.read_urgent() == ord("Y")


def test_urgent_after_the_fin_is_ignored() -> None:
    """RFC 9293 section 3.10.7.4, sixth."""
    wire, c = receiving()
    wire.send(c, "FA")
    wire.send(c, "UA", up=5)
    assert (c.urgent_left, c.rcv_up) == (0, None)


def test_urgent_and_fin_leave_the_count_right() -> None:
    """MUST-33."""
    wire, c = receiving(inline=True)
    wire.send(c, "FUPA", payload=b"abc!", up=4)
    assert c.urgent_left == 4
    assert c.read(2) == b"ab"
    assert c.urgent_left == 2
    assert c.read(10) == b"c"
    assert c.read(10) == b"!"
    assert c.eof


@pytest.mark.parametrize("how", ["read_into", "views", "discard", "peek"])
def test_every_way_to_read_stops_at_the_mark(how: str) -> None:
    """RFC 9293 section 3.9.1.3."""
    wire, c = receiving()
    wire.send(c, "UPA", payload=b"abcXdef", up=4)
    if how == "read_into":
        assert c.read_into(memoryview(bytearray(100))) == 3
    elif how == "views":
        assert b"".join(map(bytes, c.views(100))) == b"abc"
    elif how == "discard":
        assert c.discard(100) == 3
    else:
        assert c.peek(100) == b"abc"
