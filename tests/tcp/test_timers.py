"""The retransmission timer: RTO, Karn, back-off, R1 and R2, the SYN's own limits (RFC 6298, section 3.8.3)."""

from __future__ import annotations

import errno

import pytest

from scapystack.base.config import PROFILES
from scapystack.layers.tcp.state import CLOSED, ESTABLISHED, FIN_WAIT_1
from scapystack.layers.tcp.tcb import Options
from tests.harness.tcp import Peer, TcpWire

STAMPS = Peer(timestamps=True)
MS = 1_000_000


def rto_ms(wire: TcpWire, rtt_ms: float) -> float:
    """The RTO after a handshake whose SYN-ACK came back in `rtt_ms`."""
    c = wire.connect()
    wire.after(ms=rtt_ms)
    wire.send_syn_ack(c)
    return c.rtt.rto / MS


def test_rto_is_one_second_before_the_first_sample() -> None:
    """6298/2.1."""
    wire = TcpWire()
    wire.connect()
    assert wire.deadline_ms() == 1000


def test_rto_of_the_first_sample() -> None:
    """6298/2.2: SRTT + 4 * RTTVAR, RTTVAR half of SRTT."""
    assert rto_ms(TcpWire(min_rto_ms=1), 100) == 300


def test_rto_of_the_second_sample() -> None:
    """6298/2.3: RTTVAR first, then SRTT."""
    wire = TcpWire(min_rto_ms=1)
    c = wire.connect()
    wire.after(ms=100)
    wire.send_syn_ack(c)
    c.write(b"hello")
    wire.flush()
    wire.after(ms=200)
    wire.send(c, "A")
    rttvar = 0.75 * 50 + 0.25 * 100
    srtt = 7 / 8 * 100 + 200 / 8
    assert c.rtt.rto / MS == srtt + 4 * rttvar


@pytest.mark.parametrize("floor", [200, 1000])
def test_rto_has_a_floor_that_can_be_set(floor: int) -> None:
    """6298/2.4, 6298/4: the variance term is never less."""
    assert rto_ms(TcpWire(min_rto_ms=floor), 10) == 10 + floor


def test_rto_has_a_ceiling_of_more_than_a_minute() -> None:
    """6298/2.5."""
    wire = TcpWire(syn_retries=100, initial_rto_ms=30_000, syn_linear_timeouts=0)
    assert wire.config.tcp.max_rto_ms >= 60_000
    wire.connect()
    waits = []
    for _ in range(5):
        waits.append(wire.deadline_ms())
        wire.after(ms=waits[-1] or 0)
    assert waits == [30_000, 60_000, 120_000, 120_000, 120_000]


def test_timer_starts_with_text_stops_with_its_ack() -> None:
    """6298/5.1-5.3: started, restarted by an ACK of something new, stopped when nothing is left."""
    wire = TcpWire()
    c = wire.established()
    c.write(b"x" * 2920)
    wire.flush()
    rto = c.rtt.rto / MS
    assert wire.deadline_ms() == rto
    wire.after(ms=50)
    c.write(b"y" * 1460)
    wire.flush()
    assert wire.deadline_ms() == rto - 50
    wire.send(c, "A", ack=1461)
    assert wire.deadline_ms() == c.rtt.rto / MS
    wire.send(c, "A", ack=1461)
    wire.send(c, "A")
    assert wire.deadline_ms() is None


def test_timeout_resends_the_first_and_doubles_the_rto() -> None:
    """6298/5.4-5.6, MUST-19: one segment, whatever was in flight."""
    wire = TcpWire()
    c = wire.established()
    c.write(b"x" * 14_600)
    wire.flush()
    wire.clear()
    rto = c.rtt.rto / MS
    for factor in (1, 2, 4, 8):
        assert wire.deadline_ms() == rto * factor
        wire.after(ms=rto * factor)
        wire.expect("A seq=1 len=1460")


def test_karn_takes_no_sample_from_what_was_sent_twice() -> None:
    """6298/3, MUST-18: and keeps the back-off until there is one."""
    wire = TcpWire()
    c = wire.established()
    c.write(b"hello")
    wire.flush()
    srtt, rto = c.rtt.srtt, c.rtt.rto
    wire.after(ms=rto / MS)
    wire.after(ms=50)
    wire.send(c, "A")
    assert (c.rtt.srtt, c.rtt.rto) == (srtt, 2 * rto)
    c.write(b"again")
    wire.flush()
    wire.after(ms=10)
    wire.send(c, "A")
    assert c.rtt.srtt == srtt + (10 * MS - srtt) // 8
    assert c.rtt.rto < 2 * rto


def test_timestamps_tell_which_copy_was_acknowledged() -> None:
    """6298/3, 7323/4.3: with them a retransmission may be timed."""
    wire = TcpWire(timestamps=True, peer=STAMPS)
    c = wire.established()
    c.write(b"hello")
    wire.flush()
    wire.after(ms=c.rtt.rto / MS)
    again = wire.take()[-1].tsval
    wire.after(ms=30)
    wire.send(c, "A", tsecr=again)
    assert c.rtt.shift == 0
    assert c.rtt.srtt == pytest.approx(1 + 29 * MS / 8, rel=0.1)


