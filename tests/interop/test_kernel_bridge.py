"""The bridge set-up: the TAP and the veths of two hosts are ports of a bridge, the stack is a host on that LAN."""

import re
import socket
from dataclasses import dataclass

import pytest

from scapystack.link.hostsetup import HostSetup
from scapystack.link.tap import TapLink
from scapystack.sockets.facade import Stack
from scapystack.sockets.services import start_services
from tests.interop.netns import STACK, Namespace, needs
from tests.interop.peers import drained, kernel_receives, kernel_sends, said, sha256

HOST, OTHER = "10.0.0.3", "10.0.0.4"
PORT = 5004


@dataclass
class Switch:
    """The bridge's namespace, two hosts on it, and the stack."""

    bridge: Namespace
    host: Namespace
    other: Namespace
    stack: Stack
    link: TapLink


@pytest.fixture(scope="module", params=[True, False], ids=["offload", "no-offload"])
def lan(request):
    """As `scapystack run --bridge port0` sets it up: `port0` was an interface by itself, and gets a bridge."""
    spaces = bridge, host, other = Namespace(), Namespace(), Namespace()
    try:
        bridge.net.add_veth("port0", "eth0", host.name)
        bridge.net.add_veth("port1", "eth0", other.name)
        host.net.add_address("eth0", f"{HOST}/24")
        other.net.add_address("eth0", f"{OTHER}/24")
        link = TapLink("tap0", netns=bridge.name, offload=request.param)
        with HostSetup() as setup:
            name = setup.bridged("tap0", "port0", bridge.name)
            setup.port("port1", name, bridge.name)
            with Stack(f"{STACK}/24", link=link) as stack:
                services = start_services(stack, "echo,source")
                yield Switch(bridge, host, other, stack, link)
                for service in services:
                    service.close()
        assert bridge.net.interface("port0").master in ("", None)
        assert bridge.net.find(name) is None
    finally:
        for space in spaces:
            space.close()


@needs("ping", "ip")
def test_ping_of_both_hosts_is_answered_from_the_stacks_own_mac(lan):
    for space in (lan.host, lan.other):
        assert "3 received" in space.run("ping", "-c", 3, "-i", 0.02, "-W", 2, STACK).decode()
        assert lan.link.mac.hex(":") in space.run("ip", "neigh", "show", STACK).decode()


@pytest.mark.parametrize("address", [HOST, OTHER])
def test_ping_of_the_stack_is_answered_by_both_hosts(lan, address):
    assert lan.stack.ping(address, size=60_000, timeout=2).address == address


@needs("arping")
def test_arping_is_answered_by_nobody_but_the_stack(lan):
    told = lan.host.run("arping", "-c", 1, "-w", 3, "-I", "eth0", STACK).decode()
    assert re.findall(r"reply from 10\.0\.0\.1 \[(.*)\]", told) == [lan.link.mac.hex(":").upper()]


@needs("ping")
def test_hosts_talk_to_each_other_and_the_stack_stays_out_of_it(lan):
    before = lan.stack.net.counters["icmp.in.echo"]
    assert "2 received" in lan.host.run("ping", "-c", 2, "-i", 0.02, "-W", 2, OTHER).decode()
    assert lan.stack.net.counters["icmp.in.echo"] == before


def test_echo_answers_both_hosts(lan):
    text = bytes(range(256)) * 4_000
    for space in (lan.host, lan.other):
        with space.connect(7) as sock:
            sock.sendall(text)
            sock.shutdown(socket.SHUT_WR)
            assert drained(sock) == (len(text), sha256(text))


def test_20_megabytes_cross_the_lan_each_way_the_same(lan):
    with lan.stack.create_server((STACK, PORT)) as server:
        server.settimeout(10)
        sending = kernel_sends(lan.host, PORT, 20_000_000)
        sock, peer = server.accept()
        with sock:
            sock.settimeout(20)
            assert peer[0] == HOST
            size, digest = drained(sock)
        assert size == 20_000_000
        assert said(sending) == [digest]
    receiving = kernel_receives(lan.other, OTHER, PORT)
    data = bytes(range(250)) * 80_000
    with lan.stack.create_connection((OTHER, PORT), timeout=20) as sock:
        sock.sendall(data)
        sock.shutdown(socket.SHUT_WR)
        assert sock.recv(1) == b""
    assert said(receiving) == [str(len(data)), sha256(data)]


def test_broadcast_reaches_the_stack_and_the_other_host(lan):
    with lan.stack.socket(type=socket.SOCK_DGRAM) as ours, lan.other.socket(socket.SOCK_DGRAM, 3) as theirs:
        ours.settimeout(3)
        ours.bind(("", PORT))
        theirs.bind(("", PORT))
        with lan.host.socket(socket.SOCK_DGRAM) as sock:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_BROADCAST, 1)
            sock.sendto(b"all of you", ("10.0.0.255", PORT))
        assert ours.recv(100) == theirs.recv(100) == b"all of you"
