"""TCP between the stack and the kernel, state by state: echo, many at once, half-close, refusal, resets."""

import errno
import selectors
import socket
import struct
import time

import pytest

from scapystack.layers.tcp.state import CLOSE_WAIT, FIN_WAIT_2, SYNCHRONIZED
from scapystack.sockets.services import start_services
from tests.interop.netns import KERNEL, STACK
from tests.interop.peers import Doing, connection_of, drained, exactly, sha256, until

ECHO = 7
PORT = 5000
CROWD = 200
ROUNDS = b"the quick brown fox %d " * 900


@pytest.fixture(scope="module")
def lan(shared_lan):
    services = start_services(shared_lan.stack, "echo")
    yield shared_lan
    for service in services:
        service.close()


@pytest.fixture
def server(lan):
    with lan.stack.create_server((STACK, PORT)) as made:
        made.settimeout(10)
        yield made


@pytest.fixture
def kernel_server(lan):
    with lan.ns.socket() as made:
        made.bind((KERNEL, 0))
        made.listen(CROWD)
        yield made


@pytest.fixture
def accepted(lan, server):
    """A connection of the kernel's and the stack's end of it."""
    with lan.ns.connect(PORT) as theirs:
        ours, peer = server.accept()
        assert peer == theirs.getsockname()
        ours.settimeout(10)
        with ours:
            yield ours, theirs


def aborted(sock):
    """Close a kernel socket with a RST."""
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    sock.close()


# -- echo ----------------------------------------------------------------------------------------------


def test_echo_answers_each_octet_and_each_line(lan):
    with lan.ns.connect(ECHO) as sock:
        for text in (b"x", b"a line\n", bytes(range(256)) * 40):
            sock.sendall(text)
            assert exactly(sock, len(text)) == text
        sock.shutdown(socket.SHUT_WR)
        assert sock.recv(1) == b""


def test_echo_of_4_megabytes_comes_back_the_same(lan):
    data = bytes(range(251)) * 16_711
    with lan.ns.connect(ECHO) as sock:
        sending = Doing(lambda: (sock.sendall(data), sock.shutdown(socket.SHUT_WR)))
        assert drained(sock) == (len(data), sha256(data))
        sending.result()


def test_echo_of_the_kernel_answers_the_stack(lan, kernel_server):
    def serve():
        sock, _ = kernel_server.accept()
        with sock:
            while data := sock.recv(65_536):
                sock.sendall(data)

    serving = Doing(serve)
    with lan.stack.create_connection(kernel_server.getsockname(), timeout=10) as sock:
        for text in (b"x", b"a line\n", bytes(range(256)) * 40):
            sock.sendall(text)
            assert exactly(sock, len(text)) == text
    serving.result()


# -- many at once ----------------------------------------------------------------------------------------


def test_200_connections_of_the_kernel_at_once_are_served(lan):
    socks = [lan.ns.socket() for _ in range(CROWD)]
    try:
        for sock in socks:
            sock.setblocking(False)
            assert sock.connect_ex((STACK, ECHO)) == errno.EINPROGRESS
        until(lambda: sum(c.state in SYNCHRONIZED for c in lan.stack.net.tcp.connections.values()) >= CROWD)
        with selectors.DefaultSelector() as writable:
            for sock in socks:
                writable.register(sock, selectors.EVENT_WRITE)
            until(lambda: len(writable.select(0)) == CROWD)
        for number, sock in enumerate(socks):
            assert sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR) == 0
            sock.settimeout(10)
            sock.sendall(ROUNDS.replace(b"%d", b"%d" % number))
            sock.shutdown(socket.SHUT_WR)
        for number, sock in enumerate(socks):
            text = ROUNDS.replace(b"%d", b"%d" % number)
            assert drained(sock) == (len(text), sha256(text))
    finally:
        for sock in socks:
            sock.close()


def test_200_connections_of_the_stack_at_once_are_served(lan, kernel_server):
    ours = [lan.stack.create_connection(kernel_server.getsockname(), timeout=10) for _ in range(CROWD)]
    theirs = {}
    try:
        for _ in range(CROWD):
            sock, peer = kernel_server.accept()
            theirs[peer] = sock
        for number, sock in enumerate(ours):
            sock.sendall(ROUNDS.replace(b"%d", b"%d" % number))
            theirs[sock.getsockname()].sendall(b"for %d" % number)
            sock.shutdown(socket.SHUT_WR)
        for number, sock in enumerate(ours):
            peer = theirs[sock.getsockname()]
            text = ROUNDS.replace(b"%d", b"%d" % number)
            assert drained(peer) == (len(text), sha256(text))
            peer.close()
            assert drained(sock) == (len(b"for %d" % number), sha256(b"for %d" % number))
    finally:
        for sock in [*ours, *theirs.values()]:
            sock.close()


