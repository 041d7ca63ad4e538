"""`Connection.info()`: every number of it, after exactly known events."""

from __future__ import annotations

from dataclasses import fields

import pytest

from scapystack.base.config import PROFILES
from scapystack.layers.tcp.info import SACK, SYN_DATA, TS, UNLIMITED, WSCALE, TcpInfo
from scapystack.layers.tcp.user import Connection
from scapystack.sockets.tcpinfo import STRUCT, pack_tcp_info, unpack_tcp_info
from tests.harness.tcp import Peer, TcpWire
from tests.harness.tcp_pair import Pair

MSS = 1460
INFINITE = 0x7FFFFFFF
STAMPS = Peer(timestamps=True)


def opened(rtt_ms: int = 100, peer: Peer | None = None, **config: object) -> tuple[TcpWire, Connection]:
    """A connection that we opened; its handshake took so long."""
    wire = TcpWire(peer=peer, **config)
    c = wire.connect()
    wire.after(ms=rtt_ms)
    wire.send_syn_ack(c)
    wire.clear()
    return wire, c


def changed(before: TcpInfo, after: TcpInfo) -> dict[str, object]:
    """What is another number now."""
    return {
        f.name: getattr(after, f.name) for f in fields(TcpInfo) if getattr(after, f.name) != getattr(before, f.name)
    }


def test_info_of_a_new_connection() -> None:
    _, c = opened()
    info = c.info()
    assert (info.state, info.ca_state, info.congestion) == ("ESTABLISHED", "Open", c.options.congestion)
    assert (info.rtt, info.rttvar, info.min_rtt) == (100_000, 50_000, 100_000)
    assert (info.rto, info.ato) == (300_000, 40_000)
    assert (info.snd_mss, info.advmss, info.pmtu, info.rcv_mss) == (MSS, MSS, 1500, 536)
    assert (info.snd_cwnd, info.snd_cwnd_bytes, info.snd_ssthresh, info.reordering) == (10, 14_600, INFINITE, 3)
    assert (info.snd_wscale, info.rcv_wscale, info.options) == (7, 7, SACK | WSCALE)
    assert (info.snd_wnd, info.rcv_space, info.rcv_ssthresh) == (65_535, 4_194_304, 4_194_304)
    assert (info.segs_out, info.segs_in) == (2, 1)
    assert (info.pacing_rate, info.max_pacing_rate) == (UNLIMITED, UNLIMITED)
    assert (info.local, info.remote) == ("10.0.0.1:40000", "10.0.0.2:80")
    assert (info.snd_una, info.snd_nxt, info.rcv_nxt) == (info.iss + 1, info.iss + 1, info.irs + 1)
    assert info.due == {}
    zero = {"retransmits", "probes", "backoff", "unacked", "sacked", "lost", "retrans", "bytes_acked", "bytes_sent",
            "bytes_received", "notsent_bytes", "data_segs_in", "data_segs_out", "delivered", "busy_time", "total_rto",
            "total_retrans", "error", "soft_error", "pipe", "snd_queue", "rcv_queue", "ooo_bytes"}  # fmt: skip
    assert {name for name in zero if getattr(info, name)} == set()


def test_info_counts_what_is_sent_and_acknowledged() -> None:
    wire, c = opened()
    c.write(b"x" * 20_000)
    wire.flush()
    info = c.info()
    assert (info.unacked, info.pipe, info.notsent_bytes, info.snd_queue) == (10, 14_600, 5_400, 20_000)
    assert (info.bytes_sent, info.data_segs_out, info.segs_out) == (14_600, 10, 12)
    assert info.due["rtx"] == 300_000
    wire.after(ms=100)
    wire.send(c, "A", ack=1 + 2 * MSS)
    info = c.info()
    assert (info.bytes_acked, info.delivered, info.unacked) == (2 * MSS, 2, 11)
    assert (info.bytes_sent, info.notsent_bytes) == (13 * MSS, 20_000 - 13 * MSS)  # the rest waits (Nagle)
    assert info.delivery_rate == 10 * 2 * MSS  # in the 100 ms since the first of them left
    assert not info.delivery_rate_app_limited
    assert (info.last_data_sent, info.last_ack_recv) == (0, 0)
    wire.send(c, "A")  # tells no news of a rate
    assert c.info().delivery_rate > 0


