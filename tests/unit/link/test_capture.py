"""Capture files: read back by Scapy, by our own reader and by tcpdump; torn, large, and on a full disk."""

import io
import shutil
import subprocess

import pytest
from scapy.layers.inet import IP, TCP
from scapy.layers.l2 import Ether
from scapy.utils import RawPcapNgReader, rdpcap

from scapystack.base.errors import LinkError
from scapystack.base.frames import CSUM_PARTIAL, Frame
from scapystack.base.iface import Interface
from scapystack.codec import frame_of
from scapystack.link.capture import Capture, CaptureLink
from scapystack.link.memory import MemoryLink
from scapystack.link.pcapfile import INBOUND, OUTBOUND, CaptureFile
from scapystack.link.pcapread import read_capture
from scapystack.runtime.clock import VirtualClock

AT = 1_700_000_000_123_456_789
FORMATS = ["pcap", "pcapng"]


def packet(text=b"hello"):
    return Ether(src="02:00:00:00:00:01", dst="02:00:00:00:00:02") / IP(src="10.0.0.1", dst="10.0.0.2") / TCP() / text


def open_frame(text=b"hello", gso_size=0):
    """A frame whose TCP checksum is open, headers and text apart."""
    octets = bytearray(bytes(packet(text)))
    pseudo = octets[26:34] + bytes([0, 6]) + (20 + len(text)).to_bytes(2, "big")
    octets[50:52] = (int.from_bytes(pseudo, "big") % 0xFFFF).to_bytes(2, "big")
    return Frame(bytes(octets[:54]), (text,), None, CSUM_PARTIAL, 34, 16, gso_size)


@pytest.mark.parametrize("kind", FORMATS)
def test_packets_are_read_back_by_scapy(tmp_path, kind):
    path = tmp_path / f"x.{kind}"
    file = CaptureFile(path)
    assert file.format == kind
    interface = file.interface("tap0", "a TAP", b"\2\0\0\0\0\1")
    for number in range(5):  # lengths that need every padding
        file.packet(bytes(packet(b"x" * number)), AT + number * 1_000, interface, INBOUND)
    file.close()
    file.close()
    found = rdpcap(str(path))
    assert [bytes(p) for p in found] == [bytes(packet(b"x" * number)) for number in range(5)]
    assert [round((float(p.time) - 1_700_000_000) * 1e6) for p in found] == [123457 + n for n in range(5)]
    assert file.packets == 5


@pytest.mark.parametrize("kind", FORMATS)
def test_packets_are_read_back_with_all_their_nanoseconds(tmp_path, kind):
    path = tmp_path / f"x.{kind}"
    file = CaptureFile(path)
    for name in ("tap0", "tap1"):
        file.interface(name)
    file.packet(b"a" * 60, AT, 0, INBOUND, "first, ünd last")
    file.packet(b"b" * 61, AT + 1, 1, OUTBOUND)
    file.packet(b"c" * 62, AT + 2)
    first, second, third = read_capture(path)
    assert (first.data, first.at, second.at, third.at) == (b"a" * 60, AT, AT + 1, AT + 2)
    if kind == "pcapng":
        assert [p.interface for p in (first, second, third)] == ["tap0", "tap1", "tap0"]
        assert [p.direction for p in (first, second, third)] == [INBOUND, OUTBOUND, 0]
        assert [p.comment for p in (first, second, third)] == ["first, ünd last", "", ""]
    file.close()


def test_pcapng_says_what_scapy_understands(tmp_path):
    path = tmp_path / "x.pcapng"
    file = CaptureFile(path)
    file.interface("tap0", "a TAP")
    file.packet(b"a" * 60, AT, 0, OUTBOUND, "a comment")
    file.close()
    with RawPcapNgReader(str(path)) as reader:
        octets, meta = next(iter(reader))
    assert octets == b"a" * 60
    assert (meta.tshigh << 32 | meta.tslow) == AT
    assert meta.tsresol == 1_000_000_000
    assert meta.ifname == b"tap0"
    assert meta.direction == OUTBOUND
    assert b"a comment" in (meta.comments[0], getattr(meta, "comment", b""))


@pytest.mark.parametrize("kind", FORMATS)
def test_packets_written_by_scapy_are_read(tmp_path, kind):
    from scapy.utils import wrpcap, wrpcapng  # noqa: PLC0415

    path = tmp_path / f"x.{kind}"
    (wrpcap if kind == "pcap" else wrpcapng)(str(path), [packet(b"1"), packet(b"22")])
    assert [p.data for p in read_capture(path)] == [bytes(packet(b"1")), bytes(packet(b"22"))]


