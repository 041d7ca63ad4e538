"""TIME-WAIT: how long, what may cut it short, and what may not (RFC 9293 section 3.6.1, RFC 1337, RFC 6191)."""

from __future__ import annotations

import pytest

from scapystack.base.seq import seq_gt
from scapystack.layers.tcp.state import CLOSED, SYN_RECEIVED, SYN_SENT, TIME_WAIT
from scapystack.layers.tcp.user import Connection
from tests.harness.tcp import MASK, PEER_ISS, PORT, Peer, TcpWire
from tests.harness.tcp_invariants import check


def in_time_wait(*, stamps: bool = False, **config: object) -> tuple[TcpWire, Connection]:
    wire = TcpWire(timestamps=stamps, peer=Peer(timestamps=stamps), **config)
    return wire, wire.reach(TIME_WAIT)


def test_time_wait_lasts_twice_the_segment_lifetime() -> None:
    """MUST-13."""
    wire, c = in_time_wait(msl_ms=30_000)
    wire.after(ms=59_999)
    assert c.state == TIME_WAIT
    wire.after(ms=1)
    assert c.state == CLOSED
    assert wire.deadline_ms() is None


def test_fin_again_is_acknowledged_and_starts_the_wait_anew() -> None:
    """RFC 9293 section 3.10.7.4, eighth."""
    wire, c = in_time_wait(msl_ms=1_000)
    wire.after(ms=1_500)
    wire.send(c, "FA", seq=1)
    wire.expect("A seq=2 ack=2")
    wire.after(ms=1_999)
    assert c.state == TIME_WAIT
    wire.after(ms=1)
    assert c.state == CLOSED


@pytest.mark.parametrize("offset", [0, 1])
def test_rst_does_not_end_time_wait(offset: int) -> None:
    """1337."""
    wire, c = in_time_wait()
    wire.send(c, "R", seq=2 + offset)
    wire.expect_nothing()
    assert c.state == TIME_WAIT


def test_old_text_is_acknowledged() -> None:
    wire, c = in_time_wait()
    before = wire.deadline_ms() or 0
    wire.after(ms=1_000)
    wire.send(c, "PA", seq=-99, payload=b"x" * 50)
    wire.expect("A seq=2 ack=2")
    assert c.state == TIME_WAIT
    assert wire.deadline_ms() == before - 1_000  # only a FIN starts the wait anew


def test_close_with_unread_text_does_not_cut_time_wait_short() -> None:
    """MUST-13."""
    wire = TcpWire()
    c = wire.established()
    c.shutdown_write()
    wire.flush()
    wire.send(c, "FPA", payload=b"unread")
    assert c.state == TIME_WAIT
    wire.clear()
    c.options.linger_s = 0
    c.close()
    wire.flush()
    wire.expect_nothing()
    assert c.state == TIME_WAIT


def test_newer_syn_reopens_with_numbers_behind_the_old_ones() -> None:
    """MAY-2: our ISS is above all that the old connection used."""
    wire, old = in_time_wait()
    old.snd_nxt = (old.iss + 500_000_000) & MASK  # it sent more than the clock of the ISS has ticked
    wire.syn(seq=old.rcv_nxt + 1)
    wire.expect("SA seq=0 ack=1")
    new = wire.connection()
    assert (old.state, new.state) == (CLOSED, SYN_RECEIVED)
    assert seq_gt(new.iss, old.snd_nxt)


@pytest.mark.parametrize("back", [0, 1, 1 << 30])
def test_syn_that_is_not_newer_is_challenged(back: int) -> None:
    """MAY-2, 5961/4."""
    wire, old = in_time_wait()
    wire.syn(seq=old.rcv_nxt - back)
    wire.expect("A seq=2 ack=2")
    assert old.state == TIME_WAIT


@pytest.mark.parametrize(
    ("tsval", "seq", "reopens"), [(1, -1000, True), (0, 1, True), (0, -1, False), (-1, 1000, False)]
)
def test_timestamps_say_which_syn_is_newer(tsval: int, seq: int, reopens: bool) -> None:
    """SHLD-4, 6191: by the timestamp; by the sequence number where that is the same."""
    wire, old = in_time_wait(stamps=True)
    wire.peer_ts = old.ts_recent + tsval
    wire.syn(seq=old.rcv_nxt + seq)
    assert old.state == (CLOSED if reopens else TIME_WAIT)
    wire.expect("SA" if reopens else "A")


def test_syn_without_timestamp_is_judged_by_its_number() -> None:
    """6191."""
    wire, old = in_time_wait(stamps=True)
    wire.syn(seq=old.rcv_nxt + 1, options=b"")
    wire.expect("SA ts=False")
    assert old.state == CLOSED


@pytest.mark.parametrize("seq", [-1_000, 1])
def test_first_timestamps_make_a_syn_newer(seq: int) -> None:
    """6191: whatever its number: what the old connection sent has no timestamp, and is dropped for that."""
    wire = TcpWire(timestamps=True, peer=Peer())
    old = wire.reach(TIME_WAIT)
    wire.peer = Peer(timestamps=True)
    wire.syn(seq=old.rcv_nxt + seq)
    wire.expect("SA ts=True")
    assert old.state == CLOSED


@pytest.mark.parametrize(("seq", "reopens"), [(-1_000, False), (1, True)])
def test_timestamps_that_would_not_be_agreed_on_say_nothing(seq: int, reopens: bool) -> None:
    """6191: "would be enabled" asks for both ends."""
    wire, old = in_time_wait()
    wire.peer = Peer(timestamps=True)
    wire.syn(seq=old.rcv_nxt + seq)
    wire.expect("SA ts=False" if reopens else "A ts=False")


