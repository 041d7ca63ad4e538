"""The stack as a router between two kernels: two TAPs, a host behind each, TTL, MTU and ICMP on the way."""

import os
import re
import socket

import pytest

from scapystack.base.config import StackConfig
from scapystack.link.tap import TapLink
from scapystack.sockets.facade import Stack
from tests.interop.netns import Namespace, needs
from tests.interop.peers import drained, exactly, kernel_receives, kernel_sends, said, sha256

LEFT, LEFT_ROUTER = "10.0.1.2", "10.0.1.1"
RIGHT, RIGHT_ROUTER = "10.0.2.2", "10.0.2.1"
PORT = 5003
SMALL_MTU = 1_400


class Router:
    """A stack that forwards, and the namespaces `left` and `right` that it joins."""

    def __init__(self, offload, mtus=(None, None)):
        config = StackConfig()
        config.ip.forward = True
        self.left, self.right = Namespace(), Namespace()
        self.stack = Stack(config=config)
        sides = (self.left, LEFT, LEFT_ROUTER), (self.right, RIGHT, RIGHT_ROUTER)
        for (ns, host, router), with_offload, mtu in zip(sides, offload, mtus, strict=True):
            link = TapLink("tap0", netns=ns.name, offload=with_offload, mtu=mtu)
            ns.net.add_address("tap0", f"{host}/24")
            ns.net.set_up("tap0")
            ns.net.add_route("default", via=router)
            link.name = "left" if ns is self.left else "right"
            self.stack.attach(link, f"{router}/24")
        self.stack.start()

    def close(self):
        self.stack.close()
        self.left.close()
        self.right.close()


@pytest.fixture(
    scope="module",
    params=[(True, True), (False, False), (True, False), (False, True)],
    ids=["offload", "no-offload", "offload-left", "offload-right"],
)
def router(request):
    made = Router(request.param)
    yield made
    made.close()


@pytest.fixture
def narrow():
    """A router whose right side takes smaller packets only, which the host there does not know."""
    made = Router((True, True), (None, SMALL_MTU))
    made.right.net.set_mtu("tap0", 1500)
    yield made
    made.close()


@needs("ping")
def test_ping_passes_and_loses_one_ttl(router):
    told = router.left.run("ping", "-c", 3, "-i", 0.02, "-W", 2, RIGHT).decode()
    assert "3 received" in told
    assert "ttl=63" in told


@needs("ping")
def test_ping_of_60000_octets_passes_in_fragments(router):
    told = router.right.run("ping", "-c", 2, "-i", 0.02, "-W", 2, "-s", 60_000, LEFT).decode()
    assert "2 received" in told
    assert f"60008 bytes from {LEFT}" in told


@needs("ping")
def test_ping_with_ttl_1_is_answered_by_the_router(router):
    told = router.left.run("ping", "-c", 1, "-W", 2, "-t", 1, RIGHT, check=False).decode()
    assert re.search(rf"From {LEFT_ROUTER} icmp_seq=1 Time to live exceeded", told)


@needs("traceroute")
@pytest.mark.parametrize("how", [["-I"], [], ["-T", "-p", "9"]], ids=["icmp", "udp", "tcp"])
def test_traceroute_shows_the_router_and_then_the_host(router, how):
    told = router.right.run("traceroute", "-n", "-q", 1, "-w", 2, *how, LEFT).decode()
    hops = re.findall(r"^ *\d+  (\S+)", told, re.MULTILINE)
    assert hops == [RIGHT_ROUTER, LEFT]


def test_10_megabytes_pass_each_way_the_same(router):
    for sender, receiver, host in ((router.left, router.right, RIGHT), (router.right, router.left, LEFT)):
        receiving = kernel_receives(receiver, host, PORT)
        [digest] = said(kernel_sends(sender, PORT, 10_000_000, host))
        assert said(receiving) == ["10000000", digest]


