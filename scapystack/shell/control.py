"""The control socket: a UNIX socket by which shells reach a running stack, its owner's alone.

`ControlServer` opens it and gives each client a `Session` in threads of its own: one hears the client (a
line, Ctrl-C, input), one runs the lines. The file is made with mode 0600 in a directory of mode 0700, and
who connects is asked for his user id as well. `find_socket` is how a client finds the one stack that runs.
"""

from __future__ import annotations

import contextlib
import json
import os
import socket
import stat
import struct
import tempfile
import threading
from collections.abc import Callable
from pathlib import Path
from queue import SimpleQueue
from typing import TYPE_CHECKING, Any

from scapystack.base.errors import ConfigError, LinkError
from scapystack.shell import wire
from scapystack.shell.wire import Wire

if TYPE_CHECKING:
    from scapystack.runtime.driver import Driver
    from scapystack.shell.session import Session

_LONGEST = 107  # what sun_path holds beside its last zero
_PATIENCE_S = 2.0
_CREDENTIALS = struct.Struct("=iII")


def directory() -> Path:
    """Where the sockets of this user's stacks are: his run-time directory, else one of his own beside it."""
    base = os.environ.get("XDG_RUNTIME_DIR", "")
    if base and os.path.isdir(base):
        return Path(base) / "scapystack"
    return Path(tempfile.gettempdir()) / f"scapystack-{os.geteuid()}"


def default_path() -> Path:
    """The socket of this process's stack; makes the directory. Raises LinkError: it is somebody else's."""
    where = directory()
    where.mkdir(mode=0o700, parents=True, exist_ok=True)
    found = where.lstat()
    if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.geteuid() or found.st_mode & 0o077:
        raise LinkError(f"{where} is not a directory that is ours alone: remove it, or name a socket with --control")
    return where / f"{os.getpid()}.sock"


def sockets() -> list[Path]:
    """Those of stacks that live; what stacks left behind that were killed is removed."""
    found = []
    for path in sorted(directory().glob("*.sock")):
        if _lives(path):
            found.append(path)
        else:
            with contextlib.suppress(OSError):
                path.unlink()
    return found


def _lives(path: Path) -> bool:
    with socket.socket(socket.AF_UNIX) as probe:
        try:
            probe.connect(str(path))
        except OSError as error:
            return not isinstance(error, ConnectionRefusedError | FileNotFoundError)
    return True


def find_socket(path: str = "") -> str:
    """The socket that is named, else that of the one stack that runs. Raises ConfigError: none, or several."""
    if path:
        return path
    found = sockets()
    if not found:
        raise ConfigError(
            "no stack of yours runs here: start one with scapystack run, or name its socket with --attach"
        )
    if len(found) > 1:
        raise ConfigError(f"several stacks run: name one with --attach: {', '.join(map(str, found))}")
    return str(found[0])


class ControlServer:
    """Serves shells on `driver` from `open` to `close`. `name` is what their prompts say."""

    def __init__(self, driver: Driver, path: str | Path, *, name: str = "scapystack") -> None:
        self.path = str(path)
        self.name = name
        self._driver = driver
        self._clients: set[_Client] = set()
        self._lock = threading.Lock()
        self._sock: socket.socket | None = None
        self._thread: threading.Thread | None = None

    def open(self) -> None:
        """Begin. Raises LinkError: another stack has the path, or it cannot be made."""
        if len(os.fsencode(self.path)) > _LONGEST:
            raise LinkError(f"{self.path} is too long for a UNIX socket ({_LONGEST} octets at most)")
        if os.path.exists(self.path):
            if not stat.S_ISSOCK(os.lstat(self.path).st_mode) or _lives(Path(self.path)):
                raise LinkError(f"{self.path} is there already: choose another control socket")
            os.unlink(self.path)
        sock = socket.socket(socket.AF_UNIX)
        before = os.umask(0o177)  # the file is made with its mode, not given it afterwards
        try:
            sock.bind(self.path)
        except OSError as error:
            sock.close()
            raise LinkError(f"cannot open the control socket {self.path}: {error.strerror}") from None
        finally:
            os.umask(before)
        sock.listen(8)
        self._sock = sock
        self._thread = threading.Thread(target=self._accept, name="control", daemon=True)
        self._thread.start()

    def _accept(self) -> None:
        sock = self._sock
        while sock is not None:
            try:
                accepted, _ = sock.accept()
            except OSError:
                return
            if _peer(accepted) in (0, os.geteuid()):
                self.serve(accepted)
            else:
                accepted.close()

    def serve(self, sock: socket.socket) -> None:
        """Serve the client at the other end of a socket, in threads of its own."""
        client = _Client(self._driver, sock, self.name, self._forget)
        with self._lock:
            self._clients.add(client)
            client.start()

    def _forget(self, client: _Client) -> None:
        with self._lock:
            self._clients.discard(client)

    def close(self) -> None:
        """End every session and take the socket away. Harmless when repeated."""
        sock, self._sock = self._sock, None
        if sock is not None:
            with contextlib.suppress(OSError):
                sock.shutdown(socket.SHUT_RDWR)
            sock.close()
            with contextlib.suppress(OSError):
                os.unlink(self.path)
        with self._lock:
            clients = list(self._clients)
        for client in clients:
            client.end()
        for client in clients:
            client.join(_PATIENCE_S)

    def __enter__(self) -> ControlServer:
        self.open()
        return self

    def __exit__(self, *error: object) -> None:
        self.close()


