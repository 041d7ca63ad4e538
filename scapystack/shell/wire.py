"""What goes over the control socket: pieces with a kind, a length and octets, both ways.

From the client: `hello` (JSON: where files begin, what the output leads to), `run` (a line), `interrupt` (Ctrl-C),
`input` (octets for the command; none is their end), `complete` (the line up to the cursor), `size` (JSON: the terminal
has another one). From the stack: `name` (what to show in the prompt), `out` and `err` (octets), `want` (send a piece
of input), `keys` (send each key at once), `status` (of the line that ran; JSON), `words` (JSON: what completes). Both
ends are the same release, on one machine.
"""

from __future__ import annotations

import socket
import struct
from contextlib import suppress
from threading import Lock

HELLO, RUN, INTERRUPT, INPUT, COMPLETE, SIZE = b"hello", b"run", b"intr", b"input", b"compl", b"size"
NAME, OUT, ERR, WANT, KEYS, STATUS, WORDS = b"name", b"out", b"err", b"want", b"keys", b"status", b"words"

_HEAD = struct.Struct("!8sI")
MOST = 1 << 24
"""Octets of one piece; a client that says more is cut off."""


class Wire:
    """One end. `put` is for any thread, `take` for one."""

    def __init__(self, sock: socket.socket) -> None:
        self._sock = sock
        self._lock = Lock()

    def put(self, kind: bytes, octets: bytes = b"") -> None:
        """Send a piece. Raises OSError where the other end is gone."""
        with self._lock:
            for at in range(0, max(len(octets), 1), MOST):
                piece = octets[at : at + MOST]
                self._sock.sendall(_HEAD.pack(kind, len(piece)) + piece)

    def take(self) -> tuple[bytes, bytes] | None:
        """The next piece; None where the other end is gone."""
        try:
            head = self._exactly(_HEAD.size)
            kind, size = _HEAD.unpack(head)
            return (kind.rstrip(b"\0"), self._exactly(size)) if size <= MOST else None
        except OSError:
            return None

    def _exactly(self, size: int) -> bytes:
        octets = b""
        while len(octets) < size:
            piece = self._sock.recv(min(size - len(octets), 1 << 16))
            if not piece:
                raise ConnectionResetError
            octets += piece
        return octets

    def fileno(self) -> int:
        """Of the socket, for who waits for it and for something else."""
        return self._sock.fileno()

    def close(self) -> None:
        """End both ways; a `take` that waits returns."""
        with suppress(OSError):
            self._sock.shutdown(socket.SHUT_RDWR)
        self._sock.close()
