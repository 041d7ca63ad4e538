"""The profile `linux` beside a real kernel: what each sends in the same place, field by field.

Both ends are captured at the stack's end of the cable. Where a value is anybody's choice (ports, sequence
numbers, time stamps, IP ids) only its form is compared.
"""

from __future__ import annotations

import socket
import struct
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from scapystack.base.frames import Frame
from scapystack.sockets.facade import Stack
from tests.interop.netns import KERNEL, STACK, Lan, Namespace, stack_on_tap
from tests.interop.peers import exactly, until

PORT = 5050
FIN, SYN, RST, PSH, ACK = 1, 2, 4, 8, 16
LIMIT_S = 10
OPTIONS = ("timestamps", "sack", "window_scaling")


@dataclass(frozen=True)
class Seen:
    """A TCP segment as it was on the cable."""

    at: float
    ours: bool
    tos: int
    fragment: int
    ttl: int
    sport: int
    dport: int
    seq: int
    ack: int
    flags: int
    window: int
    options: bytes
    length: int

    @property
    def ports(self) -> frozenset[int]:
        """Both, whichever is whose."""
        return frozenset((self.sport, self.dport))

    @property
    def kinds(self) -> list[int]:
        """The options' kinds, each NOP included."""
        at, out = 0, []
        while at < len(self.options):
            out.append(self.options[at])
            at += 1 if self.options[at] < 2 else self.options[at + 1]
        return out

    @property
    def stamp(self) -> int:
        """TSval."""
        return int.from_bytes(self.options[(at := self.options.index(b"\x08\x0a")) + 2 : at + 6], "big")

    @property
    def blocks(self) -> list[tuple[int, int]]:
        """SACK blocks."""
        if 5 not in self.kinds:
            return []
        at = self.options.index(5, 14 if 8 in self.kinds else 0)
        edges = struct.unpack_from(f"!{(self.options[at + 1] - 2) // 4}I", self.options, at + 2)
        return list(zip(edges[::2], edges[1::2], strict=True))

    def form(self) -> dict[str, object]:
        """All that has to be the same on both sides: time stamps blanked."""
        options = self.options
        if b"\x08\x0a" in options:
            at = options.index(b"\x08\x0a") + 2
            echo = options[at + 4 : at + 8]
            options = options[:at] + b"...." + (echo if echo == bytes(4) else b"....") + options[at + 8 :]
        return {
            "tos": self.tos, "DF": self.fragment, "ttl": self.ttl, "flags": self.flags, "window": self.window,
            "options": options.hex(" "), "length": self.length,
        }  # fmt: skip


class Sniffer:
    """Every TCP segment that the stack receives or sends; frames for which `lose` is true go no further.

    Connections that the test before left still send, and are told from new ones of the same ports by the SYN:
    nobody sees those between the ports of `old`, and they are not lost.
    """

    def __init__(self, stack: Stack, old: set[frozenset[int]]) -> None:
        self.seen: list[Seen] = []
        self.old = old
        self.lose: Callable[[Seen], bool] = lambda _: False
        stack.net.hooks.rx.append(lambda frame: self._see(frame, False))
        stack.net.hooks.tx.append(lambda frame: self._see(frame, True))

    def _see(self, frame: Frame, ours: bool) -> Frame | None:
        data = bytes(frame.data)
        if data[12:14] != b"\x08\0" or data[23] != 6:
            return frame
        tcp = data[14 + (data[14] & 15) * 4 : 14 + int.from_bytes(data[16:18], "big")]
        sport, dport, seq, ack, offset, flags, window = struct.unpack_from("!HHIIBBH", tcp)
        header = (offset >> 4) * 4
        fragment = int.from_bytes(data[20:22], "big")
        segment = Seen(
            time.monotonic(), ours, data[15], fragment, data[22], sport, dport, seq, ack, flags, window,
            tcp[20:header], len(tcp) - header,
        )  # fmt: skip
        if flags & SYN:
            self.old.discard(segment.ports)
        elif segment.ports in self.old:
            return frame
        self.seen.append(segment)
        return None if self.lose(segment) else frame

    def one(self, ours: bool, flags: int, after: int = 0) -> Seen:
        """The first segment of that side with exactly these flags, from the `after`-th on; waits for it."""
        until(lambda: any(s.ours == ours and s.flags == flags for s in self.seen[after:]))
        return next(s for s in self.seen[after:] if s.ours == ours and s.flags == flags)


