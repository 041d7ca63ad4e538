"""What the two hosts of a scene say to each other."""

from __future__ import annotations

import socket
import time

from pcaps.lab import Lab


def text(octets: int, what: str = "line") -> bytes:
    """So many octets, no two lines of them the same."""
    lines = (f"{what} {n:06d} of a stream that a kernel has sent\n".encode() for n in range(octets // 40 + 1))
    return b"".join(lines)[:octets]


def receive(sock: socket.socket, octets: int) -> bytes:
    """Just so many."""
    got = b""
    while len(got) < octets:
        part = sock.recv(octets - len(got))
        assert part, "the stream ended early"
        got += part
    return got


def ended(sock: socket.socket) -> bytes:
    """All up to the end of the stream."""
    got = b""
    while part := sock.recv(65_536):
        got += part
    return got


def close(*socks: socket.socket) -> None:
    """One after the other, with a little time for the FINs."""
    for sock in socks:
        sock.close()
        time.sleep(0.05)


def exchange(client: socket.socket, server: socket.socket, request: int = 300, answer: int = 2_000) -> None:
    """A request and its answer."""
    client.sendall(text(request, "request"))
    receive(server, request)
    server.sendall(text(answer, "answer"))
    receive(client, answer)


def plain(lab: Lab) -> None:
    """A connection, a request and its answer, and the client closes."""
    client, server = lab.pair()
    exchange(client, server)
    close(client, server)


def download(lab: Lab, octets: int = 40_000, **options: int) -> None:
    """A request and a long answer."""
    client, server = lab.pair(**options)
    client.sendall(b"GET /\n")
    receive(server, 6)
    server.sendall(text(octets))
    receive(client, octets)
    close(server, client)
