"""`curl`: fetch a page over HTTP or HTTPS: the standard library's client on a socket of this stack."""

from __future__ import annotations

import http.client
import ssl
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from urllib.parse import urljoin, urlsplit

import click

from scapystack.base.errors import ConfigError
from scapystack.shell.params import POSITIVE, host
from scapystack.shell.session import Session
from scapystack.shell.writeout import Transfer, check, written

if TYPE_CHECKING:
    from scapystack.sockets.base import Socket

CHUNK = 65_536
_MOST_REDIRECTS = 20
_REFUSED, _CUT_SHORT, _FAILED_PAGE, _NO_TLS, _TOO_MANY, _NOT_TRUSTED = 7, 18, 22, 35, 47, 60


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
@click.option("-s", "--silent", is_flag=True, help="Not a word about what went wrong, either.")
@click.option("-S", "--show-error", "shown", is_flag=True, help="With -s: that all the same.")
@click.option("-w", "--write-out", "form", metavar="FORMAT", help="Then tell of it: '%{http_code} %{time_total}\\n'.")
@click.option("-k", "--insecure", is_flag=True, help="Take any certificate.")
@click.option("--cacert", "authorities", metavar="FILE", help="The authorities to believe (those of this machine).")
@click.argument("url")
@click.pass_obj
def curl_command(
    session: Session, file: str | None, remote_name: bool, head: bool, include: bool, verbose: bool,
    method: str | None, headers: tuple[str, ...], data: str | None, fail: bool, location: bool,
    patience: float | None, silent: bool, shown: bool, form: str | None, insecure: bool,
    authorities: str | None, url: str,
) -> int:  # fmt: skip
    """Fetch URL (http://ADDR[:PORT]/PATH, or https://) and write it to the screen or to a file.

    What -w knows are names of curl(1): http_code, size_download, speed_download, time_connect, time_starttransfer,
    time_total, num_redirects, remote_ip, ...; a wrong one has them all listed.
    """
    form = None if form is None else _format(session, form)
    tls = _Tls(session, insecure, authorities, verbose)
    more = _headers(headers)
    if data is not None:
        more.setdefault("Content-Type", "application/x-www-form-urlencoded")
    verb = method or ("HEAD" if head else "POST" if data is not None else "GET")
    ask = _Ask(verb, method is not None, more, data, patience, location, fail, verbose, head or include)
    transfer = Transfer(session.now, url=url)
    try:
        _fetch(session, url, ask, tls, _Place(session, file, remote_name), transfer)
    except _Failed as failed:
        transfer.exit_status, transfer.error = failed.status, str(failed)
    except (OSError, http.client.HTTPException) as error:
        no_page = f"no HTTP came from {transfer.remote[0]}: {type(error).__name__}"
        transfer.error = error.strerror or str(error) if isinstance(error, OSError) else no_page
        if isinstance(error, OSError) and error.filename:
            transfer.error = f"{error.filename}: {transfer.error}"
        transfer.exit_status = 1
    transfer.ended_at = session.now
    if transfer.error and (shown or not silent):
        session.out.error(f"curl: {transfer.error}")
    if form is not None:
        session.out.raw(written(form, transfer).encode())
    return transfer.exit_status


@dataclass(slots=True)
class _Ask:
    """What is asked for, and what an answer means."""

    verb: str
    fixed: bool
    """The method was named: a redirection does not change it."""
    headers: dict[str, str]
    data: str | None
    patience: float | None
    follow: bool
    fail: bool
    verbose: bool
    heading: bool


class _Failed(Exception):
    """The transfer has come to this: curl's exit status, and a line about it."""

    def __init__(self, status: int, text: str) -> None:
        super().__init__(text)
        self.status = status


def _format(session: Session, text: str) -> str:
    """What -w was given; @FILE is what is in a file. Raises ConfigError, OSError."""
    if text.startswith("@"):
        with open(session.path(text[1:]), encoding="utf-8", errors="replace") as file:
            text = file.read()
    check(text)
    return text


def _fetch(session: Session, url: str, ask: _Ask, tls: _Tls, place: _Place, seen: Transfer) -> None:
    """The page, and its redirections. Raises _Failed, OSError, HTTPException, ConfigError."""
    for _ in range(_MOST_REDIRECTS):
        secure, address, port, path, name = _target(url)
        seen.url, seen.method = url, ask.verb
        place.named(url, path)
        with ExitStack() as until_end:
            connection = _connected(session, until_end, (address, port), tls if secure else None, ask.patience, seen)
            asked = {"Host": name, "User-Agent": "scapystack", "Accept": "*/*", "Connection": "close"} | ask.headers
            seen.asked_at = session.now
            _ask(connection, ask.verb, path, asked, ask.data)
            seen.sent = len((ask.data or "").encode())
            answer = connection.getresponse()
            seen.answered(session.now, answer.status, answer.version, answer.getheader("Content-Type") or "")
            seen.headers += len(_heading(answer))
            if ask.verbose:
                _say(session, ask.verb, path, asked, answer)
            leads_to = answer.getheader("Location")
            if ask.follow and answer.status in (301, 302, 303, 307, 308) and leads_to:
                url = _joined(url, leads_to)
                seen.redirects += 1
                if answer.status <= 303 and not ask.fixed and ask.verb == "POST":
                    ask.verb, ask.data = "GET", None
                    ask.headers.pop("Content-Type", None)
                if ask.heading:
                    place.opened(until_end)(_heading(answer))
                continue
            if ask.fail and answer.status >= 400:
                raise _Failed(_FAILED_PAGE, f"the answer is {answer.status} {answer.reason}")
            put = place.opened(until_end)
            if ask.heading:
                put(_heading(answer))
            _copy(answer, put, seen)
        return
    raise _Failed(_TOO_MANY, f"more than {_MOST_REDIRECTS} redirections")


