"""Paths that drop large packets and say nothing: suspicion, the fall, and the search upwards (RFC 4821)."""

from __future__ import annotations

import itertools
from typing import Any

import pytest

from scapystack.layers.tcp.state import OPEN, RECOVERY
from scapystack.layers.tcp.user import Connection
from tests.harness.tcp import Peer, TcpWire
from tests.harness.tcp_pair import Pair

MS = 1_000_000
MINUTES_10 = 600_000


def timeouts(wire: TcpWire, count: int) -> list[int]:
    """Let so many retransmission timeouts pass; the sizes of what was sent again at each."""
    sizes = []
    for _ in range(count):
        wire.clear()
        wire.after(ms=wire.deadline_ms() or 0)
        sizes.append(len(wire.take()[0].payload))
    return sizes


def suspicious(**config: Any) -> tuple[TcpWire, Connection]:
    """A connection that looks for black holes, without loss probes (each deadline is a timeout), its window open."""
    wire = TcpWire(**{"mtu_probing": 1, "loss_probes": False, "peer": Peer(wscale=10), **config})
    c = wire.established()
    return wire, c


def fallen(octets: int = 100_000, **config: Any) -> tuple[TcpWire, Connection]:
    """One that has just fallen to 1,024, and whose small segments are being acknowledged; all sent are."""
    wire, c = suspicious(**config)
    c.write(b"x" * 1460)
    wire.flush()
    timeouts(wire, 2)
    assert c.snd_mss == 1024
    while c.flight:
        wire.send(c, "A")
    c.cc.cwnd = 30_000
    assert wire.core.counters["tcp.mtu_probes"] == 0
    wire.clear()
    if octets:
        c.write(b"z" * octets)
        wire.flush()
    return wire, c


def relative(c: Connection) -> int:
    return (c.snd_una - c.iss) & 0xFFFFFFFF


# -- suspicion ---------------------------------------------------------------------------------------------------


def test_second_timeout_of_a_size_never_acknowledged_falls_to_1024() -> None:
    """4821/7: section 7.7; the third halves it, and there it stays."""
    wire, c = suspicious()
    c.write(b"x" * 1460)
    wire.flush()
    assert timeouts(wire, 5) == [1460, 1024, 512, 512, 512]
    assert wire.core.counters["tcp.mtu_black_holes"] == 2


def test_size_that_was_acknowledged_is_suspected_at_r1() -> None:
    """4821/7: the path may be down, or have changed."""
    wire, c = suspicious()
    c.write(b"x" * 1460)
    wire.flush()
    wire.send(c, "A")
    c.write(b"x" * 1460)
    wire.flush()
    assert timeouts(wire, 5) == [1460, 1460, 1024, 512, 512]


def test_numbers_of_the_fall_can_be_set() -> None:
    wire, c = suspicious(mtu_black_hole_timeouts=1, mtu_base_mss=800, mtu_floor_mss=300)
    c.write(b"x" * 1460)
    wire.flush()
    assert timeouts(wire, 4) == [800, 380, 300, 300]


def test_fall_of_segments_below_the_base() -> None:
    """What is larger than the floor may be too large, though it is smaller than 1,024."""
    wire, c = suspicious()
    c.write(b"x" * 900)
    wire.flush()
    assert timeouts(wire, 4) == [900, 900, 512, 512]


@pytest.mark.parametrize(("octets", "probing"), [(512, 1), (1460, 0)])
def test_small_segments_are_not_suspected_and_nothing_is_if_it_is_off(octets: int, probing: int) -> None:
    wire, c = suspicious(mtu_probing=probing)
    c.write(b"x" * octets)
    wire.flush()
    assert timeouts(wire, 5) == [octets] * 5
    assert c.mtu_probe is None


def test_connection_without_suspicion_has_no_search() -> None:
    """4821/7: nothing is paid for what is not used."""
    wire, c = suspicious()
    c.write(b"x" * 14_600)
    wire.flush()
    wire.send(c, "A")
    assert c.mtu_probe is None


