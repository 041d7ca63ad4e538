"""Who stands at the other end in the demo: a real Linux kernel with real programs, or a second stack.

Both offer the same clients (`Peer`); a client that was started is a `Job`. The kernel's are the programs
of the distribution where they are installed, and `cli.clients` in a process of its own where not.
"""

from __future__ import annotations

import os
import platform
import select
import shlex
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from scapystack.cli import clients
from scapystack.cli.sandbox import Sandbox
from scapystack.sockets import SOCK_DGRAM, SOCK_STREAM, Stack

TIMEOUT_S = 20.0
_OPEN = {"tcp": "0A", "udp": "07"}
"""The state of a socket that listens, as /proc/net/tcp and udp write it."""


@dataclass(slots=True)
class Result:
    """How a client ended: `ok` is exit status 0."""

    ok: bool
    out: bytes
    error: str


class Job(Protocol):
    """A client at work. `shown` is what was started, behind a prompt."""

    shown: str

    def read(self, octets: int) -> bytes:
        """What it has put out once that is as many octets, or all there will be. Raises TimeoutError."""

    def finish(self) -> Result:
        """Wait for its end. Raises TimeoutError."""

    def stop(self) -> None:
        """End it now."""


class Peer(Protocol):
    """The other end. Every method starts a client; `host` is the stack's address."""

    name: str
    address: str

    def about(self) -> str:
        """What its clients are, in a line."""

    def ping(self, host: str, count: int, size: int) -> Job:
        """Echo requests, each answer compared."""

    def send(self, host: str, port: int, data: bytes, name: str) -> Job:
        """`data` (to a person: the file `name`, if it has one) over TCP, then half-close; puts out what
        comes back."""

    def receive(self, port: int) -> Job:
        """Puts out what the first TCP connection to `port` brings; the port is open when this returns."""

    def ask(self, host: str, port: int, data: bytes) -> Job:
        """`data` in a datagram; puts out the answer."""

    def listen(self, port: int) -> Job:
        """Puts out the first datagram that comes to `port`; the port is open when this returns."""

    def fetch(self, host: str, port: int, path: str) -> Job:
        """Puts out the body at http://host:port/path."""


class KernelPeer:
    """The kernel of this machine, in a namespace of its own."""

    def __init__(self, sandbox: Sandbox, address: str) -> None:
        self.address = address
        self.name = f"Linux {platform.release()}"
        self._sandbox = sandbox
        path = f"{os.environ.get('PATH', '')}:/usr/bin:/bin:/usr/sbin:/sbin"
        self._found = {name: shutil.which(name, path=path) for name in ("ping", "nc", "curl")}
        if self._found["nc"] and not _is_openbsd_nc(self._found["nc"]):
            self._found["nc"] = None

    def about(self) -> str:
        """Which real programs are used, and what stands in for the others."""
        real = [name for name, path in self._found.items() if path]
        lacking = [name for name, path in self._found.items() if not path]
        own = f"Python's own sockets for {' and '.join(lacking)} (not installed)" if lacking else ""
        return "; ".join(part for part in (", ".join(real), own) if part)

    def ping(self, host: str, count: int, size: int) -> Job:
        """See `Peer`."""
        if self._found["ping"]:
            # at most one every 0.2 s for a user who is not root
            return self._real(["ping", "-n", "-c", str(count), "-i", "0.2", "-W", "2", "-s", str(size), host])
        return self._own(["ping", host, str(count), str(size)])

    def send(self, host: str, port: int, data: bytes, name: str) -> Job:
        """See `Peer`."""
        before = f"cat {name} | " if name else ""
        if self._found["nc"]:
            return self._real(["nc", "-v", "-N", host, str(port)], data, before)
        return self._own(["send", host, str(port)], data, before)

    def ask(self, host: str, port: int, data: bytes) -> Job:
        """See `Peer`."""
        before = f"echo {shlex.quote(data.decode().rstrip())} | "
        if self._found["nc"]:
            return self._real(["nc", "-u", host, str(port)], data, before)
        return self._own(["ask", host, str(port)], data, before)

    def receive(self, port: int) -> Job:
        """See `Peer`."""
        if self._found["nc"]:
            job = self._real(["nc", "-N", "-l", self.address, str(port)])
        else:
            job = self._own(["receive", self.address, str(port)])
        job.wait_for_port("tcp", port)
        return job

    def listen(self, port: int) -> Job:
        """See `Peer`."""
        if self._found["nc"]:
            job = self._real(["nc", "-u", "-l", self.address, str(port)], end_input=False)
        else:
            job = self._own(["listen", self.address, str(port)], end_input=False)
        job.wait_for_port("udp", port)
        return job

    def fetch(self, host: str, port: int, path: str) -> Job:
        """See `Peer`."""
        if self._found["curl"]:
            return self._real(["curl", "-s", "-S", "-f", "--noproxy", "*", f"http://{host}:{port}{path}"])
        return self._own(["fetch", host, str(port), path])

    def _real(self, words: list[str], data: bytes = b"", before: str = "", *, end_input: bool = True) -> ProcessJob:
        shown = f"$ {before}{shlex.join(words)}"
        return ProcessJob(self._sandbox, [str(self._found[words[0]]), *words[1:]], shown, data, end_input)

    def _own(self, words: list[str], data: bytes = b"", before: str = "", *, end_input: bool = True) -> ProcessJob:
        program = str(Path(clients.__file__))
        shown = f"$ {before}python clients.py {' '.join(words)}"
        return ProcessJob(self._sandbox, [sys.executable, "-I", program, *words], shown, data, end_input)


