"""Open checksums and super-segments are finished as a kernel or a card would; Scapy is the judge."""

import pytest
from scapy.layers.inet import ICMP, IP, TCP, UDP, IPOption_NOP
from scapy.layers.inet6 import IPv6
from scapy.layers.l2 import Ether

from scapystack.base.checksum import pseudo_sum
from scapystack.base.frames import CSUM_NONE, CSUM_PARTIAL, CSUM_VALID, Frame
from scapystack.base.iface import Interface
from scapystack.base.offload import finish_frame, finished, split

IFACE = Interface("eth0", b"\2\0\0\0\0\1")
ETHER = Ether(dst="02:00:00:00:00:02", src="02:00:00:00:00:01")
SRC, DST = b"\x0a\0\0\1", b"\x0a\0\0\2"
DATA = bytes(i * 31 & 255 for i in range(10_000))
TIMESTAMPS = [("NOP", None), ("NOP", None), ("Timestamp", (7, 9))]


def open_frame(packet, payload=(), *, gso_size=0):
    """A frame whose transport checksum holds the pseudo-header's sum, as our layers emit it."""
    packet = ETHER / packet
    transport = packet.getlayer(TCP) or packet.getlayer(UDP)
    offset = 16 if TCP in packet else 6
    transport.chksum = 0
    network = packet[IP] if IP in packet else packet[IPv6]
    length = len(transport) + sum(map(len, payload))
    extra = sum(map(len, payload))
    if IP in packet:
        network.len = len(network) + extra
        src, dst, proto = SRC, DST, 6 if TCP in packet else 17
    else:
        network.plen = len(network.payload) + extra
        src, dst, proto = bytes(15) + b"\1", bytes(15) + b"\2", 6
    if UDP in packet:
        transport.len = length
    start = 14 + (len(packet.payload) - len(transport))
    head = bytearray(bytes(packet))
    head[start + offset : start + offset + 2] = pseudo_sum(src, dst, proto, length).to_bytes(2, "big")
    frame = Frame(bytes(head), payload, IFACE, CSUM_PARTIAL, start, offset, gso_size)
    frame.at = 123
    return frame


def rebuilt(data):
    """The same packet with every checksum and length computed by Scapy."""
    packet = Ether(data)
    for layer in (IP, TCP, UDP):
        if layer in packet:
            del packet[layer].chksum
    return bytes(packet)


V4 = IP(src="10.0.0.1", dst="10.0.0.2", id=65_534)


@pytest.mark.parametrize(
    "packet",
    [
        V4 / TCP(options=TIMESTAMPS),
        V4 / UDP(sport=1, dport=2),
        IP(src="10.0.0.1", dst="10.0.0.2", options=[IPOption_NOP()] * 4) / TCP(),
    ],
)
@pytest.mark.parametrize("payload", [(), (b"odd",), (b"odd", b"and", b"even"), (DATA[:1448],)])
def test_finished_open_checksum_equals_scapy(packet, payload):
    frame = open_frame(packet, payload)
    assert finished(frame) == rebuilt(finished(frame)) != frame.data


def test_finished_one_buffer_as_it_comes_from_a_tap():
    frame = open_frame(V4 / TCP() / DATA[:500])
    assert frame.payload == ()
    assert finished(frame) == rebuilt(frame.data)


@pytest.mark.parametrize("csum", [CSUM_NONE, CSUM_VALID])
def test_finished_nothing_open_is_the_data_itself(csum):
    frame = Frame(bytes(ETHER / V4 / ICMP()), (), IFACE, csum)
    assert finished(frame) is frame.head
    assert finish_frame(frame) is frame


def test_finished_udp_zero_is_sent_as_all_ones():
    # RFC 768; the payload is chosen so that the sum comes out as 0xFFFF
    frame = open_frame(V4 / UDP(sport=1, dport=2), (b"\0\0",))
    rest = int.from_bytes(finished(frame)[40:42], "big")
    frame = open_frame(V4 / UDP(sport=1, dport=2), (rest.to_bytes(2, "big"),))
    assert finished(frame)[40:42] == b"\xff\xff"


