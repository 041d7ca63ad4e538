"""The TAP link over a socket pair: headers decoded and encoded, batches, what a full or dead device does."""

import errno
import os
import socket
import struct
from types import SimpleNamespace

import pytest
from scapy.layers.inet import IP, TCP
from scapy.layers.l2 import Ether

from scapystack.base.frames import CSUM_NONE, CSUM_PARTIAL, CSUM_VALID, Frame
from scapystack.base.iface import Interface
from scapystack.base.offload import split
from scapystack.link import tap
from scapystack.link.tap import TapLink, default_mac
from scapystack.link.tundev import TunDevice
from scapystack.link.vnet import vnet_header

MAC = b"\2\0\0\0\0\1"
HEADER = struct.Struct("=BBHHHH")


@pytest.fixture
def kernel():
    """The far end of the descriptor, where the kernel would be."""
    ours, far = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    ours.setblocking(False)
    far.setblocking(False)
    pair = Pair(ours, far)
    yield pair
    far.close()
    pair.close()


class Pair:
    def __init__(self, ours, far):
        self._ours = ours
        self.far = far
        self._links = []

    def link(self, vnet=True):
        device = TunDevice(self._ours.detach(), "tap0", vnet, 7 if vnet else 0)
        link = TapLink.over(device, MAC)
        link.iface = Interface("tap0", MAC)
        self._links.append(link)
        return link

    def close(self):
        for link in self._links:
            link.close()

    def put(self, octets, header=(0, 0, 0, 0, 0, 0)):
        self.far.send((HEADER.pack(*header) if header is not None else b"") + octets)

    def take(self):
        octets = self.far.recv(100_000)
        return HEADER.unpack_from(octets), octets[HEADER.size :]


def tcp_head(flags=0x10, version=4, options=b""):
    ip = bytes([version << 4 | 5]) + bytes(19 if version == 4 else 39)
    tcp = bytes(12) + bytes([(20 + len(options)) << 2, flags]) + bytes(6) + options
    return bytes(14) + ip + tcp


# --- in


@pytest.mark.parametrize(
    ("header", "csum", "numbers"),
    [
        ((0, 0, 0, 0, 0, 0), CSUM_NONE, (0, 0, 0)),
        ((2, 0, 0, 0, 0, 0), CSUM_VALID, (0, 0, 0)),
        ((1, 0, 0, 0, 34, 6), CSUM_PARTIAL, (34, 6, 0)),
        ((1, 1, 66, 1448, 34, 16), CSUM_PARTIAL, (34, 16, 1448)),
        ((1, 0x81, 66, 1448, 34, 16), CSUM_PARTIAL, (34, 16, 1448)),
    ],
)
def test_read_header_says_what_is_open(kernel, header, csum, numbers):
    link = kernel.link()
    kernel.put(b"frame" * 20, header)
    (frame,) = link.read()
    assert frame.data == b"frame" * 20
    assert frame.iface is link.iface
    assert frame.csum == csum
    assert (frame.csum_start, frame.csum_offset, frame.gso_size) == numbers


@pytest.mark.parametrize("size", [0, 1, 60, 1514, 4085, 4086, 4087, 65_549])
def test_read_frame_of_any_size_is_whole(kernel, size):
    link = kernel.link()
    octets = os.urandom(size)
    kernel.put(octets)
    (frame,) = link.read()
    assert frame.data == octets
    assert len(frame) == size


def test_read_without_headers_takes_frames_as_they_are(kernel):
    link = kernel.link(vnet=False)
    kernel.put(b"plain" * 20, None)
    (frame,) = link.read()
    assert (frame.data, frame.csum, frame.gso_size) == (b"plain" * 20, CSUM_NONE, 0)
    assert link.read() == []


@pytest.mark.parametrize("vnet", [True, False])
def test_read_stops_at_the_limit_and_goes_on_there(kernel, vnet):
    link = kernel.link(vnet)
    for number in range(5):
        kernel.put(bytes([number]), (0,) * 6 if vnet else None)
    assert [f.data[0] for f in link.read(3)] == [0, 1, 2]
    assert [f.data[0] for f in link.read(3)] == [3, 4]
    assert link.read(3) == []


@pytest.mark.parametrize("vnet", [True, False])
def test_read_large_frames_come_in_batches_that_fit_the_cache(kernel, vnet, monkeypatch):
    monkeypatch.setattr(tap, "BATCH_OCTETS", 40_000)
    link = kernel.link(vnet)
    for _ in range(6):
        kernel.put(bytes(16_000), (0,) * 6 if vnet else None)
    assert [len(link.read(64)) for _ in range(3)] == [3, 3, 0]


def test_read_less_than_a_header_is_counted(kernel):
    link = kernel.link()
    kernel.far.send(b"tiny")
    assert link.read() == []
    assert link.rx_dropped == 1
    assert link.broken == ""