def _is_openbsd_nc(path: str) -> bool:
    """Whether this nc knows -N; the other families half-close in other ways, or never."""
    told = subprocess.run([path, "-h"], capture_output=True, check=False, stdin=subprocess.DEVNULL, timeout=TIMEOUT_S)
    return b"OpenBSD" in told.stdout + told.stderr


class ProcessJob:
    """A program in the kernel's namespace."""

    def __init__(self, sandbox: Sandbox, words: list[str], shown: str, data: bytes, end_input: bool) -> None:
        """`data` (small: it must fit a pipe) is its standard input, which then ends."""
        self.shown = shown
        self._out = b""
        self._process = sandbox.popen(
            words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, bufsize=0
        )
        assert self._process.stdin is not None
        self._process.stdin.write(data)
        if end_input:
            self._process.stdin.close()

    def wait_for_port(self, proto: str, port: int) -> None:
        """Wait until the program has its port (`tcp`, `udp`). Raises TimeoutError."""
        table = Path(f"/proc/{self._process.pid}/net/{proto}")  # of the namespace that the program is in
        until = time.monotonic() + TIMEOUT_S
        while time.monotonic() < until and self._process.poll() is None:
            rows = [line.split() for line in table.read_text().splitlines()]
            if any(row[1].endswith(f":{port:04X}") and row[3] == _OPEN[proto] for row in rows):
                return
            time.sleep(0.01)
        raise TimeoutError(f"{self.shown}: does not listen")

    def read(self, octets: int) -> bytes:
        """See `Job`."""
        assert self._process.stdout is not None
        fd = self._process.stdout.fileno()
        until = time.monotonic() + TIMEOUT_S
        while len(self._out) < octets:
            if not select.select([fd], [], [], max(0.0, until - time.monotonic()))[0]:
                raise TimeoutError(f"{self.shown}: no more after {len(self._out)} octets")
            piece = os.read(fd, 65_536)
            if not piece:
                break
            self._out += piece
        return self._out

    def finish(self) -> Result:
        """See `Job`."""
        self._process.stdin = None  # it is closed, or nobody writes to it any more
        try:
            out, error = self._process.communicate(timeout=TIMEOUT_S)
        except subprocess.TimeoutExpired:
            self.stop()
            raise TimeoutError(f"{self.shown}: does not end") from None
        return Result(self._process.returncode == 0, self._out + out, error.decode(errors="replace").strip())

    def stop(self) -> None:
        """See `Job`."""
        self._process.kill()
        self._process.wait()
        for stream in (self._process.stdin, self._process.stdout, self._process.stderr):
            if stream is not None:
                stream.close()


class StackPeer:
    """A second stack of ours, for where there is no kernel to be had."""

    def __init__(self, stack: Stack, address: str) -> None:
        self.address = address
        self.name = "a second stack"
        self._stack = stack

    def about(self) -> str:
        """What its clients are."""
        return "the demo's own, on the second stack's sockets"

    def ping(self, host: str, count: int, size: int) -> Job:
        """See `Peer`."""

        def body() -> bytes:
            for _ in range(count):
                self._stack.ping(host, size=size)
            return b""

        return ThreadJob(f">>> other.ping({host!r}, size={size})", body)

    def send(self, host: str, port: int, data: bytes, name: str) -> Job:
        """See `Peer`."""
        shown = f">>> clients.send(other, {host!r}, {port}, {name or len(data)})"
        return ThreadJob(shown, lambda: clients.send(self._stack, host, port, data))

    def ask(self, host: str, port: int, data: bytes) -> Job:
        """See `Peer`."""
        shown = f">>> clients.ask(other, {host!r}, {port}, {data!r})"
        return ThreadJob(shown, lambda: clients.ask(self._stack, host, port, data))

    def receive(self, port: int) -> Job:
        """See `Peer`."""
        shown = f">>> clients.receive(other, {self.address!r}, {port})"
        job = ThreadJob(shown, lambda: clients.receive(self._stack, self.address, port))
        self._wait_for_port(SOCK_STREAM, port)
        return job

    def listen(self, port: int) -> Job:
        """See `Peer`."""
        shown = f">>> clients.listen(other, {self.address!r}, {port})"
        job = ThreadJob(shown, lambda: clients.listen(self._stack, self.address, port))
        self._wait_for_port(SOCK_DGRAM, port)
        return job

    def _wait_for_port(self, kind: int, port: int) -> None:
        """Wait until a client has the port: until binding it fails."""
        until = time.monotonic() + TIMEOUT_S
        while time.monotonic() < until:
            with self._stack.socket(type=kind) as sock:
                try:
                    sock.bind((self.address, port))
                except OSError:
                    return
            time.sleep(0.005)

    def fetch(self, host: str, port: int, path: str) -> Job:
        """See `Peer`."""
        shown = f">>> clients.fetch(other, {host!r}, {port}, {path!r})"
        return ThreadJob(shown, lambda: clients.fetch(self._stack, host, port, path))


class ThreadJob:
    """A client in a thread of ours."""

    def __init__(self, shown: str, body: Callable[[], bytes]) -> None:
        self.shown = shown
        self._result: Result | None = None
        self._thread = threading.Thread(target=self._run, args=(body,), name=shown, daemon=True)
        self._thread.start()

    def _run(self, body: Callable[[], bytes]) -> None:
        try:
            self._result = Result(True, body(), "")
        except OSError as error:
            self._result = Result(False, b"", error.strerror or str(error))

    def read(self, octets: int) -> bytes:
        """See `Job`."""
        return self.finish().out

    def finish(self) -> Result:
        """See `Job`."""
        self._thread.join(TIMEOUT_S)
        if self._result is None:
            raise TimeoutError(f"{self.shown}: does not end")
        return self._result

    def stop(self) -> None:
        """Its sockets have time-outs; nothing to do."""
