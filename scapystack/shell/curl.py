"""`curl`: fetch a page over HTTP or HTTPS: the standard library's client on a socket of this stack."""

from __future__ import annotations

import http.client
import ssl
from contextlib import ExitStack
from typing import TYPE_CHECKING, Any
from urllib.parse import urljoin, urlsplit

import click

from scapystack.base.errors import ConfigError
from scapystack.shell.params import POSITIVE, host
from scapystack.shell.session import Session

if TYPE_CHECKING:
    from scapystack.sockets.base import Socket

CHUNK = 65_536
_MOST_REDIRECTS = 20
_REFUSED, _FAILED_PAGE, _NO_TLS, _TOO_MANY, _NOT_TRUSTED = 7, 22, 35, 47, 60


@click.command("curl")
@click.option("-o", "file", metavar="FILE", help="Write it to a file.")
@click.option("-O", "remote_name", is_flag=True, help="To a file of the page's name.")
@click.option("-I", "--head", is_flag=True, help="Only the headers.")
@click.option("-i", "include", is_flag=True, help="The headers, too.")
@click.option("-v", "--verbose", is_flag=True, help="Say what is asked and answered.")
@click.option("-X", "method", metavar="METHOD", help="The method (GET).")
@click.option("-H", "headers", multiple=True, metavar="NAME: VALUE", help="One more header.")
@click.option("-d", "--data", metavar="TEXT", help="Send this (POST).")
@click.option("-f", "--fail", is_flag=True, help="End with 22 where the answer is 400 or more.")
@click.option("-L", "--location", is_flag=True, help="Go where the answer points to.")
@click.option("-m", "--max-time", "patience", type=POSITIVE, metavar="S", help="Give up after S seconds of silence.")
@click.option("-s", "--silent", is_flag=True, help="No progress (never shown).")
@click.option("-S", "--show-error", "shown", is_flag=True, help="Say what went wrong (always so).")
@click.option("-k", "--insecure", is_flag=True, help="Take any certificate.")
@click.option("--cacert", "authorities", metavar="FILE", help="The authorities to believe (those of this machine).")
@click.argument("url")
@click.pass_obj
def curl_command(
    session: Session, file: str | None, remote_name: bool, head: bool, include: bool, verbose: bool,
    method: str | None, headers: tuple[str, ...], data: str | None, fail: bool, location: bool,
    patience: float | None, silent: bool, shown: bool, insecure: bool, authorities: str | None,
    url: str,
) -> int:  # fmt: skip
    """Fetch URL (http://ADDR[:PORT]/PATH, or https://) and write it to the screen or to a file."""
    tls = _Tls(session, insecure, authorities, verbose)
    more = _headers(headers)
    if data is not None:
        more.setdefault("Content-Type", "application/x-www-form-urlencoded")
    verb = method or ("HEAD" if head else "POST" if data is not None else "GET")
    for _ in range(_MOST_REDIRECTS):
        secure, address, port, path, name = _target(url)
        if remote_name:
            file = path.partition("?")[0].rpartition("/")[2]
            if not file:
                raise ConfigError(f"{url} names no file for -O: give one with -o")
        with ExitStack() as until_end:
            try:
                sock = until_end.enter_context(session.stack.create_connection((address, port), timeout=patience))
            except OSError as error:
                session.out.error(f"curl: cannot connect to {address} port {port}: {error.strerror or error}")
                return _REFUSED
            connection = http.client.HTTPConnection(address, port)
            try:
                connection.sock = tls.over(sock, address) if secure else sock  # either has all that is used of one
            except ssl.SSLError as error:
                return _refused(session, error)
            asked = {"Host": name, "User-Agent": "scapystack", "Accept": "*/*", "Connection": "close"} | more
            try:
                _ask(connection, verb, path, asked, data)
                answer = connection.getresponse()
                if verbose:
                    _say(session, verb, path, asked, answer)
                if location and answer.status in (301, 302, 303, 307, 308) and answer.getheader("Location"):
                    url = urljoin(url, answer.getheader("Location") or "")
                    if answer.status <= 303 and method is None and verb == "POST":
                        verb, data = "GET", None
                        more.pop("Content-Type", None)
                    continue
                if fail and answer.status >= 400:
                    session.out.error(f"curl: the answer is {answer.status} {answer.reason}")
                    return _FAILED_PAGE
                _write(session, until_end, answer, file, head or include)
            except http.client.HTTPException as error:
                raise OSError(f"no HTTP came from {address}: {type(error).__name__}") from None
        return 0
    session.out.error(f"curl: more than {_MOST_REDIRECTS} redirections")
    return _TOO_MANY


