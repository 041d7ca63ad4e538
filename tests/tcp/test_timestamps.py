"""Timestamps on the wire and PAWS, clause by clause (RFC 7323 sections 3, 4.3 and 5)."""

from __future__ import annotations

import pytest

from scapystack.layers.tcp.options import encode, encode_syn
from scapystack.layers.tcp.state import CLOSED, ESTABLISHED, RECOVERY, SYN_RECEIVED, TIME_WAIT
from scapystack.layers.tcp.user import Connection
from tests.harness.tcp import PEER_ISS, Peer, TcpWire


def test_timestamps_on_every_segment_once_agreed() -> None:
    """7323/3.2-a, 7323/3.2-b: TSecr is the peer's clock, and zero in our SYN; MUST-5: read in all others."""
    wire = TcpWire(timestamps=True, peer=Peer(timestamps=True))
    c = wire.connect()
    wire.expect("S ts=True tsecr=0")
    wire.send_syn_ack(c)
    wire.expect("A ts=True tsecr=100")
    c.write(b"hello")
    wire.flush()
    wire.expect("PA ts=True tsecr=100")
    wire.send(c, "FA", tsval=107)
    wire.expect("A ts=True tsecr=107")


@pytest.mark.parametrize(
    "kind", ["data again", "FIN again", "window probe", "keep-alive", "challenge", "duplicate", "TIME-WAIT", "window"]
)
def test_timestamps_on_segments_of_every_kind(kind: str) -> None:
    """7323/3.2-a: in every one that is no RST, and TSecr is the last TSval that counts."""
    wire = TcpWire(timestamps=True, peer=Peer(timestamps=True), rcvbuf=10_000)
    c = wire.reach(TIME_WAIT) if kind == "TIME-WAIT" else wire.established()
    recent = c.ts_recent
    if kind == "data again":
        c.write(b"hello")
        wire.flush()
        wire.after(ms=1000)
    elif kind == "FIN again":
        c.shutdown_write()
        wire.flush()
        wire.after(ms=1000)
    elif kind == "window probe":
        wire.send(c, "A", wnd=0)
        recent = c.ts_recent
        c.write(b"hello")
        wire.flush()
        wire.after(ms=1000)
    elif kind == "keep-alive":
        c.options.keepalive, c.options.keepalive_idle_ms = True, 1000
        c.options_changed()
        wire.after(ms=1000)
    elif kind == "challenge":
        wire.send(c, "R", seq=5)
    elif kind == "duplicate":
        wire.send(c, "A", seq=9, payload=b"behind a gap")
    elif kind == "TIME-WAIT":
        wire.send(c, "FA", seq=1, ack=2)
        recent = c.ts_recent
    else:
        wire.send(c, "A", payload=bytes(9_000))
        recent = c.ts_recent
        wire.clear()
        c.read(9_000)
        wire.flush()
    sent = wire.take()
    assert sent
    for seg in sent:
        assert seg.tsval is not None
        assert c.ts_now() - 1000 <= seg.tsval <= c.ts_now()
        assert seg.tsecr == recent


def test_timestamps_only_if_the_peer_has_them() -> None:
    """7323/3.2-a."""
    wire = TcpWire(timestamps=True)
    wire.listen()
    wire.syn()
    wire.expect("SA ts=False")


def test_segment_without_its_timestamp_is_dropped_and_nothing_aborted() -> None:
    """7323/3.2-a, hostile/timestamps; a RST needs none (7323/5.3)."""
    wire = TcpWire(timestamps=True, peer=Peer(timestamps=True))
    c = wire.established()
    wire.send(c, "PA", payload=b"hello", options=b"")
    wire.expect_nothing()
    assert (c.state, c.available) == (ESTABLISHED, 0)
    wire.send(c, "R", options=b"")
    assert wire.tcp.connections == {}


