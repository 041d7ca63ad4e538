"""`sendfile`: a file's octets through a stream socket, as `socket.sendfile`. Read `base.Socket` first.

The kernel's call needs a descriptor that carries octets, which ours does not (`pollable`): so they are read and sent.
"""

from __future__ import annotations

from typing import IO, TYPE_CHECKING

from scapystack.sockets.constants import SOCK_STREAM

if TYPE_CHECKING:
    from scapystack.sockets.base import Socket

_PIECE = 65_536


def send_file(sock: Socket, file: IO[bytes], offset: int = 0, count: int | None = None) -> int:
    """Send from `offset` on, `count` octets or to the end; how many were sent.

    The file stands behind the last octet that was sent, also where an error ends it. A time-out is for each piece.
    Raises ValueError for text files, datagrams, sockets that do not block and a `count` of nothing.
    """
    if sock.type != SOCK_STREAM:
        raise ValueError("only SOCK_STREAM type sockets are supported")
    if "b" not in getattr(file, "mode", "b"):
        raise ValueError("file should be opened in binary mode")
    if count is not None:
        if not isinstance(count, int):
            raise TypeError(f"count must be a positive integer (got {count!r})")
        if count <= 0:
            raise ValueError(f"count must be a positive integer (got {count!r})")
    if sock.gettimeout() == 0:
        raise ValueError("non-blocking sockets are not supported")
    if offset:
        file.seek(offset)
    total = 0
    try:
        while piece := file.read(_PIECE if count is None else min(_PIECE, count - total)):
            view = memoryview(piece)
            while view:
                sent = sock.send(view)
                total += sent
                view = view[sent:]
    finally:
        if hasattr(file, "seek"):
            file.seek(offset + total)
    return total