def test_datagrams_of_every_size_pass_the_same(router):
    with router.left.socket(socket.SOCK_DGRAM, 3) as sock, router.right.socket(socket.SOCK_DGRAM, 3) as other:
        other.bind((RIGHT, PORT))
        for size in (0, 1, 1472, 1473, 9_000, 60_000):
            data = os.urandom(size)
            sock.sendto(data, (RIGHT, PORT))
            got, peer = other.recvfrom(65_535)
            assert got == data
            other.sendto(data[::-1], peer)
            assert sock.recv(65_535) == data[::-1]


def test_refusal_of_the_far_host_comes_back(router):
    with router.left.socket(socket.SOCK_DGRAM, 3) as sock:
        sock.connect((RIGHT, 9999))
        sock.send(b"anybody there?")
        with pytest.raises(ConnectionRefusedError):
            sock.recv(1)
    with pytest.raises(ConnectionRefusedError):
        router.left.connect(9999, RIGHT)


@needs("ping")
def test_network_without_a_route_is_unreachable(router):
    told = router.left.run("ping", "-c", 1, "-W", 2, "10.9.9.9", check=False).decode()
    assert f"From {LEFT_ROUTER} icmp_seq=1 Destination Net Unreachable" in told


@needs("ping")
def test_host_that_does_not_answer_arp_is_unreachable(router):
    router.stack.net.config.arp.retry_ms = 50
    told = router.left.run("ping", "-c", 1, "-W", 3, "10.0.2.77", check=False).decode()
    router.stack.net.config.arp.retry_ms = 1000
    assert f"From {LEFT_ROUTER} icmp_seq=1 Destination Host Unreachable" in told


@needs("ping")
def test_router_answers_at_both_of_its_addresses(router):
    for address in (LEFT_ROUTER, RIGHT_ROUTER):
        assert "1 received" in router.left.run("ping", "-c", 1, "-W", 2, address).decode()


@needs("ping")
def test_packet_too_large_for_the_way_on_is_refused_with_the_mtu(narrow):
    told = narrow.left.run("ping", "-c", 1, "-W", 2, "-M", "do", "-s", 1472, RIGHT, check=False).decode()
    assert re.search(rf"From {LEFT_ROUTER} icmp_seq=1 Frag needed and DF set \(mtu = {SMALL_MTU}\)", told)


@needs("ping")
def test_packet_too_large_without_df_passes_in_fragments(narrow):
    told = narrow.left.run("ping", "-c", 1, "-W", 2, "-M", "dont", "-s", 1472, RIGHT).decode()
    assert "1 received" in told


def test_tcp_finds_the_smaller_mtu_of_the_way(narrow):
    """RFC 1191: what the router says makes the kernel's segments smaller, and nothing is lost."""
    receiving = kernel_receives(narrow.right, RIGHT, PORT)
    [digest] = said(kernel_sends(narrow.left, PORT, 5_000_000, RIGHT))
    assert said(receiving) == ["5000000", digest]
    with narrow.right.socket() as listener, narrow.left.socket() as sock:
        listener.bind((RIGHT, PORT + 1))
        listener.listen(1)
        sock.connect((RIGHT, PORT + 1))
        other, _ = listener.accept()
        with other:
            data = os.urandom(100_000)
            sock.sendall(data)
            sock.shutdown(socket.SHUT_WR)
            assert drained(other) == (len(data), sha256(data))
        assert narrow.stack.net.counters["icmp.out.error"]
        assert sock.getsockopt(socket.IPPROTO_IP, 14) == SMALL_MTU  # IP_MTU


def test_conversation_passes_both_ways(router):
    with router.right.socket() as listener, router.left.socket() as sock:
        listener.bind((RIGHT, 0))
        listener.listen(1)
        sock.connect(listener.getsockname())
        other, peer = listener.accept()
        with other:
            assert peer[0] == LEFT
            for text in (b"x", bytes(5_000), b"y" * 100_000):
                sock.sendall(text)
                assert exactly(other, len(text)) == text
                other.sendall(text[::-1])
                assert exactly(sock, len(text)) == text[::-1]
