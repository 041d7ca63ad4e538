"""The same conversation in every form of capture that can be read gives the same replay."""

import zlib

import pytest
from scapy.layers.inet import IP
from scapy.layers.l2 import Ether

from scapystack.base.errors import LinkError
from scapystack.link.pcapread import CaptureReader, read_capture
from scapystack.replay import replay
from tests.replay.captures import CLIENT, NC, packed, pcap, pcapng, recorded, tagged


def ip_of(data):
    return bytes(Ether(data)[IP])


def cooked(data):
    kind = b"\0\0" if Ether(data)[IP].dst == "10.0.0.1" else b"\0\4"
    return kind + b"\0\1\0\6" + data[6:12] + b"\0\0\x08\0" + ip_of(data)


def cooked_2(data):
    kind = b"\0" if Ether(data)[IP].dst == "10.0.0.1" else b"\4"
    return b"\x08\0\0\0\0\0\0\2\0\1" + kind + b"\6" + data[6:12] + b"\0\0" + ip_of(data)


LINKS = {
    "ethernet": (1, lambda data: data),
    "padded": (1, lambda data: data + bytes(10)),
    "vlan": (1, lambda data: tagged(data, 5)),
    "vlan in vlan": (1, lambda data: tagged(data, 5, 6)),
    "raw": (101, ip_of),
    "raw as BSD numbers it": (12, ip_of),
    "IPv4": (228, ip_of),
    "cooked": (113, cooked),
    "cooked 2": (276, cooked_2),
    "null, little": (0, lambda data: b"\2\0\0\0" + ip_of(data)),
    "null, big": (0, lambda data: b"\0\0\0\2" + ip_of(data)),
    "loop": (108, lambda data: b"\0\0\0\2" + ip_of(data)),
}


def outcome(path, **how):
    return [(r.role, r.verdict, r.packets, r.sent, r.received, r.findings) for r in replay(path, role="both", **how)]


@pytest.fixture(scope="module")
def expected():
    return outcome(NC, golden=NC.parent)  # a directory without transcripts of it


@pytest.mark.parametrize("name", LINKS)
def test_capture_of_every_link_type_replayed_alike(tmp_path, name, expected):
    linktype, dress = LINKS[name]
    packets = [(at, dress(data)) for at, data in recorded()]
    assert outcome(pcap(tmp_path / "a.pcap", packets, linktype)) == expected
    assert outcome(pcapng(tmp_path / "a.pcapng", packets, linktype)) == expected


@pytest.mark.parametrize(
    "how", [{}, {"order": ">"}, {"nano": False}, {"order": ">", "nano": False}, {"snaplen": 65_535}]
)
def test_pcap_in_every_form_read_alike(tmp_path, how, expected):
    path = pcap(tmp_path / "a.pcap", recorded(), **how)
    assert [p.at // 1_000 for p in read_capture(path)] == [at // 1_000 for at, _ in recorded()]
    assert outcome(path) == expected
    assert outcome(packed(path)) == expected


@pytest.mark.parametrize(
    "how",
    [
        {}, {"order": ">"}, {"resolution": 6}, {"resolution": 128 + 30}, {"sections": 3}, {"offset_s": 1_000_000},
        {"sections": 2, "order": ">", "offset_s": -5},
    ],
)  # fmt: skip
def test_pcapng_in_every_form_read_alike(tmp_path, how, expected):
    path = pcapng(tmp_path / "a.pcapng", recorded(), **how)
    assert [round(p.at / 1_000) for p in read_capture(path)] == [round(at / 1_000) for at, _ in recorded()]
    assert {p.comment for p in read_capture(path)} == {"a comment"}
    assert outcome(path) == expected
    assert outcome(packed(path)) == expected


def test_pcapng_of_simple_packets_without_times_read(tmp_path):
    path = pcapng(tmp_path / "a.pcapng", recorded(), simple=True)
    assert [(p.data, p.at) for p in read_capture(path)] == [(data, 0) for _, data in recorded()]
    assert [r.verdict for r in replay(path, role="both")] == ["passed", "passed"]


def test_reader_gives_packets_again_by_their_place(tmp_path):
    for path in (pcap(tmp_path / "a.pcap", recorded()), packed(pcapng(tmp_path / "b.pcapng", recorded(), sections=3))):
        with CaptureReader(path) as reader:
            packets = list(reader)
            for packet in reversed(packets):
                assert reader.packet_at(packet.offset) == packet
            assert list(reader) == packets
            assert reader.torn == ""


def test_reader_of_a_damaged_gzip_goes_as_far_as_it_can(tmp_path):
    path = packed(pcap(tmp_path / "a.pcap", recorded() * 400))
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) // 2])
    with CaptureReader(path) as reader:
        packets = list(reader)
        assert packets[:7] == read_capture(NC)
        assert "the gzip file is damaged" in reader.torn
    assert replay(path)[-1].reason.startswith("incomplete: the gzip file is damaged")


@pytest.mark.parametrize("linktype", [105, 195, 9])
def test_capture_of_an_unknown_link_type_says_that_nothing_is_in_it(tmp_path, linktype):
    (result,) = replay(pcap(tmp_path / "a.pcap", recorded(), linktype))
    assert (result.verdict, result.reason) == ("error", "there is no conversation in it (not IP: 7)")


def test_capture_with_a_record_of_impossible_size_is_one_error(tmp_path):
    path = pcap(tmp_path / "a.pcap", recorded())
    octets = bytearray(path.read_bytes())
    octets[24 + 8 : 24 + 12] = b"\xff\xff\xff\x7f"
    path.write_bytes(octets)
    with pytest.raises(LinkError, match="broken at octet 24"):
        read_capture(path)
    (result,) = replay(path)
    assert (result.verdict, result.reason) == ("error", "is broken at octet 24: no packet has 2147483647 octets")


def test_capture_direction_tells_which_part_auto_takes(tmp_path):
    for outgoing, role in ((CLIENT, "client"), ("10.0.0.1", "server")):

        def dress(data, outgoing=outgoing):
            kind = b"\0\4" if Ether(data)[IP].src == outgoing else b"\0\0"
            return kind + cooked(data)[2:]

        path = pcap(tmp_path / "a.pcap", [(at, dress(data)) for at, data in recorded()], 113)
        assert [r.role for r in replay(path)] == [role]


def test_reader_position_tells_of_progress(tmp_path):
    path = pcap(tmp_path / "a.pcap", recorded() * 10)
    with CaptureReader(path) as reader:
        seen = [reader.position for _ in reader]
        assert seen == sorted(seen)
        assert reader.position == reader.octets == path.stat().st_size
    assert zlib.crc32(path.read_bytes())
