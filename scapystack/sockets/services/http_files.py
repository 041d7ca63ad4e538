"""What a path of the HTTP service leads to: a file, a listing, or nothing. Never out of its directory.

A path is taken apart, `..` is refused, and what it names must, with every symbolic link followed, lie
inside of the directory: what is outside does not exist.
"""

from __future__ import annotations

import html
import mimetypes
import os
import stat
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote

from scapystack.base.errors import ConfigError

_TYPES = mimetypes.MimeTypes()  # the built-in table: the same answer on every machine


@dataclass(slots=True)
class OpenFile:
    """A regular file, open for reading. Whoever gets it closes `fd`."""

    fd: int
    size: int
    mtime: float
    content_type: str


@dataclass(slots=True)
class Page:
    """A page made here."""

    body: bytes
    content_type: str = "text/html; charset=utf-8"


@dataclass(slots=True)
class Moved:
    """Found under another path."""

    location: str


@dataclass(slots=True)
class Missing:
    """Not found (404) or not to be read (403)."""

    status: int


Found = OpenFile | Page | Moved | Missing


class Directory:
    """A directory that is served."""

    def __init__(self, directory: str | Path) -> None:
        """Raises ConfigError where there is no such directory."""
        self.root = os.path.realpath(directory)
        if not os.path.isdir(self.root):
            raise ConfigError(f"{str(directory)!r} is not a directory that http could serve")

    def find(self, path: str) -> Found:
        """What a decoded path that begins with `/` leads to."""
        names = [name for name in path.split("/") if name not in ("", ".")]
        if ".." in names:
            return Missing(404)
        try:
            full = os.path.realpath(os.path.join(self.root, *names))
            if full != self.root and not full.startswith(self.root.rstrip("/") + "/"):
                return Missing(404)
            if not os.path.isdir(full):
                return Missing(404) if path.endswith("/") else _open(full)
            if not path.endswith("/"):
                return Moved("/" + "".join(quote(name, errors="surrogateescape") + "/" for name in names))
            index = os.path.realpath(os.path.join(full, "index.html"))
            if os.path.isfile(index) and index.startswith(full + "/"):
                return _open(index)
            return Page(_listing(full, names))
        except PermissionError:
            return Missing(403)
        except (OSError, ValueError):  # ValueError: a name that no file can have
            return Missing(404)


def _open(full: str) -> Found:
    # O_NONBLOCK: opening a FIFO must not stop the stack
    fd = os.open(full, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    status = os.fstat(fd)
    if not stat.S_ISREG(status.st_mode):
        os.close(fd)
        return Missing(404)
    kind, encoding = _TYPES.guess_type(full)
    if kind is None or encoding is not None:
        kind = "application/octet-stream"
    elif kind.startswith("text/"):
        kind += "; charset=utf-8"
    return OpenFile(fd, status.st_size, status.st_mtime, kind)


def _listing(full: str, names: list[str]) -> bytes:
    with os.scandir(full) as found:
        entries = sorted(entry.name + ("/" if entry.is_dir() else "") for entry in found)
    if names:
        entries.insert(0, "../")
    title = html.escape("/" + "".join(name + "/" for name in names))
    rows = "".join(
        f'<li><a href="{quote(name, errors="surrogateescape")}">{html.escape(name)}</a></li>\n' for name in entries
    )
    page = f"<!DOCTYPE html>\n<html><head><meta charset=utf-8><title>{title}</title></head>\n"
    page += f"<body><h1>{title}</h1>\n<ul>\n{rows}</ul></body></html>\n"
    return page.encode("utf-8", "surrogateescape")
