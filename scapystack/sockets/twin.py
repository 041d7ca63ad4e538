"""`kernel_twin`: a kernel socket that carries what a stack's socket does, for code that reads descriptors itself.

OpenSSL takes a descriptor and moves its octets itself, so `SSLContext.wrap_socket` refuses a socket of ours. Its twin
is one end of a UNIX socket pair; two threads carry the octets, and the ends of the streams, between the other end and
the stack's socket, which they close when both directions are over.
"""

from __future__ import annotations

import contextlib
import functools
import socket
import ssl
import threading
from collections.abc import Iterator
from typing import Any

from scapystack.sockets.base import Socket

_PIECE = 65_536


def kernel_twin(sock: Socket) -> socket.socket:
    """The other face of a connected stream socket; it belongs to the twin from now on. Raises OSError (EMFILE)."""
    outer, inner = socket.socketpair(socket.AF_UNIX, socket.SOCK_STREAM)
    outer.settimeout(sock.gettimeout())
    sock.settimeout(None)
    left = _Left(sock, inner)
    for source, sink in ((sock, inner), (inner, sock)):
        threading.Thread(target=left.carry, args=(source, sink), name="scapystack twin", daemon=True).start()
    return outer


class _Left:
    """Closes both ends when neither direction needs them any more."""

    def __init__(self, *ends: Any) -> None:
        self._ends = ends
        self._lock = threading.Lock()
        self._directions = 2

    def carry(self, source: Any, sink: Any) -> None:
        """One direction, to its end."""
        try:
            while piece := source.recv(_PIECE):
                sink.sendall(piece)
        except OSError:  # what is broken on one side is at an end for the other
            pass
        finally:
            with contextlib.suppress(OSError):
                sink.shutdown(socket.SHUT_WR)
            with self._lock:
                self._directions -= 1
                last = not self._directions
            if last:
                for end in self._ends:
                    end.close()


@contextlib.contextmanager
def wrapped_by_ssl() -> Iterator[None]:
    """Have `SSLContext.wrap_socket` take a stack's sockets too, by their twins."""
    wrap = ssl.SSLContext.wrap_socket

    @functools.wraps(wrap)
    def wrap_socket(self: ssl.SSLContext, sock: Any, *words: Any, **how: Any) -> ssl.SSLSocket:
        return wrap(self, kernel_twin(sock) if isinstance(sock, Socket) else sock, *words, **how)

    ssl.SSLContext.wrap_socket = wrap_socket  # type: ignore[method-assign]
    try:
        yield
    finally:
        ssl.SSLContext.wrap_socket = wrap  # type: ignore[method-assign]
