"""`scapystack exec -- python app.py`: an unmodified Python program over a stack of its own.

The program runs in this process, in the place of the command: its `socket` module is the stack's
(`scapystack.sockets.module`). Programs that it starts have the kernel's sockets.
"""

from __future__ import annotations

import os
import runpy
import shutil
import sys
from typing import Any

import click

from scapystack.base.errors import ConfigError
from scapystack.cli.options import link_options, opened

_FLAGS = "use: scapystack exec -- python FILE.py|-m MODULE|-c CODE [ARGUMENTS]"


@click.command("exec", context_settings={"ignore_unknown_options": True, "allow_interspersed_args": False})
@click.argument("words", nargs=-1, required=True, metavar="-- python PROGRAM [ARGUMENTS]", type=click.UNPROCESSED)
@link_options
def command(words: tuple[str, ...], **link: Any) -> int:
    """Run a Python program whose sockets are those of a stack of its own.

    http.client, urllib, smtplib, requests and the like run as they are; names of hosts are looked up by this
    machine. The exit status is the program's.
    """
    run = _Program(words)
    with opened(link, scapy_routes=True) as stack:
        from scapystack.sockets.module import everywhere  # noqa: PLC0415 - with ssl

        with everywhere(stack.socket_module()):
            return run()


class _Program:
    """A command line of Python's: FILE, `-m MODULE` or `-c CODE`. Raises ConfigError for another one."""

    def __init__(self, words: tuple[str, ...]) -> None:
        first, *rest = words
        if not first.endswith(".py"):
            self._check_interpreter(first)
        else:
            rest = list(words)
        if not rest:
            raise ConfigError(f"{first} alone has nothing to run: {_FLAGS}")
        self._kind = rest[0] if rest[0] in ("-m", "-c") else ""
        if self._kind:
            rest = rest[1:]
        if not rest or (rest[0].startswith("-") and not self._kind):
            raise ConfigError(f"{' '.join(words)!r} is no program to run here; {_FLAGS}")
        self._what, self._arguments = rest[0], rest[1:]
        if not self._kind and not os.path.exists(self._what):
            raise ConfigError(f"there is no file {self._what}")

    @staticmethod
    def _check_interpreter(word: str) -> None:
        name = os.path.basename(word)
        version = f"{sys.version_info.major}.{sys.version_info.minor}"
        if name in ("python", "python3", f"python{version}"):
            return
        found = shutil.which(word)
        if found is not None and os.path.realpath(found) == os.path.realpath(sys.executable):
            return
        raise ConfigError(f"{word} is not Python {version}, whose programs alone run over the stack; {_FLAGS}")

    def __call__(self) -> int:
        """Run it; its exit status. What it raises goes through its own `sys.excepthook`."""
        argv, path = sys.argv, sys.path[:]
        try:
            self._run()
        except SystemExit as end:
            return self._status(end)
        except KeyboardInterrupt:
            raise
        except BaseException as error:
            beyond = _beyond_us(error)
            if beyond is None and isinstance(error, ImportError):  # there is no such program
                raise ConfigError(str(error)) from None
            sys.excepthook(type(error), error.with_traceback(beyond), beyond)
            return 1
        finally:
            sys.argv, sys.path[:] = argv, path
        return 0

    def _run(self) -> None:
        if self._kind == "-c":
            sys.argv = ["-c", *self._arguments]
            sys.path.insert(0, "")
            exec(compile(self._what, "<string>", "exec"), {"__name__": "__main__", "__builtins__": __builtins__})
            return
        sys.argv = [self._what, *self._arguments]
        if self._kind == "-m":
            sys.path.insert(0, os.getcwd())
            runpy.run_module(self._what, run_name="__main__", alter_sys=True)
            return
        sys.path.insert(0, os.path.dirname(os.path.abspath(self._what)))
        runpy.run_path(self._what, run_name="__main__")

    @staticmethod
    def _status(end: SystemExit) -> int:
        if end.code is None:
            return 0
        if isinstance(end.code, int):
            return end.code
        print(end.code, file=sys.stderr)
        return 1


def _beyond_us(error: BaseException) -> Any:
    """The traceback from where the program begins; None if it has not begun."""
    trace = error.__traceback__
    while trace is not None and trace.tb_frame.f_code.co_filename in (__file__, runpy.__file__, "<frozen runpy>"):
        trace = trace.tb_next
    return trace