def test_old_timestamp_is_dropped_and_answered() -> None:
    """7323/5.3, hostile/timestamps: PAWS."""
    wire = TcpWire(timestamps=True, peer=Peer(timestamps=True))
    c = wire.established()
    wire.send(c, "PA", payload=b"hello", tsval=c.ts_recent - 1)
    wire.expect("A ack=1")
    assert c.available == 0
    wire.send(c, "PA", payload=b"hello", tsval=c.ts_recent)
    assert c.available == 5


def overtaken(segments: int = 3, **peer: bool) -> tuple[TcpWire, Connection]:
    """So many segments in flight, the first acknowledged by an ACK that has overtaken earlier ones."""
    wire = TcpWire(timestamps=True, initial_cwnd_segments=segments, peer=Peer(timestamps=True, **peer))
    c = wire.established(rtt_ms=10)
    c.write(b"x" * segments * c.snd_mss)
    wire.flush()
    wire.after(ms=10)
    wire.send(c, "A", ack=1 + c.snd_mss, tsval=c.ts_recent + 20)
    wire.clear()
    return wire, c


@pytest.mark.parametrize("ack", [1, 1 + 1448])
def test_ack_that_others_have_overtaken_draws_no_challenge(ack: int) -> None:
    """RFC 7323 section 5.3, as Linux tempers it: a path that reorders ACKs would have each answered."""
    wire, c = overtaken()
    recent = c.ts_recent
    for age in (20, 1):
        wire.send(c, "A", ack=ack, tsval=recent - age)
    wire.expect_nothing()
    assert (c.ts_recent, c.snd_wnd) == (recent, 65_535 << c.snd_wscale)
    assert wire.core.counters["tcp.late_acks"] == 2
    assert wire.core.counters["tcp.drop.paws"] == wire.core.counters["tcp.challenge_acks"] == 0


def test_ack_overtaken_by_text_of_the_peer_is_dropped_in_silence() -> None:
    """7323/5.3, as Linux: PAWSOldAck."""
    wire, c = overtaken()
    wire.send(c, "A", payload=b"later", tsval=c.ts_recent + 1)
    wire.clear()
    wire.send(c, "A", seq=1, ack=1, tsval=c.ts_recent - 5)
    wire.expect_nothing()
    assert wire.core.counters["tcp.drop.paws_old_ack"] == 1


@pytest.mark.parametrize(
    ("how", "late"),
    [({}, 1_000), ({"ack": 1449 + 1}, 5), ({"seq": 50}, 5), ({"wnd": 65_535, "ack": 1449}, 5), ({"wnd": 0}, 5)],
    ids=["too old", "of something new", "outside the window", "with a wider window", "with a closed one"],
)
def test_old_timestamp_on_an_ack_that_is_no_plain_duplicate_is_answered(how: dict[str, int], late: int) -> None:
    """7323/5.3: a peer whose clock has gone back must learn of it."""
    wire, c = overtaken()
    wire.send(c, "A", ack=1449, wnd=60_000, tsval=c.ts_recent + 1)
    wire.clear()
    before = (c.ts_recent, c.snd_una, c.snd_wnd)
    wire.send(c, "A", **{"ack": 1449, "wnd": 60_000, **how, "tsval": c.ts_recent - late})
    wire.expect("A")
    assert (c.ts_recent, c.snd_una, c.snd_wnd) == before
    assert wire.core.counters["tcp.drop.paws"] == 1


def test_duplicate_acks_with_old_timestamps_count_for_a_peer_without_sack() -> None:
    """5681/3.2-b: three say that a segment is lost, in whatever order they come."""
    wire, c = overtaken(segments=6, sack=False)
    recent = c.ts_recent
    for tsval in (recent + 3, recent + 2, recent + 1):
        wire.send(c, "A", ack=1449, tsval=tsval)
    assert [(seg.seq - c.iss) & 0xFFFFFFFF for seg in wire.take()][-1] == 1449
    assert c.ca_state == RECOVERY
    assert c.ts_recent == recent + 3