def test_read_of_one_frame_is_not_spoilt_by_the_next(kernel):
    link = kernel.link()
    kernel.put(b"a" * 5000)
    (kept,) = link.read()
    kernel.put(b"b" * 5000)
    link.read()
    assert kept.data == b"a" * 5000


# --- out


def test_write_nothing_open_has_a_plain_header(kernel):
    link = kernel.link()
    link.write(
        [Frame(b"head" * 5, (b"pay", memoryview(b"load"))), Frame(bytearray(b"alone")), Frame(memoryview(b"view"))]
    )
    assert kernel.take() == ((0,) * 6, b"head" * 5 + b"payload")
    assert kernel.take() == ((0,) * 6, b"alone")
    assert kernel.take() == ((0,) * 6, b"view")


def test_write_valid_checksum_needs_nothing(kernel):
    link = kernel.link()
    link.write([Frame(b"x" * 20, (), None, CSUM_VALID)])
    assert kernel.take()[0] == (0,) * 6


def test_write_open_checksum_is_passed_on(kernel):
    link = kernel.link()
    link.write([Frame(tcp_head(), (b"text",), None, CSUM_PARTIAL, 34, 16)])
    assert kernel.take() == ((1, 0, 0, 0, 34, 16), tcp_head() + b"text")


@pytest.mark.parametrize(
    ("head", "l4", "kind"),
    [
        (tcp_head(), 34, 1),
        (tcp_head(flags=0x90), 34, 0x81),
        (tcp_head(options=bytes(12)), 34, 1),
        (tcp_head(version=6), 54, 4),
        (tcp_head(flags=0x80, version=6), 54, 0x84),
    ],
)
def test_write_super_segment_is_passed_on_whole(kernel, head, l4, kind):
    link = kernel.link()
    frame = Frame(head, (bytes(5000), bytes(5000)), None, CSUM_PARTIAL, l4, 16, 1448)
    link.write([frame])
    assert kernel.take() == ((1, kind, len(head), 1448, l4, 16), head + bytes(10_000))


def test_header_of_a_super_segment_in_one_piece_ends_where_the_text_starts():
    head = tcp_head(options=bytes(12))
    frame = Frame(head + bytes(5000), (), None, CSUM_PARTIAL, 34, 16, 1448)
    assert HEADER.unpack(vnet_header(frame))[2] == len(head)


def test_write_pieces_without_number_are_one_frame(kernel):
    link = kernel.link()
    link.write([Frame(b"head" * 5, [b"%d" % (n % 10) for n in range(3000)])])
    assert kernel.take()[1] == b"head" * 5 + b"0123456789" * 300


def super_segment(seq, text, **fields):
    tcp = {
        "seq": seq,
        "ack": 5,
        "flags": "A",
        "options": [("NOP", None), ("NOP", None), ("Timestamp", (7, 9))],
        **fields,
    }
    return bytes(Ether() / IP(src="10.0.0.2", dst="10.0.0.1") / TCP(**tcp) / text)


TEXTS = [bytes([letter]) * size for letter, size in ((1, 29_000), (2, 9_000), (3, 31_000), (4, 900))]
OPEN = (1, 1, 66, 1448, 34, 16)


def given_super_segments(kernel, header=OPEN, **fields):
    link = kernel.link()
    kernel.put(bytes(8_000), header)  # large: what comes now is read as such
    link.read()
    at = 2**32 - 40_000
    octets = []
    for text in TEXTS:
        octets.append(super_segment(at, text, **(fields if text is TEXTS[2] else {})))
        kernel.put(octets[-1], header)
        at = (at + len(text)) % 2**32
    return link, octets


def test_read_super_segments_that_go_on_are_one_frame_with_join(kernel):
    link, octets = given_super_segments(kernel)
    (frame,) = link.read(join=True)
    assert frame.data == octets[0]
    assert (frame.csum, frame.gso_size) == (CSUM_PARTIAL, 1448)
    assert list(map(bytes, frame.more)) == TEXTS[1:]
    assert link.found == 4
    # those that stand behind the first are counted here, the first when it is taken
    assert (link.iface.rx_frames, link.iface.rx_bytes) == (3, sum(map(len, octets[1:])))


def test_read_super_segments_stay_apart_without_join(kernel):
    link, octets = given_super_segments(kernel)
    assert [(frame.data, frame.more) for frame in link.read()] == [(each, ()) for each in octets]


@pytest.mark.parametrize(
    ("header", "fields", "runs"),
    [(OPEN, {"ack": 6}, [1, 0, 0]), (OPEN, {"flags": "FA"}, [1, 0, 0]), ((0, 0, 0, 0, 0, 0), {}, [0, 0, 0, 0])],
)
def test_read_super_segments_that_differ_or_that_nobody_verified_stay_apart(kernel, header, fields, runs):
    link, octets = given_super_segments(kernel, header, **fields)
    frames = link.read(join=True)
    assert [len(frame.more) for frame in frames] == runs
    assert b"".join(b"".join((frame.data, *frame.more)) for frame in frames) == (
        b"".join(octets) if not any(runs) else b"".join((octets[0], TEXTS[1], *octets[2:]))
    )


