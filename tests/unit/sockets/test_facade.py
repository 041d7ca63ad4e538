"""`Stack`: what it puts together, what it refuses, what it leaves behind."""

import errno
import socket
import subprocess
import sys
import threading

import pytest

from scapystack import Stack
from scapystack.base.errors import ConfigError
from scapystack.hooks import DROP
from scapystack.link.memory import MemoryLink
from scapystack.sockets.datagram import DatagramSocket, RawSocket
from scapystack.sockets.services import start_services
from scapystack.sockets.stream import StreamSocket
from tests.unit.sockets.helpers import errno_of

SAFETY_S = 20


def test_stack_without_a_link_talks_to_itself():
    with Stack(seed=1) as stack:
        server = stack.create_server(("127.0.0.1", 0))
        client = stack.create_connection(server.getsockname(), timeout=SAFETY_S)
        accepted, _ = server.accept()
        client.sendall(b"me")
        assert accepted.recv(2) == b"me"


def test_stack_has_its_address_and_gateway():
    a, _ = MemoryLink.pair()
    stack = Stack("10.1.2.3/16", link=a, gateway="10.1.0.1", seed=1)
    (entry,) = stack.net.interfaces[1].addresses
    assert entry.address == socket.inet_aton("10.1.2.3")
    assert stack.net.ipv4.route(socket.inet_aton("198.51.100.1")).hop == socket.inet_aton("10.1.0.1")
    stack.close()


@pytest.mark.parametrize(
    ("address", "gateway"), [("10.0.0.1", None), ("nonsense/24", None), ("10.0.0.1/24", "192.0.2.1")]
)
def test_stack_wrong_address_is_a_config_error_and_closes_the_link(address, gateway):
    a, b = MemoryLink.pair()
    with pytest.raises(ConfigError):
        Stack(address, link=a, gateway=gateway, seed=1)
    assert b.peer is None


def test_stack_same_seed_draws_the_same_numbers():
    names = []
    for seed in (7, 7, 8, None, None):
        stack = Stack(seed=seed)
        sock = stack.socket()
        sock.bind(("", 0))
        names.append(sock.getsockname())
        stack.close()
    assert names[0] == names[1] != names[2]
    assert len(set(names[2:])) == 3


def test_stack_attach_joins_a_second_network():
    pairs = [MemoryLink.pair(names=(name, name)) for name in ("left", "right")]
    with Stack("10.0.0.1/24", link=pairs[0][0], seed=1) as stack:
        stack.attach(pairs[1][0], "10.0.1.1/24", "10.0.1.2/24")
        with Stack("10.0.1.9/24", link=pairs[1][1], seed=2) as other:
            assert other.ping("10.0.1.2", timeout=SAFETY_S).address == "10.0.1.2"


def test_stack_close_ends_thread_sockets_and_links():
    a, b = MemoryLink.pair()
    before = threading.active_count()
    stack = Stack(link=a, seed=1).start()
    assert stack.start() is stack  # a second start changes nothing
    assert threading.active_count() == before + 1
    sock = stack.socket()
    sock.bind(("", 0))
    stack.close()
    stack.close()
    assert threading.active_count() == before
    assert b.peer is None
    assert errno_of(sock.listen) == errno.EBADF
    assert errno_of(stack.socket) == errno.ENETDOWN
    with pytest.raises(RuntimeError):
        stack.start()


def test_stack_close_sends_fin_to_peers(live):
    one, two = live
    server = one.create_server(("", 4000))
    client = two.create_connection(("10.0.0.1", 4000), timeout=SAFETY_S)
    accepted, _ = server.accept()
    one.close()
    assert client.recv(1) == b""
    accepted.close()


def read_all(sock):
    octets = b""
    while piece := sock.recv(65_536):
        octets += piece
    return octets


def test_stack_close_right_after_sendall_delivers_everything():
    a, b = MemoryLink.pair(delay=2_000_000)
    sent = bytes(range(256)) * 1_000
    with Stack("10.0.0.1/24", link=a, seed=1) as one:
        server = one.create_server(("", 4000))
        with Stack("10.0.0.2/24", link=b, seed=2) as two:
            two.create_connection(("10.0.0.1", 4000), timeout=SAFETY_S).sendall(sent)
        accepted, _ = server.accept()
        assert read_all(accepted) == sent
        assert two.net.counters["tcp.resets_sent"] == 0


def test_stack_close_delivers_for_connections_of_services_and_stacks_without_a_thread(live):
    one, two = live
    start_services(one, "source:4019")
    client = two.create_connection(("10.0.0.1", 4019), timeout=SAFETY_S)
    client.sendall(b"16000\n")
    assert len(client.recv(1)) == 1
    one._thread.stop()
    one._thread = None
    one.close()
    assert len(read_all(client)) == 15_999