@pytest.mark.parametrize("age_ms", [-5, -(1 << 30), 400_000])
def test_timestamp_that_was_never_sent_gives_no_sample(age_ms: int) -> None:
    """7323/4.3: an echo from the future, or from long before; nothing is aborted."""
    wire = TcpWire(timestamps=True, peer=STAMPS)
    c = wire.established()
    c.write(b"hello")
    wire.flush()
    wire.after(ms=c.rtt.rto / MS)
    before = c.rtt.rto
    wire.send(c, "A", tsecr=(c.ts_now() - age_ms) & 0xFFFFFFFF)
    assert c.rtt.rto == before
    assert c.state == ESTABLISHED


def test_syn_lost_starts_text_with_three_seconds_and_one_segment() -> None:
    """6298/5.7, 5681/3.1-d: no sample of a SYN sent twice."""
    wire = TcpWire(slow_after_lost_syns=1)
    c = wire.connect()
    wire.after(ms=1000)
    wire.expect("S seq=0", "S seq=0")
    wire.send_syn_ack(c)
    wire.clear()
    c.write(b"x" * 5000)
    wire.flush()
    wire.expect("A len=1460")
    assert wire.deadline_ms() == 3000


def test_syn_lost_with_timestamps_is_timed_all_the_same() -> None:
    """6298/3: TSecr says which SYN it was."""
    wire = TcpWire(timestamps=True, peer=STAMPS)
    c = wire.connect()
    wire.after(ms=1000)
    second = wire.take()[-1].tsval or 0
    wire.after(ms=20)
    options = b"\x01\x01\x08\x0a\0\0\0\x05" + second.to_bytes(4, "big")
    wire.raw("SA", 5000, c.snd_nxt, sport=c.remote_port, dport=c.local_port, options=options)
    wire.flush()
    assert c.rtt.srtt == 20 * MS


@pytest.mark.parametrize(("lost", "profile", "segments"), [(1, "rfc", 1), (1, "linux", 10), (2, "linux", 1)])
def test_syn_acks_lost_make_the_first_window_one_segment(lost: int, profile: str, segments: int) -> None:
    """5681/3.1-d; RFC 6928 section 2: a single one that had to be sent again may have met a slow path."""
    wire = TcpWire(slow_after_lost_syns=PROFILES[profile]().slow_after_lost_syns)
    wire.listen()
    wire.syn()
    wire.after(ms=1000 * (2**lost - 1))
    wire.expect(*["SA"] * (1 + lost))
    c = wire.connection()
    wire.send(c, "A")
    assert c.cc.cwnd == segments * c.snd_mss


@pytest.mark.parametrize(("linear", "times"), [(4, 12), (0, 8)])
def test_syn_is_retransmitted_for_three_minutes(linear: int, times: int) -> None:
    """MUST-22, MUST-23: the default limits, and those of the profile `rfc`."""
    wire = TcpWire(syn_linear_timeouts=linear)
    c = wire.connect()
    sent = [wire.core.now]
    while (wait := wire.deadline_ms()) is not None:
        wire.after(ms=wait)
        if wire.take():
            sent.append(wire.core.now)
    gave_up_after = (wire.core.now - sent[0]) / 1e9
    assert len(sent) == times
    assert gave_up_after >= 180
    assert (c.state, c.error) == (CLOSED, errno.ETIMEDOUT)


def test_r2_closes_and_tells_the_application() -> None:
    """MUST-20, SHLD-11: at least 100 s, from the first time that the text was sent."""
    wire = TcpWire()
    assert wire.config.tcp.r2_ms >= 100_000
    c = wire.established()
    c.write(b"hello")
    wire.flush()
    first = wire.core.now
    while (wait := wire.deadline_ms()) is not None:
        wire.after(ms=wait)
    assert (c.state, c.error) == (CLOSED, errno.ETIMEDOUT)
    assert wire.core.now - first >= wire.config.tcp.r2_ms * MS
    with pytest.raises(TimeoutError):
        c.read(1)


def test_r2_counts_from_the_first_time_that_the_text_was_sent() -> None:
    """MUST-20: not from the first timeout: the fourth comes after 15 RTOs, and that is it."""
    wire = TcpWire(min_rto_ms=200)
    c = wire.established()
    rto = c.rtt.rto / MS
    wire.config.tcp.r2_ms = int(14.5 * rto)
    c.write(b"hello")
    wire.flush()
    wire.after(ms=15 * rto - 1)
    assert c.state == ESTABLISHED
    wire.after(ms=1)
    assert (c.state, c.error) == (CLOSED, errno.ETIMEDOUT)


