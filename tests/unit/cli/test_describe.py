"""`describe` against literal lines and against tcpdump's own reading of the same packets."""

import subprocess

import pytest
from scapy.layers.inet import ICMP, IP, TCP, UDP, fragment
from scapy.layers.inet6 import ICMPv6ND_RS, IPv6
from scapy.layers.l2 import ARP, Ether
from scapy.utils import wrpcap

from scapystack.base.frames import Frame
from scapystack.describe import MAX_FLOWS, Describer, describe

STACK, KERNEL = "10.0.0.1", "10.0.0.2"
LINK = Ether(src="02:00:00:00:00:02", dst="02:00:00:00:00:01")
QUOTE = IP(src=STACK, dst="10.0.0.9") / UDP(sport=7, dport=99)

LINES = [
    (LINK / ARP(op=1, psrc=KERNEL, pdst=STACK), "ARP, Request who-has 10.0.0.1 tell 10.0.0.2, length 28"),
    (
        LINK / ARP(op=2, psrc=STACK, hwsrc="02:00:00:00:00:01", pdst=KERNEL),
        "ARP, Reply 10.0.0.1 is-at 02:00:00:00:00:01, length 28",
    ),
    (LINK / ARP(op=1, psrc=STACK, pdst=STACK), "ARP, Announcement 10.0.0.1, length 28"),
    (LINK / ARP(op=1, psrc="0.0.0.0", pdst=STACK), "ARP, Probe 10.0.0.1, length 28"),
    (
        LINK / IP(src=KERNEL, dst=STACK) / ICMP(type=8, id=5, seq=2) / bytes(56),
        "IP 10.0.0.2 > 10.0.0.1: ICMP echo request, id 5, seq 2, length 64",
    ),
    (
        LINK / IP(src=KERNEL, dst=STACK) / ICMP(type=0, id=5, seq=2) / bytes(56),
        "IP 10.0.0.2 > 10.0.0.1: ICMP echo reply, id 5, seq 2, length 64",
    ),
    (
        LINK / IP(src=KERNEL, dst=STACK) / ICMP(type=3, code=3) / QUOTE,
        "IP 10.0.0.2 > 10.0.0.1: ICMP 10.0.0.9 udp port 99 unreachable, length 36",
    ),
    (
        LINK / IP(src=KERNEL, dst=STACK) / ICMP(type=3, code=2) / IP(src=STACK, dst="10.0.0.9", proto=99),
        "IP 10.0.0.2 > 10.0.0.1: ICMP 10.0.0.9 protocol 99 unreachable, length 28",
    ),
    (
        LINK / IP(src=KERNEL, dst=STACK) / ICMP(type=3, code=4, nexthopmtu=1400) / QUOTE,
        "IP 10.0.0.2 > 10.0.0.1: ICMP 10.0.0.9 unreachable - need to frag (mtu 1400), length 36",
    ),
    (
        LINK / IP(src=KERNEL, dst=STACK) / ICMP(type=3, code=0) / QUOTE,
        "IP 10.0.0.2 > 10.0.0.1: ICMP net 10.0.0.9 unreachable, length 36",
    ),
    (
        LINK / IP(src=KERNEL, dst=STACK) / ICMP(type=3, code=1) / QUOTE,
        "IP 10.0.0.2 > 10.0.0.1: ICMP host 10.0.0.9 unreachable, length 36",
    ),
    (
        LINK / IP(src=KERNEL, dst=STACK) / ICMP(type=11, code=0) / QUOTE,
        "IP 10.0.0.2 > 10.0.0.1: ICMP time exceeded in-transit, length 36",
    ),
    (
        LINK / IP(src=KERNEL, dst=STACK) / ICMP(type=11, code=1) / QUOTE,
        "IP 10.0.0.2 > 10.0.0.1: ICMP ip reassembly time exceeded, length 36",
    ),
    (
        LINK / IP(src=KERNEL, dst=STACK) / ICMP(type=5, code=1, gw="10.0.0.3") / QUOTE,
        "IP 10.0.0.2 > 10.0.0.1: ICMP redirect 10.0.0.9 to host 10.0.0.3, length 36",
    ),
    (
        LINK / IP(src=KERNEL, dst=STACK) / ICMP(type=12, ptr=20) / QUOTE,
        "IP 10.0.0.2 > 10.0.0.1: ICMP parameter problem - octet 20, length 36",
    ),
    (
        LINK / IP(src=KERNEL, dst=STACK) / UDP(sport=4000, dport=4001) / b"hello",
        "IP 10.0.0.2.4000 > 10.0.0.1.4001: UDP, length 5",
    ),
    (
        LINK
        / IP(src=KERNEL, dst=STACK)
        / TCP(
            sport=44180,
            dport=12345,
            seq=7,
            flags="S",
            window=64240,
            options=[("MSS", 1460), ("SAckOK", b""), ("Timestamp", (9, 0)), ("NOP", None), ("WScale", 7)],
        ),
        "IP 10.0.0.2.44180 > 10.0.0.1.12345: Flags [S], seq 7, win 64240, "
        "options [mss 1460,sackOK,TS val 9 ecr 0,nop,wscale 7], length 0",
    ),
    (
        LINK / IP(src=KERNEL, dst=STACK) / TCP(sport=1, dport=2, seq=7, ack=5, flags="PA", window=1) / b"abc",
        "IP 10.0.0.2.1 > 10.0.0.1.2: Flags [P.], seq 7:10, ack 5, win 1, length 3",
    ),
    (
        LINK / IP(src=KERNEL, dst=STACK) / TCP(sport=1, dport=2, seq=7, flags="R", window=0),
        "IP 10.0.0.2.1 > 10.0.0.1.2: Flags [R], seq 7, win 0, length 0",
    ),
    (
        LINK / IP(src=KERNEL, dst=STACK) / TCP(sport=1, dport=2, seq=7, ack=9, flags="FPUA", window=2, urgptr=3),
        "IP 10.0.0.2.1 > 10.0.0.1.2: Flags [FP.U], seq 7, ack 9, win 2, urg 3, length 0",
    ),
    (
        LINK / IP(src=KERNEL, dst=STACK) / TCP(sport=1, dport=2, seq=7, flags=0, window=2),
        "IP 10.0.0.2.1 > 10.0.0.1.2: Flags [none], win 2, length 0",
    ),
    (
        LINK
        / IP(src=KERNEL, dst=STACK)
        / TCP(
            sport=1,
            dport=2,
            ack=9,
            flags="A",
            window=2,
            options=[("NOP", None), ("NOP", None), ("SAck", (20, 30, 40, 50))],
        ),
        "IP 10.0.0.2.1 > 10.0.0.1.2: Flags [.], ack 9, win 2, options [nop,nop,sack 2 {20:30}{40:50}], length 0",
    ),
    (LINK / IPv6(src="fe80::2", dst="ff02::2") / ICMPv6ND_RS(), "IP6 fe80::2 > ff02::2: ICMP6, length 8"),
    (
        LINK / IPv6(src="fe80::2", dst="fe80::1") / UDP(sport=5, dport=6) / b"xy",
        "IP6 fe80::2.5 > fe80::1.6: UDP, length 2",
    ),
    (LINK / IP(src=KERNEL, dst=STACK, proto=99) / b"12345", "IP 10.0.0.2 > 10.0.0.1: proto 99, length 5"),
    (
        Ether(bytes(LINK)[:12] + b"\x88\xb5" + bytes(46)),
        "02:00:00:00:00:02 > 02:00:00:00:00:01, ethertype 0x88b5, length 60",
    ),
]


