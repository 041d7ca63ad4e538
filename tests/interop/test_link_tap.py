"""The TAP link against the kernel: making and attaching, offload both ways, an interface that goes away."""

import contextlib
import errno
import json
import os
import select
import socket
import struct
import threading
import time

import pytest

from scapystack.base.errors import LinkError
from scapystack.base.frames import CSUM_NONE, CSUM_PARTIAL, Frame
from scapystack.base.offload import finished, split
from scapystack.codec import frame_of
from scapystack.link import netns as namespaces
from scapystack.link.tap import TapLink
from tests.interop.netns import KERNEL, STACK, needs


def read_until(link, predicate, seconds=5.0):
    """The first frame that fits, and all before it thrown away."""
    end = time.monotonic() + seconds
    while (left := end - time.monotonic()) > 0:
        select.select([link.fileno()], [], [], left)
        for frame in link.read():
            if predicate(frame):
                return frame
    pytest.fail("the frame that was waited for did not come")


def up(ns, name="tap0"):
    ns.net.set_up(name)
    ns.net.add_address(name, f"{KERNEL}/24")
    # the kernel need not ask who we are
    ns.run("ip", "neigh", "add", STACK, "lladdr", "02:00:00:00:00:01", "dev", name)


@pytest.fixture(params=[True, False], ids=["offload", "no-offload"])
def tap(request, netns):
    link = TapLink("tap0", netns=netns.name, offload=request.param, mac="02:00:00:00:00:01")
    up(netns)
    yield link
    link.close()


def test_open_new_name_makes_an_interface_that_vanishes_with_the_link(netns):
    link = TapLink("tap0", netns=netns.name)
    found = netns.net.interface("tap0")
    assert (link.name, link.created, link.mtu, link.kernel_mac) == ("tap0", True, 1500, found.mac)
    assert not found.up
    link.close()
    link.close()
    assert netns.net.find("tap0") is None
    assert link.fileno() is None


def test_open_no_name_takes_one_from_the_kernel(netns):
    first, second = TapLink(netns=netns.name), TapLink(netns=netns.name)
    names = {each.name for each in netns.net.interfaces()} - {"lo"}
    assert {first.name, second.name} == names
    first.close()
    second.close()


def test_open_mac_is_not_the_kernels(netns):
    link = TapLink("tap0", netns=netns.name)
    ours = link.mac
    link.close()
    assert ours[0] & 3 == 2
    netns.run("ip", "tuntap", "add", "dev", "tap0", "mode", "tap")
    netns.net.set_mac("tap0", ours)
    link = TapLink("tap0", netns=netns.name)
    assert link.kernel_mac == ours
    assert link.mac != ours
    link.close()


def test_open_default_mac_is_a_namespaces_own_and_follows_from_a_seed(netns, another_netns):
    links = [TapLink("tap0", netns=ns.name) for ns in (netns, another_netns)]
    first, second = (link.mac for link in links)
    assert first != second
    for link in links:
        link.close()
    with contextlib.closing(TapLink("tap0", netns=netns.name)) as link:
        assert link.mac == first  # neighbours may still know it
    seeded = []
    for ns in (netns, another_netns):
        with contextlib.closing(TapLink("tap0", netns=ns.name, seed=b"same")) as link:
            seeded.append(link.mac)
    assert seeded[0] == seeded[1]


def test_open_mtu_is_set_on_a_new_interface(netns):
    link = TapLink("tap0", netns=netns.name, mtu=1400)
    assert link.mtu == 1400
    assert netns.net.interface("tap0").mtu == 1400
    link.close()


@needs("ip")
def test_open_new_interface_holds_ten_times_as_many_frames_and_one_that_was_there_keeps_its_length(netns):
    netns.run("ip", "tuntap", "add", "dev", "old0", "mode", "tap")
    new, old = TapLink("new0", netns=netns.name), TapLink("old0", netns=netns.name)
    shown = {each["ifname"]: each["txqlen"] for each in json.loads(netns.run("ip", "-j", "link", "show"))}
    assert (shown["new0"], shown["old0"]) == (10_000, 1_000)
    new.close()
    old.close()


