"""Options and header fields as they stand on the wire, both ways (RFC 9293 section 3.1 and 3.2, RFC 7323)."""

from __future__ import annotations

import pytest

from scapystack.base.checksum import finish, partial_sum, sum_parts
from scapystack.base.frames import CSUM_VALID
from scapystack.base.segment import flags_text
from scapystack.layers.tcp.state import ESTABLISHED, SYN_RECEIVED
from scapystack.layers.tcp.tcb import Options
from tests.harness.tcp import OURS, PEER, Peer, TcpWire

MSS_1000 = b"\x02\x04\x03\xe8"


def syn_with(options: bytes, **config: object) -> TcpWire:
    wire = TcpWire(**config)
    wire.listen()
    wire.syn(options=options)
    return wire


# -- checksum and window field ---------------------------------------------------------------------------


def test_sent_segments_leave_with_the_pseudo_header_sum_open() -> None:
    """MUST-2: the field holds the pseudo-header's sum and says where the rest goes (the harness compares it)."""
    wire = TcpWire()
    c = wire.established()
    c.write(b"odd")
    wire.flush()
    wire.expect("PA len=3")
    wire.send(c, "A")
    c.write(b"x" * 2)
    wire.flush()
    assert wire.ip.kept[0]["csum_offset"] == 16


def test_reset_to_a_closed_port_leaves_with_the_pseudo_header_sum_open() -> None:
    """MUST-2."""
    wire = TcpWire()
    wire.syn()
    assert wire.ip.kept[0]["csum_offset"] == 16
    assert wire.ip.kept[0]["df"]
    wire.expect("RA")


def test_bad_checksum_is_dropped_and_counted() -> None:
    """MUST-3, hostile/checksums."""
    wire = TcpWire()
    c = wire.established()
    wire.send(c, "PA", payload=b"hello", bad_checksum=True)
    wire.after(ms=1000)
    wire.expect_nothing()
    assert c.available == 0
    assert wire.core.counters["tcp.drop.checksum"] == 1


def test_checksum_that_the_link_has_verified_is_not_looked_at() -> None:
    wire = TcpWire()
    c = wire.established()
    wire.send(c, "PA", payload=b"hello", bad_checksum=True, csum=CSUM_VALID)
    assert c.read(10) == b"hello"


@pytest.mark.parametrize("rcvbuf", [1, 1000, 65_535, 100_000, 4_194_304, 1 << 30])
def test_window_field_is_16_bits_and_never_negative(rcvbuf: int) -> None:
    """MUST-1, REC-1: the window is kept as a 32-bit number, the field takes what fits."""
    wire = TcpWire(rcvbuf=rcvbuf, window_scaling=False)
    c = wire.established()
    wire.send(c, "PA", payload=b"x" * min(rcvbuf, 1000))
    wire.send(c, "PA", seq=c.rcv_adv - c.irs + 5, payload=b"y")
    (ack,) = wire.expect("A")
    assert 0 <= ack.wnd <= 65_535
    assert ack.wnd == min(rcvbuf - min(rcvbuf, 1000), 65_535)


def test_peer_window_field_with_the_top_bit_is_large_and_not_negative() -> None:
    """MUST-1, REC-1."""
    wire = TcpWire(peer=Peer(wscale=14))
    c = wire.established(wnd=0xFFFF)
    assert c.snd_wnd == 0xFFFF << 14


# -- parsing -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "options",
    [
        MSS_1000,
        b"\x01" + MSS_1000 + b"\0",
        b"\x01\x01\x01" + MSS_1000 + b"\0\0\0\0\0",
        b"\xfd\x05abc" + MSS_1000,
        b"\x09\x02" + MSS_1000 + b"\xfe\x03z",
        MSS_1000 + b"\0\x02\x04\xff\xff",
        MSS_1000 + b"\0\x02\x02\x04\x02\x00",  # behind the EOL stands no option, whatever its octets look like
        MSS_1000 + b"\x03\x00",
        MSS_1000 + b"\x03\x01",
        MSS_1000 + b"\x08\x0b",
        MSS_1000 + b"\x08",
        MSS_1000 + b"\x02\x03\x07",
        MSS_1000 + b"\x08\x04\x01\x01",
    ],
)
def test_syn_options_of_any_shape_leave_the_good_ones_standing(options: bytes) -> None:
    """MUST-4, MUST-6, MUST-7, MUST-64, MUST-68, hostile/tcp-options: unknown kinds, odd places, wrong lengths."""
    wire = syn_with(options)
    wire.expect("SA ack=1")
    assert wire.connection().snd_mss == 1000


@pytest.mark.parametrize("options", [b"\xfd\x04ab", b"\x01" * 40, b"\x08\0\0\0", b"\x05\x0a" + b"\0" * 8, MSS_1000])
def test_option_in_any_segment_is_taken_or_ignored(options: bytes) -> None:
    """MUST-5, MUST-65, hostile/tcp-options: an MSS option outside a SYN changes nothing."""
    wire = TcpWire()
    c = wire.established()
    wire.send(c, "PA", payload=b"hello", options=options)
    assert c.read(10) == b"hello"
    assert c.snd_mss == 1460


