"""What a TAP costs, bare: `TapLink.read` and `write`, and a TCP with nothing behind it, beside the kernel.

    .venv/bin/python -m benchmarks.link [read|write|bulk|echo ...]        (as root)

It is the ceiling of every stack on such a link: run it before and after touching `scapystack.link.tap`
or `scapystack.runtime.driver`. All traffic stays in a namespace that is removed afterwards.

- read, write: microseconds a frame, in batches of four, the kernel's queue filled beforehand;
- bulk: one TCP connection, in and out, acknowledged and sent by the simplest code that works;
- echo: one datagram of one octet, back and forth, all on one processor: epoll, read, write.
"""

from __future__ import annotations

import os
import select
import socket
import statistics
import struct
import sys
import time
from collections.abc import Callable

from scapystack.base.addr import ip
from scapystack.base.frames import CSUM_PARTIAL, Frame
from scapystack.base.types import Buffer
from scapystack.link import netns
from scapystack.link.netlink import Netlink
from scapystack.link.tap import TapLink
from scapystack.link.vnet import pack_vnet

US, THEM = ip("10.0.0.1"), ip("10.0.0.2")
SOL_PACKET, PACKET_VNET_HDR = 263, 15
SECONDS = 2.0
ROUNDS = 9
MSS = 1448
SUPER = MSS * 44
WINDOW = 48 << 14
"""Less than the TAP's queue holds in frames of one MTU: nothing here repairs a loss."""
_TCP = struct.Struct("!HHIIBBHHH")


class Rig:
    """A TAP up in a namespace of its own; a context manager."""

    def __init__(self, offload: bool) -> None:
        self.name = f"ssbench-{os.getpid()}"
        netns.create(self.name)
        self.net = Netlink(self.name)
        self.tap = TapLink("tap0", netns=self.name, offload=offload)
        self.net.set_up("tap0")
        self.net.add_address("tap0", "10.0.0.2/24")

    def __enter__(self) -> Rig:
        return self

    def __exit__(self, *error: object) -> None:
        self.tap.close()
        netns.remove(self.name)

    def child(self, work: Callable[[], None]) -> int:
        """Run `work` in a process inside the namespace; its id."""

        def fork() -> int:
            pid = os.fork()
            if pid == 0:  # the child has this thread only, and it is where it should be
                try:
                    work()
                finally:
                    os._exit(0)
            return pid

        return netns.in_namespace(self.name, fork)


# --- single frames


def frame_of(size: int, gso_size: int) -> Frame:
    """A TCP segment of `size` payload octets to nobody in particular."""
    header = ip_header(20 + size) + _TCP.pack(9, 9, 0, 0, 5 << 4, 16, 1000, 0, 0)
    ether = b"\x02\xaa\0\0\0\1\x02\xaa\0\0\0\2\x08\0"
    return Frame(ether + header, (bytes(size),) if size else (), None, CSUM_PARTIAL, 34, 16, gso_size)


def ip_header(length: int, src: bytes = US, dst: bytes = THEM) -> bytes:
    """An IPv4 header with its checksum."""
    head = struct.pack("!BBHHHBB", 0x45, 0, 20 + length, 0, 0x4000, 64, 6)
    total = int.from_bytes(head + b"\0\0" + src + dst, "big") % 0xFFFF
    return head + (0xFFFF - total).to_bytes(2, "big") + src + dst


def answer_arp(tap: TapLink, head: bytes) -> None:
    """Say that 10.0.0.1 is us, if that is the question."""
    if head[12:14] == b"\x08\x06" and head[21] == 1:
        tap.write([Frame(head[6:12] + tap.mac + head[12:20] + b"\0\2" + tap.mac + head[38:42] + head[22:32])])


def best(times: list[float], count: int) -> str:
    """The best and the median of some runs, in microseconds each of `count`."""
    return f"{min(times) / count * 1e6:6.2f} us   (median {statistics.median(times) / count * 1e6:6.2f})"


