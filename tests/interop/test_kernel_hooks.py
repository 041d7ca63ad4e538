"""Hooks from the shelf on real exchanges: a stack on a TAP, the kernel's TCP at the other end, one namespace for all.

What a hook does to packets is seen by the kernel (its counters, its TCP_INFO); what it does as a hostile peer, by the
stack, which has to hold. `tests/unit/hooks` has the same between two stacks in virtual time, with more cases.
"""

import inspect
import socket
import time
from pathlib import Path

import pytest

from scapystack.hooks import hostile, ready
from scapystack.link import netns as namespaces
from scapystack.sockets.tcpinfo import unpack_tcp_info
from tests.interop.netns import KERNEL, Namespace, stack_on_tap

SIZE = 60_000
DATA = bytes(range(250)) * (SIZE // 250)
SACK, TIMESTAMPS = 2, 1
LIMIT_S = 20
METHODS = {"acks", "data"}


def has_text(frame):
    return len(frame["TCP"].payload) > 0


class World:
    """The stack, the kernel, and a listener of each."""

    def __init__(self):
        self.ns = Namespace()
        self.lan = stack_on_tap(self.ns, offload=True, seed=1)
        self.stack = self.lan.stack
        self.listener = self.ns.socket()
        self.listener.bind((KERNEL, 0))
        self.listener.listen()
        self.counters = self.stack.net.counters
        self._open = []

    def connect(self):
        """The stack's end and the kernel's of a new connection."""
        ours = self.stack.create_connection(self.listener.getsockname(), timeout=LIMIT_S)
        theirs, _ = self.listener.accept()
        theirs.settimeout(LIMIT_S)
        self._open += [ours, theirs]
        return ours, theirs

    def send(self, source, sink, data=DATA):
        """All of it arrives, once and in order; the seconds that it took."""
        began = time.monotonic()
        source.sendall(data)
        came = b""
        while len(came) < len(data):
            piece = sink.recv(len(data))
            assert piece, "it ended early"
            came += piece
        assert came == data
        return time.monotonic() - began

    def exchange(self, data=DATA):
        """A connection over which the stack has sent."""
        ours, theirs = self.connect()
        self.send(ours, theirs, data)
        return ours, theirs

    def kernel(self, name):
        """A counter of the kernel's (`TcpExtTCPOFOQueue`), as nstat(8) calls it."""
        where = Path("/proc/thread-self/net")
        text = namespaces.in_namespace(
            self.ns.name, lambda: "".join((where / f).read_text() for f in ("netstat", "snmp"))
        )
        lines = [line.split() for line in text.splitlines()]
        for names, values in zip(lines[::2], lines[1::2], strict=True):
            for each, value in zip(names[1:], values[1:], strict=True):
                if name == names[0][:-1] + each:
                    return int(value)
        raise KeyError(name)

    def reset(self):
        """No hooks, no connections."""
        with self.stack.driver.entered() as net:
            net.hooks.rx.clear()
            net.hooks.tx.clear()
        for each in self._open:
            each.close()
        self._open.clear()

    def close(self):
        self.reset()
        self.listener.close()
        self.stack.close()
        self.ns.close()


@pytest.fixture(scope="module")
def whole_world():
    made = World()
    yield made
    assert made.counters["driver.errors"] == 0
    made.close()


@pytest.fixture
def world(whole_world):
    yield whole_world
    whole_world.reset()


def info(sock):
    """What TCP knows at the stack's end."""
    with sock.driver.lock:
        return sock.endpoint.info()


def kernel_info(sock):
    """And at the kernel's."""
    return unpack_tcp_info(sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 280))


# -- what paths do -----------------------------------------------------------------------------------------


def drop_nth(world):
    before = world.kernel("TcpExtTCPOFOQueue")
    world.stack.hook("tx", "segment", filter=has_text)(ready.drop_nth(3, 5))
    ours, _ = world.exchange()
    assert info(ours).total_retrans >= 2
    assert world.kernel("TcpExtTCPOFOQueue") > before


def delay(world):
    world.stack.hook("tx", "ip")(ready.delay(30))
    ours, _ = world.exchange(b"x" * 2_000)
    assert info(ours).min_rtt >= 30_000


def reorder(world):
    queued, dropped = world.kernel("TcpExtTCPOFOQueue"), world.counters["hooks.drop.tx"]
    world.stack.hook("tx", "segment", filter=has_text)(ready.reorder(5, by_ms=3))
    world.exchange()
    assert world.kernel("TcpExtTCPOFOQueue") > queued
    assert world.counters["hooks.drop.tx"] == dropped


def duplicate(world):
    before = world.kernel("TcpExtTCPDSACKOldSent")
    world.stack.hook("tx", "segment", filter=has_text)(ready.duplicate(4))
    ours, _ = world.exchange()
    assert world.kernel("TcpExtTCPDSACKOldSent") >= before + 5
    assert info(ours).dsack_dups >= 5


def corrupt(world):
    before = world.kernel("TcpInCsumErrors")
    world.stack.hook("tx", "segment")(ready.corrupt(10))
    ours, _ = world.exchange()
    assert world.kernel("TcpInCsumErrors") >= before + 3
    assert info(ours).total_retrans >= 3


def strip_options(world):
    world.stack.hook("tx", "segment")(ready.strip_options("SAckOK", "Timestamp"))
    ours, theirs = world.exchange()
    for options in (info(ours).options, kernel_info(theirs)["options"]):
        assert not options & (SACK | TIMESTAMPS)


def clamp_mss(world):
    world.stack.hook("tx", "segment")(ready.clamp_mss(600))
    ours, theirs = world.exchange()
    world.send(theirs, ours)
    assert kernel_info(theirs)["snd_mss"] == 600 - 12  # less the timestamps