# -- probes ------------------------------------------------------------------------------------------------------


def test_probe_is_one_larger_segment_and_others_follow() -> None:
    """4821/7: section 10.1: new text, and enough behind it to tell its loss by."""
    wire, _ = fallen()
    sent = wire.take()
    assert [len(seg.payload) for seg in sent[:5]] == [1460, 1024, 1024, 1024, 1024]
    assert all(len(seg.payload) <= 1024 for seg in sent[1:])
    assert all(a.seq + len(a.payload) == b.seq for a, b in itertools.pairwise(sent))


def test_probe_is_not_cut_where_the_link_takes_super_segments() -> None:
    """4821/7: it is a packet of its own."""
    wire, _ = fallen(gso_max=64_000)
    sizes = [(len(seg.payload), how["gso_size"]) for seg, how in zip(wire.ip.sent, wire.ip.kept, strict=True)]
    assert sizes[0] == (1460, 0)
    assert all(gso == 1024 for size, gso in sizes[1:] if size > 1024)


def test_probe_acknowledged_raises_the_size() -> None:
    """4821/7: section 7.6.1."""
    wire, c = fallen()
    wire.clear()
    wire.send(c, "A", ack=relative(c) + 1460)
    assert c.snd_mss == 1460
    assert {len(seg.payload) for seg in wire.take()} == {1460}


def lose_probe(wire: TcpWire, c: Connection) -> None:
    """The peer SACKs three segments behind the probe."""
    una = relative(c)
    n = len(wire.ip.sent[0].payload)
    wire.clear()
    for behind in range(1, 4):
        wire.after(ms=1)
        wire.send(c, "A", ack=una, sack=((una + n, una + n + 1024 * behind),))


def test_probe_lost_alone_is_no_congestion() -> None:
    """4821/7: section 7.6.2: sent again in small segments, and the window is what it was."""
    wire, c = fallen()
    cwnd, una = c.cc.cwnd, relative(c)
    lose_probe(wire, c)
    assert (c.ca_state, c.cc.cwnd) == (OPEN, cwnd)
    again = [seg for seg in wire.take() if (seg.seq - c.iss) & 0xFFFFFFFF < una + 1460]
    assert [len(seg.payload) for seg in again] == [1024, 436]
    assert wire.core.counters["tcp.fast_retransmits"] == 0
    assert c.snd_mss == 1024


def test_probe_lost_is_followed_by_another_only_after_a_while() -> None:
    """4821/7: section 7.6.2: as many round trips as there are segments in the window."""
    wire, c = fallen(octets=400_000)
    lose_probe(wire, c)
    assert c.mtu_probe is not None
    wait = c.mtu_probe.again_at - wire.core.now
    assert 26 <= wait / MS <= 29  # 29 segments, a round trip of 1 ms at least, and up to 3 ms that SACK took
    wire.send(c, "A")
    wire.core.now += wait - 1
    wire.send(c, "A")
    assert wire.core.counters["tcp.mtu_probes"] == 1
    wire.core.now += 1
    wire.send(c, "A")
    assert wire.core.counters["tcp.mtu_probes"] == 2


def test_retransmission_of_a_lost_probe_that_is_lost_too_is_congestion() -> None:
    """4821/7: the exception is for the probe alone."""
    wire, c = fallen()
    una = relative(c)
    lose_probe(wire, c)
    wire.after(ms=2 * c.rtt.srtt / MS + 1)
    wire.send(c, "A", ack=una, sack=((una + 1460, relative(c) + c.flight),))
    wire.after(ms=c.rtt.srtt / MS + 1)
    wire.flush()
    assert c.ca_state >= RECOVERY