# -- half-close ------------------------------------------------------------------------------------------


def test_kernel_half_closes_and_goes_on_reading(lan, accepted):
    ours, theirs = accepted
    theirs.sendall(b"that is all")
    theirs.shutdown(socket.SHUT_WR)
    assert drained(ours) == (11, sha256(b"that is all"))
    assert connection_of(lan.stack, ours).state == CLOSE_WAIT
    text = bytes(range(256)) * 1200
    sending = Doing(lambda: (ours.sendall(text), ours.close()))
    assert drained(theirs) == (len(text), sha256(text))
    sending.result()


def test_stack_half_closes_and_goes_on_reading(lan, accepted):
    ours, theirs = accepted
    connection = connection_of(lan.stack, ours)
    ours.sendall(b"that is all")
    ours.shutdown(socket.SHUT_WR)
    assert drained(theirs) == (11, sha256(b"that is all"))
    until(lambda: connection.state == FIN_WAIT_2)
    with pytest.raises(BrokenPipeError):
        ours.send(b"more")
    text = bytes(range(256)) * 1200
    sending = Doing(lambda: (theirs.sendall(text), theirs.close()))
    assert drained(ours) == (len(text), sha256(text))
    sending.result()


def test_both_close_at_once_and_nothing_is_lost(lan, accepted):
    ours, theirs = accepted
    with lan.stack.driver.lock:  # the stack hears nothing until it has sent its FIN
        theirs.sendall(b"theirs")
        theirs.shutdown(socket.SHUT_WR)
        ours.sendall(b"ours")
        ours.shutdown(socket.SHUT_WR)
    assert drained(theirs) == (4, sha256(b"ours"))
    assert drained(ours) == (6, sha256(b"theirs"))


# -- refusal and resets --------------------------------------------------------------------------------------


def test_kernel_connect_to_a_port_without_listener_is_refused(lan):
    began = time.monotonic()
    with pytest.raises(ConnectionRefusedError):
        lan.ns.connect(9999)
    assert time.monotonic() - began < 1


def test_stack_connect_to_a_port_without_listener_is_refused(lan):
    began = time.monotonic()
    with pytest.raises(ConnectionRefusedError):
        lan.stack.create_connection((KERNEL, 9999), timeout=10)
    assert time.monotonic() - began < 1


def test_kernel_reset_reaches_a_blocked_reader(accepted):
    ours, theirs = accepted
    theirs.sendall(b"hello")
    assert exactly(ours, 5) == b"hello"
    reading = Doing(ours.recv, 10)
    time.sleep(0.05)
    aborted(theirs)
    with pytest.raises(ConnectionResetError):
        reading.result(2)
    with pytest.raises(BrokenPipeError):
        ours.sendall(b"too late")


def test_kernel_reset_reaches_a_blocked_writer(accepted):
    ours, theirs = accepted
    writing = Doing(ours.sendall, bytes(32 << 20))
    until(lambda: theirs.recv(1, socket.MSG_PEEK))
    time.sleep(0.2)
    aborted(theirs)
    with pytest.raises(ConnectionResetError):
        writing.result(2)


def test_kernel_that_closes_with_unread_data_resets(accepted):
    ours, theirs = accepted
    ours.sendall(b"never read")
    assert theirs.recv(1, socket.MSG_PEEK) == b"n"
    theirs.close()
    with pytest.raises(ConnectionResetError):
        exactly(ours, 1)


def test_stack_that_closes_with_unread_data_resets(lan, accepted):
    """RFC 2525 section 2.17, SHLD-3."""
    ours, theirs = accepted
    connection = connection_of(lan.stack, ours)
    theirs.sendall(b"never read")
    until(lambda: connection.available == 10)
    ours.close()
    with pytest.raises(ConnectionResetError):
        theirs.recv(1)


def test_stack_with_linger_zero_resets(accepted):
    ours, theirs = accepted
    ours.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    ours.close()
    with pytest.raises(ConnectionResetError):
        theirs.recv(1)


def test_orderly_end_leaves_nothing_on_the_kernel(lan, accepted):
    """TIME-WAIT stands on the side that closed first, the stack's."""
    ours, theirs = accepted
    port = theirs.getsockname()[1]
    assert kernel_has(lan, port)
    ours.shutdown(socket.SHUT_WR)
    assert theirs.recv(1) == b""
    theirs.close()
    assert ours.recv(1) == b""
    ours.close()
    until(lambda: not kernel_has(lan, port))


def kernel_has(lan, port):
    """Whether a kernel socket has this local port (a remote one may be the same number)."""
    rows = lan.ns.run("cat", "/proc/net/tcp").decode().splitlines()[1:]
    return any(row.split()[1].endswith(f":{port:04X}") for row in rows)