def test_info_tells_of_a_super_segment_as_of_its_segments() -> None:
    wire, c = opened(gso_max=65_536)
    c.write(b"x" * 5 * MSS)
    wire.flush()
    assert len(wire.take()) == 1
    info = c.info()
    assert (info.data_segs_out, info.segs_out) == (5, 7)
    wire.send(c, "PA", payload=b"x" * 3_000, gso_size=1_000)
    info = c.info()
    assert (info.data_segs_in, info.segs_in, info.bytes_received) == (3, 4, 3_000)


def test_info_counts_what_comes_in_and_out_of_order() -> None:
    wire, c = opened()
    wire.send(c, "PA", payload=b"x" * 1_000)
    wire.send(c, "PA", seq=2_001, payload=b"x" * 500)
    wire.after(ms=250)
    info = c.info()
    assert (info.bytes_received, info.rcv_queue, info.data_segs_in, info.segs_in) == (1_000, 1_000, 2, 3)
    assert (info.ooo_bytes, info.ooo_segments, info.rcv_ooopack, info.rcv_mss) == (500, 1, 1, 1_000)
    assert (info.last_data_recv, info.last_ack_recv) == (250, 250)
    assert info.rcv_nxt == info.irs + 1_001


def test_info_of_a_recovery_counts_sacked_lost_and_sent_again() -> None:
    wire, c = opened()
    c.write(b"x" * 10 * MSS)
    wire.flush()
    wire.after(ms=100)
    wire.send(c, "A", ack=1, sack=((1 + MSS, 1 + 2 * MSS),))
    assert (c.info().ca_state, c.info().sacked) == ("Disorder", 1)
    wire.send(c, "A", ack=1, sack=((1 + MSS, 1 + 5 * MSS),))
    info = c.info()
    assert info.ca_state == "Recovery"
    assert (info.unacked, info.sacked, info.lost, info.retrans, info.total_retrans) == (10, 4, 1, 1, 1)
    assert (info.bytes_retrans, info.bytes_sent, info.data_segs_out) == (MSS, 11 * MSS, 11)
    assert info.snd_ssthresh == info.snd_ssthresh_bytes // MSS < 10
    assert info.pipe == 6 * MSS


def test_info_of_timeouts_counts_them_and_their_time() -> None:
    wire, c = opened(loss_probes=False)
    c.write(b"x")
    wire.flush()
    wire.after(ms=300 + 600)
    info = c.info()
    assert (info.ca_state, info.retransmits, info.backoff, info.rto) == ("Loss", 2, 2, 1_200_000)
    assert (info.total_rto, info.total_rto_recoveries, info.total_rto_time) == (2, 1, 600)
    wire.send(c, "A", ack=2)
    info = c.info()
    assert (info.retransmits, info.total_rto, info.total_rto_recoveries, info.total_rto_time) == (0, 2, 1, 600)
    wire.after(ms=1_000)
    assert c.info().total_rto_time == 600


def test_info_counts_the_timeouts_of_a_syn() -> None:
    wire = TcpWire(syn_linear_timeouts=0)
    c = wire.connect()
    wire.after(ms=1_000)
    info = c.info()
    assert (info.state, info.total_rto, info.total_retrans, info.unacked) == ("SYN-SENT", 1, 1, 1)
    assert (info.bytes_sent, info.rto, info.min_rtt) == (0, 2_000_000, 0)


