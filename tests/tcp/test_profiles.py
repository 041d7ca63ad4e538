"""The profiles octet by octet: `linux` shows what a Linux 6 peer shows (compared with a real one in
tests/interop/test_kernel_wire.py), `rfc` what the RFCs recommend instead.
"""

from __future__ import annotations

from dataclasses import asdict
from itertools import pairwise
from struct import pack

import pytest

from scapystack.base.config import PROFILES
from tests.harness.tcp import Peer, TcpWire

STAMPS = Peer(timestamps=True)
MS = 1_000_000


def wire_of(profile: str, *, peer: Peer | None = None, mtu: int = 1500, gso_max: int = 0, **changes: object) -> TcpWire:
    """A wire with nothing but the profile's numbers, and `changes`."""
    return TcpWire(peer=peer or STAMPS, mtu=mtu, gso_max=gso_max, **(asdict(PROFILES[profile]()) | changes))


def header(wire: TcpWire, number: int = -1) -> bytes:
    """A header that left, its checksum (which is still open) left out."""
    head: bytes = wire.ip.kept[number]["head"]
    return head[:16] + head[18:]


def tcp(sport: int, dport: int, seq: int, ack: int, flags: int, window: int, options: bytes) -> bytes:
    """The same made by hand."""
    return pack("!HHIIBBHH", sport, dport, seq, ack, (20 + len(options)) << 2, flags, window, 0) + options


# -- SYN and SYN-ACK -----------------------------------------------------------------------------------


@pytest.mark.parametrize("profile", PROFILES)
@pytest.mark.parametrize(
    ("changes", "options"),
    [
        ({}, "020405b4 0402 080a%s00000000 01 030307"),
        ({"timestamps": False}, "020405b4 0101 0402 01 030307"),
        ({"sack": False}, "020405b4 0101 080a%s00000000 01 030307"),
        ({"window_scaling": False}, "020405b4 0402 080a%s00000000"),
        ({"timestamps": False, "sack": False}, "020405b4 01 030307"),
        ({"timestamps": False, "window_scaling": False}, "020405b4 0101 0402"),
        ({"timestamps": False, "sack": False, "window_scaling": False}, "020405b4"),
    ],
)
def test_syn_is_linuxs_octet_by_octet(profile: str, changes: dict[str, object], options: str) -> None:
    """MSS, SACK-permitted, timestamps, NOP, window scale; 44 whole segments of window."""
    wire = wire_of(profile, **changes)
    c = wire.connect()
    stamp = c.ts_now().to_bytes(4, "big").hex()
    expected = bytes.fromhex(options % stamp if "%s" in options else options)
    assert header(wire) == tcp(c.local_port, c.remote_port, c.iss, 0, 0x02, 64_240, expected)


@pytest.mark.parametrize("profile", PROFILES)
@pytest.mark.parametrize(
    ("peer", "window", "options"),
    [
        (STAMPS, 65_160, "020405b4 0402 080a%s00000064 01 030307"),
        (Peer(), 64_240, "020405b4 0101 0402 01 030307"),
        (Peer(wscale=None), 64_240, "020405b4 0101 0402"),
        (Peer(sack=False), 64_240, "020405b4 01 030307"),
        (Peer(sack=False, timestamps=True), 65_160, "020405b4 0101 080a%s00000064 01 030307"),
    ],
)
def test_syn_ack_is_linuxs_octet_by_octet(profile: str, peer: Peer, window: int, options: str) -> None:
    """What was not offered is not answered; timestamps take 12 octets of each segment, and so of the window."""
    wire = wire_of(profile, peer=peer)
    wire.listen()
    wire.syn()
    c = wire.connection()
    stamp = c.ts_now().to_bytes(4, "big").hex()
    expected = bytes.fromhex(options % stamp if "%s" in options else options)
    assert header(wire) == tcp(c.local_port, c.remote_port, c.iss, 5001, 0x12, window, expected)


@pytest.mark.parametrize("profile", PROFILES)
def test_first_syn_is_repeated_after_a_second(profile: str) -> None:
    """6298/2.1."""
    wire = wire_of(profile)
    wire.connect()
    wire.clear()
    wire.after(ms=999)
    wire.expect_nothing()
    wire.after(ms=1)
    wire.expect("S")


@pytest.mark.parametrize(
    ("buffer", "scale"), [(65_535, 0), (131_072, 2), (4_194_304, 7), (6_291_456, 7), (33_554_432, 10)]
)
def test_window_scale_follows_the_largest_buffer_as_in_linux(buffer: int, scale: int) -> None:
    """Those of tcp_rmem[2] that kernels come with (6 and 32 MB) among them."""
    wire = wire_of("linux", rcvbuf=buffer)
    wire.connect()
    wire.expect(f"S ws={scale}")


# -- what follows --------------------------------------------------------------------------------------


@pytest.mark.parametrize("profile", PROFILES)
def test_every_segment_has_two_nops_and_the_millisecond_clock(profile: str) -> None:
    """7323/3.2-a."""
    wire = wire_of(profile)
    c = wire.established()
    stamps = []
    for _ in range(3):
        wire.after(ms=250)
        c.write(b"x" * 10)
        wire.flush()
        options = header(wire)[18:]
        assert options == b"\x01\x01\x08\x0a" + pack("!II", c.ts_now(), c.ts_recent)
        stamps.append(c.ts_now())
        wire.send(c, "A")
    assert [b - a for a, b in pairwise(stamps)] == [250, 250]


