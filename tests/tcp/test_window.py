"""Flow control: the peer's window and ours, silly windows, zero windows and their probes (section 3.8.6)."""

from __future__ import annotations

import errno

import pytest

from scapystack.base.types import SECOND
from scapystack.layers.tcp.state import CLOSED, ESTABLISHED
from tests.harness.tcp import MASK, Peer, TcpWire

NO_SCALE = Peer(wscale=None)


# -- the peer's window ---------------------------------------------------------------------------------------


def test_window_of_the_peer_bounds_what_is_sent() -> None:
    wire = TcpWire(peer=NO_SCALE)
    c = wire.established(wnd=3000)
    c.write(b"x" * 5000)
    wire.flush()
    wire.expect("A seq=1 len=1460", "A seq=1461 len=1460")
    wire.send(c, "A", ack=1461, wnd=3000)
    wire.expect("A seq=2921 len=1460")


def test_window_update_alone_lets_more_go() -> None:
    wire = TcpWire(peer=NO_SCALE)
    c = wire.established(wnd=2920)
    c.write(b"x" * 5840)
    wire.flush()
    wire.clear()
    wire.send(c, "A", ack=1, wnd=5840)
    wire.expect("A seq=2921 len=1460", "PA seq=4381 len=1460")


def test_older_segment_does_not_set_the_window() -> None:
    """RFC 9293 section 3.10.7.4: SND.WL1 and SND.WL2."""
    wire = TcpWire(peer=NO_SCALE)
    c = wire.established()
    wire.send(c, "PA", seq=1, payload=b"x" * 10, wnd=5000)
    wire.send(c, "PA", seq=11, payload=b"x" * 10, wnd=4000)
    wire.send(c, "A", seq=15, wnd=100)  # in the window no more, and older
    assert c.snd_wnd == 4000
    wire.send(c, "A", seq=21, wnd=3000)
    assert c.snd_wnd == 3000


def test_window_shrunk_sends_no_new_text_and_does_not_raise() -> None:
    """MUST-34, SHLD-15: the usable window is negative."""
    wire = TcpWire(peer=NO_SCALE)
    c = wire.established(wnd=14_600)
    c.write(b"x" * 30_000)
    wire.flush()
    assert len(wire.take()) == 10
    wire.send(c, "A", ack=1461, wnd=1460)
    wire.send(c, "A", ack=1461, wnd=2000)
    wire.expect_nothing()
    assert c.flight == 13_140


def test_window_shrunk_resends_what_lies_inside_it() -> None:
    """SHLD-16: and nothing beyond it (MAY-7 is not used)."""
    wire = TcpWire(peer=NO_SCALE, min_rto_ms=1000)
    c = wire.established(wnd=14_600)
    c.write(b"x" * 14_600)
    wire.flush()
    wire.send(c, "A", ack=1, wnd=2000)
    wire.clear()
    wire.after(ms=1001)
    wire.expect("A seq=1 len=1460")
    wire.send(c, "A", ack=1461, wnd=1460)  # cwnd would let two go
    wire.expect("A seq=1461 len=1460")
    wire.send(c, "A", ack=2921, wnd=2920)
    wire.expect("A seq=2921 len=1460", "A seq=4381 len=1460")


def test_window_shrunk_to_zero_is_probed_and_times_nothing_out() -> None:
    """SHLD-17, MUST-35: text past the edge is not lost, and the connection lives while probes are answered."""
    wire = TcpWire(peer=NO_SCALE, min_rto_ms=1000, r2_ms=5_000)
    c = wire.established(wnd=2920)
    c.write(b"x" * 2920)
    wire.flush()
    wire.send(c, "A", ack=1, wnd=0)
    wire.clear()
    for _ in range(12):
        wire.after(ms=wire.deadline_ms() or 0)
        wire.expect("A seq=1 len=1")
        wire.send(c, "A", ack=1, wnd=0)
    assert c.state == ESTABLISHED
    wire.send(c, "A", ack=1, wnd=2920)
    wire.expect("A seq=1 len=1460", "PA seq=1461 len=1460")


# -- zero window -----------------------------------------------------------------------------------------------


