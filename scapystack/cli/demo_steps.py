"""What the demo shows: one function a step, between our stack and a `Peer` (see `cli.peers`).

A step returns one line that says what was seen. It raises `StepFailed` (or an OSError of a socket) when
that was not what should have been. `STEPS` is their order.
"""

from __future__ import annotations

import hashlib
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from scapystack.cli.peers import Job, Peer, Result
from scapystack.sockets import SHUT_WR, SOCK_DGRAM, Socket, Stack
from scapystack.sockets.services import start_services

PORT = 12_345
CLOSED_PORT = 4_321
BIG_PING = 60_000
TIMEOUT_S = 20.0


class StepFailed(Exception):
    """What was seen is not what should have been."""


@dataclass(slots=True)
class Scene:
    """What the steps play on. `say` prints one line."""

    stack: Stack
    host: str
    peer: Peer
    say: Callable[[str], None]
    jobs: list[Job] = field(default_factory=list)

    def start(self, job: Job) -> Job:
        """Note a client that was started, and say what it is."""
        self.jobs.append(job)
        self.say(job.shown)
        return job

    def end(self) -> None:
        """Stop the clients that still run."""
        while self.jobs:
            self.jobs.pop().stop()


def must(held: bool, otherwise: str) -> None:
    """Raises StepFailed unless `held`."""
    if not held:
        raise StepFailed(otherwise)


def must_succeed(result: Result) -> Result:
    """Raises StepFailed unless the client ended well."""
    must(result.ok, result.error or "the client failed")
    return result


def same(got: bytes, wanted: bytes) -> str:
    """`N octets, SHA-256 ...` of equal octets. Raises StepFailed for others."""
    if got != wanted:
        at = next((i for i, (a, b) in enumerate(zip(got, wanted, strict=False)) if a != b), min(len(got), len(wanted)))
        raise StepFailed(f"{len(got)} octets came instead of {len(wanted)}; they differ from octet {at} on")
    return f"{len(got):,} octets, SHA-256 {hashlib.sha256(got).hexdigest()[:16]}..., as they were sent"


def ping_from(scene: Scene) -> str:
    """The peer asks for our MAC address, then pings."""
    must_succeed(scene.start(scene.peer.ping(scene.host, 3, 56)).finish())
    return "3 requests, 3 answers"


def ping_to(scene: Scene) -> str:
    """We ping the peer."""
    return _ping_to(scene, 3, 56)


def big_ping_from(scene: Scene) -> str:
    """A ping of 60,000 octets: the request comes in fragments, and so leaves the answer."""
    must_succeed(scene.start(scene.peer.ping(scene.host, 1, BIG_PING)).finish())
    return f"{BIG_PING:,} octets came back whole"


def big_ping_to(scene: Scene) -> str:
    """The same the other way."""
    return _ping_to(scene, 1, BIG_PING)


def _ping_to(scene: Scene, count: int, size: int) -> str:
    data = bytes(i & 0xFF for i in range(size))
    scene.say(f">>> stack.ping({scene.peer.address!r}, size={size})")
    times = []
    with scene.stack.pinger() as pinger:
        for seq in range(1, count + 1):
            reply = pinger.ping(scene.peer.address, seq, data, timeout=2)
            must(reply.data == data, "the answer's data is not the request's")
            times.append(reply.rtt_ms)
    return f"{count} of {count} answered, {min(times):.2f} to {max(times):.2f} ms"


def file_from(scene: Scene) -> str:
    """A Makefile through nc to `nc -l` on the stack, byte for byte, then half-close."""
    source = Path("Makefile") if Path("Makefile").is_file() else Path(__file__)
    sent = source.read_bytes()
    with scene.stack.create_server((scene.host, PORT)) as server:
        server.settimeout(TIMEOUT_S)
        scene.say(f">>> server = stack.create_server(({scene.host!r}, {PORT}))")
        job = scene.start(scene.peer.send(scene.host, PORT, sent, source.name))
        sock, _ = server.accept()
        with sock:
            sock.settimeout(TIMEOUT_S)
            got = read_all(sock)
            for line in got.decode(errors="replace").splitlines()[:3]:
                scene.say(f"| {line}")
            scene.say(f"| ... ({len(got.splitlines())} lines)")
    must_succeed(job.finish())
    return same(got, sent)