@pytest.mark.parametrize("profile", PROFILES)
def test_first_window_is_ten_segments(profile: str) -> None:
    """RFC 6928 section 2."""
    wire = wire_of(profile)
    c = wire.established()
    c.write(b"x" * 100_000)
    wire.flush()
    wire.expect(*["A len=1448"] * 10)


def test_linux_acknowledges_sixteen_segments_at_once_and_then_after_40_ms() -> None:
    wire = wire_of("linux")
    c = wire.established()
    for _ in range(16):
        wire.send(c, "PA", payload=b"x")
        wire.expect("A")
        wire.after(ms=1)
    wire.send(c, "PA", payload=b"x")
    wire.after(ms=39)
    wire.expect_nothing()
    wire.after(ms=1)
    wire.expect("A ack=18")


def test_linux_acknowledges_at_once_again_after_a_pause() -> None:
    """As for its first segments, once nothing came for an RTO: the peer starts anew with a small window."""
    wire = wire_of("linux", quick_acks=1)
    c = wire.established()
    wire.send(c, "PA", payload=b"x")
    wire.expect("A ack=2")
    wire.send(c, "PA", payload=b"x")
    wire.expect_nothing()
    wire.after(ms=c.rtt.rto / MS + 1)
    wire.clear()
    wire.send(c, "PA", payload=b"x")
    wire.expect("A ack=4")
    wire.send(c, "PA", payload=b"x")
    wire.expect_nothing()


def test_rfc_acknowledges_every_second_segment_from_the_start_and_one_after_200_ms() -> None:
    """RFC 5681 section 4.2, SHLD-19, MUST-40."""
    wire = wire_of("rfc")
    c = wire.established()
    for _ in range(3):  # until the peer's segments have shown their size
        wire.send(c, "A", payload=b"x" * 1448)
        wire.send(c, "A", payload=b"x" * 1448)
    wire.clear()
    wire.send(c, "A", payload=b"x" * 1448)
    wire.expect_nothing()
    wire.send(c, "A", payload=b"x" * 1448)
    wire.expect("A")
    wire.send(c, "A", payload=b"x")
    wire.after(ms=199)
    wire.expect_nothing()
    wire.after(ms=1)
    wire.expect("A")


@pytest.mark.parametrize(
    ("profile", "rtt", "rto"), [("linux", 10, 210), ("linux", 0, 201), ("rfc", 10, 1000), ("rfc", 400, 1200)]
)
def test_retransmission_timeout_has_the_floor_of_the_profile(profile: str, rtt: int, rto: int) -> None:
    """6298/2.4: a second under the whole; Linux's 200 ms above the round trip."""
    wire = wire_of(profile)
    c = wire.connect()
    wire.after(ms=rtt)
    wire.send_syn_ack(c)
    assert c.rtt.rto // MS in (rto, rto - 1)


@pytest.mark.parametrize(("profile", "seconds"), [("linux", 60), ("rfc", 240)])
def test_time_wait_is_twice_the_profiles_segment_lifetime(profile: str, seconds: int) -> None:
    """MUST-13."""
    wire = wire_of(profile)
    c = wire.established()
    c.close()
    wire.flush()
    wire.send(c, "FA")
    assert wire.deadline_ms() == seconds * 1000


# -- RST -----------------------------------------------------------------------------------------------


def test_linux_rst_that_answers_an_ack_has_no_window_and_no_options() -> None:
    wire = wire_of("linux")
    stamp = b"\x01\x01\x08\x0a\0\0\0\x05\0\0\0\x06"
    wire.raw("A", 1000, 2000, options=stamp, dport=99)
    assert header(wire) == tcp(99, 40_000, 2000, 0, 0x04, 0, b"")


def test_linux_rst_that_answers_a_syn_acknowledges_it() -> None:
    """RFC 9293 section 3.10.7.1."""
    wire = wire_of("linux")
    wire.raw("S", 1000, 0, options=wire.syn_options(), dport=99)
    assert header(wire) == tcp(99, 40_000, 0, 1001, 0x14, 0, b"")


def test_linux_rst_for_text_that_nobody_reads_answers_the_segment() -> None:
    """SHLD-3: SEQ is the peer's own SEG.ACK, where it cannot be refused."""
    wire = wire_of("linux")
    c = wire.established()
    c.close()
    wire.flush()
    wire.send(c, "PA", payload=b"late")
    assert header(wire) == tcp(80, 40_000, c.snd_nxt, 0, 0x04, 0, b"")


def test_rfc_rst_echoes_the_timestamp_of_what_it_answers() -> None:
    """RFC 7323 section 5.2: TSecr is its TSval, TSval zero; none where there was none."""
    wire = wire_of("rfc")
    stamp = b"\x01\x01\x08\x0a\0\0\0\x05\0\0\0\x06"
    wire.raw("A", 1000, 2000, options=stamp, dport=99)
    assert header(wire) == tcp(99, 40_000, 2000, 0, 0x04, 0, b"\x01\x01\x08\x0a\0\0\0\0\0\0\0\x05")
    wire.raw("A", 1000, 2000, dport=99)
    assert header(wire) == tcp(99, 40_000, 2000, 0, 0x04, 0, b"")


@pytest.mark.parametrize("profile", PROFILES)
def test_rst_of_an_abort_has_timestamps(profile: str) -> None:
    """RFC 7323 section 5.2, and Linux."""
    wire = wire_of(profile)
    c = wire.established()
    c.abort()
    assert header(wire)[13] == 0x14
    assert header(wire)[18:] == b"\x01\x01\x08\x0a" + pack("!II", c.ts_now(), c.ts_recent)
