"""`frame.packet` and its way back: lazy, cached, finished, and deaf to bad bytes."""

import pytest
from scapy.config import conf
from scapy.layers.inet import IP, TCP
from scapy.layers.inet6 import IPv6
from scapy.layers.l2 import ARP, Dot3, Ether
from scapy.packet import Raw

from scapystack.base.checksum import pseudo_sum
from scapystack.base.frames import CSUM_PARTIAL, CSUM_VALID, Frame
from scapystack.base.iface import Interface
from scapystack.codec import dissect, frame_of, make_codec

ETHER = Ether(dst="02:00:00:00:00:02", src="02:00:00:00:00:01")
PACKET = ETHER / IP(src="10.0.0.1", dst="10.0.0.2") / TCP() / b"data"
IFACE = Interface("eth0", b"\2\0\0\0\0\1")


def test_frame_packet_is_made_once_and_is_scapys():
    frame = Frame(bytes(PACKET))
    assert frame.packet is frame.packet
    assert bytes(frame.packet) == bytes(PACKET)
    assert frame.packet[TCP].payload.load == b"data"


def test_frame_packet_nobody_looks_at_leaves_its_slot_empty():
    with pytest.raises(AttributeError):
        Frame(bytes(PACKET))._packet  # noqa: B018


def test_frame_packet_in_pieces_with_open_checksum_shows_the_finished_one():
    data = bytearray(bytes(PACKET))
    data[50:52] = pseudo_sum(b"\x0a\0\0\1", b"\x0a\0\0\2", 6, 24).to_bytes(2, "big")
    frame = Frame(bytes(data[:54]), (data[54:],), None, CSUM_PARTIAL, 34, 16)
    assert bytes(frame.packet) == bytes(PACKET)
    assert frame.data == bytes(data)


@pytest.mark.parametrize(
    ("packet", "layer"),
    [
        (ETHER / ARP(psrc="10.0.0.1"), ARP),
        (ETHER / IPv6(src="::1", dst="::2") / TCP(), IPv6),
        (Dot3(dst="02:00:00:00:00:02", src="02:00:00:00:00:01") / b"llc", Dot3),
    ],
)
def test_dissect_knows_its_layers(packet, layer):
    assert layer in dissect(bytes(packet))


@pytest.mark.parametrize("kind", [bytes, bytearray, memoryview])
def test_dissect_takes_any_buffer(kind):
    assert bytes(dissect(kind(bytes(PACKET)))) == bytes(PACKET)


@pytest.mark.parametrize("data", [b"", b"\x02", bytes(13)])
def test_dissect_too_short_for_ethernet_is_raw(data):
    packet = dissect(data)
    assert type(packet) is Raw
    assert bytes(packet) == data


def test_dissect_broken_layer_never_raises(monkeypatch):
    broken = bytes(PACKET)[:40]
    assert bytes(dissect(broken)) == broken
    monkeypatch.setattr(conf, "debug_dissector", True)
    assert bytes(dissect(broken)) == broken
    assert bytes(Frame(broken).packet) == broken


@pytest.mark.parametrize("mode", ["compiled", "scapy", "paranoid"])
def test_codec_packet_is_the_dissection(mode):
    codec = make_codec(mode)
    assert codec.packet(bytes(PACKET)) == dissect(bytes(PACKET))
    assert bytes(codec.packet(b"short")) == b"short"


def test_frame_of_takes_over_interface_and_time_but_no_open_work():
    old = Frame(bytes(PACKET), (), IFACE, CSUM_PARTIAL, 34, 16, 1448)
    old.at = 77
    packet = old.packet.copy()
    packet[IP].ttl = 3
    del packet[IP].chksum
    new = frame_of(packet, old)
    assert (new.iface, new.at, new.csum, new.gso_size) == (IFACE, 77, 0, 0)
    assert new.packet[IP].ttl == 3
    assert frame_of(PACKET).data == bytes(PACKET)


def test_frame_of_nothing_special_is_not_trusted():
    assert frame_of(PACKET, Frame(b"", (), IFACE, CSUM_VALID)).csum == 0