def test_probe_lost_among_others_says_nothing() -> None:
    """4821/7: section 7.6.4."""
    wire, c = fallen()
    una = relative(c)
    end = una + 1460 + 1024
    wire.clear()
    wire.send(c, "A", ack=una, sack=((end, end + 5 * 1024),))
    assert c.ca_state == RECOVERY
    assert c.mtu_probe is not None
    assert (c.mtu_probe.size, c.mtu_probe.losses) == (0, 1)  # the one that the timeouts stand for


def test_probe_that_times_out_is_a_lost_one() -> None:
    """4821/7: section 7.6.3: or a window too small for three duplicates would try one size for ever."""
    wire, c = fallen()
    assert c.mtu_probe is not None
    wire.after(ms=c.rtt.rto / MS)
    assert (c.mtu_probe.size, c.mtu_probe.high) == (0, 1499)
    assert c.mtu_probe.again_at > wire.core.now


def test_probe_waits_for_room_in_the_window_and_all_else_with_it() -> None:
    """4821/7: section 7.4: the returning ACKs make the room."""
    wire, c = fallen(octets=0)
    assert c.mtu_probe is not None
    c.mtu_probe.again_at = wire.core.now + 1
    c.write(b"x" * 500_000)
    wire.flush()
    wire.core.now += 1
    wire.clear()
    una = relative(c)
    wire.send(c, "A", ack=una + 1024)
    if not c.mtu_probe.size:
        wire.expect_nothing()
        wire.send(c, "A", ack=una + 2048)
    assert len(wire.take()[0].payload) == 1460


@pytest.mark.parametrize("short", ["text", "window of the peer", "congestion window"])
def test_probe_needs_enough_behind_it(short: str) -> None:
    """4821/7: section 7.4."""
    wire, c = fallen(octets=0)
    if short == "window of the peer":
        wire.send(c, "A", wnd=4)  # scaled by 10
    if short == "congestion window":
        c.cc.cwnd = 4_400
    c.write(b"x" * (4_400 if short == "text" else 50_000))
    wire.flush()
    assert {len(seg.payload) for seg in wire.take()} <= {1024, 304}
    assert wire.core.counters["tcp.mtu_probes"] == 0


def test_probe_that_a_closed_window_has_swallowed_proves_nothing() -> None:
    """4821/7: its text arrives in small segments when the window opens again."""
    wire, c = fallen()
    una = relative(c)
    wire.send(c, "A", ack=una, wnd=0)
    wire.send(c, "A", ack=una, wnd=60)
    wire.send(c, "A", ack=una + 2048)
    assert wire.core.counters["tcp.mtu_probes_passed"] == 0
    assert c.snd_mss == 1024


def test_error_about_a_probe_ends_the_guessing() -> None:
    """4821/7: section 7.6.2: the size that ICMP tells is the next to be probed for; the rest is not touched."""
    wire, c = fallen()
    sent = len(wire.take())
    wire.icmp(c, 3, 4, 90, mtu=1400)
    assert (c.route.mtu, c.snd_mss) == (1400, 1024)
    assert c.mtu_probe is not None
    assert sent > 3
    wire.expect_nothing()
    c.mtu_probe.inconclusive(wire.core.now, 0)
    assert c.mtu_probe.next_size(1400, wire.core.now) == 1400


def test_result_of_a_search_is_for_all_connections() -> None:
    """4821/7: section 5.2."""
    wire, c = fallen(octets=0)
    assert c.mtu_probe is not None
    c.mtu_probe.low, c.mtu_probe.high, c.mtu_probe.losses = 1400, 1404, 1
    c.mtu_probe.high = 1408
    c.write(b"x" * 100_000)
    wire.flush()
    lose_probe(wire, c)
    assert wire.ip.mtu == 1400


