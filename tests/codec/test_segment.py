"""Whole TCP segments from compiled pieces: Scapy's own values, every bound and checksum checked."""

import inspect
import struct

import pytest
from scapy.layers.inet import IP, TCP, UDP, IPOption_NOP, IPOption_RR, fragment
from scapy.layers.l2 import ARP, Ether
from scapy.packet import Padding

from scapystack.base.errors import ConfigError
from scapystack.codec import BadFrame, TcpCodec, TcpFrame, compile_layers

CODEC = TcpCodec()
ETHER = Ether(dst="02:00:00:00:00:02", src="02:00:00:00:00:01")
V4 = IP(src="10.0.0.1", dst="10.0.0.2")
TIMESTAMPS = [("NOP", None), ("NOP", None), ("Timestamp", (7, 9))]
SYN = [("MSS", 1460), ("SAckOK", b""), ("Timestamp", (1, 0)), ("NOP", None), ("WScale", 7)]
DATA = bytes(range(256)) * 6
ADDRESSES = {
    "ether_dst": b"\2\0\0\0\0\2",
    "ether_src": b"\2\0\0\0\0\1",
    "ip_src": b"\x0a\0\0\1",
    "ip_dst": b"\x0a\0\0\2",
}


def build(**fields):
    return CODEC.build(**ADDRESSES, **fields)


@pytest.mark.parametrize(
    "options",
    [
        [],
        TIMESTAMPS,
        SYN,
        [("NOP", None), ("NOP", None), ("SAck", (1, 2, 3, 4))],
        [*TIMESTAMPS, ("NOP", None), ("NOP", None), ("SAck", (1, 2))],
        [("NOP", None), ("NOP", None), ("Timestamp", b"octets12")],
        [("EOL", None)],
        [(253, b"unknown"), ("UTO", 5), ("MD5", (bytes(16),))],
    ],
)
@pytest.mark.parametrize("payload", [b"", b"odd", DATA[:1448]])
def test_segment_dissects_to_scapys_values_and_builds_scapys_octets(options, payload):
    packet = ETHER / V4 / TCP(sport=1, dport=2, seq=3, ack=4, flags="PA", options=options) / payload
    data = bytes(packet)
    frame = CODEC.dissect(data)
    again = Ether(data)
    assert frame.tcp_options == again[TCP].options
    assert bytes(frame.payload) == payload
    for prefix, layer in (("ether", again), ("ip", again[IP]), ("tcp", again[TCP])):
        for name in frame._fields:
            if name.startswith(prefix + "_") and not name.endswith("_options"):
                field = layer.get_field(name.partition("_")[2])
                assert getattr(frame, name) == field.i2m(layer, layer.getfieldval(field.name)), name
    assert CODEC.build(*frame) == data


def test_build_takes_the_fields_of_a_frame_in_their_order():
    assert tuple(inspect.signature(CODEC.build).parameters) == TcpFrame._fields
    assert TcpFrame._fields[:-3] == compile_layers(Ether, IP, TCP).names


def test_build_from_defaults_equals_scapy():
    assert build() == bytes(ETHER / V4 / TCP())
    assert build(tcp_flags=0x11, tcp_options=SYN, payload=memoryview(b"abc"), ip_tos=3) == bytes(
        ETHER / IP(src="10.0.0.1", dst="10.0.0.2", tos=3) / TCP(flags="FA", options=SYN) / b"abc"
    )


def test_build_computes_lengths_and_checksums_whatever_the_frame_holds():
    data = build(payload=b"abc")
    stale = CODEC.dissect(data)._replace(payload=b"longer", tcp_options=TIMESTAMPS, tcp_seq=5)
    assert CODEC.build(*stale) == bytes(ETHER / V4 / TCP(seq=5, options=TIMESTAMPS) / b"longer")


@pytest.mark.parametrize("options", [[IPOption_NOP()] * 4, [IPOption_RR(length=39, routers=["0.0.0.0"] * 9)]])
@pytest.mark.parametrize("payload", [b"", DATA])
def test_segment_behind_ip_options(options, payload):
    data = bytes(ETHER / IP(src="10.0.0.1", dst="10.0.0.2", options=options) / TCP(options=TIMESTAMPS) / payload)
    frame = CODEC.dissect(data)
    assert frame.ip_options == data[34 : 14 + frame.ip_ihl * 4]
    assert frame.tcp_options == TIMESTAMPS
    assert CODEC.build(*frame) == data


