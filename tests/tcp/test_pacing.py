"""A sender whose congestion control names a rate: bursts at their times, and nothing that waits for ever."""

import pytest

from scapystack.base.types import MILLISECOND, SECOND
from scapystack.layers.tcp.pacing import burst_size
from scapystack.layers.tcp.tcb import NEVER
from tests.harness.tcp import TcpWire

MSS = 1460
RTT_MS = 20
RATE = 14_600 * 2885 * 50 // 1000
"""2885/1000 of the initial window in a round trip of 20 ms."""
BURST = 2 * MSS
GAP_MS = BURST / RATE * 1000


def established(congestion="bbr", rtt_ms=RTT_MS, **how):
    wire = TcpWire(congestion=congestion, **how)
    listener = wire.listen()
    wire.syn()
    wire.after(ms=rtt_ms)
    c = wire.connection()
    wire.send(c, "A")
    assert listener.accept() is c
    wire.clear()
    return wire, c


def write(wire, c, octets):
    assert c.write(bytes(octets)) == octets
    wire.flush()


def test_first_window_leaves_in_bursts_spread_by_the_rate():
    wire, c = established()
    assert c.cc.pacing_rate == RATE
    assert burst_size(RATE, MSS) == BURST
    write(wire, c, 100_000)
    # what a silence before has saved up is one burst
    wire.expect("A seq=1 len=1460", "A seq=1461 len=1460", "A seq=2921 len=1460", "A seq=4381 len=1460")
    wire.after(ms=GAP_MS - 0.01)
    wire.expect_nothing()
    wire.after(ms=0.02)
    wire.expect("A seq=5841 len=1460", "A seq=7301 len=1460")
    wire.after(ms=GAP_MS)
    wire.expect("A seq=8761 len=1460", "A seq=10221 len=1460")


def test_paced_sender_with_its_window_full_waits_for_an_ack_and_no_timer():
    wire, c = established()
    write(wire, c, 100_000)
    wire.after(ms=RTT_MS - 1)
    assert sum(len(s.payload) for s in wire.take()) == 10 * MSS
    assert c.pace_at == NEVER


def test_timer_that_comes_late_makes_up_for_it_up_to_a_burst():
    wire, c = established()
    write(wire, c, 100_000)
    wire.clear()
    wire.core.now += round(1.5 * GAP_MS * MILLISECOND)
    wire.after(ms=0)
    assert len(wire.take()) == 3
    wire.core.now += 100 * MILLISECOND
    wire.after(ms=0)
    assert len(wire.take()) == 3  # of the ten that the window allows


def test_super_segment_of_a_paced_sender_is_no_larger_than_a_burst():
    wire, c = established(rtt_ms=1, gso_max=65_536)
    burst = burst_size(c.cc.pacing_rate, MSS)
    assert 2 * MSS < burst < 65_536
    c.cc.cwnd = 10 * burst
    write(wire, c, 1_000_000)
    first = wire.take()
    assert sum(len(s.payload) for s in first) <= 2 * burst
    wire.after(ms=1.01)
    assert [len(s.payload) for s in wire.take()] == [burst]


def test_fin_behind_paced_data_leaves_with_its_end():
    wire, c = established()
    write(wire, c, 7 * MSS)
    c.shutdown_write()
    wire.flush()
    assert len(wire.take()) == 4
    wire.after(ms=3 * GAP_MS)
    wire.expect("A seq=5841 len=1460", "A seq=7301 len=1460", "FPA seq=8761 len=1460")


def test_fin_without_data_waits_its_time_too_and_leaves():
    wire, c = established()
    write(wire, c, 4 * MSS)
    assert len(wire.take()) == 4
    c.shutdown_write()
    wire.flush()
    wire.expect_nothing()
    wire.after(ms=2 * GAP_MS)
    wire.expect("FA seq=5841 len=0")


def test_retransmissions_are_paced():
    wire, c = established()
    write(wire, c, 10 * MSS)
    wire.after(ms=RTT_MS)
    assert len(wire.take()) == 10
    times = []
    wire.ip.watchers.append(lambda seg: times.append(wire.core.now))
    wire.send(c, "A", ack=1, sack=((1 + 8 * MSS, 1 + 10 * MSS),))
    c.cc.cwnd = 100 * MSS  # let conservation of packets not be what holds them back
    wire.after(ms=RTT_MS)
    assert c.board.resent == 8 * MSS
    rate = c.cc.pacing_rate
    assert len(times) == 8
    for first, later in zip(times, times[2 * BURST // MSS :], strict=False):
        assert later - first > BURST * SECOND // rate // 2  # never more than two bursts together


def test_closed_window_of_the_peer_is_probed_by_the_persist_timer_not_by_pacing():
    wire, c = established()
    write(wire, c, 100_000)
    taken = sum(len(s.payload) for s in wire.take())
    wire.send(c, "A", ack=1 + taken, wnd=0)
    wire.after(ms=50)
    wire.expect_nothing()
    assert c.pace_at == NEVER
    assert c.persist_at != NEVER


def test_request_and_response_are_not_held_back():
    wire, c = established()
    for n in range(20):
        write(wire, c, 100)
        wire.expect(f"PA seq={1 + 100 * n} len=100")
        wire.after(ms=RTT_MS)
        wire.send(c, "A")
        wire.expect_nothing()


def test_change_to_an_algorithm_without_a_rate_ends_pacing():
    wire, c = established()
    write(wire, c, 100_000)
    assert len(wire.take()) == 4
    c.options.congestion = "reno"
    c.options_changed()
    wire.flush()
    assert len(wire.take()) == 6
    assert c.pacer is None


def test_change_to_an_algorithm_with_a_rate_paces_by_the_round_trip_known():
    wire, c = established("reno")
    c.options.congestion = "bbr"
    c.options_changed()
    assert c.cc.pacing_rate == RATE
    write(wire, c, 100_000)
    assert len(wire.take()) == 4


@pytest.mark.parametrize("congestion", ["reno", "cubic"])
def test_algorithm_without_a_rate_sends_its_window_at_once(congestion):
    wire, c = established(congestion)
    write(wire, c, 100_000)
    assert sum(len(s.payload) for s in wire.take()) == 10 * MSS
    assert c.pacer is None