# -- from end to end ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("carries", "agreed"),
    [(1100, {}), (1280, {}), (1400, {}), (1400, {"timestamps": False}), (1400, {"sack": False}), (1499, {})],
    ids=["1100", "1280", "1400", "1400-no-ts", "1400-no-sack", "1499"],
)
def test_size_is_found_and_all_arrives(carries: int, agreed: dict[str, bool]) -> None:
    """4821/7: within eight octets of what the path carries, in both directions, in seconds."""
    pair = Pair(
        drop=lambda n, octets: len(octets) + 20 > carries, sndbuf=10_000, gso_max=64_000 * (carries & 1), **agreed
    )  # fmt: skip
    ends = pair.open()
    pair.transfer(1_500_000, 1_500_000, ends=ends, limit_s=60)
    for c in ends:
        assert c.mtu_probe is not None
        assert carries - 8 < c.mtu_probe.low <= carries
        assert c.snd_mss == c.mtu_probe.low - 40 - 12 * c.ts_ok


@pytest.mark.parametrize("carries", [564, 600])
def test_path_that_carries_less_than_the_base(carries: int) -> None:
    """4821/7: section 7.7: by half to the floor, and all arrives."""
    pair = Pair(drop=lambda n, octets: len(octets) + 20 > carries)
    ends = pair.open()
    pair.transfer(200_000, 1_000, ends=ends, limit_s=10)
    assert ends[0].snd_mss == 512


@pytest.mark.parametrize("seed", range(3))
def test_size_is_found_on_a_path_that_loses_others_too(seed: int) -> None:
    """4821/7."""
    pair = Pair(seed=seed, loss=0.02, drop=lambda n, octets: len(octets) + 20 > 1400)
    ends = pair.open()
    pair.transfer(2_000_000, 10_000, ends=ends, limit_s=120)
    assert ends[0].mtu_probe is not None
    assert 1300 < ends[0].mtu_probe.low <= 1400


def test_path_that_narrows_under_a_connection() -> None:
    """4821/7: and widens again: found at the next search, ten minutes later."""
    narrow = 1500
    pair = Pair(drop=lambda n, octets: len(octets) + 20 > narrow, sndbuf=10_000)
    a, b = pair.open()

    def pass_on(octets: int, limit_s: float) -> None:
        left, read = octets, 0
        end = pair.now + int(limit_s * 1e9)
        while read < octets:
            pair.a.enter()
            left -= a.write(b"x" * left)
            pair.round()
            pair.b.enter()
            read += b.discard(b.available)
            pair.round()
            assert pair.step()
            assert pair.now < end

    pass_on(500_000, 10)
    assert a.snd_mss == 1448
    narrow = 1400
    pass_on(1_000_000, 20)
    found = a.snd_mss
    assert 1300 < found <= 1348
    narrow = 1500
    pair.now += MINUTES_10 * MS
    pass_on(100_000, 10)
    assert a.snd_mss == 1448


def test_always_probing_begins_small_and_is_done_with_one_probe() -> None:
    """4821/7: `mtu_probing` 2, where black holes are known to be."""
    pair = Pair(mtu_probing=2)
    ends = pair.open()
    assert ends[0].snd_mss == 1024
    pair.transfer(1_000_000, 0, ends=ends)
    assert ends[0].snd_mss == 1448
    assert pair.a.core.counters["tcp.mtu_probes"] == 1
    assert pair.a.core.counters["tcp.timeouts"] == 0


def test_outage_costs_one_probe() -> None:
    """4821/7: what looked like a black hole was none."""
    down = False
    pair = Pair(drop=lambda n, octets: down)
    a, b = ends = pair.open()
    pair.a.enter()
    a.write(b"x" * 300_000)
    pair.round()
    pair.run(lambda: b.available > 50_000, limit_s=5)
    down = True
    pair.run(lambda: a.snd_mss < 1448, limit_s=60)
    down = False
    pair.run(lambda: b.available == 300_000, limit_s=60)
    b.discard(300_000)
    pair.transfer(500_000, 0, ends=ends)
    assert a.snd_mss == 1448
    assert pair.a.core.counters["tcp.mtu_probes"] == 1
