"""Keep-alives (section 3.8.4): only on request, only when idle, and never on the word of one lost probe."""

from __future__ import annotations

import errno

import pytest

from scapystack.base.config import TcpConfig
from scapystack.layers.tcp.state import CLOSED, ESTABLISHED, FIN_WAIT_1, FIN_WAIT_2
from scapystack.layers.tcp.user import Connection
from tests.harness.tcp import Peer, TcpWire


def kept_alive(state: int = ESTABLISHED) -> tuple[TcpWire, Connection]:
    wire = TcpWire()
    c = wire.reach(state)
    c.options.keepalive = True
    c.options.keepalive_idle_ms = 10_000
    c.options.keepalive_interval_ms = 1_000
    c.options.keepalive_probes = 3
    c.options_changed()
    return wire, c


def test_keepalive_is_off_by_default() -> None:
    """MAY-5, MUST-25."""
    wire = TcpWire()
    wire.established()
    assert wire.deadline_ms() is None


def test_keepalive_default_interval_is_two_hours() -> None:
    """MUST-28, MUST-27."""
    assert TcpConfig().keepalive_idle_ms >= 2 * 3600 * 1000


def test_keepalive_is_the_applications_choice_for_each_connection() -> None:
    """MUST-24: on and off again."""
    wire, c = kept_alive()
    assert wire.deadline_ms() == 10_000
    c.options.keepalive = False
    c.options_changed()
    wire.after(ms=60_000)
    wire.expect_nothing()


def test_keepalive_of_a_listener_is_inherited() -> None:
    """MUST-24."""
    wire = TcpWire()
    listener = wire.listen()
    listener.options.keepalive = True
    listener.options.keepalive_idle_ms = 5_000
    wire.established(listener=listener)
    wire.after(ms=5_000)
    wire.expect("A seq=0 ack=1 len=0")


def test_keepalive_probe_carries_no_text_and_is_answered() -> None:
    """SHLD-12, MUST-27: a number behind the window draws an ACK."""
    wire, c = kept_alive()
    wire.after(ms=9_999)
    wire.expect_nothing()
    wire.after(ms=1)
    wire.expect("A seq=0 ack=1 len=0")
    wire.send(c, "A")
    wire.after(ms=9_999)
    wire.expect_nothing()
    wire.after(ms=1)
    wire.expect("A seq=0 ack=1 len=0")


def test_keepalive_only_when_nothing_was_heard_for_the_interval() -> None:
    """MUST-26."""
    wire, c = kept_alive()
    for _ in range(5):
        wire.after(ms=9_000)
        wire.send(c, "A")
    wire.expect_nothing()


def test_keepalive_only_when_nothing_was_sent_for_the_interval() -> None:
    """MUST-26."""
    wire, c = kept_alive()
    wire.after(ms=9_000)
    c.write(b"hello")
    wire.flush()
    wire.send(c, "A")
    wire.clear()
    wire.after(ms=9_999)
    wire.expect_nothing()
    wire.after(ms=1)
    wire.expect("A seq=5 len=0")


def test_keepalive_waits_while_text_is_under_way() -> None:
    """MUST-26: retransmission does its work then, and the timer does not spin."""
    wire, c = kept_alive()
    c.options.keepalive_idle_ms = 100
    c.options_changed()
    c.write(b"hello")
    wire.flush()
    wire.clear()
    fired = 0
    end = wire.core.now + 30_000_000_000
    while wire.core.now < end:
        wire.after(ms=wire.deadline_ms() or 0)
        fired += 1
    assert fired < 60
    assert {len(seg.payload) for seg in wire.take()} == {5}


def test_keepalive_one_lost_probe_is_not_a_dead_peer() -> None:
    """MUST-29."""
    wire, c = kept_alive()
    wire.after(ms=10_000)
    wire.after(ms=1_000)
    wire.after(ms=1_000)
    wire.expect(*["A seq=0"] * 3)
    wire.send(c, "A")
    wire.after(ms=9_999)
    assert c.state == ESTABLISHED
    wire.expect_nothing()


def test_keepalive_gives_up_after_all_its_probes() -> None:
    """MUST-29: and resets."""
    wire, c = kept_alive()
    wire.after(ms=12_999)
    wire.expect(*["A seq=0"] * 3)
    wire.after(ms=1)
    wire.expect("RA seq=1")
    assert (c.state, c.error) == (CLOSED, errno.ETIMEDOUT)


@pytest.mark.parametrize("state", [FIN_WAIT_1, FIN_WAIT_2])
def test_keepalive_goes_on_after_a_half_close(state: int) -> None:
    wire, c = kept_alive(state)
    wire.send(c, "A")
    wire.clear()
    wire.after(ms=10_000)
    wire.expect("A seq=1 ack=1 len=0")


def test_keepalive_asked_for_late_looks_at_how_long_it_was_silent() -> None:
    wire = TcpWire()
    c = wire.established()
    wire.after(ms=60_000)
    c.options.keepalive = True
    c.options.keepalive_idle_ms = 10_000
    c.options_changed()
    wire.after(ms=0)
    wire.expect("A seq=0")


def test_keepalive_leaves_what_is_owed() -> None:
    """The peer throws the whole of it away for its number: the ACK of the text still comes when it is due."""
    wire, c = kept_alive()
    c.options.keepalive_idle_ms = 10
    c.options_changed()
    wire.send(c, "PA", payload=b"hello")
    wire.after(ms=10)
    wire.expect("A seq=0 ack=6")
    assert c.last_ack_sent == c.irs + 1
    wire.after(ms=29)
    wire.expect_nothing()
    wire.after(ms=1)
    wire.expect("A seq=1 ack=6")


def test_keepalive_shows_the_window_that_was_shown_last() -> None:
    """And takes no credit for telling of another."""
    wire, c = kept_alive()
    wire.send(c, "PA", payload=b"x" * 50_000)
    wire.after(ms=40)
    (ack,) = wire.take()
    c.discard(20_000)
    wire.after(ms=9_960)
    wire.expect(f"A seq=0 ack=50001 wnd={ack.wnd}")


def test_keepalive_carries_timestamps() -> None:
    """7323/3.2-a: in every segment."""
    wire = TcpWire(timestamps=True, peer=Peer(timestamps=True))
    c = wire.established()
    c.options.keepalive = True
    c.options.keepalive_idle_ms = 1_000
    c.options_changed()
    wire.after(ms=1_000)
    wire.expect(f"A seq=0 ts=True tsecr={c.ts_recent}")
