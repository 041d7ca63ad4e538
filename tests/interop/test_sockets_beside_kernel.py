"""The same calls on sockets of the kernel's loopback and of a stack's: the same answer, and the same in select.

Every call stands alone on fresh sockets in one of a few states, and none waits: what a call answers is decided here
and now on both sides. Where the two differ on purpose stands in docs/sockets.md.
"""

import errno
import io
import select
import socket
import struct

import pytest

from scapystack.runtime.driver import Driver
from scapystack.sockets.facade import Stack
from scapystack.stack import NetStack

HOST = "127.0.0.1"
S, T, IP = socket.SOL_SOCKET, socket.IPPROTO_TCP, socket.IPPROTO_IP


def unused(make, kind):
    return (make(socket.AF_INET, kind),)


def bound(make, kind):
    sock = make(socket.AF_INET, kind)
    sock.bind((HOST, 0))
    return (sock,)


def listening(make, kind):
    (sock,) = bound(make, kind)
    if kind == socket.SOCK_STREAM:
        sock.listen()
    return (sock,)


def connected(make, kind):
    (server,) = listening(make, kind)
    client = make(socket.AF_INET, kind)
    client.connect(server.getsockname())
    if kind == socket.SOCK_DGRAM:
        server.connect(client.getsockname())
        return client, server
    return client, server.accept()[0], server


def closed(make, kind):
    (sock,) = bound(make, kind)
    sock.close()
    return (sock,)


CALLS = {
    "getpeername": lambda s: len(s.getpeername()),
    "bind": lambda s: s.bind((HOST, 0)),
    "bind elsewhere": lambda s: s.bind(("10.9.9.9", 0)),
    "bind no pair": lambda s: s.bind(HOST),
    "bind no port": lambda s: s.bind((HOST, "80")),
    "bind port out of range": lambda s: s.bind((HOST, 70_000)),
    "listen": lambda s: s.listen(),
    "accept": lambda s: s.accept(),
    "recv": lambda s: s.recv(1),
    "recv nothing": lambda s: s.recv(0),
    "recv into nothing": lambda s: s.recv_into(bytearray()),
    "recv less than nothing": lambda s: s.recv(-1),
    "recv peek": lambda s: s.recv(1, socket.MSG_PEEK),
    "recv urgent": lambda s: s.recv(1, socket.MSG_OOB),
    "recvfrom": lambda s: s.recvfrom(1),
    "recvmsg": lambda s: s.recvmsg(1),
    "recvmsg less than nothing": lambda s: s.recvmsg(-1),
    "recvmsg_into": lambda s: s.recvmsg_into([bytearray(1)]),
    "recv_into read-only": lambda s: s.recv_into(b"abc"),
    "recv_into beyond": lambda s: s.recv_into(bytearray(3), 5),
    "send": lambda s: s.send(b"abc"),
    "send text": lambda s: s.send("abc"),
    "send number": lambda s: s.send(5),
    "sendto number": lambda s: s.sendto(5, (HOST, 9)),
    "sendall": lambda s: s.sendall(b"abc"),
    "sendmsg": lambda s: s.sendmsg([b"a", b"bc"]),
    "sendto no address": lambda s: s.sendto(b"abc"),
    "sendfile": lambda s: s.sendfile(io.BytesIO()),
    "shutdown reading": lambda s: s.shutdown(socket.SHUT_RD),
    "shutdown writing": lambda s: s.shutdown(socket.SHUT_WR),
    "shutdown both": lambda s: s.shutdown(socket.SHUT_RDWR),
    "shutdown neither": lambda s: s.shutdown(7),
    "settimeout": lambda s: s.settimeout(0),
    "settimeout text": lambda s: s.settimeout("1"),
    "settimeout past": lambda s: s.settimeout(-1),
    "setblocking": lambda s: s.setblocking(False),
    "inheritable": lambda s: s.get_inheritable(),
    "makefile": lambda s: s.makefile("x"),
    "descriptor": lambda s: s.fileno() >= 0,
    "error": lambda s: s.getsockopt(S, socket.SO_ERROR),
    "accepts": lambda s: s.getsockopt(S, socket.SO_ACCEPTCONN),
    "linger": lambda s: s.getsockopt(S, socket.SO_LINGER, 8),
    "linger set": lambda s: s.setsockopt(S, socket.SO_LINGER, struct.pack("ii", 1, 5)),
    "linger int": lambda s: s.setsockopt(S, socket.SO_LINGER, 1),
    "reuse none": lambda s: s.setsockopt(S, socket.SO_REUSEADDR, None),
    "reuse short": lambda s: s.setsockopt(S, socket.SO_REUSEADDR, b"\1"),
    "unknown option": lambda s: s.setsockopt(S, 9999, 1),
    "ttl": lambda s: s.setsockopt(IP, socket.IP_TTL, 300),
    "tos": lambda s: s.setsockopt(IP, socket.IP_TOS, 0x1B8),
    "header": lambda s: s.setsockopt(IP, socket.IP_HDRINCL, 1),
    "nodelay": lambda s: s.setsockopt(T, socket.TCP_NODELAY, 1),
    "congestion": lambda s: s.setsockopt(T, socket.TCP_CONGESTION, b"none such"),
}


def levels(sock):
    """Readable and writable, where there is a descriptor. poll() has no limit on its number, as select() has."""
    if sock.fileno() < 0:
        return None
    asked = select.poll()
    asked.register(sock.fileno(), select.POLLIN | select.POLLOUT)
    events = dict(asked.poll(0)).get(sock.fileno(), 0)
    ended = events & (select.POLLHUP | select.POLLERR)
    return bool(events & select.POLLIN or ended), bool(events & select.POLLOUT)


def outcome(make, state, kind, call):
    """What the call returned or raised, and what select says of the socket before and behind it."""
    sockets = state(make, kind)
    sock = sockets[0]
    try:
        if sock.fileno() >= 0:
            sock.setblocking(False)
        before = levels(sock)
        try:
            answer = call(sock)
        except OSError as error:
            answer = type(error), errno.errorcode.get(error.errno)
        except (TypeError, ValueError, OverflowError) as error:
            answer = type(error)
        return before, answer, levels(sock)
    finally:
        for each in sockets:
            each.close()


@pytest.fixture(scope="module")
def stack():
    made = Stack(driver=Driver(NetStack(seed=1)))
    yield made
    made.close()
    made.driver.close()


@pytest.mark.parametrize("kind", [socket.SOCK_STREAM, socket.SOCK_DGRAM], ids=["stream", "datagram"])
@pytest.mark.parametrize("state", [unused, bound, listening, connected, closed])
def test_every_call_answers_as_the_kernels_does(stack, state, kind):
    ours = {name: outcome(stack.socket, state, kind, call) for name, call in CALLS.items()}
    theirs = {name: outcome(socket.socket, state, kind, call) for name, call in CALLS.items()}
    assert ours == theirs