@pytest.mark.parametrize("kind", FORMATS)
@pytest.mark.skipif(shutil.which("tcpdump") is None, reason="tcpdump is not installed")
def test_file_opens_in_tcpdump_large_packets_too(tmp_path, kind):
    path = tmp_path / f"x.{kind}"
    with Capture(path, clock=lambda: AT) as capture:
        capture.frames("tx", [open_frame(), open_frame(bytes(65_000), 1448)], "tap0", b"\2\0\0\0\0\1")
    done = subprocess.run(["tcpdump", "-nnvvr", str(path)], capture_output=True, text=True, check=True)
    assert done.stdout.count("(correct)") == 2
    assert "length 65000" in done.stdout


@pytest.mark.parametrize("kind", FORMATS)
def test_file_torn_anywhere_keeps_what_was_whole(tmp_path, kind):
    path = tmp_path / f"x.{kind}"
    with Capture(path, clock=lambda: AT) as capture:
        capture.frames("tx", [Frame(b"a" * 61), Frame(b"b" * 62)], "tap0")
    octets = path.read_bytes()
    counts = set()
    for cut in range(len(octets) // 2, len(octets)):
        path.write_bytes(octets[:cut])
        found = read_capture(path)
        assert [p.data for p in found] == [b"a" * 61, b"b" * 62][: len(found)]
        counts.add(len(found))
    assert counts == {0, 1}


@pytest.mark.parametrize("octets", [b"", b"abc", b"no capture at all", bytes(100)])
def test_file_of_another_kind_is_refused(tmp_path, octets):
    path = tmp_path / "x"
    path.write_bytes(octets)
    with pytest.raises(LinkError, match="neither"):
        read_capture(path)


def test_file_that_cannot_be_opened_is_one_line(tmp_path):
    with pytest.raises(LinkError, match="Is a directory"):
        CaptureFile(tmp_path)
    with pytest.raises(LinkError, match="no capture format named 'gif'"):
        CaptureFile(tmp_path / "x", "gif")


def test_file_on_a_full_disk_ends_the_capture_says_so_and_nothing_else(caplog):
    a, b = MemoryLink.pair()
    link = CaptureLink(a, "/dev/full")
    link.write([Frame(b"x" * 60)])
    link.write([Frame(b"y" * 60)])
    assert [f.data for f in b.read()] == [b"x" * 60, b"y" * 60]
    assert "No space left" in link.capture.error
    assert [record.getMessage() for record in caplog.records] == [f"{link.capture.error}; the capture ends here"]
    link.close()


def test_file_object_of_somebody_else_is_flushed_and_left_open():
    target = io.BytesIO()
    with Capture(target, format="pcap", clock=lambda: AT) as capture:
        capture.frames("tx", [Frame(b"x" * 60)], "tap0")
    assert len(target.getvalue()) == 24 + 16 + 60


def test_link_writes_what_passes_both_ways(tmp_path):
    path = tmp_path / "x.pcapng"
    clock = VirtualClock(5_000)
    a, b = MemoryLink.pair()
    link = CaptureLink(a, Capture(path, clock=clock, comment=lambda way, frame: f"{way} {len(frame)}"))
    iface = link.iface = Interface("eth0", link.mac)
    assert a.iface is iface
    b.write([Frame(b"in" * 30)])
    (got,) = link.read()
    assert got.iface is iface
    clock.advance_to(6_000)
    link.write([Frame(b"out" * 20)])
    assert link.read() == []
    link.close()
    assert a.peer is None
    first, second = read_capture(path)
    assert (first.data, first.at, first.direction, first.comment) == (b"in" * 30, 5_000, INBOUND, "rx 60")
    assert (second.data, second.at, second.direction, second.comment) == (b"out" * 20, 6_000, OUTBOUND, "tx 60")


def test_link_leaves_an_open_checksum_open_and_writes_it_finished(tmp_path):
    path = tmp_path / "x.pcap"
    a, b = MemoryLink.pair(offload=True)
    link = CaptureLink(a, path)
    frame = open_frame(bytes(4000), 1448)
    link.write([frame])
    (passed,) = b.read()
    assert (passed.csum, passed.gso_size, passed.data) == (CSUM_PARTIAL, 1448, frame.data)
    (written,) = read_capture(path)
    assert written.data == bytes(packet(bytes(4000)))
    link.close()


def test_links_may_share_a_capture(tmp_path):
    path = tmp_path / "x.pcapng"
    with Capture(path, clock=lambda: AT) as capture:
        for number in range(2):
            a, _ = MemoryLink.pair((f"tap{number}", "far"))
            link = CaptureLink(a, capture, shared=True)
            link.write([Frame(bytes(60))])
            link.close()
    assert [p.interface for p in read_capture(path)] == ["tap0", "tap1"]


def test_tap_of_a_stack_names_the_interface(tmp_path):
    path = tmp_path / "x.pcapng"
    with Capture(path, clock=lambda: AT) as capture:
        frame = frame_of(packet())
        capture.tap("rx", frame)
        frame.iface = Interface("lo", bytes(6))
        capture.tap("tx", frame)
    assert [(p.interface, p.direction) for p in read_capture(path)] == [("?", INBOUND), ("lo", OUTBOUND)]
