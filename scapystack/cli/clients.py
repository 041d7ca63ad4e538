"""The demo's own small clients, for where the real ones (nc, curl, ping) are not there.

Each speaks through `net`, anything with the face of the `socket` module: the module itself, when this
file runs as a program of its own in the kernel's namespace, or a `Stack` of ours, when there is no
kernel to talk to. Only the standard library is imported, so that it starts at once.

    python -I clients.py send|receive|ask|listen|fetch|ping HOST PORT [COUNT SIZE | PATH]
"""

from __future__ import annotations

import os
import socket
import struct
import sys
import time
from typing import Any

TIMEOUT_S = 20.0
ANSWER_S = 5.0


def send(net: Any, host: str, port: int, data: bytes) -> bytes:
    """`data` over TCP, then half-close; what came back until the other side closed."""
    with net.create_connection((host, port), timeout=TIMEOUT_S) as sock:
        sock.sendall(data)
        sock.shutdown(socket.SHUT_WR)
        return _all(sock)


def ask(net: Any, host: str, port: int, data: bytes) -> bytes:
    """`data` as one UDP datagram; the answer."""
    with net.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.settimeout(ANSWER_S)
        sock.connect((host, port))
        sock.send(data)
        answer: bytes = sock.recv(65_535)
        return answer


def listen(net: Any, host: str, port: int) -> bytes:
    """The first UDP datagram that comes to the port."""
    with net.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.settimeout(TIMEOUT_S)
        sock.bind((host, port))
        data: bytes = sock.recv(65_535)
        return data


def receive(net: Any, host: str, port: int) -> bytes:
    """What the first TCP connection to the port brings; our side is half-closed at once."""
    with net.create_server((host, port)) as server:
        server.settimeout(TIMEOUT_S)
        sock, _ = server.accept()
    with sock:
        sock.settimeout(TIMEOUT_S)
        sock.shutdown(socket.SHUT_WR)
        return _all(sock)


def fetch(net: Any, host: str, port: int, path: str) -> bytes:
    """The body at http://host:port/path. Raises OSError unless the answer is a 200, whole."""
    request = f"GET {path} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n"
    head, _, body = send(net, host, port, request.encode()).partition(b"\r\n\r\n")
    lines = head.decode("latin-1").split("\r\n")
    if " 200 " not in lines[0] + " ":
        raise OSError(0, f"HTTP: {lines[0]}")
    sizes = [int(line.partition(":")[2]) for line in lines if line.lower().startswith("content-length:")]
    if sizes != [len(body)]:
        raise OSError(0, f"HTTP: {len(body)} octets came, not {sizes}")
    return body


def ping(host: str, count: int, size: int) -> bytes:
    """`count` echo requests from the kernel, each answer compared. Needs CAP_NET_RAW. Raises OSError."""
    payload = (bytes(range(256)) * (size // 256 + 1))[:size]
    ident = os.getpid() & 0xFFFF
    with socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_ICMP) as sock:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 20)
        sock.settimeout(2)
        for seq in range(1, count + 1):
            body = struct.pack("!HH", ident, seq) + payload
            total = int.from_bytes(b"\x08\0\0\0" + body + b"\0" * (len(body) & 1), "big") % 0xFFFF
            sock.sendto(struct.pack("!BBH", 8, 0, -total % 0xFFFF) + body, (host, 0))
            if not _answered(sock, b"\0\0" + body):
                raise OSError(0, f"no right answer to echo request {seq}")
    return f"{count} packets transmitted, {count} received\n".encode()


def _answered(sock: socket.socket, wanted: bytes) -> bool:
    """Whether an echo reply comes whose type, code and all behind the checksum are `wanted`."""
    until = time.monotonic() + 2
    while time.monotonic() < until:
        try:
            packet = sock.recv(65_535)
        except TimeoutError:
            return False
        icmp = packet[(packet[0] & 15) * 4 :]
        if icmp[:2] + icmp[4:] == wanted:
            return True
    return False


def _all(sock: Any) -> bytes:
    pieces = []
    while piece := sock.recv(65_536):
        pieces.append(piece)
    return b"".join(pieces)


def main(words: list[str]) -> int:
    """Run one client on the kernel's sockets; an error is one line, as with the real clients."""
    name, host, *rest = words
    try:
        if name == "ping":
            told = ping(host, int(rest[0]), int(rest[1]))
        elif name == "fetch":
            told = fetch(socket, host, int(rest[0]), rest[1])
        elif name in ("listen", "receive"):
            told = {"listen": listen, "receive": receive}[name](socket, host, int(rest[0]))
        else:
            told = {"send": send, "ask": ask}[name](socket, host, int(rest[0]), sys.stdin.buffer.read())
    except OSError as error:
        print(f"{name} {host} {' '.join(rest)}: {error.strerror or error}", file=sys.stderr)
        return 1
    sys.stdout.buffer.write(told)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