def test_sack_on_an_ack_with_an_old_timestamp_is_news() -> None:
    """2018: what has arrived has arrived, and one ACK has no room for all ranges."""
    wire, c = overtaken(segments=6)
    wire.send(c, "A", ack=1, sack=((1 + 2 * 1448, 1 + 3 * 1448),), tsval=c.ts_recent - 1)
    assert c.board.sacked.size == 1448


def test_old_timestamp_after_24_idle_days_is_taken() -> None:
    """7323/5.3: TS.Recent is invalid by then."""
    wire = TcpWire(timestamps=True, peer=Peer(timestamps=True))
    c = wire.established()
    wire.after(ms=25 * 24 * 3600 * 1000)
    wire.send(c, "PA", payload=b"hello", tsval=c.ts_recent - 1000)
    assert c.available == 5


def test_old_timestamp_counts_as_old_while_the_peer_is_heard() -> None:
    """7323/5.3: 24 days without a segment, not 24 days of age."""
    wire = TcpWire(timestamps=True, peer=Peer(timestamps=True))
    c = wire.established()
    for _ in range(3):
        wire.after(ms=10 * 24 * 3600 * 1000)
        wire.send(c, "PA", payload=b"x")
    wire.send(c, "PA", payload=b"old", tsval=c.ts_recent - 1)
    assert c.available == 3


def test_timestamps_that_wrap_are_newer() -> None:
    """7323/5.3: comparison is modulo 2**32."""
    wire = TcpWire(timestamps=True, peer=Peer(timestamps=True))
    wire.peer_ts = 0xFFFFFFF0
    c = wire.established()
    wire.send(c, "PA", payload=b"hello", tsval=5)
    assert c.available == 5
    assert c.ts_recent == 5


def test_ts_recent_moves_only_with_the_segment_that_the_last_ack_asked_for() -> None:
    """7323/4.3: what comes behind a gap, or in a segment not yet acknowledged, is not echoed."""
    wire = TcpWire(timestamps=True, peer=Peer(timestamps=True))
    c = wire.established()
    recent = c.ts_recent
    wire.send(c, "PA", seq=101, payload=b"late", tsval=recent + 50)
    wire.expect(f"A tsecr={recent}")
    wire.send(c, "PA", seq=1, payload=b"x" * 100, tsval=recent + 60)
    wire.expect(f"A ack=105 tsecr={recent + 60}")


@pytest.mark.parametrize("case", ["before the window", "behind the window", "bad ACK"])
def test_ts_recent_does_not_move_with_what_is_not_acceptable(case: str) -> None:
    """7323/4.3, 5961: a stranger's guess would shut the peer out for good."""
    wire = TcpWire(timestamps=True, peer=Peer(timestamps=True))
    c = wire.established()
    recent = c.ts_recent
    seq = {"before the window": -(1 << 30), "behind the window": 1 << 30, "bad ACK": 1}[case]
    ack = 1 << 29 if case == "bad ACK" else 1
    wire.send(c, "PA", seq=seq, ack=ack, payload=b"x", tsval=recent + (1 << 30))
    assert c.ts_recent == recent
    wire.send(c, "PA", payload=b"hello", tsval=recent + 1)
    assert c.available == 5


def test_ts_recent_moves_with_a_segment_that_came_again() -> None:
    """7323/4.3: our ACK was lost; the next must not echo the first copy's time, or the peer's RTO doubles."""
    wire = TcpWire(timestamps=True, peer=Peer(timestamps=True), delayed_ack_ms=1)
    c = wire.established()
    wire.send(c, "PA", payload=b"hello", tsval=200)
    wire.after(ms=1)
    wire.expect("A ack=6 tsecr=200")
    wire.send(c, "PA", seq=1, payload=b"hello", tsval=400)
    wire.expect("A ack=6 tsecr=400")