@pytest.mark.parametrize("options", [[], ["vnet_hdr"], ["multi_queue"], ["vnet_hdr", "multi_queue"]], ids=str)
@pytest.mark.parametrize("offload", [True, False], ids=["offload", "no-offload"])
@needs("ip")
def test_attach_persistent_interface_is_left_as_it_is(netns, options, offload):
    netns.run("ip", "tuntap", "add", "dev", "tap0", "mode", "tap", *options)
    netns.net.set_mtu("tap0", 1300)
    netns.net.set_up("tap0")
    netns.net.add_address("tap0", "10.0.0.2/24")
    before = netns.net.interface("tap0"), netns.net.addresses("tap0")
    link = TapLink("tap0", netns=netns.name, offload=offload)
    assert (link.created, link.mtu) == (False, 1300)
    assert bool(link.offload) == offload
    link.close()
    assert (netns.net.interface("tap0"), netns.net.addresses("tap0")) == before


@needs("ip", "ethtool")
def test_attach_persistent_interface_gets_its_plain_self_back(netns):
    netns.run("ip", "tuntap", "add", "dev", "tap0", "mode", "tap")

    def tso():
        return b"tcp-segmentation-offload: on" in netns.run("ethtool", "-k", "tap0")

    link = TapLink("tap0", netns=netns.name)
    assert tso()
    link.close()
    assert not tso()
    # one that ended without a word leaves it on: whoever comes without offload must not get super-segments
    link = TapLink("tap0", netns=netns.name)
    os.close(link._fd)
    assert tso()
    plain = TapLink("tap0", netns=netns.name, offload=False)
    assert not tso()
    plain.close()


@needs("ip")
def test_open_what_cannot_be_is_one_line(netns):
    netns.run("ip", "tuntap", "add", "dev", "tun0", "mode", "tun")
    held = TapLink("tap0", netns=netns.name)
    for name, words in (("lo", "no TAP"), ("tun0", "no TAP"), ("tap0", "in use"), ("x" * 16, "15 letters")):
        with pytest.raises(LinkError, match=words) as caught:
            TapLink(name, netns=netns.name)
        assert "\n" not in str(caught.value)
    held.close()
    with pytest.raises(LinkError, match="no network namespace"):
        TapLink("tap0", netns="sstest-none")
    with pytest.raises(LinkError, match="MTU of 99999999"):
        TapLink("tap1", netns=netns.name, mtu=99999999)
    assert netns.net.find("tap1") is None


def test_read_datagram_from_the_kernel(tap, netns):
    with netns.socket(socket.SOCK_DGRAM) as sock:
        sock.sendto(b"hello" * 20, (STACK, 9))
    frame = read_until(tap, lambda f: f.data[12:14] == b"\x08\x00" and f.data[23] == 17)
    assert frame.csum == (CSUM_PARTIAL if tap.offload else CSUM_NONE)
    assert frame.packet["UDP"].payload.load == b"hello" * 20
    # an open checksum that is finished here is the one the kernel would have sent
    rebuilt = frame.packet.copy()
    del rebuilt["UDP"].chksum
    assert bytes(rebuilt) == finished(frame)


def test_read_limit_leaves_the_rest_for_later(tap, netns):
    with netns.socket(socket.SOCK_DGRAM) as sock:
        for number in range(5):
            sock.sendto(bytes([number]) * 10, (STACK, 9))
    seen = []
    while frames := tap.read(2):
        assert len(frames) <= 2
        seen += [f.packet["UDP"].payload.load[0] for f in frames if f.packet.haslayer("UDP")]
    assert seen == [0, 1, 2, 3, 4]
    assert tap.read() == []


