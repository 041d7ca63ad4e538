"""Segments that came in one read become one (`base.coalesce`), and only those that a receiver takes the same way."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from scapy.layers.inet import IP, TCP, UDP
from scapy.layers.l2 import Dot1Q, Ether

from scapystack.base.coalesce import coalesce
from scapystack.base.frames import CSUM_NONE, CSUM_PARTIAL, CSUM_VALID, Frame
from scapystack.base.iface import Interface
from scapystack.base.offload import finished, split

STAMPS = [("NOP", None), ("NOP", None), ("Timestamp", (7, 9))]
TEXT = bytes(range(256)) * 260


def iface() -> Interface:
    return Interface("eth0", b"\x02" * 6, 1500, 0, 1, False)


def cut(text: bytes, size: int = 1448, seq: int = 2**32 - 3000, options=STAMPS, csum: int = CSUM_VALID) -> list[Frame]:
    """A super-segment as frames of the wire."""
    packet = Ether() / IP(src="10.0.0.2", dst="10.0.0.1") / TCP(seq=seq, ack=5, flags="PA", options=options)
    head = bytes(packet / text)
    parts = split(Frame(head, (), None, CSUM_PARTIAL, 34, 16, size))
    eth = iface()
    return [Frame(part.data, (), eth, csum) for part in parts]


def packet(ip: dict | None = None, **fields) -> Frame:
    tcp = {"seq": 100, "ack": 5, "flags": "A", "options": STAMPS, **fields}
    header = IP(src="10.0.0.2", dst="10.0.0.1", **(ip or {}))
    return Frame(bytes(Ether() / header / TCP(**tcp) / TEXT[:1000]), (), IFACE, CSUM_NONE)


IFACE = iface()


@given(st.integers(600, 40_000), st.integers(500, 1448), st.sampled_from([[], STAMPS]), st.integers(0, 2**32 - 1))
def test_coalesce_what_split_has_cut_is_whole_again(length: int, size: int, options: list, seq: int) -> None:
    frames = cut(TEXT[:length], size, seq, options, CSUM_NONE)
    joined = coalesce(frames)
    text = b"".join(frame.packet[TCP].load for frame in joined)
    assert text == TEXT[:length]
    tail = length % size
    worth = not tail or tail + (66 if options else 54) >= 254
    assert len(joined) == (1 if worth or len(frames) == 1 else 2 if len(frames) > 1 else 1)
    again = [part.data[42:] for frame in joined for part in split(frame)]
    # sequence numbers, flags, options and checksums are what they were; each part may keep its PSH
    assert [octets[16:] for octets in again] == [frame.data[58:] for frame in frames]


def test_coalesce_the_joined_frame_is_open_sized_and_counted() -> None:
    frames = cut(TEXT[:4000])
    eth = frames[0].iface
    (joined,) = coalesce(frames)
    assert (joined.csum, joined.csum_start, joined.csum_offset, joined.gso_size) == (CSUM_PARTIAL, 34, 16, 1448)
    whole = Ether(finished(joined))
    assert whole[IP].len == 4000 + 52
    assert whole[TCP].flags == "PA"
    checked = Ether(bytes(whole))
    del checked[IP].chksum, checked[TCP].chksum
    assert bytes(checked) == bytes(whole)
    assert (eth.rx_frames, eth.rx_bytes) == (2, 2 * 66)  # the frame itself is counted when it is taken


@pytest.mark.parametrize(
    "second",
    [
        packet(seq=1101), packet(seq=1099), packet(seq=1100, ack=6), packet(seq=1100, window=9),
        packet(seq=1100, dport=81),
        packet(seq=1100, flags="FA"), packet(seq=1100, flags="UA", urgptr=3), packet(seq=1100, flags="RA"),
        packet(seq=1100, flags="EA"), packet(seq=1100, options=[]),
        packet(seq=1100, options=[("NOP", None), ("NOP", None), ("Timestamp", (8, 9))]),
        packet(seq=1100, chksum=1),
        packet({"tos": 3}, seq=1100), packet({"ttl": 3}, seq=1100), packet({"chksum": 3}, seq=1100),
        packet({"flags": "MF"}, seq=1100), Frame(packet(seq=1100).data + b"padding", (), IFACE),
        Frame(packet(seq=1100).data, (), None),
        Frame(packet(seq=1100).data, (), IFACE, CSUM_VALID),
        Frame(packet(seq=1100).data[:300], (), IFACE),
    ],
)  # fmt: skip
def test_coalesce_what_does_not_follow_stays_alone(second: Frame) -> None:
    frames = [packet(), second, packet(seq=2100)]
    assert coalesce(frames) == frames


@pytest.mark.parametrize("change", ["udp", "vlan", "small", "first_bad", "gso", "fragment"])
def test_coalesce_frames_that_are_no_bulk_are_left_as_they_are(change: str) -> None:
    ip = IP(src="10.0.0.2", dst="10.0.0.1")
    tcp = TCP(seq=1, ack=5, flags="A")
    data = {
        "udp": Ether() / ip / UDP() / TEXT[:900],
        "vlan": Ether() / Dot1Q(vlan=3) / ip / tcp / TEXT[:900],
        "small": Ether() / ip / tcp / b"a",
        "first_bad": Ether() / ip / TCP(seq=1, ack=5, flags="A", chksum=1) / TEXT[:900],
        "gso": Ether() / ip / tcp / TEXT[:900],
        "fragment": Ether() / IP(src="10.0.0.2", dst="10.0.0.1", frag=3, proto=6) / TEXT[:900],
    }[change]
    frames = [Frame(bytes(data), (), IFACE, gso_size=500 if change == "gso" else 0) for _ in range(3)]
    follower = bytes(Ether() / ip / TCP(seq=901, ack=5, flags="A") / TEXT[:900])
    frames.append(Frame(follower, (), IFACE))
    assert coalesce(frames) == frames


def test_coalesce_a_datagram_never_grows_past_65535_octets() -> None:
    frames = cut(TEXT[:65_000]) + cut(TEXT[:65_000], seq=(2**32 - 3000 + 65_000) & 0xFFFFFFFF)
    joined = coalesce(frames)
    assert len(joined) > 1
    assert all(len(frame) <= 14 + 65_535 for frame in joined)
    assert b"".join(frame.packet[TCP].load for frame in joined) == TEXT[:65_000] * 2