def bench_read() -> None:
    """Only the reads are timed; a packet socket fills the queue before."""
    for offload in (True, False):
        with Rig(offload) as rig:
            rig.tap.iface = None
            source = netns.in_namespace(rig.name, lambda: socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 0))
            source.bind(("tap0", 0))
            source.setsockopt(SOL_PACKET, PACKET_VNET_HDR, 1)
            for size, gso in ((0, 0), (MSS, 0), (SUPER, MSS)):
                if gso and not offload:
                    continue
                frame = frame_of(size, gso)
                octets = pack_vnet(1, 1 if gso else 0, 54, gso, 34, 16) + frame.data
                while rig.tap.read():
                    pass
                times = []
                for _ in range(ROUNDS * 20):
                    for _ in range(4):
                        source.send(octets)
                    start = time.perf_counter()
                    frames = rig.tap.read(4)
                    times.append(time.perf_counter() - start)
                    assert len(frames) == 4
                print(f"read   offload {offload!s:5}  {size + 54:6} octets  {best(times, 4)}")
            source.close()


def bench_write() -> None:
    """The kernel drops what arrives for nobody, so that the writes are nearly all there is."""
    for offload in (True, False):
        with Rig(offload) as rig:
            for size, gso in ((0, 0), (MSS, 0), (SUPER, MSS)):
                batch = [frame_of(size, gso)] * 4
                times = []
                for _ in range(ROUNDS * 20):
                    start = time.perf_counter()
                    rig.tap.write(batch)
                    times.append(time.perf_counter() - start)
                assert rig.tap.tx_dropped == 0
                print(f"write  offload {offload!s:5}  {size + 54:6} octets  {best(times, 4)}")


# --- a whole connection


class BareTcp:
    """One connection of the kernel's: answers its SYN, acknowledges each batch, sends when asked to."""

    def __init__(self, tap: TapLink) -> None:
        self.tap = tap
        self.peer: bytes = b""
        self.frames = self.octets = 0
        self.expected = self.acked = self.sent = 0
        self.window = 0
        self._poll = select.poll()
        fd = tap.fileno()
        assert fd is not None
        self._poll.register(fd, select.POLLIN)

    def step(self, limit_ms: int) -> bool:
        """Wait for frames, take them, acknowledge; False if none came or the peer is done."""
        if not self._poll.poll(limit_ms):
            return False
        before = self.octets
        for frame in self.tap.read():
            if not self._take(frame):
                return False
        if self.octets != before:
            self._put(0x10)
        return True

    def _take(self, frame: Frame) -> bool:
        head = bytes(frame.head[:66])
        answer_arp(self.tap, head)
        if head[12:14] != b"\x08\0" or head[23] != 6:
            return True
        seq, ack = struct.unpack_from("!II", head, 38)
        flags = head[47]
        if flags & 2:
            self.peer = head
            self.expected = seq + 1 & 0xFFFFFFFF
            self.acked = self.sent = 1
            self._put(0x12, options=b"\x02\x04\x05\xb4\x01\x03\x03\x0e")
            return True
        self.acked = ack
        self.window = int.from_bytes(head[48:50], "big") << 10
        text = int.from_bytes(head[16:18], "big") - 20 - (head[46] >> 4) * 4
        if text and seq == self.expected:
            self.expected = seq + text & 0xFFFFFFFF
            self.octets += text
            self.frames += 1
        return not flags & 5

    def _put(self, flags: int, text: Buffer = b"", options: bytes = b"") -> None:
        peer = self.peer
        seq = self.sent - (flags >> 1 & 1)
        length = 20 + len(options)
        pseudo = int.from_bytes(US + THEM, "big") + 6 + length + len(text)
        tcp = _TCP.pack(
            9, int.from_bytes(peer[34:36], "big"), seq, self.expected, length << 2, flags,
            65_535 if options else WINDOW >> 14, pseudo % 0xFFFF, 0,
        )  # fmt: skip
        head = peer[6:12] + self.tap.mac + b"\x08\0" + ip_header(length + len(text)) + tcp + options
        gso = MSS if len(text) > MSS else 0
        self.tap.write([Frame(head, (text,) if text else (), None, CSUM_PARTIAL, 34, 16, gso)])

    def send_for(self, seconds: float) -> float:
        """Send as the window allows; the seconds it took until all was acknowledged."""
        block = memoryview(bytes(SUPER))
        start = time.perf_counter()
        while (now := time.perf_counter() - start) < seconds or self.acked != self.sent:
            while now < seconds and (self.sent - self.acked & 0xFFFFFFFF) + SUPER <= min(self.window, 1 << 22):
                self._put(0x18, block)
                self.sent = self.sent + SUPER & 0xFFFFFFFF
                self.octets += SUPER
                self.frames += 1
            if not self.step(1000):
                break
        return time.perf_counter() - start