def _peer(sock: socket.socket) -> int:
    """The user at the other end."""
    return int(_CREDENTIALS.unpack(sock.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _CREDENTIALS.size))[1])


class _Client:
    """One client: its session, the thread that hears it, and the one that runs its lines."""

    def __init__(self, driver: Driver, sock: socket.socket, name: str, on_end: Callable[[_Client], None]) -> None:
        self._driver = driver
        self._wire = Wire(sock)
        self._name = name
        self._on_end = on_end
        self._lines: SimpleQueue[str | None] = SimpleQueue()
        self._session: Session | None = None
        self._ear = threading.Thread(target=self._hear, name="shell-client", daemon=True)
        self._hand = threading.Thread(target=self._work, name="shell-commands", daemon=True)

    def start(self) -> None:
        """Begin to serve."""
        self._ear.start()

    def end(self) -> None:
        """Cut it off."""
        self._wire.close()

    def join(self, seconds: float) -> None:
        """Wait for its end."""
        self._ear.join(seconds)

    def _hear(self) -> None:
        try:
            piece = self._wire.take()
            if piece is None or piece[0] != wire.HELLO:
                return
            self._begin(json.loads(piece[1]))
            self._hand.start()
            while (piece := self._wire.take()) is not None:
                self._piece(*piece)
        except (OSError, ValueError, TypeError, KeyError):
            return  # it went away, or speaks otherwise
        finally:
            self._finish()

    def _begin(self, hello: dict[str, Any]) -> None:
        from scapystack.shell.session import Session  # noqa: PLC0415 - with rich, which only a shell needs

        self._session = session = Session(
            self._driver,
            self._say,
            cwd=str(hello["cwd"]),
            terminal=bool(hello["terminal"]),
            width=int(hello["width"]),
            height=int(hello["height"]),
        )
        session.wants_input = lambda: self._wire.put(wire.WANT)
        session.wants_keys = lambda: self._wire.put(wire.KEYS)
        self._wire.put(wire.NAME, self._name.encode())

    def _say(self, way: str, octets: bytes) -> None:
        try:
            self._wire.put(wire.OUT if way == "out" else wire.ERR, octets)
        except OSError:  # nobody listens any more: the command that talks should end
            if self._session is not None:
                self._session.interrupt()

    def _piece(self, kind: bytes, octets: bytes) -> None:
        session = self._session
        assert session is not None
        if kind == wire.RUN:
            self._lines.put(octets.decode(errors="replace"))
        elif kind == wire.INTERRUPT:
            session.interrupt()
        elif kind == wire.INPUT:
            session.feed(octets or None)
        elif kind == wire.SIZE:
            size = json.loads(octets)
            session.resized(int(size["width"]), int(size["height"]))
        elif kind == wire.COMPLETE:
            from scapystack.shell.complete import complete  # noqa: PLC0415

            self._wire.put(wire.WORDS, json.dumps(complete(session, octets.decode(errors="replace"))).encode())

    def _work(self) -> None:
        session = self._session
        assert session is not None
        while (line := self._lines.get()) is not None:
            status = session.execute(line)
            try:
                self._wire.put(wire.STATUS, json.dumps({"status": status, "left": session.left}).encode())
            except OSError:
                return

    def _finish(self) -> None:
        """The client is gone: what it had running ends, and what it had open is closed."""
        self._lines.put(None)
        if self._session is not None:
            self._session.end()
            if self._hand.is_alive():
                self._hand.join(_PATIENCE_S)
            self._session.close()
        self._wire.close()
        self._on_end(self)