def test_stack_close_resets_who_does_not_acknowledge():
    a, b = MemoryLink.pair()
    with Stack("10.0.0.1/24", link=a, seed=1) as one, Stack("10.0.0.2/24", link=b, seed=2) as two:
        server = one.create_server(("", 4000))
        client = two.create_connection(("10.0.0.1", 4000), timeout=SAFETY_S)
        accepted, _ = server.accept()
        two.hook("tx", "segment", filter="tcp[13] & 4 = 0")(lambda segment: DROP)  # all but RST
        client.sendall(b"lost")
        two.close(0.05)
        assert errno_of(accepted.recv, 1) == errno.ECONNRESET
        assert two.net.tcp.connections == {}


@pytest.mark.parametrize("patience_s", [0, 2])
def test_stack_close_waits_for_nobody_who_cannot_answer(patience_s):
    a, b = MemoryLink.pair()
    one = Stack("10.0.0.1/24", link=a, seed=1).start()
    two = Stack("10.0.0.2/24", link=b, seed=2).start()
    server = one.create_server(("", 4000))
    client = two.create_connection(("10.0.0.1", 4000), timeout=SAFETY_S)
    server.accept()
    if patience_s:
        a.close()  # a cable that was pulled
    else:
        one._thread.stop()
    waits = []
    two._ground.wait = lambda *words: waits.append(words)
    client.sendall(b"to nobody")
    two.close(patience_s)
    assert waits == []
    one.close(0)


def test_socket_kinds_and_their_attributes():
    stack = Stack(seed=1)
    for kind, proto, cls in (
        (socket.SOCK_STREAM, 0, StreamSocket),
        (socket.SOCK_STREAM, socket.IPPROTO_TCP, StreamSocket),
        (socket.SOCK_DGRAM, 0, DatagramSocket),
        (socket.SOCK_DGRAM, socket.IPPROTO_UDP, DatagramSocket),
        (socket.SOCK_RAW, socket.IPPROTO_ICMP, RawSocket),
    ):
        sock = stack.socket(socket.AF_INET, kind, proto)
        assert isinstance(sock, cls)
        assert (sock.family, sock.type, sock.proto) == (socket.AF_INET, kind, proto)
    assert stack.socket(socket.AF_INET, socket.SOCK_STREAM | socket.SOCK_NONBLOCK).getblocking() is False
    stack.close()


@pytest.mark.parametrize(
    ("args", "number"),
    [
        ((socket.AF_INET6,), errno.EAFNOSUPPORT),
        ((socket.AF_UNIX,), errno.EAFNOSUPPORT),
        ((socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_UDP), errno.EPROTONOSUPPORT),
        ((socket.AF_INET, socket.SOCK_DGRAM, socket.IPPROTO_TCP), errno.EPROTONOSUPPORT),
        ((socket.AF_INET, socket.SOCK_RAW), errno.EPROTONOSUPPORT),
        ((socket.AF_INET, socket.SOCK_SEQPACKET), errno.EINVAL),
    ],
)
def test_socket_of_another_kind_raises_its_errno(args, number):
    stack = Stack(seed=1)
    assert errno_of(stack.socket, *args) == number
    stack.close()


def test_socket_default_time_out_of_the_socket_module_counts():
    stack = Stack(seed=1)
    socket.setdefaulttimeout(3.5)
    try:
        assert stack.socket().gettimeout() == 3.5
    finally:
        socket.setdefaulttimeout(None)
    stack.close()


def test_create_connection_failing_closes_its_socket(still):
    with pytest.raises(ConnectionRefusedError):
        still.stack.create_connection(("127.0.0.1", 4999), timeout=SAFETY_S)
    assert not list(still.stack._ground.sockets)


def test_create_connection_keeps_the_time_out(still):
    server = still.stack.create_server(("127.0.0.1", 0))
    assert still.stack.create_connection(server.getsockname()).gettimeout() is None
    assert still.stack.create_connection(server.getsockname(), timeout=2).gettimeout() == 2.0
    assert still.stack.create_connection(server.getsockname(), None).gettimeout() is None


def test_create_server_refuses_what_there_is_not(still):
    for wrong in ({"reuse_port": True}, {"dualstack_ipv6": True}):
        with pytest.raises(ValueError, match="supported"):
            still.stack.create_server(("", 4000), **wrong)
    server = still.stack.create_server(("", 4000), backlog=3)
    assert errno_of(still.stack.create_server, ("", 4000)) == errno.EADDRINUSE
    (listener,) = still.net.tcp.listeners.values()
    assert listener.backlog == 3
    server.close()


@pytest.mark.parametrize("address", ["10.0.0.1", "10.0.0.1/32", "nonsense/24"])
def test_tap_address_without_a_neighbour_is_a_config_error_before_anything_is_made(address):
    with pytest.raises(ConfigError):
        Stack.tap("scapystack-none", address)


def test_import_scapystack_is_light_and_stack_comes_on_demand():
    code = (
        "import sys, scapystack; light = {'scapy', 'socket', 'threading', 'scapystack.stack'} & set(sys.modules);"
        "import scapystack as s; s.Stack;"
        "print(sorted(light), 'scapystack.stack' in sys.modules, 'scapy.all' in sys.modules, hasattr(s, 'nothing'))"
    )
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60)
    assert out.stdout == "[] True False False\n"
