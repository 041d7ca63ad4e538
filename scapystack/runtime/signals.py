"""Signals that end a program: made to end it the way an exception does, so that what was changed on
the host is put back (`with`, `finally`, atexit). Ctrl-C does so by itself (KeyboardInterrupt).
"""

from __future__ import annotations

import signal
from types import FrameType
from typing import NoReturn

ENDING = (signal.SIGTERM, signal.SIGHUP)


def _leave(number: int, frame: FrameType | None) -> NoReturn:
    # a second one, while things are put back, must not cut that short
    for each in ENDING:
        signal.signal(each, signal.SIG_IGN)
    raise SystemExit(128 + number)


def exit_on_signals() -> None:
    """Have SIGTERM and SIGHUP raise SystemExit (128 and the number) in the main thread, which must call this.

    A SIGHUP that is ignored already (nohup) stays ignored.
    """
    for number in ENDING:
        if signal.getsignal(number) == signal.SIG_DFL:
            signal.signal(number, _leave)