def test_sent_options_fill_whole_words_with_padding_of_zero_or_nop() -> None:
    """MUST-69: nothing but zero stands behind an EOL; we pad with NOP and send none."""
    for config in ({}, {"timestamps": True}, {"sack": False}, {"window_scaling": False}):
        wire = TcpWire(**config)
        wire.connect()
        options = wire.ip.kept[0]["head"][20:]
        assert len(options) % 4 == 0
        assert 0 not in kinds(options)


def kinds(options: bytes) -> list[int]:
    at, out = 0, []
    while at < len(options):
        out.append(options[at])
        at += 1 if options[at] < 2 else options[at + 1]
    return out


# -- MSS ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("mtu", "mss"), [(1500, 1460), (576, 536), (9000, 8960), (65_536, 65_495)])
def test_syn_carries_the_mss_of_the_interface(mtu: int, mss: int) -> None:
    """MUST-14, SHLD-5, MAY-3, MUST-67, SHLD-6: in SYN and SYN-ACK, also where it is the default."""
    wire = TcpWire(mtu=mtu)
    wire.connect()
    wire.expect(f"S mss={mss}")
    wire.listen(81)
    wire.syn(dport=81)
    wire.expect(f"SA mss={mss}")


def test_syn_offers_what_the_interface_takes_whatever_the_path_carries() -> None:
    """SHLD-6, MUST-67: the way back may be another."""
    wire = TcpWire()
    wire.ip.mtu = 600
    c = wire.connect()
    wire.expect("S mss=1460")
    wire.send_syn_ack(c)
    assert c.snd_mss == 560


@pytest.mark.parametrize("stamps", [False, True])
def test_segments_behind_the_syn_carry_no_mss(stamps: bool) -> None:
    """MUST-65: nor window scale, nor SACK-permitted; octet by octet, for a parser would pass them over."""
    wire = TcpWire(timestamps=stamps, peer=Peer(timestamps=stamps))
    c = wire.connect()
    wire.clear()
    wire.send_syn_ack(c)
    wire.send(c, "A", seq=5, payload=b"gap")
    c.write(b"x")
    c.close()
    wire.flush()
    heads = [how["head"] for how in wire.ip.kept]
    assert [flags_text(head[13]) for head in heads] == ["A", "A", "FPA"]
    assert {kind for head in heads for kind in kinds(head[20:])} - {1, 5, 8} == set()


@pytest.mark.parametrize(
    ("peer", "mtu", "stamps", "mss"),
    [
        (None, 1500, False, 536),  # MUST-15
        (0, 1500, False, 536),
        (1, 1500, False, 88),
        (87, 1500, False, 88),
        (1000, 1500, False, 1000),
        (1000, 1500, True, 988),
        (1460, 576, False, 536),
        (65_535, 1500, True, 1448),
        (65_535, 65_536, False, 65_496),
    ],
)
def test_segments_are_no_larger_than_peer_path_and_options_allow(
    peer: int | None, mtu: int, stamps: bool, mss: int
) -> None:
    """MUST-15, MUST-16: and an MSS of 0 or 1 does not make us send headers only."""
    options = b"" if peer is None else b"\x02\x04" + peer.to_bytes(2, "big")
    if stamps:
        options += b"\x01\x01\x08\x0a\0\0\0\x05\0\0\0\0"
    wire = syn_with(options, mtu=mtu, timestamps=stamps, initial_cwnd_segments=2, nodelay=True)
    c = wire.connection()
    wire.clear()
    wire.send(c, "A")
    c.write(b"x" * (mss + 1))
    wire.flush()
    wire.expect(f"A len={mss}", "PA len=1")


def test_ip_options_of_ours_make_segments_smaller() -> None:
    """MUST-16: the IP options count as well."""
    wire = TcpWire()
    options = Options.of(wire.config.tcp)
    options.ip_options = bytes(8)
    c = wire.connect(options)
    wire.send_syn_ack(c)
    assert c.snd_mss == 1452


def test_sack_blocks_never_make_a_full_segment_too_large() -> None:
    """MUST-16: text leaves without them, and the ACK that the gap asks for behind it."""
    wire = TcpWire()
    c = wire.established()
    c.write(b"x" * 1460)
    wire.send(c, "A", seq=101, payload=b"late")
    text, ack = wire.take()
    assert (len(text.payload), text.sack) == (1460, ())
    assert (len(ack.payload), ack.sack) == (0, ((c.irs + 101, c.irs + 105),))


def test_info_names_the_mss_that_our_syn_offered() -> None:
    wire = TcpWire(mss=1000)
    c = wire.connect()
    wire.expect("S mss=1000")
    assert c.info().advmss == 1000