@pytest.mark.parametrize(("packet", "line"), LINES, ids=[line[:60] for _, line in LINES])
def test_describe_packet_gives_line(packet, line):
    octets = bytes(packet)
    assert describe(octets) == line
    assert describe(Frame(octets)) == line
    assert describe(Ether(octets)) == line


def test_describe_at_prints_time_of_day_with_microseconds():
    line = describe(bytes(LINES[0][0]), 1_600_000_000_123_456_789)
    stamp, _, rest = line.partition(" ")
    assert stamp.endswith(".123456")
    assert len(stamp) == len("12:00:00.000001")
    assert rest == LINES[0][1]


def test_describe_fragments_shows_identity_offset_and_more():
    pieces = fragment(IP(src=KERNEL, dst=STACK, id=4711) / ICMP(type=8, id=1, seq=1) / bytes(3000), 1480)
    lines = [describe(bytes(LINK / piece)) for piece in pieces]
    assert lines == [
        "IP 10.0.0.2 > 10.0.0.1: ICMP echo request, id 1, seq 1, length 1480 (frag 4711:1480@0+)",
        "IP 10.0.0.2 > 10.0.0.1: ICMP (frag 4711:1480@1480+)",
        "IP 10.0.0.2 > 10.0.0.1: ICMP (frag 4711:48@2960)",
    ]