def test_info_counts_dsacks_and_reordering() -> None:
    wire, c = opened()
    c.write(b"x" * 4 * MSS)
    wire.flush()
    wire.after(ms=100)
    wire.send(c, "A", ack=1, sack=((1 + 2 * MSS, 1 + 3 * MSS),))
    wire.send(c, "A", ack=1 + MSS, sack=((1 + 2 * MSS, 1 + 3 * MSS),))
    assert c.info().reord_seen == 1
    wire.send(c, "A", ack=1 + 3 * MSS, sack=((1, 1 + MSS),))
    assert c.info().dsack_dups == 1


def test_info_tells_how_far_segments_came_too_late() -> None:
    """As Linux: from the first octet of the late one to the last of what came before it, up to 300 segments."""
    wire, c = opened(initial_cwnd_segments=400)
    wire.send(c, "A")  # a window that is scaled
    c.write(b"x" * 400 * MSS)
    wire.flush()
    wire.after(ms=100)
    wire.send(c, "A", ack=1, sack=((1 + MSS, 1 + 2 * MSS),))
    assert c.info().reordering == 3
    wire.send(c, "A", ack=1 + 2 * MSS)
    assert (c.info().reordering, c.info().reord_seen) == (3, 1)
    wire.send(c, "A", ack=1 + 2 * MSS, sack=((1 + 8 * MSS, 1 + 9 * MSS),))
    wire.send(c, "A", ack=1 + 9 * MSS)
    assert (c.info().reordering, c.info().reord_seen) == (7, 2)
    wire.send(c, "A", ack=1 + 9 * MSS, sack=((1 + 398 * MSS, 1 + 399 * MSS),))
    wire.send(c, "A", ack=1 + 10 * MSS, sack=((1 + 398 * MSS, 1 + 399 * MSS),))
    assert c.info().reordering == 300


def test_info_has_the_receivers_round_trip_by_timestamps() -> None:
    """Text that echoes an ACK of ours came a round trip after it; each echo counts once, and full segments alone."""
    wire, c = opened(peer=STAMPS, timestamps=True)
    full = b"x" * 1_448
    echo = c.ts_now()
    wire.after(ms=80)
    wire.send(c, "A", payload=b"short", tsecr=echo)
    assert c.info().rcv_rtt == 0
    wire.send(c, "A", payload=full, tsecr=echo)
    assert c.info().rcv_rtt == 80_000
    wire.after(ms=500)
    wire.send(c, "A", payload=full, tsecr=echo)
    assert c.info().rcv_rtt == 80_000
    echo = c.ts_now()
    wire.after(ms=160)
    wire.send(c, "A", payload=full, tsecr=echo)
    assert c.info().rcv_rtt == 90_000
    wire.send(c, "A", payload=full, tsecr=(c.ts_now() + 5) & 0xFFFFFFFF)  # never sent
    assert c.info().rcv_rtt == 90_000
    assert opened()[1].info().rcv_rtt == 0


def test_info_tells_what_the_sender_waited_for() -> None:
    """Busy from the first octet to the last ACK; of that, for a closed window, and for a full send buffer."""
    wire, c = opened(sndbuf=10_000, nodelay=True)
    wire.send(c, "A", wnd=20)  # 2,560 octets
    c.write(b"x" * 5_000)
    wire.flush()
    wire.after(ms=30)
    wire.send(c, "A", wnd=65_535)  # opens
    wire.flush()
    wire.after(ms=50)
    info = c.info()
    assert (info.busy_time, info.rwnd_limited, info.sndbuf_limited) == (80_000, 30_000, 0)
    c.write(b"x" * 10_000)
    wire.flush()
    wire.after(ms=20)
    info = c.info()
    assert (info.busy_time, info.rwnd_limited, info.sndbuf_limited) == (100_000, 30_000, 20_000)
    wire.send(c, "A")
    wire.after(ms=500)
    info = c.info()
    assert (info.busy_time, info.rwnd_limited, info.sndbuf_limited) == (100_000, 30_000, 20_000)