def test_zero_window_probes_back_off() -> None:
    """MUST-36, SHLD-29: the first after one RTO; SHLD-30: then each interval twice the last."""
    wire = TcpWire(min_rto_ms=200, max_rto_ms=2_000)
    c = wire.established()
    wire.send(c, "A", wnd=0)
    c.write(b"x" * 100)
    wire.flush()
    rto = c.rtt.rto / 1e6
    for interval in (rto, 2 * rto, 4 * rto, 8 * rto, 2000, 2000):
        waits = wire.deadline_ms()
        assert waits == interval
        wire.after(ms=waits)
        wire.expect("A seq=1 len=1")
        wire.send(c, "A", ack=1, wnd=0)
        wire.expect_nothing()


def test_zero_window_probe_that_is_taken_frees_its_octet() -> None:
    """MUST-36."""
    wire = TcpWire()
    c = wire.established()
    wire.send(c, "A", wnd=0)
    c.write(b"abc")
    wire.after(ms=0)
    wire.flush()
    wire.after(ms=201)
    wire.expect("A seq=1 len=1")
    wire.send(c, "A", ack=2, wnd=0)
    wire.after(ms=402)
    wire.expect("A seq=2 len=1")
    wire.send(c, "A", ack=3, wnd=100)
    wire.expect("PA seq=3 len=1")


def test_zero_window_stays_open_while_probes_are_answered() -> None:
    """MUST-37, MAY-8: a day of it, with R2 at 100 s."""
    wire = TcpWire(r2_ms=100_000)
    c = wire.established()
    wire.send(c, "A", wnd=0)
    c.write(b"x")
    wire.flush()
    start = wire.core.now
    while wire.core.now < start + 86_400 * SECOND:
        wire.after(ms=wire.deadline_ms() or 0)
        wire.expect("A seq=1 len=1")
        wire.send(c, "A", ack=1, wnd=0)
    assert c.state == ESTABLISHED


def test_zero_window_gives_up_when_no_probe_is_answered() -> None:
    """MUST-20, MUST-37: R2 counts from the first probe without an answer."""
    wire = TcpWire(r2_ms=10_000)
    c = wire.established()
    wire.send(c, "A", wnd=0)
    wire.after(ms=3_600_000)  # silent for an hour: not an unanswered probe
    c.write(b"x")
    wire.flush()
    wire.after(ms=9_000)
    assert c.state == ESTABLISHED
    assert len(wire.take()) >= 4
    wire.after(ms=20_000)
    assert (c.state, c.error) == (CLOSED, errno.ETIMEDOUT)


def test_zero_window_is_probed_at_the_longest_interval_for_ever() -> None:
    """MUST-37, SHLD-30: once every two minutes, and no less often."""
    wire = TcpWire()
    c = wire.established()
    wire.send(c, "A", wnd=0)
    c.write(b"x")
    wire.flush()
    for _ in range(30):
        wire.after(ms=wire.deadline_ms() or 0)
        wire.send(c, "A", ack=1, wnd=0)
    assert wire.deadline_ms() == wire.config.tcp.max_rto_ms
    wire.clear()


def test_zero_window_ends_with_the_applications_patience() -> None:
    """MUST-21, 5482: it has told us so; the peer, which is there, learns that no more will come."""
    wire = TcpWire()
    c = wire.established()
    c.options.user_timeout_ms = 30_000
    wire.send(c, "A", wnd=0)
    wire.after(ms=3_600_000)
    c.write(b"xy")
    wire.flush()
    wire.after(ms=wire.deadline_ms() or 0)
    begun = wire.core.now
    while c.state != CLOSED:
        assert len(wire.take()) == 1
        wire.send(c, "A", ack=1, wnd=0)
        wire.after(ms=wire.deadline_ms() or 0)
    assert (wire.core.now - begun) / 1e6 == pytest.approx(30_000, abs=10)
    assert c.error == errno.ETIMEDOUT
    wire.expect("RA seq=1")


def test_zero_window_of_an_orphan_ends() -> None:
    """A peer that answers each probe and takes nothing would have it live for ever."""
    wire = TcpWire(orphan_ms=60_000)
    c = wire.established()
    wire.send(c, "A", wnd=0)
    c.write(b"x")
    c.close()
    wire.flush()
    begun = wire.core.now
    while c.state != CLOSED:
        wire.after(ms=wire.deadline_ms() or 0)
        wire.send(c, "A", ack=1, wnd=0)
    assert 60 <= (wire.core.now - begun) / SECOND < 2 * 60
    assert len(wire.tcp.orphans) == 0
    assert wire.take()[-1].flags & 4