@pytest.fixture(scope="module")
def lan() -> Iterator[Lan]:
    ns = Namespace()
    try:
        made = stack_on_tap(ns, offload=False)
        limits = (
            Path("/proc/sys/net/core/rmem_max").read_text(),
            ns.run("cat", "/proc/sys/net/ipv4/tcp_rmem").split()[2],
        )
        # Linux offers the scale of the largest buffer that a socket may come to have
        made.stack.net.config.tcp.rcvbuf = max(map(int, limits))
        yield made
        made.stack.close()
    finally:
        ns.close()


@pytest.fixture(scope="module")
def old() -> set[frozenset[int]]:
    """The ports of the connections of the tests before."""
    return set()


@pytest.fixture
def sniffer(lan: Lan, old: set[frozenset[int]]) -> Iterator[Sniffer]:
    made = Sniffer(lan.stack, old)
    yield made
    lan.stack.net.hooks.rx.clear()
    lan.stack.net.hooks.tx.clear()
    old.update(segment.ports for segment in made.seen)


@dataclass
class Pair:
    """The same connection twice: one that the kernel accepted, and one that the stack did."""

    ours: socket.socket
    theirs: socket.socket


def connected(lan: Lan, stack_opens: bool) -> Pair:
    if stack_opens:
        with lan.ns.socket() as server:
            server.bind((KERNEL, 0))
            server.listen()
            ours = lan.stack.create_connection(server.getsockname(), timeout=LIMIT_S)
            theirs, _ = server.accept()
    else:
        with lan.stack.create_server((STACK, PORT)) as server:
            server.settimeout(LIMIT_S)
            theirs = lan.ns.connect(PORT)
            ours, _ = server.accept()
    ours.settimeout(LIMIT_S)
    theirs.settimeout(LIMIT_S)
    for sock in (ours, theirs):
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return Pair(ours, theirs)


@pytest.mark.parametrize("without", [(), *[(one,) for one in OPTIONS], ("timestamps", "sack"), OPTIONS])
def test_syn_and_syn_ack_are_the_kernels_field_by_field(lan: Lan, sniffer: Sniffer, without: tuple[str, ...]) -> None:
    """Order and padding of options, window scale from the buffer's limit, window, IP header: with and without each."""
    for name in OPTIONS:
        lan.ns.sysctl(f"net.ipv4.tcp_{name}", int(name not in without))
        setattr(lan.stack.net.config.tcp, name, name not in without)
    try:
        for stack_opens in (True, False):
            pair = connected(lan, stack_opens)
            pair.ours.close()
            pair.theirs.close()
    finally:
        for name in OPTIONS:
            lan.ns.sysctl(f"net.ipv4.tcp_{name}", 1)
            setattr(lan.stack.net.config.tcp, name, True)
    for flags in (SYN, SYN | ACK):
        assert sniffer.one(True, flags).form() == sniffer.one(False, flags).form()


def test_text_and_acks_have_the_kernels_options(lan: Lan, sniffer: Sniffer) -> None:
    pair = connected(lan, stack_opens=True)
    for a, b in ((pair.ours, pair.theirs), (pair.theirs, pair.ours)):
        a.sendall(b"x" * 100)
        assert exactly(b, 100) == b"x" * 100
    for flags in (ACK, ACK | PSH):
        ours, theirs = sniffer.one(True, flags).form(), sniffer.one(False, flags).form()
        del ours["window"], theirs["window"]  # as much as there is room
        assert ours == theirs
    pair.ours.close()
    pair.theirs.close()


def test_timestamp_clock_ticks_as_the_kernels_does(lan: Lan, sniffer: Sniffer) -> None:
    """Every millisecond, on both sides."""
    pair = connected(lan, stack_opens=True)
    sniffer.seen.clear()
    for _ in range(2):
        for a, b in ((pair.ours, pair.theirs), (pair.theirs, pair.ours)):
            a.sendall(b"tick")
            exactly(b, 4)
        time.sleep(0.25)
    for side in (True, False):
        first, second = [s for s in sniffer.seen if s.ours == side and s.length]
        elapsed_ms = (second.at - first.at) * 1000
        assert abs(second.stamp - first.stamp - elapsed_ms) < 25
    pair.ours.close()
    pair.theirs.close()