def test_r1_advises_ip_and_tells_the_application() -> None:
    """MUST-20, SHLD-9, SHLD-10: after three retransmissions."""
    wire = TcpWire()
    assert wire.config.tcp.r1_retries >= 3
    c = wire.established()
    c.on_ready = lambda: None
    c.write(b"hello")
    wire.flush()
    for _ in range(2):
        wire.after(ms=wire.deadline_ms() or 0)
    assert (wire.ip.advised, c.soft_error) == (0, 0)
    wire.core.ready.clear()
    c.ready_marked = False
    wire.after(ms=wire.deadline_ms() or 0)
    assert (wire.ip.advised, c.soft_error) == (1, errno.ETIMEDOUT)
    assert c in wire.core.ready
    assert c.state == ESTABLISHED


def test_user_timeout_is_the_applications_r2() -> None:
    """MUST-21, 5482: from when the text was sent, and kept to the millisecond, not to the next back-off."""
    wire = TcpWire()
    c = wire.established()
    c.options.user_timeout_ms = 5_000
    wire.after(ms=60_000)
    c.write(b"hello")
    wire.flush()
    wire.after(ms=4_999)
    assert c.state == ESTABLISHED
    wire.after(ms=2)
    assert (c.state, c.error) == (CLOSED, errno.ETIMEDOUT)


def test_user_timeout_holds_for_an_open_as_well() -> None:
    """MUST-21, 5482."""
    wire = TcpWire()
    options = Options.of(wire.config.tcp)
    options.user_timeout_ms = 2_500
    c = wire.connect(options)
    wire.after(ms=2_499)
    assert c.state != CLOSED
    wire.after(ms=2)
    assert (c.state, c.error) == (CLOSED, errno.ETIMEDOUT)


def test_user_timeout_ends_with_any_ack_of_something_new() -> None:
    """MUST-21."""
    wire = TcpWire(initial_cwnd_segments=20)
    c = wire.established()
    c.options.user_timeout_ms = 1_000
    c.write(b"x" * 20 * 1460)
    wire.flush()
    for i in range(1, 11):
        wire.after(ms=900)
        wire.send(c, "A", ack=1 + i * 1460)
    assert c.state == ESTABLISHED
    wire.after(ms=c.rtt.rto / MS)
    assert c.state == CLOSED


def test_user_timeout_leaves_time_for_a_retransmission() -> None:
    """5482, section 3.1: longer than the RTO, or one loss would end the connection."""
    wire = TcpWire()
    c = wire.established()
    c.options.user_timeout_ms = 1
    rto = c.rtt.rto / MS
    c.write(b"hello")
    wire.flush()
    wire.after(ms=2 * rto - 1)
    assert c.state == ESTABLISHED
    assert c.total_retrans
    wire.after(ms=1)
    assert (c.state, c.error) == (CLOSED, errno.ETIMEDOUT)


def test_orphan_gives_up_before_others() -> None:
    """Nobody waits for what it does: three minutes by default, and 15 for a connection that is held."""
    wire = TcpWire(orphan_ms=20_000)
    held = wire.reach(FIN_WAIT_1)
    wire.after(ms=30_000)
    assert held.state == FIN_WAIT_1
    wire = TcpWire(orphan_ms=20_000)
    orphan = wire.reach(FIN_WAIT_1)
    orphan.close()
    wire.after(ms=19_000)
    assert orphan.state == FIN_WAIT_1
    wire.after(ms=20_000)
    assert (orphan.state, len(wire.tcp.orphans)) == (CLOSED, 0)


def test_orphan_that_makes_progress_lives() -> None:
    wire = TcpWire(orphan_ms=10_000, peer=Peer(wscale=None))
    c = wire.established()
    c.write(b"x" * 1460 * 20)
    c.close()
    wire.flush()
    for i in range(1, 20):
        wire.after(ms=9_000)
        wire.send(c, "A", ack=1 + i * 1460)
    assert c.state == FIN_WAIT_1
    wire.clear()


def test_orphan_gives_up_like_any_other() -> None:
    wire = TcpWire(r2_ms=5_000)
    c = wire.reach(FIN_WAIT_1)
    c.close()
    wire.after(ms=60_000)
    assert c.state == CLOSED
    assert len(wire.tcp.orphans) == 0
    assert wire.deadline_ms() is None


def test_timeout_waits_while_frames_wait_to_be_read() -> None:
    """The ACK may be among them; a connection that hears nothing for a second more is served all the same."""
    wire = TcpWire()
    c = wire.established()
    c.write(b"hello")
    wire.flush()
    wire.expect("PA seq=1 len=5")
    due = wire.deadline_ms()
    assert due is not None
    assert due < 500
    wire.core.more, wire.core.more_since = True, wire.core.now
    wire.after(ms=990)
    wire.expect_nothing()
    assert c.total_retrans == 0
    wire.after(ms=20)
    wire.expect("PA seq=1 len=5")


def test_timeout_that_waited_is_forgotten_when_the_ack_was_among_what_waited() -> None:
    wire = TcpWire()
    c = wire.established()
    c.write(b"hello")
    wire.flush()
    wire.expect("PA seq=1 len=5")
    due = wire.deadline_ms()
    assert due is not None
    assert due < 500
    wire.core.more, wire.core.more_since = True, wire.core.now
    wire.after(ms=900)
    wire.core.more = False
    wire.send(c, "A", ack=6)
    wire.after(ms=5_000)
    wire.expect_nothing()