def test_write_datagram_with_an_open_checksum_arrives(tap, netns):
    from scapy.layers.inet import IP, UDP  # noqa: PLC0415
    from scapy.layers.l2 import Ether  # noqa: PLC0415

    with netns.socket(socket.SOCK_DGRAM) as sock:
        sock.bind((KERNEL, 7000))
        whole = (
            Ether(dst=tap.kernel_mac, src=tap.mac) / IP(src=STACK, dst=KERNEL) / UDP(sport=9, dport=7000) / (b"x" * 99)
        )
        octets = bytearray(bytes(whole))
        pseudo = octets[26:34] + bytes([0, 17]) + (8 + 99).to_bytes(2, "big")
        octets[40:42] = (int.from_bytes(pseudo, "big") % 0xFFFF).to_bytes(2, "big")
        for head, payload in ((bytes(octets), ()), (bytes(octets[:42]), (bytes(octets[42:]),))):
            tap.write([Frame(head, payload, None, CSUM_PARTIAL, 34, 6)])
            assert sock.recv(200) == b"x" * 99
        # in more pieces than one system call takes
        tap.write([Frame(bytes(octets[:42]), [b"x"] * 99, None, CSUM_PARTIAL, 34, 6)])
        assert sock.recv(200) == b"x" * 99
        assert tap.tx_dropped == 0


class TinyTcp:
    """As much TCP as it takes to talk to the kernel over a bare link: in order, no loss, one connection."""

    def __init__(self, link, port=80):
        self.link = link
        self.port = port
        self.received = bytearray()
        self.sizes = []
        self.peer = None
        self.seq, self.expected, self.acked = 1000, 0, 1001

    def serve(self, until, seconds=10.0):
        end = time.monotonic() + seconds
        while not until():
            assert time.monotonic() < end, "TCP over the bare link came to no end"
            select.select([self.link.fileno()], [], [], 0.5)
            for frame in self.link.read():
                self.take(frame)

    def take(self, frame):
        data = frame.data
        if data[12:14] != b"\x08\x00" or data[23] != 6 or data[36:38] != self.port.to_bytes(2, "big"):
            return
        total = 14 + int.from_bytes(data[16:18], "big")
        seq, ack = struct.unpack_from("!II", data, 38)
        flags, header = data[47], (data[46] >> 4) * 4
        self.acked = max(self.acked, ack)
        if flags & 2:
            self.peer = data
            self.expected = seq + 1
            self.send(0x12, options=b"\x02\x04\x05\xb4\x01\x03\x03\x07", syn=True)
            return
        text = data[34 + header : total]
        if text and seq == self.expected:
            self.received += text
            self.sizes.append(len(text))
            self.expected += len(text)
        if text or flags & 1:
            self.send(0x10)

    def send(self, flags, text=b"", options=b"", syn=False, gso_size=0):
        peer = self.peer
        words = struct.pack(
            "!HHIIBBHHH", self.port, int.from_bytes(peer[34:36], "big"), self.seq + (not syn), self.expected,
            (20 + len(options)) << 2, flags, 60_000, 0, 0,
        ) + options  # fmt: skip
        packet = frame_of_ip(peer[30:34], peer[26:30], words, len(text))
        head = bytearray(peer[6:12] + self.link.mac + b"\x08\x00" + packet)
        pseudo = peer[30:34] + peer[26:30] + bytes([0, 6]) + (len(words) + len(text)).to_bytes(2, "big")
        head[50:52] = (int.from_bytes(pseudo, "big") % 0xFFFF).to_bytes(2, "big")
        self.link.write([Frame(bytes(head), (text,) if text else (), None, CSUM_PARTIAL, 34, 16, gso_size)])
        self.seq += len(text)


def frame_of_ip(src, dst, tcp, text_len):
    from scapy.layers.inet import IP  # noqa: PLC0415

    header = bytes(IP(src=socket.inet_ntoa(src), dst=socket.inet_ntoa(dst), proto=6, len=20 + len(tcp) + text_len))
    return header + tcp


@pytest.fixture
def tiny(tap, netns):
    """A connection of the kernel's to `TinyTcp`."""
    server = TinyTcp(tap)
    client = netns.socket()
    client.setblocking(False)
    assert client.connect_ex((STACK, server.port)) == errno.EINPROGRESS
    server.serve(lambda: server.peer is not None)
    client.settimeout(5)
    yield server, client
    client.close()


def test_read_bulk_from_the_kernel_comes_in_super_segments(tiny, tap):
    server, client = tiny
    text = bytes(range(256)) * 4096
    client.setblocking(False)
    sent = 0
    while sent < len(text):
        try:
            sent += client.send(text[sent:])
        except BlockingIOError:
            want = len(server.received) + 1
            server.serve(lambda want=want: len(server.received) >= want)
    server.serve(lambda: len(server.received) >= len(text))
    assert bytes(server.received) == text
    if tap.offload:
        assert max(server.sizes) > 10_000
    else:
        assert max(server.sizes) == 1460


