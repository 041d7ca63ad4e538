"""Trace files: a line of JSON for each event, written as it happens. Read `events` first."""

from __future__ import annotations

import json
import logging
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Self

from scapystack.base.errors import LinkError
from scapystack.base.types import Nanoseconds
from scapystack.stack import NetStack
from scapystack.trace.events import Event, Tracer

_log = logging.getLogger("scapystack")
NEEDED = ("at", "connection", "event", "local", "remote", "state")
"""Fields that every line has; what lacks one is no trace."""


class TraceFile:
    """Writes a stack's events to a file, each line at once. A context manager.

    A file that cannot be written any more ends the trace and not the stack: `error` says why.
    """

    def __init__(self, net: NetStack, path: str | Path, *, clock: Callable[[], Nanoseconds] = time.time_ns) -> None:
        """Raises OSError if the file cannot be made. See `Tracer` for where this may be called."""
        self.error = ""
        self._file = open(path, "w", buffering=1, encoding="utf-8")  # noqa: SIM115 - closed by close()
        self.tracer = Tracer(net, self._write, clock=clock)
        self._attached = True

    def _write(self, event: Event) -> None:
        if self.error:
            return
        try:
            self._file.write(json.dumps(event, separators=(",", ":")) + "\n")
        except OSError as error:
            self.error = f"cannot write {self._file.name}: {error.strerror}"
            _log.warning("%s; the trace ends here", self.error)

    def close(self) -> None:
        """End the trace. Harmless when repeated."""
        if self._attached:
            self._attached = False
            self.tracer.detach()
        try:
            self._file.close()
        except OSError as error:  # what it could not write before, it cannot write now
            self.error = self.error or str(error)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()


def read_trace(path: str | Path) -> Iterator[Event]:
    """The events of a trace file, in order; a last line that is cut is left out.

    Raises LinkError where the file is no trace, OSError if it cannot be read.
    """
    with open(path, encoding="utf-8", errors="replace") as file:
        for number, line in enumerate(file, 1):
            if not line.endswith("\n"):
                return
            try:
                event = json.loads(line)
            except ValueError:
                event = None
            if not isinstance(event, dict) or any(name not in event for name in NEEDED):
                raise LinkError(f"{path} is no trace of ours: line {number} (scapystack run --trace FILE writes one)")
            yield event
