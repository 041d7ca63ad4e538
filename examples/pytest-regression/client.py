"""The program under test: it fetches a page, and asks again where a connection breaks."""

import socket


def fetch(address, connect=socket.create_connection, tries=3):
    """What the server at `address` says to a request; `connect` makes connections. Raises the last OSError."""
    try:
        with connect((address, 80), timeout=30) as sock:
            sock.sendall(b"GET / HTTP/1.0\r\n\r\n")
            return b"".join(iter(lambda: sock.recv(4096), b""))
    except OSError:
        if tries == 1:
            raise
        return fetch(address, connect, tries - 1)