@pytest.mark.parametrize("cut", range(0, 74, 3))
def test_describe_truncated_octets_never_raises(cut):
    octets = bytes(LINES[16][0])
    assert describe(octets[:cut])
    assert describe(octets[:14] + bytes(cut))
    assert describe(octets[:14] + b"\xff" * cut)


def test_describe_packet_that_cannot_be_built_never_raises():
    assert describe(IP(len="many")).startswith("malformed packet")


def test_describer_more_flows_than_it_keeps_stays_bounded():
    describer = Describer()
    packet = Ether(bytes(LINES[16][0]))
    for port in range(1, MAX_FLOWS + 10):
        packet[TCP].sport = port
        describer(packet)
    assert len(describer._flows) <= MAX_FLOWS + 1


def conversation():
    """A handshake, data both ways across the wrap of the sequence space, SACK, close and reset."""
    a = LINK / IP(src=KERNEL, dst=STACK)
    b = Ether(src=LINK.dst, dst=LINK.src) / IP(src=STACK, dst=KERNEL)
    top = 0xFFFFFFFE
    there, back = {"sport": 40000, "dport": 12345}, {"sport": 12345, "dport": 40000}
    mss = [("MSS", 1460), ("SAckOK", b""), ("Timestamp", (9, 0)), ("NOP", None), ("WScale", 7)]
    sack = [("NOP", None), ("NOP", None), ("SAck", (20, 30))]
    return [
        a / TCP(**there, seq=top, flags="S", window=64240, options=mss),
        b / TCP(**back, seq=500, ack=top + 1, flags="SA", window=100, options=mss),
        a / TCP(**there, seq=top + 1, ack=501, flags="A", window=502),
        a / TCP(**there, seq=top + 1, ack=501, flags="PA", window=502) / bytes(100),
        b / TCP(**back, seq=501, ack=5, flags="A", window=100, options=sack),
        b / TCP(**back, seq=501, ack=99, flags="PA", window=100) / b"xyz",
        a / TCP(**there, seq=99, ack=504, flags="FA", window=502),
        b / TCP(**back, seq=504, ack=100, flags="RA", window=0),
        b / TCP(**back, seq=504, flags="R", window=0),
    ]


@pytest.mark.program("tcpdump")
def test_describe_equals_tcpdump(tmp_path):
    # the words for gratuitous ARP are those of newer versions of tcpdump
    packets = [packet for packet, line in LINES if line.startswith(("ARP, Re", "IP 1")) and ": proto 99" not in line]
    packets += conversation()
    capture = tmp_path / "lines.pcap"
    wrpcap(str(capture), packets)
    told = subprocess.run(["tcpdump", "-tnr", str(capture)], capture_output=True, text=True, check=True).stdout
    describer = Describer()
    assert [describer(bytes(packet)) for packet in packets] == told.splitlines()
