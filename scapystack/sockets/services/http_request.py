"""Reading HTTP requests (RFC 9112) and byte ranges (RFC 9110 section 14): octets in, plain data out.

Nothing here touches a connection or a file. A request that cannot be served is a `BadRequest` with
the status to answer.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from urllib.parse import unquote

END_OF_HEAD = re.compile(rb"\r?\n\r?\n")
"""RFC 9112 section 2.2: a lone LF may end a line as well."""

_TOKEN = re.compile(r"[!#$%&'*+\-.^_`|~0-9A-Za-z]+")
_RANGE = re.compile(r"bytes=\s*(\d*)-(\d*)\s*", re.ASCII)


class BadRequest(Exception):
    """Answered with `status`; the connection is closed after that, for what follows makes no sense."""

    def __init__(self, status: int) -> None:
        super().__init__(status)
        self.status = status


@dataclass(slots=True)
class Request:
    """One request head. `path` is decoded; header names are in lower case."""

    method: str
    path: str
    keep_alive: bool
    body_length: int  # octets that follow the head; -1 where only the end of the connection tells
    headers: dict[str, str]


def parse_request(head: bytes) -> Request:
    """The request of a head (without the empty line that ends it). Raises BadRequest."""
    lines = head.decode("latin-1").replace("\r\n", "\n").split("\n")
    words = lines[0].split(" ")
    if len(words) != 3 or not _TOKEN.fullmatch(words[0]):
        raise BadRequest(400)
    method, target, version = words
    if version not in ("HTTP/1.0", "HTTP/1.1"):
        raise BadRequest(505 if re.fullmatch(r"HTTP/\d\.\d", version) else 400)
    headers = _headers(lines[1:])
    if version == "HTTP/1.1" and "host" not in headers:
        raise BadRequest(400)  # RFC 9112 section 3.2
    wishes = {word.strip().lower() for word in headers.get("connection", "").split(",")}
    keep_alive = "close" not in wishes and (version == "HTTP/1.1" or "keep-alive" in wishes)
    return Request(method, _path(target), keep_alive, _body_length(headers), headers)


def _headers(lines: list[str]) -> dict[str, str]:
    headers: dict[str, str] = {}
    for line in lines:
        name, colon, value = line.partition(":")
        name = name.lower()
        # a name with white space around it, and a folded line, are ways to smuggle (section 5.1)
        if not colon or not _TOKEN.fullmatch(name) or (name in headers and name in ("host", "content-length")):
            raise BadRequest(400)
        value = value.strip(" \t")
        if "\0" in value or "\r" in value:
            raise BadRequest(400)
        headers[name] = f"{headers[name]}, {value}" if name in headers else value
    return headers


def _path(target: str) -> str:
    """The decoded path of an origin-form or absolute-form target (section 3.2)."""
    if target.lower().startswith("http://"):
        target = "/" + target[7:].partition("/")[2]
    path = target.partition("?")[0].partition("#")[0]
    if not path.startswith("/"):
        raise BadRequest(400)
    path = unquote(path, errors="surrogateescape")
    if "\0" in path:
        raise BadRequest(400)
    return path


def _body_length(headers: dict[str, str]) -> int:
    if "transfer-encoding" in headers:
        return -1
    length = headers.get("content-length", "0")
    if not length.isascii() or not length.isdigit() or len(length) > 18:
        raise BadRequest(400)
    return int(length)


def parse_range(text: str | None, size: int) -> tuple[int, int] | None:
    """`Range` as the first octet and the number of octets; None: send all (no range, or not one of ours).

    Raises BadRequest(416) for a range that has nothing of the `size` octets.
    """
    match = _RANGE.fullmatch(text) if text else None
    if match is None or match[0] is None or not (match[1] or match[2]) or max(map(len, match.groups())) > 18:
        return None
    if not match[1]:
        length = min(int(match[2]), size)
        first = size - length
    else:
        first = int(match[1])
        last = int(match[2]) if match[2] else size - 1
        if last < first and match[2]:
            return None  # RFC 9110 section 14.1.1: invalid, so ignored
        length = min(last, size - 1) - first + 1
    if length <= 0:
        raise BadRequest(416)
    return first, length