def kernel_socket() -> socket.socket:
    """A connection to the bare TCP, in a child inside the namespace."""
    sock = socket.socket()
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_CONGESTION, b"cubic")
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    sock.connect(("10.0.0.1", 9))
    return sock


def kernel_sends() -> None:
    """Send for a while."""
    sock = kernel_socket()
    block = bytes(1 << 20)
    end = time.monotonic() + SECONDS
    while time.monotonic() < end:
        sock.sendall(block)
    sock.close()


def kernel_receives() -> None:
    """Read and forget."""
    sock = kernel_socket()
    room = bytearray(1 << 20)
    while sock.recv_into(room):
        pass


def bench_bulk() -> None:
    """In: the kernel sends. Out: it receives."""
    for offload in (True, False):
        for way, work in (("in", kernel_sends), ("out", kernel_receives)):
            rates = []
            for _ in range(3):
                with Rig(offload) as rig:
                    tcp = BareTcp(rig.tap)
                    child = rig.child(work)
                    while not tcp.window:
                        assert tcp.step(5000)
                    start = time.perf_counter()
                    if way == "in":
                        while tcp.step(1000):
                            pass
                        took = time.perf_counter() - start
                    else:
                        took = tcp.send_for(SECONDS)
                        tcp._put(0x14)  # a reset ends the child
                    os.waitpid(child, 0)
                    rates.append((tcp.octets / took / 1e6, tcp.frames / took))
            rate, frames = sorted(rates)[1]
            print(f"bulk   offload {offload!s:5}  {way:4} {rate:8.0f} MB/s {frames:9.0f} frames/s")


# --- there and back


def bench_echo() -> None:
    """The latency of loop and link alone: addresses swapped in place, nothing else looked at."""
    for offload in (True, False):
        with Rig(offload) as rig:
            os.sched_setaffinity(0, {0})
            child = rig.child(ping_pong)
            epoll = select.epoll()
            fd = rig.tap.fileno()
            assert fd is not None
            epoll.register(fd, select.EPOLLIN)
            while epoll.poll(1):
                for frame in rig.tap.read(1):
                    octets = frame.data
                    answer_arp(rig.tap, octets)
                    if octets[23] == 17:
                        rig.tap.write([Frame(swapped(octets))])
            os.waitpid(child, 0)


def swapped(o: bytes) -> bytes:
    """A UDP datagram sent back, without a checksum."""
    link_and_ip = o[6:12] + o[:6] + o[12:26] + o[30:34] + o[26:30]
    return link_and_ip + o[36:38] + o[34:36] + o[38:40] + b"\0\0" + o[42:]


def ping_pong() -> None:
    """In a child: time exchanges of one datagram."""
    os.sched_setaffinity(0, {0})
    sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    sock.settimeout(1)
    sock.connect(("10.0.0.1", 7))
    count = 0
    start = time.perf_counter()
    while time.perf_counter() - start < SECONDS:
        sock.send(b"x")
        sock.recv(10)
        count += 1
    print(f"echo   {count / SECONDS:8.0f} exchanges/s ({SECONDS / count * 1e6:.1f} us)", flush=True)


BENCHES = {"read": bench_read, "write": bench_write, "bulk": bench_bulk, "echo": bench_echo}


def main() -> None:
    """Run those that are named, or all."""
    for name in sys.argv[1:] or BENCHES:
        BENCHES[name]()


if __name__ == "__main__":
    main()