def test_write_super_segment_reaches_the_kernels_socket_whole(tiny, tap):
    server, client = tiny
    text = bytes(range(251)) * 240
    assert len(text) > 60_000
    server.send(0x18, text, gso_size=1460)
    server.send(0x18, b"tail")
    got = bytearray()
    while len(got) < len(text) + 4:
        got += client.recv(100_000)
    assert bytes(got) == text + b"tail"
    server.serve(lambda: server.acked == 1001 + len(text) + 4)
    assert tap.tx_dropped == 0


def test_write_super_segment_with_a_finished_checksum_is_cut_first(tiny, tap):
    server, _ = tiny
    written = []
    write, tap.write = tap.write, written.extend
    server.send(0x18, bytes(5_000), gso_size=1460)
    tap.write = write
    frame = written[0]
    done = Frame(finished(frame), (), None, CSUM_NONE, frame.csum_start, frame.csum_offset, frame.gso_size)
    assert len(split(done)) == 4
    tap.write([done])
    server.serve(lambda: server.acked == 1001 + 5_000)


def test_write_interface_down_counts_and_goes_on(tap, netns):
    netns.net.set_up("tap0", False)
    tap.write([Frame(bytes(60))] * 3)
    assert tap.tx_dropped == 3
    assert tap.broken == ""
    netns.net.set_up("tap0")
    tap.write([Frame(bytes(60))])
    assert tap.tx_dropped == 3


def test_write_nonsense_counts_and_goes_on(tap):
    tap.write([Frame(b""), Frame(b"short")])
    assert tap.tx_dropped == 2
    if tap.offload:  # the kernel looks at where the checksum is said to be
        tap.write([Frame(bytes(60), (), None, CSUM_PARTIAL, 50_000, 16)])
        assert tap.tx_dropped == 3
    assert tap.broken == ""


def test_interface_deleted_breaks_the_link_and_nothing_else(tap, netns):
    netns.net.delete("tap0")
    assert tap.read() == []
    tap.write([Frame(bytes(60))])
    assert "gone" in tap.broken
    assert tap.tx_dropped == 1


def test_frames_of_scapy_go_out(tap, netns):
    from scapy.layers.l2 import ARP, Ether  # noqa: PLC0415

    ask = Ether(dst="ff:ff:ff:ff:ff:ff", src=tap.mac.hex(":")) / ARP(hwsrc=tap.mac.hex(":"), psrc=STACK, pdst=KERNEL)
    tap.write([frame_of(ask)])
    answer = read_until(tap, lambda f: f.data[12:14] == b"\x08\x06" and f.data[21] == 2)
    assert answer.packet["ARP"].psrc == KERNEL


def test_in_namespace_errors_pass_and_the_caller_stays_where_it_is(netns):
    here = os.readlink("/proc/self/task/%d/ns/net" % os.getpid())
    inside = namespaces.in_namespace(netns.name, lambda: os.readlink("/proc/thread-self/ns/net"))
    assert inside != here
    with pytest.raises(ZeroDivisionError):
        namespaces.in_namespace(netns.name, lambda: 1 // 0)
    assert os.readlink("/proc/thread-self/ns/net") == here


def test_in_namespace_where_no_thread_can_start_comes_back(netns, monkeypatch):
    def refuse(thread):
        raise RuntimeError("can't create new thread at interpreter shutdown")

    here = os.readlink("/proc/thread-self/ns/net")
    monkeypatch.setattr(threading.Thread, "start", refuse)
    inside = namespaces.in_namespace(netns.name, lambda: os.readlink("/proc/thread-self/ns/net"))
    assert inside != here
    assert namespaces.in_namespace(None, lambda: os.readlink("/proc/thread-self/ns/net")) == here
    with pytest.raises(ZeroDivisionError):
        namespaces.in_namespace(netns.name, lambda: 1 // 0)
    assert os.readlink("/proc/thread-self/ns/net") == here
