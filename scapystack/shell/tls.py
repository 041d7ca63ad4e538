"""`TlsStream`: TLS over a socket of the stack, for `curl`: OpenSSL's engine with its octets carried by hand.

`ssl.SSLContext.wrap_socket` moves octets over a descriptor by itself, which a socket of ours has not. An
`SSLObject` asks for nothing but two buffers, so Ctrl-C, time-outs and virtual time hold as for any call.
"""

from __future__ import annotations

import io
import ssl
from collections.abc import Callable
from contextlib import suppress
from typing import TypeVar

from scapystack.base.errors import ConfigError
from scapystack.sockets.base import Socket

_PIECE = 65_536
T = TypeVar("T")


def context(*, check: bool, authorities: str | None) -> ssl.SSLContext:
    """What is believed of a server's certificate: anything without `check`, else this machine's authorities, or those
    of a file. Raises ConfigError for a file that has none."""
    made = ssl.create_default_context()
    if not check:
        made.check_hostname = False
        made.verify_mode = ssl.CERT_NONE
    elif authorities is not None:
        try:
            made.load_verify_locations(authorities)
        except ssl.SSLError:
            raise ConfigError(f"{authorities} holds no certificates (PEM)") from None
    return made


class TlsStream(io.RawIOBase):
    """A connected socket under TLS, with as much of a socket's calls as `http.client` uses.

    The socket stays its owner's: to close the stream closes nothing. Raises ssl.SSLError, OSError.
    """

    def __init__(self, sock: Socket, context: ssl.SSLContext, name: str) -> None:
        """Makes the handshake. `name` is whose certificate is expected."""
        self._sock = sock
        self._in, self._out = ssl.MemoryBIO(), ssl.MemoryBIO()
        self._tls = context.wrap_bio(self._in, self._out, server_hostname=name)
        self._carry(self._tls.do_handshake)

    @property
    def version(self) -> str:
        """`TLSv1.3, TLS_AES_256_GCM_SHA384`."""
        cipher = self._tls.cipher()
        return f"{self._tls.version()}, {cipher[0] if cipher else 'no cipher'}"

    def _carry(self, step: Callable[[], T]) -> T:
        """Repeat what OpenSSL wants to do until it has had what it needs from the other end."""
        while True:
            try:
                done = step()
            except ssl.SSLWantReadError:
                self._flush()
                piece = self._sock.recv(_PIECE)
                if piece:
                    self._in.write(piece)
                else:
                    self._in.write_eof()
                continue
            except ssl.SSLError:
                with suppress(OSError):  # the alert that says why
                    self._flush()
                raise
            self._flush()
            return done

    def _flush(self) -> None:
        if self._out.pending:
            self._sock.sendall(self._out.read())

    def sendall(self, data: bytes) -> None:
        """As a socket's."""
        view = memoryview(data)
        while view:
            view = view[self._carry(lambda rest=view: self._tls.write(rest)) :]  # type: ignore[misc]

    def readable(self) -> bool:
        """It is."""
        return True

    def readinto(self, room: memoryview) -> int:  # type: ignore[override]
        """The next octets; 0 where the peer has said that it has ended."""
        try:
            piece = self._carry(lambda: self._tls.read(len(room)))
        except ssl.SSLZeroReturnError:
            return 0
        room[: len(piece)] = piece
        return len(piece)

    def makefile(self, mode: str) -> io.BufferedReader:
        """What an answer is read from."""
        return io.BufferedReader(self)

    def close(self) -> None:
        """Nothing yet: an answer may still be read behind it."""