def bleach_ecn(world):
    world.ns.sysctl("net.ipv4.tcp_ecn", 1)
    config = world.stack.net.config.tcp
    before, config.ecn = config.ecn, "on"
    try:
        capable = [world.kernel("IpExtInECT0Pkts")]
        world.exchange()
        capable.append(world.kernel("IpExtInECT0Pkts"))
        world.stack.hook("tx", "ip")(ready.bleach_ecn())
        world.exchange()
        capable.append(world.kernel("IpExtInECT0Pkts"))
    finally:
        config.ecn = before
    assert capable[0] < capable[1] == capable[2]


def split(world):
    world.stack.hook("tx", "segment")(ready.split(500))
    _, theirs = world.exchange()
    assert kernel_info(theirs)["data_segs_in"] >= SIZE / 500


def merge(world):
    ours, theirs = world.connect()
    ours.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    world.stack.hook("tx", "segment")(ready.merge(200, size=400))
    for n in range(8):
        ours.send(bytes((n,)) * 100)
    got = b""
    while len(got) < 800:
        got += theirs.recv(800)
    assert got == b"".join(bytes((n,)) * 100 for n in range(8))
    assert kernel_info(theirs)["data_segs_in"] == 2


# -- what hostile peers do, and that the stack holds ---------------------------------------------------------


def rst_injector(world):
    challenged = world.counters["tcp.challenge_acks"]
    world.stack.hook("rx", "segment", filter=has_text, whole=False)(hostile.rst_injector(3, beside=1))
    ours, theirs = world.connect()
    world.send(theirs, ours)
    assert world.counters["tcp.challenge_acks"] == challenged + 1
    world.stack.hook("rx", "segment", filter=has_text)(hostile.rst_injector(1))
    theirs.sendall(b"the last words")
    assert ours.recv(100) == b"the last words"
    with pytest.raises(ConnectionResetError):
        ours.recv(100)


def optimistic_ack(world):
    before = world.counters["tcp.drop.ack_too_new"]
    world.stack.hook("rx", "segment")(hostile.optimistic_ack(1_000_000))
    ours, _ = world.exchange()
    assert world.counters["tcp.drop.ack_too_new"] > before
    now = info(ours)
    assert (now.snd_nxt - now.snd_una) & 0xFFFFFFFF <= SIZE


def ack_division(world):
    came = []
    world.stack.hook("rx", "segment")(hostile.ack_division(20))
    world.stack.hook("rx", "segment")(came.append)
    ours, _ = world.exchange()
    now = info(ours)
    assert len(came) > 20
    assert now.snd_cwnd <= 10 + SIZE / now.snd_mss + 1, "it grew by octets, not by ACKs (RFC 3465)"


def SackReneging(world):
    before = world.counters["tcp.sack_reneging"]
    reneging = hostile.SackReneging()
    world.stack.hook("tx", "segment", filter=has_text)(ready.drop_nth(5))
    world.stack.hook("tx", "segment")(reneging.data)
    world.stack.hook("rx", "segment")(reneging.acks)
    world.exchange()
    assert reneging.came_again
    assert world.counters["tcp.sack_reneging"] == before + 1


def window_shrink(world):
    came = []
    world.stack.hook("rx", "segment")(hostile.window_shrink(3, to=1, times=2))
    world.stack.hook("rx", "segment")(lambda segment: came.append(segment.window))
    world.exchange(DATA * 5)
    assert came.count(1) == 2


def zero_window_stall(world):
    sent, stalled = [], []
    ours, theirs = world.connect()
    world.send(ours, theirs)
    world.stack.hook("rx", "segment")(hostile.zero_window_stall(500, after=1))
    world.stack.hook("rx", "segment", filter={"TCP.window": 0})(lambda segment: stalled.append(time.monotonic()))
    world.stack.hook("tx", "segment")(lambda segment: sent.append(time.monotonic()))
    assert world.send(ours, theirs, DATA * 10) > 0.5
    assert [at for at in sent if stalled[0] + 0.1 < at < stalled[0] + 0.5], "it probed meanwhile"


def icmp_black_hole(world):
    with world.stack.socket(type=socket.SOCK_DGRAM) as udp:
        udp.settimeout(LIMIT_S)
        udp.connect((KERNEL, 9))
        udp.send(b"x")
        with pytest.raises(ConnectionRefusedError):
            udp.recv(10)
        world.stack.hook("rx", "ip")(hostile.icmp_black_hole())
        before = world.counters["hooks.drop.rx"]
        udp.settimeout(0.1)
        udp.send(b"x")
        with pytest.raises(TimeoutError):
            udp.recv(10)
        assert world.counters["hooks.drop.rx"] == before + 1


PATHS = (drop_nth, delay, reorder, duplicate, corrupt, strip_options, clamp_mss, bleach_ecn, split, merge)
PEERS = (rst_injector, optimistic_ack, ack_division, SackReneging, window_shrink, zero_window_stall, icmp_black_hole)


@pytest.mark.parametrize("effect", PATHS + PEERS, ids=lambda effect: effect.__name__)
def test_hook_has_its_effect_on_an_exchange_with_the_kernel(world, effect):
    effect(world)
    world.reset()
    world.exchange(b"as if nothing had been")


@pytest.mark.parametrize(("module", "shown"), [(ready, PATHS), (hostile, PEERS)])
def test_every_hook_from_the_shelf_is_shown(module, shown):
    helpers = {"flow_of", "text_of", "lowest", "with_text"}
    there = {
        name
        for name, each in inspect.getmembers(module)
        if (inspect.isfunction(each) or inspect.isclass(each)) and each.__module__ == module.__name__
        and not name.startswith("_")
    }  # fmt: skip
    assert {effect.__name__ for effect in shown} == there - helpers