def file_to(scene: Scene) -> str:
    """A connection from the stack to a listening program: a file out, an answer back, half-close."""
    sent = Path(__file__).read_bytes()
    job = scene.start(scene.peer.receive(PORT))
    scene.say(f">>> sock = stack.create_connection(({scene.peer.address!r}, {PORT}))")
    with scene.stack.create_connection((scene.peer.address, PORT), timeout=TIMEOUT_S) as sock:
        sock.sendall(sent)
        sock.shutdown(SHUT_WR)
        must(read_all(sock) == b"", "the listener sent something")
        got = must_succeed(job.finish()).out
    return same(got, sent)


def read_all(sock: Socket) -> bytes:
    """What comes until the peer has ended its side."""
    pieces = []
    while piece := sock.recv(65_536):
        pieces.append(piece)
    return b"".join(pieces)


def udp_from(scene: Scene) -> str:
    """A datagram from the peer, and our answer."""
    question, answer = b"how do you do\n", b"very well, thank you\n"
    with scene.stack.socket(type=SOCK_DGRAM) as sock:
        sock.settimeout(TIMEOUT_S)
        sock.bind((scene.host, PORT))
        job = scene.start(scene.peer.ask(scene.host, PORT, question))
        data, client = sock.recvfrom(65_535)
        must(data == question, f"{data!r} came instead of {question!r}")
        sock.sendto(answer, client)
        told = job.read(len(answer))
    must(told == answer, f"the client got {told!r} instead of {answer!r}")
    return f"{question.decode().strip()!r} came, {answer.decode().strip()!r} went back"


def udp_to(scene: Scene) -> str:
    """A datagram to the peer, as the first thing said: it waits for ARP and is not lost."""
    line = b"hello from the stack\n"
    job = scene.start(scene.peer.listen(PORT))
    with scene.stack.driver.entered() as net:
        net.arp.flush(net.interfaces[1])
    with scene.stack.socket(type=SOCK_DGRAM) as sock:
        scene.say(f">>> sock.sendto({line!r}, ({scene.peer.address!r}, {PORT}))")
        sock.sendto(line, (scene.peer.address, PORT))
        got = job.read(len(line))
    must(got == line, f"{got!r} came instead of {line!r}")
    return "the first datagram arrived, after ARP"


def refused_from(scene: Scene) -> str:
    """A connect to a port that nobody listens on gets a RST."""
    result = scene.start(scene.peer.send(scene.host, CLOSED_PORT, b"", "")).finish()
    must("refused" in result.error, f"the client was not refused: {result.error or 'it said nothing'}")
    return result.error


def refused_to(scene: Scene) -> str:
    """The same the other way: our socket raises ConnectionRefusedError."""
    scene.say(f">>> stack.create_connection(({scene.peer.address!r}, {CLOSED_PORT}))")
    try:
        scene.stack.create_connection((scene.peer.address, CLOSED_PORT), timeout=5).close()
    except ConnectionRefusedError as error:
        return f"ConnectionRefusedError: {error}"
    raise StepFailed("the connect was not refused")


def page_from(scene: Scene) -> str:
    """A page fetched by a real client from the stack's HTTP service."""
    with tempfile.TemporaryDirectory() as directory:
        page = b"<!DOCTYPE html><title>scapystack</title>" + b"".join(
            b"<p>paragraph %d</p>\n" % i for i in range(10_000)
        )
        (Path(directory) / "page.html").write_bytes(page)
        with _service(scene.stack, "http:80", directory):
            job = scene.start(scene.peer.fetch(scene.host, 80, "/page.html"))
            got = job.read(len(page))
            must_succeed(job.finish())
    return same(got, page)


@contextmanager
def _service(stack: Stack, spec: str, directory: str) -> Iterator[None]:
    services = start_services(stack, spec, directory)
    try:
        yield
    finally:
        for service in services:
            service.close()


STEPS: tuple[tuple[str, Callable[[Scene], str]], ...] = (
    ("ARP, and ping to the stack", ping_from),
    ("ping from the stack", ping_to),
    ("a ping of 60,000 octets to the stack, in fragments both ways", big_ping_from),
    ("a ping of 60,000 octets from the stack", big_ping_to),
    ("TCP: a file through nc to a listening stack, byte for byte", file_from),
    ("TCP: a file from the stack to a listening nc", file_to),
    ("UDP to the stack, and its answer", udp_from),
    ("UDP from the stack", udp_to),
    ("TCP: a connect to a closed port of the stack", refused_from),
    ("TCP: a connect from the stack to a closed port", refused_to),
    ("HTTP: a page from the stack", page_from),
)
