"""`HeldInterrupt`: Ctrl-C waits until the main thread has left the stack.

Python raises KeyboardInterrupt between any two bytecodes of the main thread: in the middle of the core it
would leave a connection half-changed, and the lock taken for ever. So while the main thread is inside a
driver, SIGINT is noted and raised on the way out. A second one is not held back: what an application does
in there may never end. Only Python's own handler is replaced, and only in there; one that a program has
set is its own affair (and should not raise). It costs 0.7 us a call from the main thread, nothing elsewhere.

`LISTEN_S`: how long the main thread may sleep in one piece. Python looks for signals, and then sleeps: one that
comes in between, or that the kernel gives to another thread, does not end the sleep, and Ctrl-C would be lost.
A wait in pieces costs 0.3 us more than a whole one.
"""

from __future__ import annotations

import signal as signals

# the functions themselves: what `signal` wraps around them to make enums costs ten times as much
from _signal import default_int_handler, getsignal, signal  # type: ignore[import-not-found]
from threading import get_ident, main_thread
from types import FrameType

LISTEN_S = 1.0

_SIGINT = int(signals.SIGINT)
_USUAL = (
    _SIGINT,
    *(int(getattr(signals, f"SIG{name}")) for name in ("ALRM", "TERM", "HUP", "USR1", "USR2", "CHLD", "PROF")),
)


def hears_signals() -> bool:
    """Whether the calling thread is the one in which Python runs the handlers of signals."""
    return get_ident() == main_thread().ident


def may_be_broken_off() -> bool:
    """Whether the program has handlers of its own for signals, which may raise between any two bytecodes of the main
    thread. What must not be left half done is another thread's affair then. Asking takes 0.4 us."""
    return any(callable(handler) and handler is not default_int_handler for handler in map(getsignal, _USUAL))


class HeldInterrupt:
    """One for each driver. Used by `Driver` alone."""

    __slots__ = ("_came", "_handler", "_main")

    def __init__(self) -> None:
        self._main = main_thread().ident
        self._came = False
        self._handler = self._note

    def _note(self, number: int, frame: FrameType | None) -> None:
        if self._came:
            raise KeyboardInterrupt
        self._came = True

    def hold(self) -> bool:
        """Hold SIGINT back from now on. False where nothing is to be held: not this thread's, or held already."""
        if get_ident() != self._main or getsignal(_SIGINT) is not default_int_handler:
            return False
        signal(_SIGINT, self._handler)
        return True

    def let_go(self) -> None:
        """After a `hold` that was True: raise the KeyboardInterrupt of a SIGINT that came since."""
        came, self._came = self._came, False
        if getsignal(_SIGINT) is self._handler:  # else somebody inside has set another one
            try:
                signal(_SIGINT, default_int_handler)  # runs the handler of one that comes at the last moment
            finally:
                came, self._came = came or self._came, False
        if came:
            raise KeyboardInterrupt