def test_timestamps_of_delayed_acks_are_those_of_the_first_segment() -> None:
    """7323/4.3 (A): the example of RFC 7323, so that the peer's timer knows of the delay."""
    wire = TcpWire(timestamps=True, peer=Peer(timestamps=True), ack_every_segments=3)
    c = wire.established()
    for tsval in (101, 102, 103):
        wire.send(c, "A", payload=b"x" * c.rcv_mss, tsval=tsval)
    wire.expect("A tsecr=101")


def test_timestamps_across_holes_are_those_of_what_moved_the_window() -> None:
    """7323/4.3 (B) and (C): the example of RFC 7323. 7323/5.3: what waits is not tested a second time."""
    wire = TcpWire(timestamps=True, peer=Peer(timestamps=True), delayed_ack_ms=0, ack_every_segments=0)
    c = wire.established()
    echoed = []
    for block, tsval in ((0, 101), (2, 103), (1, 102), (4, 105), (3, 104)):
        wire.send(c, "A", seq=1 + 100 * block, payload=bytes([block]) * 100, tsval=tsval)
        echoed.append([seg.tsecr for seg in wire.take()])
    assert echoed == [[101], [101], [102], [102], [104]]
    assert c.read(1000) == b"".join(bytes([block]) * 100 for block in range(5))


def test_timestamps_that_were_not_agreed_on_are_ignored() -> None:
    """7323/3.2-a: and the segment is taken."""
    wire = TcpWire()
    c = wire.established()
    wire.send(c, "PA", payload=b"hello", options=encode((5, 6), []))
    wire.after(ms=40)
    wire.expect("A ack=6 ts=False")
    assert (c.available, c.ts_recent) == (5, 0)


def test_echo_beside_no_ack_is_ignored() -> None:
    """7323/3.2-b: crossing SYNs; the peer's says nothing of ours."""
    wire = TcpWire(timestamps=True, peer=Peer(timestamps=True))
    c = wire.connect()
    wire.after(ms=50)
    wire.raw("S", PEER_ISS, 0, options=encode_syn(1460, 7, True, (100, c.ts_now())), sport=c.remote_port,
             dport=c.local_port)  # fmt: skip
    wire.flush()
    assert c.state == SYN_RECEIVED
    assert not c.rtt.srtt


@pytest.mark.parametrize("tsval", [-1, 1 << 30])
def test_reset_is_not_judged_by_its_timestamp(tsval: int) -> None:
    """7323/5.3: neither old nor new ones count, and nothing is learned of it."""
    wire = TcpWire(timestamps=True, peer=Peer(timestamps=True))
    c = wire.established()
    recent = c.ts_recent
    wire.send(c, "R", seq=5, tsval=recent + tsval)
    wire.expect(f"A ack=1 tsecr={recent}")
    assert c.ts_recent == recent
    wire.send(c, "R", seq=1, tsval=recent + tsval)
    assert c.state == CLOSED


def test_reset_of_a_connection_has_its_timestamps() -> None:
    """RFC 7323 section 5.2."""
    wire = TcpWire(timestamps=True, peer=Peer(timestamps=True))
    c = wire.established()
    now, recent = c.ts_now(), c.ts_recent
    c.abort()
    (reset,) = wire.expect("RA seq=1 ts=True")
    assert (reset.tsval, reset.tsecr) == (now, recent)


@pytest.mark.parametrize(("wanted", "stamps"), [(True, (0, 77)), (False, (None, None))])
def test_reset_to_a_stranger_echoes_its_timestamp_if_that_is_wanted(wanted: bool, stamps: tuple[int, int]) -> None:
    """RFC 7323 section 5.2: TSval zero; Linux sends none."""
    wire = TcpWire(rst_timestamps=wanted)
    wire.raw("PA", 5, 6, payload=b"x", options=encode((77, 1), []))
    (reset,) = wire.expect("R seq=6")
    assert (reset.tsval, reset.tsecr or None) == stamps