def test_syn_to_a_port_that_nobody_serves_any_more_is_challenged() -> None:
    wire, old = in_time_wait()
    wire.tcp.listeners[next(iter(wire.tcp.listeners))].close()
    wire.clear()
    wire.syn(seq=old.rcv_nxt + 1)
    wire.expect("A seq=2 ack=2")
    assert old.state == TIME_WAIT


@pytest.mark.parametrize("flags", ["SA", "SF", "SR"])
def test_syn_with_other_flags_does_not_reopen(flags: str) -> None:
    wire, old = in_time_wait()
    wire.raw(flags, old.rcv_nxt + 1, old.snd_nxt)
    wire.flush()
    assert old.state == TIME_WAIT


def test_connect_again_from_the_same_port_needs_reuse() -> None:
    """MAY-2 for an active open: numbers behind the old ones."""
    wire = TcpWire()
    old = wire.established(passive=False)
    old.shutdown_write()
    wire.flush()
    wire.send(old, "FA")
    assert old.state == TIME_WAIT
    with pytest.raises(OSError, match="in use"):
        wire.tcp.connect(old.remote_addr, PORT, local_port=old.local_port)
    new = wire.tcp.connect(old.remote_addr, PORT, local_port=old.local_port, reuse=True)
    assert old.state == CLOSED
    assert seq_gt(new.iss, old.snd_nxt)


def connected_in_time_wait(**config: object) -> tuple[TcpWire, Connection]:
    """A connection that we have opened and closed first."""
    wire = TcpWire(timestamps=True, peer=Peer(timestamps=True), **config)
    c = wire.established(passive=False)
    c.shutdown_write()
    wire.flush()
    wire.send(c, "FA")
    assert c.state == TIME_WAIT
    wire.clear()
    return wire, c


def test_connect_again_from_the_same_port_by_timestamps() -> None:
    """6191, for an active open: after a second, with newer timestamps and numbers behind the old ones."""
    wire, old = connected_in_time_wait()
    before = old.ts_now()
    old.snd_nxt = (old.iss + 500_000_000) & MASK
    wire.after(ms=999)
    with pytest.raises(OSError, match="in use"):
        wire.tcp.connect(old.remote_addr, PORT, local_port=old.local_port)
    wire.after(ms=1)
    new = wire.tcp.connect(old.remote_addr, PORT, local_port=old.local_port)
    assert (old.state, new.state) == (CLOSED, SYN_SENT)
    assert seq_gt(new.iss, old.snd_nxt)
    wire.flush()
    (syn,) = wire.take()
    assert syn.tsval == (before + 1_000) & MASK


def test_connect_takes_a_port_in_time_wait_when_it_draws_one() -> None:
    """6191: or a range of 28,000 ports would last for a minute at 470 connections a second."""
    wire, old = connected_in_time_wait(ephemeral_low=40_000, ephemeral_high=40_000)
    with pytest.raises(OSError, match="in use"):
        wire.tcp.connect(old.remote_addr, PORT)
    wire.after(ms=1_000)
    assert wire.tcp.connect(old.remote_addr, PORT).local_port == 40_000


@pytest.mark.parametrize("why", ["no timestamps then", "no timestamps now", "switched off"])
def test_connect_leaves_a_port_in_time_wait(why: str) -> None:
    """6191: nothing would tell the segments of the two apart."""
    wire, old = connected_in_time_wait(time_wait_reuse_ms=0 if why == "switched off" else 1_000)
    old.ts_ok = why != "no timestamps then"
    wire.config.tcp.timestamps = why != "no timestamps now"
    wire.after(ms=50_000)
    with pytest.raises(OSError, match="in use"):
        wire.tcp.connect(old.remote_addr, PORT, local_port=old.local_port)
    assert old.state == TIME_WAIT


def test_connect_never_takes_a_port_of_a_connection_that_lives() -> None:
    wire = TcpWire(timestamps=True, peer=Peer(timestamps=True))
    c = wire.established(passive=False)
    wire.after(ms=10_000)
    with pytest.raises(OSError, match="in use"):
        wire.tcp.connect(c.remote_addr, PORT, local_port=c.local_port)


def test_time_wait_is_bounded_and_the_oldest_goes_first() -> None:
    wire = TcpWire(max_time_wait=2)
    listener = wire.listen()
    ends = []
    for sport in (1, 2, 3):
        wire.syn(sport=sport, seq=PEER_ISS)
        wire.send(wire.connection(sport), "A")
        c = listener.accept()
        assert c is not None
        c.shutdown_write()
        wire.flush()
        wire.send(c, "FA")
        ends.append(c)
    assert [c.state for c in ends] == [CLOSED, TIME_WAIT, TIME_WAIT]
    assert wire.core.counters["tcp.time_wait_overflow"] == 1


@pytest.mark.parametrize("most", [0, 1])
def test_time_wait_that_is_cut_short_has_sent_its_last_ack(most: int) -> None:
    """MUST-13 as far as there is room: two FINs in one burst, each is acknowledged, or its peer would ask in vain."""
    wire = TcpWire(max_time_wait=most)
    listener = wire.listen()
    ends = []
    for sport in (1, 2):
        wire.syn(sport=sport)
        wire.send(wire.connection(sport), "A")
        c = listener.accept()
        assert c is not None
        c.shutdown_write()
        wire.flush()
        wire.send(c, "A")
        ends.append(c)
    wire.clear()
    for c in ends:
        wire.send(c, "FA", flush=False)
    wire.flush()
    assert sorted(seg.dport for seg in wire.take()) == [1, 2]
    assert len(wire.tcp.time_wait) == most
    check(wire.tcp)
