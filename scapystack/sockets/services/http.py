"""A small HTTP/1.1 server for one directory: GET and HEAD, ranges, keep-alive, listings.

Read `http_request` (what is asked) and `http_files` (what is there) first. A file goes out in pieces
as the connection has room for them; it is never whole in memory.
"""

from __future__ import annotations

import os
from email.utils import formatdate
from http import HTTPStatus
from pathlib import Path
from typing import TYPE_CHECKING

from scapystack.sockets.services.base import Service, Session
from scapystack.sockets.services.http_files import Directory, Missing, Moved, OpenFile, Page
from scapystack.sockets.services.http_request import END_OF_HEAD, BadRequest, Request, parse_range, parse_request

if TYPE_CHECKING:
    from scapystack.runtime.driver import Driver

_HEAD_MAX = 16_384
_PIECE = 262_144
_DRAIN_MAX = 1 << 20

_READING, _SKIPPING, _SENDING, _DRAINING = range(4)


class HttpSession(Session):
    """One connection, request after request."""

    __slots__ = ("_fd", "_input", "_keep", "_left", "_more_comes", "_offset", "_output", "_searched", "_skip", "_state")

    def __init__(self, service: Service, connection: object) -> None:
        super().__init__(service, connection)  # type: ignore[arg-type]
        self._state = _READING
        self._input = b""  # the head so far, and what was pipelined behind it
        self._searched = 0  # so far of it there is no end of a head
        self._output = b""  # the head of the answer, or a whole small answer, as far as it is not written
        self._fd = -1  # the file behind it
        self._offset = 0
        self._left = 0
        self._skip = 0  # octets of a request's body that nobody wants
        self._keep = True
        self._more_comes = False  # the peer may be sending what we shall not read

    def serve(self) -> None:
        """Go on as far as input and room allow."""
        steps = (self._read, self._skip_body, self._send, self._drain)
        while self.connection.on_ready is not None and steps[self._state]():
            pass

    def finish(self) -> None:
        """As `Session.finish`, and the file is closed."""
        self._close_file()
        super().finish()

    # -- the request -------------------------------------------------------------------------------

    def _read(self) -> bool:
        """Read a head. True when there is something to answer."""
        connection = self.connection
        if connection.available:
            self._input += connection.read(_HEAD_MAX - len(self._input))
        if self._input[:1] in (b"\r", b"\n"):
            self._input = self._input.lstrip(b"\r\n")  # RFC 9112 section 2.2: empty lines before a request
            self._searched = 0
        end = END_OF_HEAD.search(self._input, self._searched)
        if end is None:
            self._searched = max(len(self._input) - 3, 0)  # the end may have begun there
            if len(self._input) >= _HEAD_MAX:
                self._refuse(431)
                return True
            if connection.eof:
                self.finish()
            return False
        self._searched = 0
        head, self._input = self._input[: end.start()], self._input[end.end() :]
        try:
            request = parse_request(head)
            self._keep = request.keep_alive
            self._answer(request)
        except BadRequest as e:
            self._refuse(e.status)
        return True

    def _skip_body(self) -> bool:
        """Drop the body of the request that was just read."""
        buffered = min(self._skip, len(self._input))
        self._input = self._input[buffered:]
        self._skip -= buffered
        self._skip -= self.connection.discard(min(self._skip, self.connection.available))
        if self._skip:
            if self.connection.eof:
                self.finish()
            return False
        self._state = _SENDING
        return True

    # -- the answer --------------------------------------------------------------------------------

    def _answer(self, request: Request) -> None:
        self._skip = max(request.body_length, 0)
        if request.body_length < 0:
            self._keep = False
            self._more_comes = True
        self._state = _SKIPPING if self._skip else _SENDING
        if request.method not in ("GET", "HEAD"):
            self._respond(405, b"", "text/plain", request, ("Allow: GET, HEAD",))
            return
        service = self.service
        assert isinstance(service, Http)
        found = service.directory.find(request.path)
        if isinstance(found, OpenFile):
            self._respond_file(found, request)
        elif isinstance(found, Page):
            self._respond(200, found.body, found.content_type, request)
        elif isinstance(found, Moved):
            self._respond(301, b"", "text/plain", request, (f"Location: {found.location}",))
        else:
            assert isinstance(found, Missing)
            self._respond(found.status, b"", "text/plain", request)

    def _respond(
        self, status: int, body: bytes, content_type: str, request: Request | None, extra: tuple[str, ...] = ()
    ) -> None:
        if not body and status != 200:
            body = f"{status} {HTTPStatus(status).phrase}\n".encode()
        self._output = self._head(status, len(body), content_type, extra)
        if request is None or request.method != "HEAD":
            self._output += body

    def _respond_file(self, file: OpenFile, request: Request) -> None:
        extra = [f"Last-Modified: {formatdate(file.mtime, usegmt=True)}", "Accept-Ranges: bytes"]
        status, first, length = 200, 0, file.size
        try:
            part = parse_range(request.headers.get("range"), file.size)
        except BadRequest as e:
            os.close(file.fd)
            self._respond(e.status, b"", "text/plain", request, (f"Content-Range: bytes */{file.size}",))
            return
        if part is not None and request.method == "GET":
            first, length = part
            status = 206
            extra.append(f"Content-Range: bytes {first}-{first + length - 1}/{file.size}")
        self._output = self._head(status, length, file.content_type, tuple(extra))
        if request.method == "HEAD":
            os.close(file.fd)
            return
        self._fd, self._offset, self._left = file.fd, first, length

    def _head(self, status: int, length: int, content_type: str, extra: tuple[str, ...]) -> bytes:
        lines = (
            f"HTTP/1.1 {status} {HTTPStatus(status).phrase}",
            f"Date: {formatdate(usegmt=True)}",
            "Server: scapystack",
            f"Connection: {'keep-alive' if self._keep else 'close'}",
            f"Content-Type: {content_type}",
            f"Content-Length: {length}",
            *extra,
        )
        return ("\r\n".join(lines) + "\r\n\r\n").encode("latin-1")

    def _refuse(self, status: int) -> None:
        """Answer, and close: what follows cannot be told from a request."""
        self._keep = False
        self._more_comes = True
        self._respond(status, b"", "text/plain", None)
        self._state = _SENDING

    def _send(self) -> bool:
        """Write what there is room for. True when the answer is out."""
        connection = self.connection
        if self._output:
            taken = connection.write(self._output)
            self._output = self._output[taken:]
            if self._output:
                return False
        while self._left:
            room = connection.write_space
            size = min(self._left, _PIECE)
            if room < size:
                # rather wait for room for a whole piece, when the connection will tell of it
                if not connection.writable or not room:
                    connection.want_write = True
                    return False
                size = room
            if not self._send_piece(size):
                return False
        self._close_file()
        if self._keep:
            self._state = _READING
            return True
        if not self._more_comes:
            self.finish()
            return False
        connection.shutdown_write()
        self._skip = _DRAIN_MAX
        self._state = _DRAINING
        return True

    def _send_piece(self, size: int) -> bool:
        try:
            data = os.pread(self._fd, size, self._offset)
        except OSError:
            data = b""
        if not data:
            # the file became shorter than we said: only a reset tells the client that it lacks something
            self.connection.abort()
            self.finish()
            return False
        taken = self.connection.write(data)
        self._offset += taken
        self._left -= taken
        return taken > 0

    def _drain(self) -> bool:
        """After the last answer: to close with a request unread would be a reset, and could cost the answer."""
        connection = self.connection
        self._skip -= connection.discard(connection.available)
        if connection.eof or self._skip < 0:
            self.finish()
        return False

    def _close_file(self) -> None:
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1
        self._left = 0


class Http(Service):
    """Serves a directory."""

    name = "http"
    port = 80
    session = HttpSession

    def __init__(self, driver: Driver, port: int = 0, directory: str | Path = ".") -> None:
        """Raises ConfigError where there is no such directory."""
        super().__init__(driver, port)
        self.directory = Directory(directory)

    def describe(self) -> str:
        """One line, with the directory."""
        return f"http on TCP port {self.local_port}: serves {self.directory.root}"
