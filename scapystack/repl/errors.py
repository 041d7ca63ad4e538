"""What goes wrong at the prompt: a line for what a person or the network did, the whole traceback for anything else.

`tb()` shows what a line left out. Python's own console asks `sys.excepthook`, IPython its `showtraceback`.
"""

from __future__ import annotations

import code
import sys
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from types import TracebackType
from typing import Any

from scapystack.base.errors import ScapystackError


def tb() -> None:
    """The whole traceback of the last error."""
    if not hasattr(sys, "last_value"):
        print("nothing has gone wrong so far")
    else:
        traceback.print_exception(sys.last_value)


@contextmanager
def in_one_line() -> Iterator[None]:
    """Within it, a console shows an expected error (`expected`) as a line."""
    shown = sys.excepthook
    sys.excepthook = _hook
    try:
        with _ipython():
            yield
    finally:
        sys.excepthook = shown


def expected(error: BaseException | None) -> bool:
    """Whether it is what a call at the prompt may come to: nobody listens, no such file, a wrong argument."""
    return isinstance(error, ScapystackError | OSError)


def _line(error: BaseException) -> str:
    if isinstance(error, ScapystackError):
        return str(error)  # a sentence for a person
    return "".join(traceback.format_exception_only(error)).rstrip()


def _hook(kind: type[BaseException], error: BaseException, at: TracebackType | None) -> None:
    if expected(error):
        print(_line(error), file=sys.stderr)
        return
    if at is not None and at.tb_frame.f_code.co_filename == code.__file__:
        at = at.tb_next  # begin with the line that was typed
    sys.__excepthook__(kind, error.with_traceback(at), at)


@contextmanager
def _ipython() -> Iterator[None]:
    try:
        from IPython.core.interactiveshell import InteractiveShell  # noqa: PLC0415 - only where it is installed
    except ImportError:
        yield
        return
    kind: Any = InteractiveShell
    whole = kind.showtraceback

    def showtraceback(shell: Any, *args: Any, running_compiled_code: bool = False, **how: Any) -> None:
        error = sys.exc_info()[1]
        if running_compiled_code and error is not None and expected(error):  # else %tb asks for it
            sys.last_type, sys.last_value, sys.last_traceback = type(error), error, error.__traceback__
            print(_line(error), file=sys.stderr)
        else:
            whole(shell, *args, running_compiled_code=running_compiled_code, **how)

    kind.showtraceback = showtraceback
    try:
        yield
    finally:
        kind.showtraceback = whole
