"""The demo's clients for where the real ones (nc, curl, ping) are not installed.

A program by itself, run in the kernel's namespace as a process of its own: nothing but Python's
`socket` on the kernel's TCP/IP, so that what stands on the other side of the stack is Linux.

    python -I kernel_client.py tcp-send|udp-send|udp-listen|http-get|ping HOST PORT [SIZE]
"""

from __future__ import annotations

import os
import socket
import struct
import sys
import time


def tcp_send(host: str, port: int) -> int:
    """Standard input to HOST:PORT, then half-close, then what comes back to standard output."""
    with socket.create_connection((host, port), timeout=20) as sock:
        sock.sendall(sys.stdin.buffer.read())
        sock.shutdown(socket.SHUT_WR)
        while data := sock.recv(65536):
            sys.stdout.buffer.write(data)
    return 0


def udp_send(host: str, port: int) -> int:
    """Standard input as one datagram to HOST:PORT, and the answer to standard output."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.settimeout(5)
        sock.connect((host, port))
        sock.send(sys.stdin.buffer.read())
        sys.stdout.buffer.write(sock.recv(65535))
    return 0


def udp_listen(host: str, port: int) -> int:
    """The first datagram that comes to HOST:PORT to standard output."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.settimeout(20)
        sock.bind((host, port))
        sys.stdout.buffer.write(sock.recv(65535))
    return 0


def http_get(host: str, port: int) -> int:
    """`GET /page.html` from HOST:PORT; the body to standard output. Status 1 unless it is a 200."""
    import http.client  # noqa: PLC0415 - the others start faster without it

    connection = http.client.HTTPConnection(host, port, timeout=20)
    connection.request("GET", "/page.html")
    response = connection.getresponse()
    sys.stdout.buffer.write(response.read())
    return 0 if response.status == 200 else 1


def ping(host: str, count: int, size: int) -> int:
    """`count` echo requests of `size` octets, each compared with its answer. Needs CAP_NET_RAW."""
    payload = (bytes(range(256)) * (size // 256 + 1))[:size]
    ident = os.getpid() & 0xFFFF
    answers = 0
    with socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_ICMP) as sock:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 20)
        sock.settimeout(2)
        for seq in range(1, count + 1):
            body = struct.pack("!HH", ident, seq) + payload
            total = int.from_bytes(b"\x08\0\0\0" + body + b"\0" * (len(body) & 1), "big") % 0xFFFF
            sock.sendto(struct.pack("!BBH", 8, 0, -total % 0xFFFF) + body, (host, 0))
            answers += _answered(sock, b"\0\0" + body)
    print(f"{count} packets transmitted, {answers} received")
    return 0 if answers == count else 1


def _answered(sock: socket.socket, wanted: bytes) -> bool:
    """Whether an echo reply with this body comes; `wanted` is type, code and what follows the checksum."""
    until = time.monotonic() + 2
    while time.monotonic() < until:
        try:
            packet = sock.recv(65535)
        except TimeoutError:
            return False
        icmp = packet[(packet[0] & 15) * 4 :]
        if icmp[:2] + icmp[4:] == wanted:
            return True
    return False


def main(words: list[str]) -> int:
    """Run one client; errors of the kernel's are one line, as the real clients make them."""
    host, number = words[1], int(words[2])
    try:
        if words[0] == "ping":
            return ping(host, number, int(words[3]))
        clients = {"tcp-send": tcp_send, "udp-send": udp_send, "udp-listen": udp_listen, "http-get": http_get}
        return clients[words[0]](host, number)
    except OSError as error:
        print(f"{host} {number}: {error.strerror or error}", file=sys.stderr)
        return 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
