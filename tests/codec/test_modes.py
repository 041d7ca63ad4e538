"""The three codec modes keep the promises of `scapystack.base.codec`, and paranoid finds a difference."""

import struct

import pytest
from scapy.fields import ByteField, ShortField
from scapy.layers.inet import ICMP, IP, TCP, UDP
from scapy.layers.l2 import ARP, Ether
from scapy.packet import Packet

from scapystack.base.errors import CodecMismatch, ConfigError
from scapystack.codec import MODES
from scapystack.codec.modes import (  # not the make_codec that conftest.use_codec may exchange
    compiled_pair,
    make_codec,
    paranoid_pair,
)

MAC1, MAC2 = b"\2\0\0\0\0\1", b"\2\0\0\0\0\2"
SRC, DST = b"\x0a\0\0\1", b"\x0a\0\0\2"

HEADERS = {
    "ethernet": (
        bytes(Ether(dst="02:00:00:00:00:02", src="02:00:00:00:00:01", type=0x0806)),
        (MAC2, MAC1, 0x0806),
    ),
    "arp": (
        bytes(ARP(op=2, hwsrc="02:00:00:00:00:01", psrc="10.0.0.1", hwdst="02:00:00:00:00:02", pdst="10.0.0.2")),
        (1, 0x0800, 6, 4, 2, MAC1, SRC, MAC2, DST),
    ),
    "ipv4": (
        bytes(IP(src="10.0.0.1", dst="10.0.0.2", tos=3, id=7, flags="DF", frag=9, ttl=5, proto=99, chksum=8, len=20)),
        (4, 5, 3, 20, 7, 2, 9, 5, 99, 8, SRC, DST),
    ),
    "icmp": (bytes(ICMP(type=3, code=4, chksum=0x1234))[:4], (3, 4, 0x1234)),
    "udp": (bytes(UDP(sport=1, dport=2, len=8, chksum=3)), (1, 2, 8, 3)),
    "tcp": (
        bytes(TCP(sport=1, dport=2, seq=3, ack=4, reserved=5, flags="SEN", window=6, chksum=7, urgptr=8)),
        (1, 2, 3, 4, 5, 5, 0x142, 6, 7, 8),
    ),
}


@pytest.fixture(params=MODES)
def codec(request):
    return make_codec(request.param)


@pytest.mark.parametrize("name", HEADERS)
@pytest.mark.parametrize("kind", [bytes, bytearray, memoryview])
@pytest.mark.parametrize("offset", [0, 14])
def test_decode_header_gives_the_documented_tuple(codec, name, kind, offset):
    data, fields = HEADERS[name]
    got = getattr(codec, f"decode_{name}")(kind(bytes(offset) + data + b"behind"), offset)
    assert got == fields
    assert [type(value) for value in got] == [type(value) for value in fields]


@pytest.mark.parametrize("name", HEADERS)
def test_encode_header_gives_exactly_the_header(codec, name):
    data, fields = HEADERS[name]
    got = getattr(codec, f"encode_{name}")(*fields)
    assert (type(got), got) == (bytes, data)


def test_decode_ethernet_of_a_length_stays_ethernet(codec):
    # Scapy's dispatch makes a Dot3 of a type below 1536; the codec's caller decides that
    assert codec.decode_ethernet(MAC2 + MAC1 + b"\0\x2e", 0) == (MAC2, MAC1, 46)


def test_decode_every_icmp_type_gives_the_prefix(codec):
    for kind in range(256):
        assert codec.decode_icmp(bytes([kind, 1, 2, 3]), 0) == (kind, 1, 0x0203)
        assert codec.encode_icmp(kind, 1, 0x0203) == bytes([kind, 1, 2, 3])


def test_encode_bit_fields_beyond_their_width_are_cut_as_scapy_does(codec):
    fields = list(HEADERS["ipv4"][1])
    fields[0], fields[1], fields[6] = 0x14, 0x25, 0x2009
    assert codec.encode_ipv4(*fields) == HEADERS["ipv4"][0]


@pytest.mark.parametrize("name", HEADERS)
def test_decode_short_buffer_raises_struct_error(name):
    data, _ = HEADERS[name]
    with pytest.raises(struct.error):
        getattr(make_codec("compiled"), f"decode_{name}")(data[:-1], 0)


def test_make_codec_default_and_names():
    assert make_codec().mode == "compiled"
    assert [make_codec(mode).mode for mode in MODES] == list(MODES)
    with pytest.raises(ConfigError, match="no codec mode 'fast'; one of: compiled, scapy, paranoid"):
        make_codec("fast")


def test_compiled_pair_is_made_once_and_anew_for_other_fields():
    class Changed(Packet):
        fields_desc = [ByteField("n", 0)]  # noqa: RUF012

    first = compiled_pair(Changed)
    assert compiled_pair(Changed) == first
    assert make_codec().decode_tcp is make_codec().decode_tcp
    Changed.fields_desc = [ShortField("n", 0)]
    assert compiled_pair(Changed)[1](1) == b"\0\1"


class Drifts(Packet):
    """A layer whose Scapy side stopped agreeing with what was compiled of it."""

    fields_desc = [ByteField("a", 0), ShortField("b", 0)]  # noqa: RUF012

    def do_dissect(self, s):
        rest = super().do_dissect(s)
        self.fields["b"] ^= self.fields["a"]
        return rest

    def self_build(self, *args, **kwargs):
        return super().self_build(*args, **kwargs).replace(b"\xaa", b"\xab")


def test_paranoid_difference_raises_and_shows_both_sides():
    decode, encode = paranoid_pair(Drifts)
    assert decode(b"\0\0\7", 0) == (0, 7)
    with pytest.raises(CodecMismatch, match=r"Drifts at octet 1: compiled \(1, 7\), Scapy \(1, 6\)"):
        decode(b"\0\1\0\7", 1)
    assert encode(1, 2) == b"\1\0\2"
    with pytest.raises(CodecMismatch, match="compiled 0100aa, Scapy 0100ab"):
        encode(1, 0xAA)