# -- window scale and SACK -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("rcvbuf", "shift"),
    [(65_535, 0), (65_536, 1), (131_071, 1), (4_194_303, 6), (4_194_304, 7), (1 << 30, 14), (1 << 40, 14)],
)
def test_window_scale_is_the_least_that_says_the_buffer(rcvbuf: int, shift: int) -> None:
    """7323/2.3: never above 14."""
    wire = TcpWire(rcvbuf=rcvbuf)
    wire.connect()
    wire.expect(f"S ws={shift}")


def test_window_scale_is_the_one_offered_whatever_becomes_of_the_buffer() -> None:
    """7323/2.2: an application may set SO_RCVBUF while it waits for the SYN and ACK; the SYN stands."""
    wire = TcpWire(rcvbuf=65_535)
    c = wire.connect()
    wire.expect("S ws=0")
    c.options.rcvbuf = 4_194_304
    wire.send_syn_ack(c)
    wire.clear()
    wire.send(c, "PA", payload=b"x" * 1000)
    wire.after(ms=40)
    wire.expect("A ack=1001 wnd=65535")
    assert (c.rcv_wscale, c.rcv_wnd) == (0, 65_535)


def test_window_scale_holds_only_if_both_syns_had_it() -> None:
    """7323/2.2."""
    wire = TcpWire(peer=Peer(wscale=None))
    c = wire.connect()
    wire.expect("S ws=7")
    wire.send_syn_ack(c)
    wire.expect("A wnd=65535")
    assert (c.snd_wscale, c.rcv_wscale) == (0, 0)
    wire = TcpWire(window_scaling=False)
    wire.listen()
    wire.syn()
    wire.expect("SA ws=None")
    wire.send(wire.connection(), "A", wnd=100)
    assert wire.connection().snd_wnd == 100


def test_window_in_a_syn_is_never_scaled() -> None:
    """7323/2.2: neither ours nor the peer's."""
    wire = TcpWire(peer=Peer(wscale=7, wnd=1000))
    c = wire.connect()
    wire.expect("S wnd=64240 ws=7")
    wire.send_syn_ack(c)
    assert c.snd_wnd == 1000
    wire.send(c, "A", wnd=1000)
    assert c.snd_wnd == 128_000


def test_window_scale_outside_a_syn_is_ignored() -> None:
    """7323/2.2."""
    wire = TcpWire()
    c = wire.established()
    wire.send(c, "PA", payload=b"hi", options=b"\x01\x03\x03\x02")
    assert (c.snd_wscale, c.available) == (7, 2)


def test_sack_permitted_only_on_syn_and_blocks_only_if_agreed() -> None:
    """2018/3."""
    wire = TcpWire(peer=Peer(sack=False))
    wire.listen()
    wire.syn()
    wire.expect("SA sackok=False")
    c = wire.connection()
    wire.send(c, "A")
    wire.send(c, "A", seq=100, payload=b"late")
    wire.expect("A ack=1 sack=()")


def test_sack_blocks_most_recent_first() -> None:
    """2018/3: the first block holds the segment that came last, the others repeat earlier ones."""
    wire = TcpWire()
    c = wire.established()
    for seq in (101, 301, 201):
        wire.send(c, "A", seq=seq, payload=b"x" * 10)
    *_, ack = wire.take()
    assert [(a - c.irs, b - c.irs) for a, b in ack.sack] == [(201, 211), (301, 311), (101, 111)]


def test_sack_blocks_beside_timestamps_are_three() -> None:
    """2018/3: 40 octets of options hold no more."""
    wire = TcpWire(timestamps=True, peer=Peer(timestamps=True))
    c = wire.established()
    for seq in (101, 201, 301, 401, 501):
        wire.send(c, "A", seq=seq, payload=b"x")
    ack = wire.take()[-1]
    assert len(ack.sack) == 3
    assert ack.tsval is not None


def test_offset_beyond_or_under_the_header_is_dropped() -> None:
    """MUST-7, hostile/tcp-offset: a data offset that cannot be."""
    wire = TcpWire()
    c = wire.established()
    for offset in (0, 4, 15):
        wire.send(c, "A", payload=b"hello", dataofs=offset)
    wire.expect_nothing()
    assert wire.core.counters["tcp.drop.dataofs"] == 3


def test_reserved_bits_and_ecn_flags_are_ignored() -> None:
    wire = TcpWire()
    wire.listen()
    wire.syn(dport=80)
    c = wire.connection()
    assert c.state == SYN_RECEIVED
    wire.send(c, "AEC")
    assert c.state == ESTABLISHED


def test_checksum_of_what_leaves_is_right_once_finished() -> None:
    """MUST-2: sum and all, as a link would finish it."""
    wire = TcpWire()
    c = wire.established()
    c.write(b"some text")
    wire.flush()
    head, text = wire.ip.kept[0]["head"], b"some text"
    done = head[:16] + finish(partial_sum(head + text)).to_bytes(2, "big") + head[18:]
    pseudo = OURS + PEER + bytes([0, 6]) + (len(head) + len(text)).to_bytes(2, "big")
    assert sum_parts((pseudo, done, text)) == 0