def test_finished_tcp_zero_stays_zero():
    frame = open_frame(V4 / TCP(), (b"\0\0",))
    rest = int.from_bytes(finished(frame)[50:52], "big")
    frame = open_frame(V4 / TCP(), (rest.to_bytes(2, "big"),))
    assert finished(frame)[50:52] == b"\0\0"


def test_finish_frame_keeps_what_is_not_the_checksum():
    frame = open_frame(V4 / TCP(), (DATA,), gso_size=1448)
    done = finish_frame(frame)
    assert (done.csum, done.gso_size, done.at, done.iface) == (CSUM_VALID, 1448, 123, IFACE)
    assert (done.csum_start, done.csum_offset) == (34, 16)
    assert done.payload[0] is DATA
    assert done.data == finished(frame)
    assert frame.csum == CSUM_PARTIAL


def test_split_frame_without_gso_is_a_new_frame_for_the_wire():
    frame = open_frame(V4 / TCP(), (DATA[:1000],))
    (out,) = split(frame)
    assert out is not frame
    assert (out.data, out.csum, out.gso_size, out.at, out.iface) == (finished(frame), CSUM_NONE, 0, 123, IFACE)
    # what the link trusted the next receiver must check
    (again,) = split(Frame(out.data, (), IFACE, CSUM_VALID))
    assert (again.csum, again.data) == (CSUM_NONE, out.data)


def test_split_super_segment_that_fits_one_segment_stays_one():
    frame = open_frame(V4 / TCP(), (DATA[:1448],), gso_size=1448)
    (out,) = split(frame)
    assert (out.data, out.gso_size) == (finished(frame), 0)


def test_split_super_segment_segments_are_as_the_sender_would_have_sent_them():
    first = TCP(sport=1, dport=2, seq=0xFFFFF000, ack=5, flags="FPAUEC", window=99, urgptr=3, options=TIMESTAMPS)
    frame = open_frame(V4 / first, (DATA,), gso_size=1448)
    segments = split(frame)
    assert [len(s.payload[0]) for s in segments] == [1448] * 6 + [1312]
    for number, segment in enumerate(segments):
        offset = number * 1448
        own = first.copy()
        own.seq = (0xFFFFF000 + offset) & 0xFFFFFFFF
        own.flags = {0: "AUEC", 6: "FPAUE"}.get(number, "AUE")
        ip = V4.copy()
        ip.id = (65_534 + number) & 0xFFFF
        assert segment.data == bytes(ETHER / ip / own / DATA[offset : offset + 1448])
        assert (segment.csum, segment.gso_size, segment.at, segment.iface) == (CSUM_NONE, 0, 123, IFACE)


@pytest.mark.parametrize(
    "network",
    [
        IP(src="10.0.0.1", dst="10.0.0.2", id=9, options=[IPOption_NOP()] * 8),
        IPv6(src="::1", dst="::2", fl=77),
    ],
)
def test_split_super_segment_over_other_headers(network):
    segments = split(open_frame(network / TCP(seq=1, flags="PA"), (DATA[:3001],), gso_size=1500))
    assert [rebuilt(s.data) == s.data for s in segments] == [True] * 3
    assert b"".join(bytes(s.packet[TCP].payload) for s in segments) == DATA[:3001]
    assert [s.packet[TCP].seq for s in segments] == [1, 1501, 3001]
    assert [str(s.packet[TCP].flags) for s in segments] == ["A", "A", "PA"]


def test_split_payload_in_pieces_and_in_the_head_gives_the_same():
    pieces = (DATA[:700], DATA[700:701], memoryview(DATA)[701:])
    want = [s.data for s in split(open_frame(V4 / TCP(), (DATA,), gso_size=1000))]
    assert len(want) == 10
    assert [s.data for s in split(open_frame(V4 / TCP(), pieces, gso_size=1000))] == want
    assert [s.data for s in split(open_frame(V4 / TCP() / DATA, (), gso_size=1000))] == want