def test_info_names_the_timers_that_run() -> None:
    wire, c = opened()
    c.options.keepalive = True
    c.options_changed()
    wire.send(c, "PA", payload=b"x")
    assert c.info().due == {"keepalive": 7_200_000_000, "delack": 40_000}
    wire.after(ms=10)
    assert c.info().due == {"keepalive": 7_199_990_000, "delack": 30_000}


def test_info_of_window_probes() -> None:
    wire, c = opened()
    wire.send(c, "A", wnd=0)
    c.write(b"x")
    wire.flush()
    wire.after(ms=300)
    info = c.info()
    assert (info.probes, info.backoff, info.snd_wnd) == (1, 1, 0)
    assert info.due["persist"] == 600_000


def test_info_is_a_snapshot_and_asking_changes_nothing() -> None:
    wire, c = opened()
    before = c.info()
    assert changed(before, c.info()) == {}
    c.write(b"x" * 100)
    wire.flush()
    assert before.data_segs_out == 0
    with pytest.raises(AttributeError):
        before.rtt = 1  # type: ignore[misc]


@pytest.mark.parametrize("profile", PROFILES)
def test_info_of_both_ends_agrees_after_a_bad_path(profile: str) -> None:
    """What one end says it sent is what the other says it got."""
    pair = Pair(seed=5, loss=0.05, reorder=0.05, duplicate=0.02, gso_max=16_000)
    ca, cb = pair.open()
    pair.transfer(300_000, 100_000, ends=(ca, cb))
    for mine, other in ((ca.info(), cb.info()), (cb.info(), ca.info())):
        assert mine.bytes_acked == other.bytes_received
        assert mine.bytes_sent == mine.bytes_acked + mine.bytes_retrans
        assert mine.bytes_retrans > 0
        assert mine.total_retrans <= mine.data_segs_out <= mine.segs_out
        assert mine.busy_time > 0


def test_packed_info_has_every_field_at_its_offset() -> None:
    """Offsets of linux/tcp.h, by hand."""
    wire, c = opened(peer=STAMPS, timestamps=True)
    c.write(b"x" * 3_000)
    wire.flush()
    info = c.info()
    data = pack_tcp_info(info)
    assert len(data) == STRUCT.size == 280
    assert data[0] == 1
    assert data[5] == TS | SACK | WSCALE
    assert data[6] == 7 | 7 << 4

    def u32(at: int) -> int:
        return int.from_bytes(data[at : at + 4], "little")

    def u64(at: int) -> int:
        return int.from_bytes(data[at : at + 8], "little")

    offsets = {"rto": 8, "snd_mss": 16, "unacked": 24, "pmtu": 60, "rtt": 68, "snd_ssthresh": 76, "snd_cwnd": 80,
               "advmss": 84, "total_retrans": 100, "segs_out": 136, "min_rtt": 148, "snd_wnd": 228,
               "rcv_wnd": 232}  # fmt: skip
    assert {name: u32(at) for name, at in offsets.items()} == {name: getattr(info, name) for name in offsets}
    wide = {"pacing_rate": 104, "max_pacing_rate": 112, "bytes_acked": 120, "delivery_rate": 160, "busy_time": 168,
            "bytes_sent": 200, "bytes_retrans": 208}  # fmt: skip
    assert {name: u64(at) for name, at in wide.items()} == {name: getattr(info, name) for name in wide}
    assert list(unpack_tcp_info(data))[-1] == "accecn_opt_seen"


def test_packed_info_cuts_what_does_not_fit() -> None:
    _, c = opened()
    c.persist_shift = 1_000
    assert unpack_tcp_info(pack_tcp_info(c.info()))["backoff"] == 255


def test_fast_open_shows_in_the_options() -> None:
    _, c = opened()
    c.syn_data = True
    assert c.info().options & SYN_DATA
