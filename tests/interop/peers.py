"""The other side of the stack in the kernel tests: programs in the namespace, digests, bounded waits.

The bulk senders and receivers run on the kernel as programs of their own; whoever needs to stop in the
middle of something uses a kernel socket of `Namespace.socket` in the test itself.
"""

from __future__ import annotations

import hashlib
import subprocess
import sys
import threading
import time
from collections.abc import Callable

import pytest

from tests.interop.netns import LIMIT_S, STACK, Namespace

CHUNK = 1 << 18

_SEND = """
import hashlib, os, socket, sys
host, port, size = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
digest = hashlib.sha256()
with socket.create_connection((host, port), timeout=30) as sock:
    while size:
        data = os.urandom(min(size, 1 << 20))
        digest.update(data)
        sock.sendall(data)
        size -= len(data)
    sock.shutdown(socket.SHUT_WR)
    assert sock.recv(1) == b""
print(digest.hexdigest())
"""

_RECEIVE = """
import hashlib, socket, sys
host, port = sys.argv[1], int(sys.argv[2])
digest, size = hashlib.sha256(), 0
with socket.create_server((host, port)) as server:
    server.settimeout(30)
    print("ready", flush=True)
    sock, _ = server.accept()
sock.settimeout(30)
while data := sock.recv(1 << 18):
    digest.update(data)
    size += len(data)
sock.close()
print(size, digest.hexdigest())
"""


def python(ns: Namespace, program: str, *words: object) -> subprocess.Popen:
    """Start a Python program on the kernel's side, its output a pipe."""
    return ns.popen(sys.executable, "-I", "-u", "-c", program, *words, stdout=subprocess.PIPE, stderr=subprocess.PIPE)


def said(child: subprocess.Popen, limit: float = LIMIT_S) -> list[str]:
    """The words that a program has printed at its end; fails the test unless it ends with 0 in time."""
    try:
        out, err = child.communicate(timeout=limit)
    except subprocess.TimeoutExpired:
        child.kill()
        out, err = child.communicate()
        pytest.fail(f"a program did not end in {limit} s: {out[-300:]!r} {err[-300:]!r}")
    if child.returncode:
        pytest.fail(f"a program ended with {child.returncode}: {out[-300:]!r} {err[-300:]!r}")
    return out.decode().split()


def kernel_sends(ns: Namespace, port: int, size: int, host: str = STACK) -> subprocess.Popen:
    """A program that sends random octets, half-closes, waits for the other end, and prints their digest."""
    return python(ns, _SEND, host, port, size)


def kernel_receives(ns: Namespace, host: str, port: int) -> subprocess.Popen:
    """A program that takes one connection and prints how much came, and its digest. It listens already."""
    child = python(ns, _RECEIVE, host, port)
    assert child.stdout is not None
    assert child.stdout.readline() == b"ready\n"
    return child


def sha256(data: bytes) -> str:
    """The digest in hexadecimal."""
    return hashlib.sha256(data).hexdigest()


def drained(sock) -> tuple[int, str]:
    """Read a socket of either side to its end: how much came, and its digest."""
    digest, size = hashlib.sha256(), 0
    while data := sock.recv(CHUNK):
        digest.update(data)
        size += len(data)
    return size, digest.hexdigest()


def exactly(sock, size: int) -> bytes:
    """Read so many octets of a stream, no fewer."""
    parts = []
    while size:
        part = sock.recv(min(size, CHUNK))
        assert part, f"the stream ended {size} octets early"
        parts.append(part)
        size -= len(part)
    return b"".join(parts)


def until(condition: Callable[[], object], limit: float = 5.0) -> None:
    """Wait until `condition` holds; fails the test if it does not in time."""
    end = time.monotonic() + limit
    while not condition():
        assert time.monotonic() < end, "what was waited for did not happen"
        time.sleep(0.005)


class Doing(threading.Thread):
    """A call that goes on beside the test. `result()` is what it returned, or raises what it raised."""

    def __init__(self, call: Callable[..., object], *words: object) -> None:
        super().__init__(daemon=True)
        self._call = lambda: call(*words)
        self._answer: object = None
        self._error: BaseException | None = None
        self.start()

    def run(self) -> None:
        try:
            self._answer = self._call()
        except BaseException as error:
            self._error = error

    def result(self, limit: float = LIMIT_S):
        self.join(limit)
        assert not self.is_alive(), f"a call did not return in {limit} s"
        if self._error is not None:
            raise self._error
        return self._answer


def connection_of(stack, sock):
    """The stack's TCP connection behind one of its sockets."""
    ports = sock.getsockname()[1], sock.getpeername()[1]
    with stack.driver.lock:
        return next(c for c in stack.net.tcp.connections.values() if (c.local_port, c.remote_port) == ports)


class Sizes:
    """The largest frame that came in and went out of a stack while this is open."""

    def __init__(self, stack) -> None:
        self.stack = stack
        self.largest = {"rx": 0, "tx": 0}

    def _look(self, way, frame) -> None:
        self.largest[way] = max(self.largest[way], len(frame))

    def __enter__(self) -> Sizes:
        self.stack.net.taps.append(self._look)
        return self

    def __exit__(self, *error: object) -> None:
        self.stack.net.taps.remove(self._look)
