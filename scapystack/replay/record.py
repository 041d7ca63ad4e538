"""Recording a stack: all that goes into it is written down, so that `rerun` can do it again.

What goes in is frames, polls, and what applications, services and programs call or set on endpoints and layers
(`roster`), each with its time; configuration and seed stand at the beginning. All that comes out follows from that, and
is noted too: results of calls, and of each frame its headers, its length and a hash. Taps and hooks stand outside: what
they let in is noted, and what the stack made before they saw it. The file is a gzip stream of `values`; what was
written a second ago survives a process that is killed.
"""

from __future__ import annotations

import gzip
import logging
import time
from collections.abc import Callable
from dataclasses import asdict, fields
from hashlib import blake2b
from operator import attrgetter
from pathlib import Path
from typing import Any

from scapystack import __version__
from scapystack.base.addr import Prefix
from scapystack.base.errors import LinkError
from scapystack.base.frames import Frame
from scapystack.base.iface import Interface
from scapystack.base.types import SECOND, Nanoseconds
from scapystack.hooks.frames import Held
from scapystack.layers.tcp.tcb import Options
from scapystack.replay.roster import ENDPOINTS, NUMBERED, Roster
from scapystack.replay.values import encode
from scapystack.stack import NetStack

_log = logging.getLogger("scapystack")

FORMAT = "scapystack recording 1"
CALL, SET, OPTION, FRAME, POLL, OUT, CONFIG, GONE = range(8)
"""What a record is about: its first value."""
KEPT = 94
"""Octets of a frame that leaves that are kept as they are: all headers, as a rule."""
_FLUSH = SECOND


def digest(octets: bytes) -> bytes:
    """What stands for octets that need not be kept."""
    return blake2b(octets, digest_size=16).digest()


def brief(frame: Frame) -> tuple[int, int, int, bytes, bytes]:
    """What is kept of a frame that leaves: interface, segment size, length, the headers, a hash of all."""
    data = frame.data
    return (frame.iface.index if frame.iface else -1), frame.gso_size, len(data), data[:KEPT], digest(data)


def outcome(result: Any, number: Callable[[Any], int | None]) -> Any:
    """What is kept of a call's result; a tuple that `rerun` finds again or not."""
    if result is None or isinstance(result, bool | int | str):
        return result
    if isinstance(result, bytes | bytearray | memoryview):
        return ("octets", len(result), digest(bytes(result)))
    if isinstance(result, list):
        whole = b"".join(result)
        return ("octets", len(whole), digest(whole))
    if isinstance(result, ENDPOINTS):
        return ("endpoint", number(result))
    if isinstance(result, OSError):
        return ("error", result.errno)
    if isinstance(result, tuple):
        return tuple(outcome(each, number) for each in result)
    return (type(result).__name__,)


