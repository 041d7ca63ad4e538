"""Signals that end a program: made to end it the way an exception does, so that what was changed on
the host is put back (`with`, `finally`, atexit). Ctrl-C does so by itself (KeyboardInterrupt).
"""

from __future__ import annotations

import signal
import sys
from collections.abc import Callable
from types import FrameType
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from asyncio import AbstractEventLoop

ENDING = (signal.SIGTERM, signal.SIGHUP)


def _leave(number: int, frame: FrameType | None) -> None:
    # not imported, or only in part: then no loop of it runs
    running: Callable[[], AbstractEventLoop | None] | None
    running = getattr(sys.modules.get("asyncio"), "_get_running_loop", None)
    loop = running() if running else None
    if loop is None:
        _end(number)
    else:
        # A prompt waits in such a loop. Raised in the middle of one of its callbacks the exception would be that
        # callback's failure, reported with a traceback; as a callback of its own it is the end of the loop.
        loop.call_soon_threadsafe(_end, number)


def _end(number: int) -> None:
    if signal.getsignal(number) is signal.SIG_IGN:
        return  # a loop had two of them to tell
    # another one, while things are put back, must not cut that short
    for each in ENDING:
        signal.signal(each, signal.SIG_IGN)
    raise SystemExit(128 + number)


def exit_on_signals() -> None:
    """Have SIGTERM and SIGHUP raise SystemExit (128 and the number) in the main thread, which must call this.

    Where an asyncio loop runs there it is raised out of the loop, between two of its callbacks. A SIGHUP that is
    ignored already (nohup) stays ignored.
    """
    for number in ENDING:
        if signal.getsignal(number) == signal.SIG_DFL:
            signal.signal(number, _leave)