def test_build_pads_ip_options_to_words():
    data = build(ip_options=b"\1")
    assert CODEC.dissect(data).ip_options == b"\1\0\0\0"


@pytest.mark.parametrize("kind", [bytes, bytearray, memoryview])
def test_dissect_leaves_link_padding_out_and_copies_no_payload(kind):
    data = bytes(ETHER / V4 / TCP() / b"abc") + b"padding"
    frame = CODEC.dissect(kind(data))
    assert type(frame.payload) is memoryview
    assert frame.payload == b"abc"
    assert Padding in Ether(data)


GOOD = bytes(ETHER / V4 / TCP(options=TIMESTAMPS) / b"payload")


def patched(at, value, data=GOOD):
    return data[:at] + value + data[at + len(value) :]


def with_options(octets):
    """A frame with these octets as its options, both checksums right."""
    packet = ETHER / V4 / TCP(dataofs=5 + len(octets) // 4) / octets
    return bytes(packet)


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"", "ethernet.truncated"),
        (GOOD[:13], "ethernet.truncated"),
        (GOOD[:33], "ip.truncated"),
        (GOOD[:40], "ip.truncated"),
        (bytes(ETHER / ARP()), "ethernet type 0x0806"),
        (patched(12, b"\x86\xdd"), "ethernet type 0x86dd"),
        (patched(14, b"\x65"), "ip.version"),
        (patched(24, b"\0\0"), "ip.checksum"),
        (bytes(ETHER / V4 / UDP()), "ip protocol 17"),
        (bytes(ETHER / V4 / UDP() / DATA), "ip protocol 17"),
        (bytes(ETHER / fragment(V4 / TCP() / DATA, 800)[0]), "ip.fragment"),
        (bytes(ETHER / fragment(V4 / TCP() / DATA, 800)[1]), "ip.fragment"),
        (bytes(ETHER / IP(src="10.0.0.1", dst="10.0.0.2", proto=6) / b"short"), "tcp.truncated"),
        (bytes(ETHER / IP(src="10.0.0.1", dst="10.0.0.2", proto=6) / b"short") + bytes(30), "tcp.truncated"),
        (bytes(ETHER / V4 / TCP(dataofs=3)), "tcp.dataofs"),
        (patched(50, b"\0\0"), "tcp.checksum"),
        (patched(len(GOOD) - 1, b"!"), "tcp.checksum"),
        (with_options(b"\x02\x01\0\0"), "tcp.options"),
        (with_options(b"\x02\x00\0\0"), "tcp.options"),
        (with_options(b"\x01\x01\x01\x08"), "tcp.options"),
        (with_options(b"\x08\x0a\0\0"), "tcp.options"),
        (with_options(b"\x01\x01\x08\x03"), "tcp.options"),
        (with_options(b"\x01\x01\x01\x02"), "tcp.options"),
    ],
)
def test_dissect_refuses_with_the_reason(data, reason):
    with pytest.raises(BadFrame) as caught:
        CODEC.dissect(data)
    assert caught.value.reason == reason
    assert str(caught.value) == f"not a sound TCP segment: {reason}"


@pytest.mark.parametrize(
    "octets",
    [
        b"\x02\x04\x05\xb4",
        b"\x02\x03\x05\x00",  # a length of its own: octets, as Scapy has it
        b"\x05\x02\x01\x01",
        b"\x05\x06\0\0\0\x07\x01\x01",
        b"\x00\xff\xff\xff",  # behind EOL nothing is read
        b"\x1d\x08\1\2abcd",
        b"\xfe\x04\xab\xcd",
        b"\xfd\x02\x01\x01",
    ],
)
def test_options_of_any_shape_are_scapys(octets):
    data = with_options(octets)
    frame = CODEC.dissect(data)
    assert repr(frame.tcp_options) == repr(Ether(data)[TCP].options)


def test_build_options_that_do_not_fit_are_refused():
    with pytest.raises(ConfigError, match="a header has room for 40 octets of options"):
        build(tcp_options=[(253, bytes(39))])
    with pytest.raises(ConfigError, match="a header has room for 40 octets of options"):
        build(ip_options=bytes(41))
    assert len(build(tcp_options=[(253, bytes(38))])) == 94


def test_build_value_out_of_range_raises_struct_error():
    with pytest.raises(struct.error):
        build(tcp_seq=1 << 32)
    with pytest.raises(struct.error):
        build(payload=bytes(65_536))