def test_zero_window_of_ours_still_takes_ack_urg_and_rst() -> None:
    """MUST-66."""
    wire = TcpWire(rcvbuf=1000, quick_acks=100)
    c = wire.established()
    wire.send(c, "PA", payload=b"x" * 1000)
    wire.expect("A ack=1001 wnd=0")
    c.write(b"hello")
    wire.flush()
    wire.clear()
    wire.send(c, "UPA", payload=b"past the window", up=3, ack=6)
    wire.expect("A ack=1001 wnd=0")
    assert c.snd_una == c.snd_nxt
    assert c.urgent_left == 1002
    wire.send(c, "R", payload=b"why")
    assert c.error == errno.ECONNRESET


def test_zero_window_of_ours_refuses_text_and_says_so() -> None:
    """MAY-8: for as long as the application likes."""
    wire = TcpWire(rcvbuf=1000, quick_acks=100)
    c = wire.established()
    wire.send(c, "PA", payload=b"x" * 1000)
    wire.clear()
    for _ in range(3):
        wire.after(ms=60_000)
        wire.send(c, "PA", payload=b"y")
        wire.expect("A seq=1 ack=1001 len=0 wnd=0")
    assert c.available == 1000


# -- silly windows -----------------------------------------------------------------------------------------------


def test_sender_waits_for_a_window_worth_sending_into() -> None:
    """MUST-38: a full segment, or half of the largest window, or all that is queued."""
    wire = TcpWire(peer=NO_SCALE)
    c = wire.established(wnd=5000)
    c.write(b"x" * 8000)
    wire.flush()
    wire.expect("A len=1460", "A len=1460", "A len=1460")
    wire.send(c, "A", wnd=1000)
    wire.expect_nothing()
    wire.send(c, "A", wnd=1459)
    wire.expect_nothing()
    wire.send(c, "A", wnd=1460)
    wire.expect("A seq=4381 len=1460")


def test_sender_takes_half_of_the_largest_window() -> None:
    """MUST-38: from a peer whose buffer is small."""
    wire = TcpWire(peer=NO_SCALE)
    c = wire.established(passive=False, wnd=1000)
    c.usual_snd_wnd = 1000
    c.write(b"x" * 3000)
    wire.flush()
    wire.expect("A seq=1 len=1000")
    wire.send(c, "A", wnd=499)
    wire.expect_nothing()
    wire.send(c, "A", wnd=500)
    wire.expect("A seq=1001 len=500")


def test_sender_overrides_a_silly_window_after_a_time() -> None:
    """MUST-38, RFC 9293 section 3.8.6.2.1: the override timeout keeps it from waiting for ever."""
    wire = TcpWire(peer=NO_SCALE)
    c = wire.established(wnd=5000)
    wire.send(c, "A", wnd=100)
    c.write(b"x" * 3000)
    wire.flush()
    wire.expect_nothing()
    wire.after(ms=201)
    wire.expect("A seq=1 len=100")
    wire.send(c, "A", wnd=100)
    wire.after(ms=201)
    wire.expect("A seq=101 len=100")


def test_sender_waits_not_for_ever_for_a_window_as_large_as_once() -> None:
    """MUST-38: half of the largest window is waited for, but one that does not come back ages."""
    wire = TcpWire(peer=NO_SCALE)
    c = wire.established(wnd=65_535)
    c.write(b"x" * 100_000)
    wire.flush()
    wire.send(c, "A", wnd=1000)
    wire.clear()
    waits = 0
    for _ in range(20):
        if not wire.ip.sent:
            waits += 1
            wire.after(ms=201)
        wire.expect("A len=1000")
        wire.send(c, "A", wnd=1000)
    assert waits == 6  # 65,535 / 2**6
    assert c.max_snd_wnd == 65_535  # RFC 5961 section 5 asks for the largest ever
    wire.send(c, "A", wnd=20_000)
    assert c.usual_snd_wnd == 20_000


def test_receiver_opens_its_window_by_a_segment_or_half_the_buffer() -> None:
    """MUST-39."""
    wire = TcpWire(rcvbuf=4000, quick_acks=100)
    c = wire.established()
    for _ in range(2):
        wire.send(c, "A", payload=b"x" * 1460)
    wire.send(c, "A", payload=b"x" * 1080)
    assert wire.take()[-1].wnd == 0
    c.read(500)
    wire.flush()
    wire.expect_nothing()
    wire.send(c, "A", payload=b"y")  # a probe: 500 octets are free, and still not said
    wire.expect("A ack=4001 wnd=0")
    c.read(1000)
    wire.flush()
    wire.expect_nothing()
    wire.send(c, "A", payload=b"y")
    wire.expect("A ack=4001 wnd=1500")  # a segment's worth
    c.read(500)
    wire.flush()
    wire.expect_nothing()