class Recorder:
    """Writes the recording of a stack that is as it was made: with this seed and codec, and nothing done yet.

    Raises LinkError if the file cannot be written. A failure later ends the recording, and is noted in `error`.
    """

    def __init__(self, path: str | Path, stack: NetStack, seed: int | bytes, codec: str = "compiled") -> None:
        self.error = ""
        self.frames = 0
        self.path = str(path)
        self.stack = stack
        try:
            self._file: gzip.GzipFile | None = gzip.open(path, "wb", compresslevel=1)  # noqa: SIM115
        except OSError as error:
            raise LinkError(f"cannot write {path}: {error.strerror}") from None
        self._flushed_at: Nanoseconds = 0
        self._now: Nanoseconds = 0
        self._settings = [
            (group.name, field.name)
            for group in fields(stack.config)
            for field in fields(getattr(stack.config, group.name))
        ]
        self._values = attrgetter(*(".".join(names) for names in self._settings))
        self._known = self._values(stack.config)
        self.roster = Roster(stack, self._called, self._setting)
        self._take_over(stack)
        told = {"version": __version__, "seed": seed, "codec": codec, "config": asdict(stack.config)}
        self._write(FORMAT, {**told, "epoch": time.time_ns() - time.monotonic_ns()})

    def _take_over(self, stack: NetStack) -> None:
        """Stand before the driver's calls."""
        stack.recorded = True
        roster = self.roster
        accept, poll, take_frames, deadline = stack.accept, stack.poll, stack.take_frames, stack.next_deadline

        def recorded_accept(frame: Frame, now: Nanoseconds) -> None:
            if roster.depth and type(frame) is not Held:  # a packet to ourselves
                accept(frame, now)
                return
            self._look_at_config()
            self.frames += 1
            index = frame.iface.index if frame.iface else -1
            fields = (frame.csum, frame.csum_start, frame.csum_offset, frame.gso_size)
            self._write(FRAME, now, index, *fields, frame.data)
            roster.depth += 1
            try:
                accept(frame, now)
            finally:
                roster.depth -= 1

        def recorded_poll(now: Nanoseconds, more: bool = False) -> None:
            self._look_at_config()
            roster.depth += 1
            try:
                poll(now, more)
            finally:
                roster.depth -= 1
                self._write(POLL, now, more)  # behind the frames that a hook has held back until now

        def recorded_take_frames() -> list[Frame]:
            out = [frame for frame in stack.core.outbox if type(frame) is not Held]  # those have left before
            if out:
                self.frames += len(out)
                self._write(OUT, tuple(brief(frame) for frame in out))
            return take_frames()

        def next_deadline() -> Nanoseconds | None:
            roster.depth += 1  # the timers put their heap in order meanwhile
            try:
                return deadline()
            finally:
                roster.depth -= 1

        stack.next_deadline = next_deadline  # type: ignore[method-assign]
        stack.accept = recorded_accept  # type: ignore[method-assign]
        stack.poll = recorded_poll  # type: ignore[method-assign]
        stack.take_frames = recorded_take_frames  # type: ignore[method-assign]

    # -- calls -------------------------------------------------------------------------------------------

    def _called(
        self, thing: Any, name: str, plain: Callable[..., Any], args: tuple[Any, ...], named: dict[str, Any]
    ) -> Any:
        self._look_at_config()
        if name == "read_into":
            given: tuple[Any, ...] = ({"room": len(args[0])},), {}
        else:
            given = tuple(map(self._plain, args)), {key: self._plain(value) for key, value in named.items()}
        number = self.roster.number(thing)
        now = self.stack.core.now
        try:
            result = plain(thing, *args, **named)
        except BaseException as error:
            told = ("error", error.errno) if isinstance(error, OSError) else ("raises", type(error).__name__)
            self._write(CALL, now, number, name, *given, told)
            raise
        made = isinstance(result, NUMBERED) and self.roster.number(result) is None
        if made:
            self.roster.add(result)
        self._write(CALL, now, number, name, *given, outcome(result, self.roster.number))
        return result

    def _setting(self, thing: Any, name: str, value: Any) -> None:
        now = self.stack.core.now
        if isinstance(thing, Options):
            self._write(OPTION, now, self.roster.owner(thing), name, self._plain(value))
            return
        number = self.roster.number(thing)
        self._write(SET, now, number, name, self._plain(value))
        if isinstance(value, Options) and number is not None:
            self.roster.own(value, number)

    def _plain(self, value: Any) -> Any:
        """An argument as a value that can be written."""
        if value is None or isinstance(value, int | float | str | bytes):
            return value
        if isinstance(value, bytearray | memoryview):
            return bytes(value)
        if isinstance(value, Interface):
            return {"interface": value.index}
        if isinstance(value, Options):
            return {"options": {name: getattr(value, name) for name in Options.__dataclass_fields__}}
        if isinstance(value, Prefix):
            return {"prefix": str(value)}
        if isinstance(value, tuple | list):
            return tuple(map(self._plain, value))
        raise TypeError(f"cannot record a {type(value).__name__} as an argument")

    def _look_at_config(self) -> None:
        """A stack reads its configuration live: what somebody has changed, a rerun must change too."""
        config = self.stack.config
        values = self._values(config)
        if values != self._known:
            changed = {
                ".".join(names): value
                for names, value, old in zip(self._settings, values, self._known, strict=True)
                if value != old
            }
            self._known = values
            self._write(CONFIG, changed)

    # -- the file ----------------------------------------------------------------------------------------

    def _write(self, *record: Any) -> None:
        file = self._file
        if file is None:
            return
        out = bytearray()
        gone = self.roster.gone if record[0] != FORMAT else []
        if gone:
            taken = tuple(gone)
            del gone[: len(taken)]
            encode(out, (GONE, taken))
        encode(out, record)
        try:
            file.write(out)
            now = self.stack.core.now
            if now - self._flushed_at > _FLUSH:
                self._flushed_at = now
                file.flush()
        except (OSError, ValueError) as error:
            self._failed(error)
            self.close()

    def _failed(self, error: OSError | ValueError) -> None:
        if not self.error:
            self.error = f"cannot write {self.path}: {getattr(error, 'strerror', None) or error}"
            _log.warning("%s; the recording ends here", self.error)

    def close(self) -> None:
        """End the recording; the stack goes on, unrecorded. Harmless when repeated."""
        file, self._file = self._file, None
        if file is not None:
            try:
                file.close()
            except OSError as error:  # what it could not write before, it cannot write now
                self._failed(error)
