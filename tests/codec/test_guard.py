"""The guard judges before a codec decodes: one test for each reason, and none for a sound packet."""

import pytest
from scapy.layers.inet import ICMP, IP, TCP, UDP, IPOption_RR
from scapy.layers.inet6 import IPv6
from scapy.layers.l2 import ARP

from scapystack.base.guard import arp_packet, icmp_header, ipv4_header, tcp_header, udp_header

SRC, DST = b"\x0a\0\0\1", b"\x0a\0\0\2"
V4 = IP(src="10.0.0.1", dst="10.0.0.2")
PLAIN = bytes(V4 / b"payload")
OPTIONS = bytes(IP(src="10.0.0.1", dst="10.0.0.2", options=[IPOption_RR(length=15, routers=["0.0.0.0"] * 3)]) / b"x")


def patched(data, at, value):
    """`data` with octets replaced from `at` on."""
    return data[:at] + value + data[at + len(value) :]


def summed(header):
    """The IPv4 header with its checksum made right again."""
    packet = IP(header)
    del packet.chksum
    return patched(header, 10, bytes(packet)[10:12])


@pytest.mark.parametrize("data", [PLAIN, OPTIONS, bytes(V4), PLAIN + b"link padding"])
@pytest.mark.parametrize("kind", [bytes, bytearray, memoryview])
@pytest.mark.parametrize("offset", [0, 14, 3])
def test_ipv4_header_sound_is_passed(data, kind, offset):
    assert ipv4_header(kind(bytes(offset) + data), offset, len(data)) == ""


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"", "truncated"),
        (PLAIN[:19], "truncated"),
        (summed(patched(PLAIN, 0, b"\x65")), "version"),
        (summed(patched(PLAIN, 0, b"\x44")), "ihl"),
        (patched(PLAIN, 0, b"\x40"), "ihl"),
        (patched(PLAIN, 0, b"\x4f"), "truncated"),
        (OPTIONS[:30], "truncated"),
        (PLAIN[:-1], "truncated"),
        (summed(patched(PLAIN, 2, b"\xff\xff")), "truncated"),
        (summed(patched(PLAIN, 2, b"\0\x13")), "length"),
        (summed(patched(OPTIONS, 2, b"\0\x14")), "length"),
        (summed(patched(PLAIN, 2, b"\0\0")), "length"),
        (patched(PLAIN, 10, b"\0\0"), "checksum"),
        (patched(PLAIN, 8, b"\x01"), "checksum"),
        (patched(OPTIONS, 30, b"\x01"), "checksum"),
    ],
)
def test_ipv4_header_wrong_says_why(data, reason):
    assert ipv4_header(data, 0, len(data)) == reason
    assert ipv4_header(memoryview(bytes(14) + data), 14, len(data)) == reason


def segment(**fields):
    """A TCP segment with its right checksum, and what Scapy makes of wrong fields."""
    return bytes(V4 / TCP(options=[("MSS", 1460)], **fields) / b"odd")[20:]


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (segment(), ""),
        (b"", "truncated"),
        (segment()[:19], "truncated"),
        (segment(dataofs=4), "dataofs"),
        (segment(dataofs=0), "dataofs"),
        (segment(dataofs=15), "dataofs"),
        (segment(dataofs=6), ""),
        (segment(chksum=0), "checksum"),
        (segment()[:-1], "checksum"),
        (patched(segment(), 26, b"!"), "checksum"),
    ],
)
def test_tcp_header_says_why(data, reason):
    assert tcp_header(memoryview(data), SRC, DST) == reason
    # unverified, a wrong checksum passes and nothing else does
    assert tcp_header(memoryview(data), SRC, DST, False) == ("" if reason == "checksum" else reason)


def test_tcp_header_of_another_address_has_a_wrong_checksum():
    assert tcp_header(memoryview(segment()), SRC, b"\x0a\0\0\3") == "checksum"


def test_transport_headers_over_ipv6_are_summed_with_its_pseudo_header():
    src, dst = bytes(15) + b"\1", bytes(15) + b"\2"
    for transport, judge in ((TCP(), tcp_header), (UDP(), udp_header)):
        data = bytes(IPv6(src="::1", dst="::2") / transport / b"abc")[40:]
        assert judge(memoryview(data), src, dst) == ""
        assert judge(memoryview(data), src, src) == "checksum"


def datagram(**fields):
    return bytes(V4 / UDP(sport=7, dport=9, **fields) / b"abc")[20:]


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (datagram(), ""),
        (datagram() + b"behind the datagram", ""),
        (datagram(chksum=0), ""),
        (datagram(len=8, chksum=0), ""),
        (b"", "truncated"),
        (datagram()[:7], "truncated"),
        (datagram()[:-1], "truncated"),
        (datagram(len=12), "truncated"),
        (datagram(len=7), "length"),
        (datagram(len=0), "length"),
        (datagram(len=10), "checksum"),
        (datagram(chksum=1), "checksum"),
        (patched(datagram(), 8, b"!"), "checksum"),
    ],
)
def test_udp_header_says_why(data, reason):
    assert udp_header(memoryview(data), SRC, DST) == reason
    assert udp_header(memoryview(data), SRC, DST, False) == ("" if reason == "checksum" else reason)


def test_udp_header_without_checksum_is_an_error_over_ipv6():
    assert udp_header(memoryview(datagram(chksum=0)), bytes(16), bytes(16)) == "checksum"


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (bytes(ICMP(id=1, seq=2) / b"ping"), ""),
        (bytes(ICMP(id=1, seq=2) / b"odd"), ""),
        (b"", "truncated"),
        (bytes(ICMP())[:7], "truncated"),
        (bytes(ICMP(chksum=5)), "checksum"),
        (bytes(8), "checksum"),  # the checksum of zeros is 0xFFFF
        (b"\0\0\xff\xff" + bytes(4), ""),
    ],
)
def test_icmp_header_says_why(data, reason):
    assert icmp_header(memoryview(data)) == reason
    assert icmp_header(memoryview(data), False) == ("" if reason == "checksum" else reason)


REQUEST = bytes(ARP(hwsrc="02:00:00:00:00:01", psrc="10.0.0.1", pdst="10.0.0.2"))


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (REQUEST, ""),
        (REQUEST + bytes(18), ""),
        (b"", "truncated"),
        (REQUEST[:7], "truncated"),
        (REQUEST[:27], "truncated"),
        (patched(REQUEST, 0, b"\0\x06"), "hwtype"),
        (patched(REQUEST, 2, b"\x86\xdd"), "ptype"),
        (patched(REQUEST, 4, b"\x08"), "hwlen"),
        (patched(REQUEST, 5, b"\x10"), "plen"),
        (patched(REQUEST[:8], 5, b"\0"), "plen"),
    ],
)
@pytest.mark.parametrize("kind", [bytes, memoryview])
def test_arp_packet_says_why(data, reason, kind):
    assert arp_packet(kind(bytes(14) + data), 14, len(data)) == reason
