"""A small process that outlives us: when we are killed, it puts the host back at once.

A TAP vanishes with its descriptor; a namespace that we made or a bridge does not, and a process that
is killed (`kill -9`, out of memory) undoes nothing. `link.hostsetup` notes every change on disk; this
watches for our end and has what we left undone put back, as the next stack on this host would.

    python -m scapystack.cli.guardian PID        ends when its standard input does
"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import time

from scapystack.link.hostsetup import clean_leftovers
from scapystack.link.journal import process_start

_PATIENCE_S = 10
_FAREWELL = b"."


class Guardian:
    """Starts the watching process when there is something to watch over; a context manager."""

    def __init__(self) -> None:
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Have the host put back if we die from now on. Once is enough."""
        if self._process is None:
            words = [sys.executable, "-m", "scapystack.cli.guardian", str(os.getpid())]
            # a session of its own: what Ctrl-C and a closed terminal send to us is not meant for it
            self._process = subprocess.Popen(
                words,
                stdin=subprocess.PIPE,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                start_new_session=True,
            )

    def close(self) -> None:
        """We have put everything back ourselves."""
        process, self._process = self._process, None
        if process is not None:
            with contextlib.suppress(subprocess.TimeoutExpired, OSError):
                process.communicate(_FAREWELL, _PATIENCE_S)

    def __enter__(self) -> Guardian:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()


def watch(pid: int) -> None:
    """Wait for the end of our standard input and of process `pid`, then put back what it left.

    Unless it said farewell: then it has done so itself.
    """
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    started = process_start(pid)
    if sys.stdin.buffer.read() == _FAREWELL:
        return
    until = time.monotonic() + _PATIENCE_S
    # descriptors are closed before a process counts as dead
    while started is not None and process_start(pid) == started and time.monotonic() < until:
        clean_leftovers()
        time.sleep(0.02)
    clean_leftovers()


if __name__ == "__main__":
    watch(int(sys.argv[1]))
