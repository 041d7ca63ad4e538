"""`curl -w`: what is told of a transfer behind it, in curl's words: `%{http_code} %{time_total}\\n`."""

from __future__ import annotations

import re
from dataclasses import dataclass
from difflib import get_close_matches

from scapystack.base.errors import ConfigError
from scapystack.base.types import SECOND, Nanoseconds

_ESCAPES = {"\\n": "\n", "\\r": "\r", "\\t": "\t", "%%": "%"}
_PIECE = re.compile(r"\\[nrt]|%%|%\{([^}]*)\}")


@dataclass(slots=True)
class Transfer:
    """What is known of a transfer so far; points in time are the session's, 0 for what has not happened."""

    began_at: Nanoseconds
    connected_at: Nanoseconds = 0
    secured_at: Nanoseconds = 0
    asked_at: Nanoseconds = 0
    answered_at: Nanoseconds = 0
    ended_at: Nanoseconds = 0
    method: str = ""
    url: str = ""
    status: int = 0
    version: str = "0"
    content_type: str = ""
    headers: int = 0
    """Octets of them, as they are shown."""
    body: int = 0
    sent: int = 0
    redirects: int = 0
    connections: int = 0
    local: tuple[str, int] = ("", 0)
    remote: tuple[str, int] = ("", 0)
    exit_status: int = 0
    error: str = ""

    def answered(self, at: Nanoseconds, status: int, version: int, content_type: str) -> None:
        """Its first octets have come; `version` is http.client's."""
        self.answered_at, self.status, self.content_type = at, status, content_type
        self.version = "1.1" if version == 11 else "1"

    def facts(self) -> dict[str, str]:
        """Everything under the name that curl has for it."""
        seconds = (self.ended_at - self.began_at) / SECOND
        return {
            "content_type": self.content_type,
            "errormsg": self.error,
            "exitcode": str(self.exit_status),
            "http_code": f"{self.status:03}",
            "http_version": self.version,
            "local_ip": self.local[0],
            "local_port": str(self.local[1]),
            "method": self.method,
            "num_connects": str(self.connections),
            "num_redirects": str(self.redirects),
            "remote_ip": self.remote[0],
            "remote_port": str(self.remote[1]),
            "response_code": f"{self.status:03}",
            "scheme": self.url.partition("://")[0] if "://" in self.url else "http",
            "size_download": str(self.body),
            "size_header": str(self.headers),
            "size_upload": str(self.sent),
            "speed_download": f"{self.body / seconds:.0f}" if seconds else "0",
            "speed_upload": f"{self.sent / seconds:.0f}" if seconds else "0",
            "time_appconnect": self._since(self.secured_at),
            "time_connect": self._since(self.connected_at),
            "time_namelookup": self._since(0),
            "time_pretransfer": self._since(self.asked_at),
            "time_starttransfer": self._since(self.answered_at),
            "time_total": self._since(self.ended_at),
            "url_effective": self.url,
        }

    def _since(self, at: Nanoseconds) -> str:
        return f"{(at - self.began_at) / SECOND if at else 0:.6f}"


def check(text: str) -> None:
    """Raises ConfigError for a name that is no variable."""
    known = list(Transfer(0).facts())
    for name in _PIECE.findall(text):
        if name and name not in known:
            near = ", ".join(get_close_matches(name, known)) or ", ".join(known)
            raise ConfigError(f"-w knows no %{{{name}}}; there is {near}")


def written(text: str, transfer: Transfer) -> str:
    """The format with everything filled in."""
    facts = transfer.facts()
    return _PIECE.sub(lambda piece: _ESCAPES.get(piece[0]) or facts.get(piece[1], ""), text)