class _Tls:
    """How TLS begins, where a URL asks for it."""

    def __init__(self, session: Session, insecure: bool, authorities: str | None, verbose: bool) -> None:
        self._session = session
        self._check = not insecure
        self._authorities = None if authorities is None else session.path(authorities)
        self._verbose = verbose

    def over(self, sock: Socket, name: str) -> Any:
        """TLS over a socket. Raises ssl.SSLError, OSError, ConfigError."""
        from scapystack.shell.tls import TlsStream, context  # noqa: PLC0415 - for https alone

        stream = TlsStream(sock, context(check=self._check, authorities=self._authorities), name)
        if self._verbose:
            self._session.out.error(f"* {stream.version}")
        return stream


def _refused(session: Session, error: ssl.SSLError) -> int:
    if isinstance(error, ssl.SSLCertVerificationError):
        reason = f"{error.verify_message} (-k takes it all the same)"
        session.out.error(f"curl: the certificate is not to be trusted: {reason}")
        return _NOT_TRUSTED
    session.out.error(f"curl: no TLS with that server: {error.reason or error}")
    return _NO_TLS


def _target(url: str) -> tuple[bool, str, int, str, str]:
    """Whether over TLS, address, port, path and the Host header of a URL. Raises ConfigError."""
    parts = urlsplit(url if "://" in url else f"http://{url}")
    if parts.scheme not in ("http", "https"):
        raise ConfigError(f"{parts.scheme} is not spoken here: give an http:// or https:// URL")
    secure = parts.scheme == "https"
    try:
        port = parts.port or (443 if secure else 80)
    except ValueError:
        raise ConfigError(f"{url} has no port from 1 to 65535") from None
    if not parts.hostname:
        raise ConfigError(f"{url} names no host")
    path = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
    return secure, host(parts.hostname), port, path, parts.netloc.rpartition("@")[2]


def _headers(given: tuple[str, ...]) -> dict[str, str]:
    found = {}
    for text in given:
        name, colon, value = text.partition(":")
        if not colon or not name.strip():
            raise ConfigError(f"{text!r} is no header (NAME: VALUE)")
        found[name.strip()] = value.strip()
    return found


def _ask(
    connection: http.client.HTTPConnection, verb: str, path: str, headers: dict[str, str], data: str | None
) -> None:
    try:
        connection.request(verb, path, None if data is None else data.encode(), headers)
    except ValueError as error:  # a line break in a header, a blank in the path
        raise ConfigError(str(error)) from None


def _say(session: Session, verb: str, path: str, asked: dict[str, str], answer: http.client.HTTPResponse) -> None:
    session.out.error(f"> {verb} {path} HTTP/1.1")
    for name, value in asked.items():
        session.out.error(f"> {name}: {value}")
    for line in _heading(answer):
        session.out.error(f"< {line}")


def _heading(answer: http.client.HTTPResponse) -> list[str]:
    version = "1.1" if answer.version == 11 else "1.0"
    return [
        f"HTTP/{version} {answer.status} {answer.reason}",
        *(f"{name}: {value}" for name, value in answer.getheaders()),
    ]


def _write(
    session: Session, until_end: ExitStack, answer: http.client.HTTPResponse, file: str | None, heading: bool
) -> None:
    if file is None or file == "-":
        put: Any = session.out.raw
    else:
        put = until_end.enter_context(open(session.path(file), "wb")).write  # noqa: SIM115
    if heading:
        put("".join(f"{line}\r\n" for line in [*_heading(answer), ""]).encode("latin-1", "replace"))
    while piece := answer.read(CHUNK):
        put(piece)