def test_reset_that_answers_is_the_kernels_field_by_field(lan: Lan, sniffer: Sniffer) -> None:
    """A SYN to a closed port, an ACK with timestamps and a FIN without ACK for no connection."""
    stamp = b"\x01\x01\x08\x0a\0\0\0\x05\0\0\0\x06"
    strays = [(SYN, b"\x02\x04\x05\xb4"), (ACK, stamp), (ACK, b""), (FIN, b"")]
    raw = lan.stack.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_TCP)
    with lan.ns.socket(socket.SOCK_RAW, proto=socket.IPPROTO_TCP) as theirs, raw:
        for sport, (flags, options) in enumerate(strays, start=6000):
            for sock, src, dst in ((raw, STACK, KERNEL), (theirs, KERNEL, STACK)):
                sock.sendto(stray(src, dst, sport, 5999, flags, options), (dst, 0))
            until(lambda port=sport: {s.ours for s in sniffer.seen if s.dport == port} == {True, False})
            ours, its = (next(s for s in sniffer.seen if s.ours == side and s.dport == sport) for side in (True, False))
            assert ours.form() == its.form()
            assert (ours.seq, ours.ack) == (its.seq, its.ack)
            assert (ours.window, ours.options) == (0, b"")


def stray(src: str, dst: str, sport: int, dport: int, flags: int, options: bytes) -> bytes:
    """A TCP segment of no connection, its checksum right."""
    head = struct.pack("!HHIIBBHHH", sport, dport, 1000, 2000, (20 + len(options)) << 2, flags, 8192, 0, 0) + options
    pseudo = socket.inet_aton(src) + socket.inet_aton(dst) + struct.pack("!HH", 6, len(head))
    total = sum(struct.unpack(f"!{len(pseudo + head) // 2}H", pseudo + head))
    total = (total & 0xFFFF) + (total >> 16)
    total = ~((total & 0xFFFF) + (total >> 16)) & 0xFFFF
    return head[:16] + total.to_bytes(2, "big") + head[18:]


def test_reset_for_text_that_nobody_reads_any_more_is_the_kernels(lan: Lan, sniffer: Sniffer) -> None:
    forms = []
    for closer in ("ours", "theirs"):
        pair = connected(lan, stack_opens=closer == "ours")
        getattr(pair, closer).close()
        other = pair.theirs if closer == "ours" else pair.ours
        assert other.recv(1) == b""
        before = len(sniffer.seen)
        other.sendall(b"late")
        rst = sniffer.one(closer == "ours", RST, before)
        last = next(s for s in sniffer.seen[before:] if s.ours != rst.ours and s.length)
        assert rst.seq == last.ack
        forms.append(rst.form())
        other.close()
    assert forms[0] == forms[1]


def test_reset_of_an_abort_has_the_kernels_options(lan: Lan, sniffer: Sniffer) -> None:
    forms = []
    for side in ("ours", "theirs"):
        pair = connected(lan, stack_opens=True)
        sock = getattr(pair, side)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        before = len(sniffer.seen)
        sock.close()
        form = sniffer.one(side == "ours", RST | ACK, before).form()
        assert form.pop("window")
        forms.append(form)
        (pair.theirs if side == "ours" else pair.ours).close()
    assert forms[0] == forms[1]


def test_first_window_is_the_kernels_ten_segments(lan: Lan, sniffer: Sniffer) -> None:
    """All that leaves until an ACK comes back; the ACKs are lost, and there are no loss probes (RFC 8985)."""
    lan.ns.sysctl("net.ipv4.tcp_early_retrans", 0)
    lan.stack.net.config.tcp.loss_probes = False
    sizes = []
    for ours in (True, False):
        pair = connected(lan, stack_opens=True)
        before = len(sniffer.seen)
        sniffer.lose = lambda s, ours=ours: s.ours != ours
        sock = pair.ours if ours else pair.theirs
        sock.sendall(bytes(60_000))

        def so_far(ours: bool = ours, before: int = before) -> int:
            texts = [s for s in sniffer.seen[before:] if s.ours == ours and s.length]
            return max((s.seq + s.length - texts[0].seq for s in texts), default=0)

        until(lambda so_far=so_far: so_far() >= 10 * 1448)
        time.sleep(0.1)  # more would have left by now, were it allowed
        sizes.append(so_far())
        sniffer.lose = lambda _: False
        for each in (pair.ours, pair.theirs):
            each.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            each.close()
    assert sizes == [10 * 1448] * 2
    lan.ns.sysctl("net.ipv4.tcp_early_retrans", 3)
    lan.stack.net.config.tcp.loss_probes = True