def _copy(answer: http.client.HTTPResponse, put: Callable[[bytes], object], seen: Transfer) -> None:
    """The page, piece by piece as it comes. Raises OSError, and _Failed where its end is missing."""
    missing = answer.length  # of a page whose octets were counted beforehand; http.client does not say that some are
    try:
        while missing != 0 and (piece := answer.read1(CHUNK)):
            put(piece)
            seen.body += len(piece)
            if missing is not None:
                missing -= len(piece)
    except http.client.IncompleteRead:
        raise _Failed(_CUT_SHORT, f"the connection ended before the page did: {seen.body} octets came") from None
    if missing:
        raise _Failed(_CUT_SHORT, f"the connection ended before the page did: {missing} octets are missing")


def _connected(
    session: Session,
    until_end: ExitStack,
    to: tuple[str, int],
    tls: _Tls | None,
    patience: float | None,
    seen: Transfer,
) -> http.client.HTTPConnection:
    """A connection that asks over a socket of the stack, with TLS where there is some."""
    address, port = to
    try:
        sock = until_end.enter_context(session.stack.create_connection(to, timeout=patience))
    except OSError as error:
        raise _Failed(_REFUSED, f"cannot connect to {address} port {port}: {error.strerror or error}") from None
    seen.connected_at = session.now
    seen.connections += 1
    seen.local, seen.remote = sock.getsockname()[:2], to
    connection = http.client.HTTPConnection(address, port)
    try:
        connection.sock = tls.over(sock, address) if tls else sock  # either has all that is used of one
    except ssl.SSLError as error:
        raise _refused(error) from None
    seen.secured_at = session.now if tls else 0
    return connection


class _Place:
    """Where the page goes: the screen, or a file, which is made when there is something for it."""

    def __init__(self, session: Session, file: str | None, remote_name: bool) -> None:
        self._session = session
        self._file = file
        self._remote_name = remote_name

    def named(self, url: str, path: str) -> None:
        """With -O the file has the page's name. Raises ConfigError for one without."""
        if self._remote_name:
            self._file = path.partition("?")[0].rpartition("/")[2]
            if not self._file:
                raise ConfigError(f"{url} names no file for -O: give one with -o")

    def opened(self, until_end: ExitStack) -> Callable[[bytes], object]:
        """What takes its octets. Raises OSError."""
        if self._file is None or self._file == "-":
            return self._session.out.raw
        return until_end.enter_context(open(self._session.path(self._file), "wb")).write


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


def _refused(error: ssl.SSLError) -> _Failed:
    if isinstance(error, ssl.SSLCertVerificationError):
        reason = f"{error.verify_message} (-k takes it all the same)"
        return _Failed(_NOT_TRUSTED, f"the certificate is not to be trusted: {reason}")
    return _Failed(_NO_TLS, f"no TLS with that server: {error.reason or error}")


def _joined(url: str, leads_to: str) -> str:
    """Where a redirection leads. Raises ConfigError."""
    try:
        return urljoin(url, leads_to)
    except ValueError as error:
        raise ConfigError(f"the answer leads to {leads_to}, which is no URL: {error}") from None


def _target(url: str) -> tuple[bool, str, int, str, str]:
    """Whether over TLS, address, port, path and the Host header of a URL. Raises ConfigError."""
    try:
        parts = urlsplit(url if "://" in url else f"http://{url}")
    except ValueError as error:  # brackets around what is no address
        raise ConfigError(f"{url} is no URL: {error}") from None
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
    for line in _heading(answer).decode("latin-1").splitlines()[:-1]:
        session.out.error(f"< {line}")


def _heading(answer: http.client.HTTPResponse) -> bytes:
    """The status and the headers, as they came."""
    version = "1.1" if answer.version == 11 else "1.0"
    lines = [f"HTTP/{version} {answer.status} {answer.reason}"]
    lines += [f"{name}: {value}" for name, value in answer.getheaders()]
    return "".join(f"{line}\r\n" for line in [*lines, ""]).encode("latin-1", "replace")