@pytest.mark.parametrize("pieces", [1, 3000])
def test_write_without_offload_cuts_and_finishes(kernel, pieces):
    link = kernel.link(vnet=False)
    frame = Frame(tcp_head(), [bytes(6000 // pieces)] * pieces, None, CSUM_PARTIAL, 34, 16, 1448)
    link.write([frame])
    expected = [part.data for part in split(frame)]
    assert len(expected) == 5
    assert [kernel.far.recv(9000) for _ in expected] == expected
    link.write([Frame(b"plain" * 10)])
    assert kernel.far.recv(9000) == b"plain" * 10


def test_write_super_segment_with_its_checksum_done_is_cut_for_the_kernel(kernel):
    link = kernel.link()
    frame = Frame(tcp_head(), (bytes(3000),), None, CSUM_VALID, 34, 16, 1448)
    link.write([frame])
    for part in split(frame):
        assert kernel.take() == ((0,) * 6, part.data)


def test_write_of_more_than_the_kernel_has_room_for_in_one_piece_goes_in_segments(kernel, monkeypatch):
    link = kernel.link()
    link.gso_kernel = link.iface.gso_kernel = tap.KERNEL_SEGMENT
    writev = os.writev

    def no_room(fd, parts):
        if sum(map(len, parts)) > 70_000:
            raise OSError(errno.ENOBUFS, "No buffer space available")
        return writev(fd, parts)

    monkeypatch.setattr(tap.os, "writev", no_room)
    head = IP(src="10.0.0.1", dst="10.0.0.2", flags="DF", len=0) / TCP(sport=7, dport=9, flags="PA")
    frame = Frame(bytes(Ether() / head), (bytes(100_000),), None, CSUM_PARTIAL, 34, 16, 20_000)
    link.write([frame])
    assert (link.gso_kernel, link.iface.gso_kernel, link.tx_dropped, link.broken) == (0, 0, 0, "")
    for seq in range(0, 100_000, 20_000):
        header, octets = kernel.take()
        assert header == (0,) * 6
        packet = Ether(octets)
        assert (packet[IP].len, packet[TCP].seq, packet[TCP].flags.P) == (20_040, seq, seq == 80_000)
        checked = Ether(octets)
        del checked[IP].chksum, checked[TCP].chksum
        assert bytes(checked) == octets
    link.write([Frame(bytes(60), (bytes(80_000),))])  # and what has no room now is lost, as ever
    assert link.tx_dropped == 1


@pytest.mark.parametrize(
    ("release", "takes"),
    [
        ("6.3.0", True),
        ("6.18.44-fc", True),
        ("7.0-rc1", True),
        ("6.1.0-13-amd64", False),
        ("5.15.0", False),
        ("?", False),
    ],
)
def test_gso_kernel_is_for_kernels_that_take_packets_of_any_length(monkeypatch, release, takes):
    monkeypatch.setattr(tap.os, "uname", lambda: SimpleNamespace(release=release))
    for offload, mac, expected in ((7, MAC, takes), (1, MAC, False), (0, MAC, False), (7, b"", False)):
        device = TunDevice(os.open(os.devnull, os.O_RDWR), "tap0", True, offload, mac=mac)
        link = TapLink.over(device, MAC)
        assert link.gso_kernel == (tap.KERNEL_SEGMENT if expected else 0)
        link.close()


def test_write_into_a_full_device_drops_and_counts(kernel):
    link = kernel.link()
    frames = [Frame(bytes(60_000))] * 100
    link.write(frames)
    assert 0 < link.tx_dropped < 100
    assert link.broken == ""
    arrived = 0
    while arrived + link.tx_dropped < 100:
        kernel.take()
        arrived += 1
    link.write(frames[:1])
    assert link.tx_dropped == 100 - arrived


# --- the end


def test_device_gone_breaks_the_link_quietly(kernel):
    link = kernel.link()
    readable, writable = os.pipe()
    os.dup2(writable, link.fileno())  # what may not be read answers EBADF, as a deleted TAP nearly does
    assert link.read() == []
    assert link.broken == "tap0: the interface is gone"
    os.dup2(readable, link.fileno())
    link.write([Frame(b"x" * 60)])
    assert link.tx_dropped == 1
    os.close(readable)
    os.close(writable)


def test_close_twice_is_harmless(kernel):
    link = kernel.link()
    fd = link.fileno()
    link.close()
    link.close()
    assert link.fileno() is None
    with pytest.raises(OSError, match="Bad file"):
        os.fstat(fd)


def test_mac_follows_from_name_and_seed():
    one = default_mac("tap0", 1)
    assert one == default_mac("tap0", 1)
    assert len({one, default_mac("tap1", 1), default_mac("tap0", 2), default_mac("tap0", b"seed")}) == 4
    assert one[0] & 3 == 2  # one station's, and locally administered