def test_receiver_tells_of_half_the_buffer_by_itself() -> None:
    """MUST-39: the peer need not probe for it."""
    wire = TcpWire(rcvbuf=4000, quick_acks=100)
    c = wire.established()
    for n in (1460, 1460, 1080):
        wire.send(c, "A", payload=b"x" * n)
    wire.clear()
    c.read(1999)
    wire.flush()
    wire.expect_nothing()
    c.read(1)
    wire.flush()
    wire.expect("A ack=4001 wnd=2000")


def test_receiver_never_takes_back_what_it_has_advertised() -> None:
    """SHLD-14: text that is not read lets the edge stand, an application that shrinks its buffer too."""
    wire = TcpWire(rcvbuf=10_000, quick_acks=100)
    c = wire.established()
    wire.send(c, "A", payload=b"x" * 1000)
    wire.expect("A ack=1001 wnd=9000")
    c.options.rcvbuf = 2000
    wire.send(c, "A", payload=b"x" * 1000)
    wire.expect("A ack=2001 wnd=8000")
    wire.send(c, "A", payload=b"x" * 8000)
    wire.expect("A ack=10001 wnd=0")
    assert c.available == 10_000


def test_receiver_honours_a_window_that_rounding_has_taken_back() -> None:
    """7323/2.4: what was ever advertised is taken."""
    wire = TcpWire(rcvbuf=1 << 22, quick_acks=100)
    c = wire.established()
    for _ in range(50):
        wire.send(c, "A", payload=b"x" * 33)
    edges = [(ack.ack + (ack.wnd << c.rcv_wscale) - c.irs) & MASK for ack in wire.take()]
    assert edges[-1] < max(edges) < edges[-1] + (1 << c.rcv_wscale)
    wire.send(c, "A", seq=max(edges) - 1, payload=b"z")
    assert c.ooo.size == 1
    wire.send(c, "A", seq=max(edges), payload=b"z")
    assert c.ooo.size == 1


def test_text_past_the_window_is_trimmed() -> None:
    """RFC 9293 section 3.10.7.4, first: FIN too."""
    wire = TcpWire(rcvbuf=1000)
    c = wire.established()
    wire.send(c, "FPA", payload=b"x" * 1500)
    wire.expect("A ack=1001 wnd=0")
    assert (c.available, c.state) == (1000, ESTABLISHED)


def test_text_before_the_window_is_trimmed() -> None:
    wire = TcpWire()
    c = wire.established()
    wire.send(c, "PA", payload=b"hello")
    wire.send(c, "PA", seq=1, payload=b"hello world")
    assert c.read(100) == b"hello world"
    wire.expect("A ack=12")


@pytest.mark.parametrize("wnd", [1, 100, 1459])
def test_all_that_is_queued_goes_into_any_window_that_holds_it(wnd: int) -> None:
    """MUST-38, case (2): nothing queued is left over."""
    wire = TcpWire(peer=NO_SCALE)
    c = wire.established(wnd=wnd)
    c.write(b"x" * wnd)
    wire.flush()
    wire.expect(f"PA seq=1 len={wnd}")


def test_ack_right_behind_a_full_window_counts() -> None:
    """MUST-66 in spirit: the peer has filled our window and lost a part; its ACKs stand behind all of it."""
    wire = TcpWire(rcvbuf=3000, quick_acks=100)
    c = wire.established()
    c.write(b"hello")
    wire.flush()
    wire.send(c, "A", seq=1001, payload=b"x" * 2000, ack=1)
    wire.clear()
    wire.send(c, "A", seq=3001)
    wire.expect_nothing()
    assert c.snd_una == c.snd_nxt
    wire.send(c, "A", seq=3002)
    wire.expect("A ack=1")


def test_receiver_with_a_large_buffer_tells_of_an_eighth_of_it() -> None:
    """MUST-39: not of every segment that is read."""
    wire = TcpWire(rcvbuf=64_000, window_scaling=False, quick_acks=100)
    c = wire.established()
    for _ in range(10):
        wire.send(c, "A", payload=b"x" * 1460)
    wire.clear()
    c.read(7_999)
    wire.flush()
    wire.expect_nothing()
    c.read(1)
    wire.flush()
    wire.expect("A ack=14601 wnd=57400")
