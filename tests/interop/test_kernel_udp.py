"""UDP between the stack and the kernel: echo up to the largest datagram, refusal, broadcast."""

import contextlib
import os
import socket

import pytest

from scapystack.sockets.services import start_services
from tests.interop.netns import KERNEL, STACK
from tests.interop.peers import Doing

ECHO = 7
SIZES = [0, 1, 1471, 1472, 1473, 8_000, 60_000, 65_507]


@pytest.fixture(scope="module")
def lan(shared_lan):
    [echo] = start_services(shared_lan.stack, "echo")
    yield shared_lan
    echo.close()


def kernel_udp(lan, connect=None):
    sock = lan.ns.socket(socket.SOCK_DGRAM, timeout=3)
    if connect:
        sock.connect((STACK, connect))
    return sock


@pytest.fixture
def ours(lan):
    with lan.stack.socket(type=socket.SOCK_DGRAM) as sock:
        sock.settimeout(3)
        yield sock


def test_echo_answers_the_kernel_datagram_for_datagram(lan):
    with kernel_udp(lan, ECHO) as sock:
        for size in SIZES:
            data = os.urandom(size)
            sock.send(data)
            assert sock.recv(65_535) == data


def test_echo_of_the_kernel_answers_the_stack(lan, ours):
    with kernel_udp(lan) as theirs:
        theirs.bind((KERNEL, 7007))

        def serve():
            for _ in SIZES:
                data, peer = theirs.recvfrom(65_535)
                theirs.sendto(data, peer)

        serving = Doing(serve)
        for size in SIZES:
            data = os.urandom(size)
            assert ours.sendto(data, (KERNEL, 7007)) == size
            assert ours.recvfrom(65_535) == (data, (KERNEL, 7007))
        serving.result()


def test_fifty_datagrams_in_one_go_all_come_back(lan):
    """More than a batch of frames, each in fragments of its own, none confused with another."""
    texts = [os.urandom(4_000) for _ in range(50)]
    with kernel_udp(lan, ECHO) as sock:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 20)
        with lan.stack.driver.lock:
            for text in texts:
                sock.send(text)
        assert [sock.recv(65_535) for _ in texts] == texts


def test_kernel_datagram_to_a_port_nobody_has_is_refused(lan):
    with kernel_udp(lan, 9999) as sock:
        sock.send(b"anybody there?")
        with pytest.raises(ConnectionRefusedError):
            sock.recv(100)


def test_stack_datagram_to_a_port_nobody_has_is_refused(ours):
    ours.connect((KERNEL, 9999))
    ours.send(b"anybody there?")
    with pytest.raises(ConnectionRefusedError):
        ours.recv(100)


def test_broadcast_of_the_kernel_reaches_every_listener(lan, ours):
    ours.bind(("", 9009))
    with kernel_udp(lan) as sock:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_BROADCAST, 1)
        for where in ("10.0.0.255", "255.255.255.255"):
            if where == "255.255.255.255":
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_BINDTODEVICE, b"tap0")
            sock.sendto(where.encode(), (where, 9009))
            assert ours.recv(100) == where.encode()


def test_broadcast_of_the_stack_reaches_the_kernel(lan, ours):
    with kernel_udp(lan) as sock:
        sock.bind(("", 9010))
        with pytest.raises(PermissionError):
            ours.sendto(b"all", ("10.0.0.255", 9010))
        ours.setsockopt(socket.SOL_SOCKET, socket.SO_BROADCAST, 1)
        for where in ("10.0.0.255", "255.255.255.255"):
            ours.sendto(where.encode(), (where, 9010))
            assert sock.recv(100) == where.encode()


def test_flood_overflows_one_sockets_buffer_and_nothing_else(lan, ours):
    ours.bind((STACK, 9011))
    ours.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 20_000)
    dropped = lan.stack.net.counters["udp.drop.rcvbuf"]
    with kernel_udp(lan, 9011) as sock, kernel_udp(lan, ECHO) as other:
        for number in range(200):
            sock.send(b"%4d" % number + bytes(996))
        other.send(b"and now?")
        assert other.recv(100) == b"and now?"  # all that was sent before it has arrived
    got = []
    ours.settimeout(0)
    with contextlib.suppress(BlockingIOError):
        while True:
            got.append(int(ours.recv(2000)[:4]))
    assert 1 <= len(got) < 200
    assert got == list(range(len(got)))
    assert lan.stack.net.counters["udp.drop.rcvbuf"] - dropped == 200 - len(got)
