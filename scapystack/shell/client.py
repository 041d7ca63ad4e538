"""The other end of the control socket: runs lines on a stack elsewhere as if it were here.

What the command says comes out here, Ctrl-C goes there, and when the command wants input a piece of standard
input is read and sent. `Client` knows no prompt; `prompt` puts one in front of it.
"""

from __future__ import annotations

import json
import os
import select
import shutil
import signal
import socket
import sys
import termios
import threading
import tty
from collections.abc import Callable
from contextlib import suppress
from queue import SimpleQueue
from types import FrameType
from typing import Any

from scapystack.base.errors import LinkError
from scapystack.shell import wire
from scapystack.shell.wire import Wire

CHUNK = 16_384
_PATIENCE_S = 2.0
GONE = "the stack has ended"


class Client:
    """Attached to a stack. `on_lost` is called, by another thread, when the stack has gone."""

    def __init__(self, sock: socket.socket, *, terminal: bool | None = None) -> None:
        self.name = ""
        """What the stack is called, once it has said so."""
        self.left = False
        """A command has asked to leave."""
        self.lost = False
        self.on_lost: Callable[[], None] = lambda: None
        self._wire = Wire(sock)
        self._statuses: SimpleQueue[dict[str, Any] | None] = SimpleQueue()
        self._words: SimpleQueue[list[str]] = SimpleQueue()
        self._interrupted = False
        self._failed: OSError | None = None
        self._read, self._write = os.pipe()  # wakes `run` where the reading thread or Ctrl-C has news
        self._size = shutil.get_terminal_size()
        self._cooked: list[Any] | None = None  # how the terminal was before it gave single keys
        if terminal is None:
            terminal = os.isatty(1)
        hello = {"cwd": os.getcwd(), "terminal": terminal, "width": self._size.columns, "height": self._size.lines}
        self._wire.put(wire.HELLO, json.dumps(hello).encode())
        first = self._wire.take()
        if first is None or first[0] != wire.NAME:
            raise LinkError("the control socket answers something else than this release of scapystack")
        self.name = first[1].decode(errors="replace")
        self._thread = threading.Thread(target=self._hear, name="shell-output", daemon=True)
        self._thread.start()

    @classmethod
    def attach(cls, path: str) -> Client:
        """To the stack with this control socket. Raises LinkError."""
        sock = socket.socket(socket.AF_UNIX)
        try:
            sock.connect(path)
            return cls(sock)
        except (OSError, ValueError) as error:
            sock.close()
            reason = "no stack runs there" if isinstance(error, ConnectionRefusedError) else None
            told = reason or getattr(error, "strerror", None) or error
            where = "; scapystack run says the path of its control socket"
            raise LinkError(f"cannot attach to {path}: {told}{where}") from None

    def _hear(self) -> None:
        while (piece := self._wire.take()) is not None:
            kind, octets = piece
            if kind in (wire.OUT, wire.ERR):
                error = _print(sys.stdout if kind == wire.OUT else sys.stderr, octets)
                if error is not None and kind == wire.OUT:
                    self._failed = self._failed or error
                    with suppress(LinkError):
                        self._put(wire.INTERRUPT)  # nobody reads what the command says
            elif kind == wire.STATUS:
                self._statuses.put(json.loads(octets))
                os.write(self._write, b"s")
            elif kind == wire.WANT:
                os.write(self._write, b"w")
            elif kind == wire.KEYS:
                os.write(self._write, b"k")
            elif kind == wire.WORDS:
                self._words.put(json.loads(octets))
        self.lost = True
        self._statuses.put(None)
        self._words.put([])
        os.write(self._write, b"s")
        self.on_lost()

    def run(self, line: str, *, with_input: bool = True) -> int:
        """Run a line of commands; its status. Ctrl-C meanwhile ends the command.

        Raises LinkError where the stack is gone, OSError where standard output takes no more (a pipe's reader has
        ended), which ends the command as well.
        """
        self._interrupted = False
        self._tell_size()
        self._put(wire.RUN, line.encode())
        before: list[tuple[signal.Signals, Any]] = []
        if threading.current_thread() is threading.main_thread():
            before.append((signal.SIGINT, signal.signal(signal.SIGINT, self._interrupt)))
            before.append((signal.SIGWINCH, signal.signal(signal.SIGWINCH, self._resized)))
        try:
            status = self._follow(with_input)
        finally:
            self._single_keys(False)
            for number, handler in before:
                signal.signal(number, handler)
        if self._failed is not None:
            raise self._failed
        return status

    def _interrupt(self, number: int, frame: FrameType | None) -> None:
        self._interrupted = True
        os.write(self._write, b"i")  # `_follow` says it: what was interrupted here may hold the wire

    def _resized(self, number: int, frame: FrameType | None) -> None:
        os.write(self._write, b"r")

    def _tell_size(self) -> None:
        size = shutil.get_terminal_size()
        if size != self._size:
            self._size = size
            self._put(wire.SIZE, json.dumps({"width": size.columns, "height": size.lines}).encode())

    def _single_keys(self, wanted: bool) -> None:
        """Have the terminal give keys as they are hit, and not show them; or lines, as before."""
        if wanted == (self._cooked is not None) or not os.isatty(0):
            return
        if wanted:
            self._cooked = termios.tcgetattr(0)
            tty.setcbreak(0, termios.TCSANOW)
        else:
            termios.tcsetattr(0, termios.TCSANOW, self._cooked or [])
            self._cooked = None

    def _put(self, kind: bytes, octets: bytes = b"") -> None:
        try:
            self._wire.put(kind, octets)
        except OSError:
            raise LinkError(GONE) from None

    def _follow(self, with_input: bool) -> int:
        """Until its status has come: input, where the command wants some."""
        wants = False
        while True:
            watched = [self._read, 0] if wants and with_input else [self._read]
            ready, _, _ = select.select(watched, [], [])
            if self._read in ready:
                news = os.read(self._read, 1)
                if news == b"s":
                    told = self._statuses.get()
                    if told is None:
                        raise LinkError(GONE)
                    self.left = bool(told["left"])
                    return int(told["status"])
                if news == b"i":
                    if self._interrupted:  # else it was for the line before
                        self._interrupted = False
                        self._put(wire.INTERRUPT)
                    continue
                if news == b"r":
                    self._tell_size()
                    continue
                wants = True
                if with_input:
                    self._single_keys(news == b"k")
                else:
                    self._put(wire.INPUT)
            elif wants:
                wants = False
                try:
                    data = os.read(0, CHUNK)
                except OSError:
                    data = b""
                self._put(wire.INPUT, data)

    def complete(self, line: str) -> list[str]:
        """What may stand at the end of the line; nothing, where the stack is gone."""
        if self.lost:
            return []
        try:
            self._put(wire.COMPLETE, line.encode())
        except LinkError:  # it ended just now, and nobody has heard of it yet
            return []
        return self._words.get()

    def close(self) -> None:
        """Detach: what still runs there ends."""
        self.on_lost = lambda: None
        self._wire.close()
        self._thread.join(_PATIENCE_S)
        os.close(self._read)
        os.close(self._write)

    def __enter__(self) -> Client:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()


def _print(stream: Any, octets: bytes) -> OSError | None:
    """Octets, as they are where the stream takes them so; the error where it takes no more."""
    if stream is None:  # closed by whoever started us
        return None
    try:
        if hasattr(stream, "buffer") and not _patched(stream):
            stream.flush()
            stream.buffer.write(octets)
        else:
            stream.write(octets.decode(errors="replace"))
        stream.flush()
    except OSError as error:
        return error
    except ValueError:  # closed
        pass
    return None


def _patched(stream: Any) -> bool:
    """Whether it is prompt_toolkit's, which keeps the prompt below what is printed."""
    return type(stream).__module__.startswith("prompt_toolkit")