def test_acks_are_quick_at_first_and_delayed_by_40_ms_then_as_the_kernels_are(lan: Lan, sniffer: Sniffer) -> None:
    """One small segment after the other, each when the one before is acknowledged."""
    delays = []
    for ours in (True, False):
        pair = connected(lan, stack_opens=not ours)
        before = len(sniffer.seen)

        def acks(ours: bool = ours, before: int = before) -> list[Seen]:
            return [s for s in sniffer.seen[before:] if s.ours == ours and s.flags == ACK]

        for number in range(18):
            (pair.theirs if ours else pair.ours).sendall(b"x")
            until(lambda number=number, acks=acks: len(acks()) > number)
        texts = [s for s in sniffer.seen[before:] if s.ours != ours and s.length]
        delays.append([ack.at - text.at for text, ack in zip(texts, acks(), strict=True)])
        pair.ours.close()
        pair.theirs.close()
    for each in delays:
        assert sorted(each[:16])[8] < 0.02
        assert all(0.035 < delay < 0.2 for delay in each[16:])


def test_sack_blocks_stand_in_the_kernels_order(lan: Lan, sniffer: Sniffer) -> None:
    """2018/3: most recent first, three beside timestamps. Every second segment is lost, and all ACKs are."""
    lan.ns.sysctl("net.ipv4.tcp_comp_sack_nr", 0)  # none held back to be sent as one
    told = []
    for ours in (True, False):
        pair = connected(lan, stack_opens=True)
        before = len(sniffer.seen)
        start: list[int] = []

        def number(seq: int, start: list[int] = start) -> int:
            start.append(seq)
            return (seq - start[0]) // 10

        def lose(s: Seen, ours: bool = ours, number: Callable[[int], int] = number) -> bool:
            return s.ours == ours or (s.length > 0 and number(s.seq) % 2 == 0)

        sniffer.lose = lose
        for _ in range(10):
            (pair.theirs if ours else pair.ours).sendall(b"0123456789")

        def blocks(ours: bool = ours, before: int = before, number: Callable[[int], int] = number) -> list[list[int]]:
            return [
                [number(left) for left, _ in s.blocks] for s in sniffer.seen[before:] if s.ours == ours and s.blocks
            ]

        until(lambda blocks=blocks: [9, 7, 5] in blocks())
        told.append(blocks()[:5])
        sniffer.lose = lambda _: False
        pair.ours.close()
        pair.theirs.close()
    assert told[0] == told[1] == [[1], [3, 1], [5, 3, 1], [7, 5, 3], [9, 7, 5]]


def test_syn_that_is_lost_is_repeated_each_second_by_both(lan: Lan, sniffer: Sniffer) -> None:
    """The first waits are not doubled, in Linux since 6.5."""
    linear = Path("/proc/sys/net/ipv4/tcp_syn_linear_timeouts")
    if not linear.exists():
        lan.stack.net.config.tcp.syn_linear_timeouts = 0
    sniffer.lose = lambda s: s.flags == SYN
    ours, theirs = lan.stack.socket(), lan.ns.socket()
    for sock, to in ((ours, KERNEL), (theirs, STACK)):
        sock.setblocking(False)
        sock.connect_ex((to, 5998))

    def syns(side: bool) -> list[Seen]:
        return [s for s in sniffer.seen if s.ours == side and s.flags == SYN]

    until(lambda: all(len(syns(side)) >= 3 for side in (True, False)))
    for side in (True, False):
        first, second, third = syns(side)[:3]
        assert 0.95 < second.at - first.at < 1.3
        assert 0.95 < (third.at - second.at) / (1 if linear.exists() else 2) < 1.3
        assert first.form() == second.form() == third.form()
    sniffer.lose = lambda _: False
    ours.close()
    theirs.close()
