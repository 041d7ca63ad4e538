"""The `scapystack` program: finds the command, and turns what goes wrong into one line.

A command lives in a file of its own (`scapystack.cli.<name>`, a click command named `command`) and
is imported when it is called, so that `--help` does not wait for Scapy. Exit status: 0 done, 1 it
failed, 2 bad arguments, 130 interrupted.
"""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Sequence
from importlib import import_module
from typing import Any

import click

from scapystack import __version__
from scapystack.base.errors import ConfigError, ScapystackError
from scapystack.cli.home import settle

COMMANDS = {
    "bench": "How fast is the stack on this machine, and the kernel beside it?",
    "demo": "Show the stack at work beside a real Linux kernel, step by step.",
    "doctor": "Can this machine run a stack? What is missing, and how to get it.",
    "exec": "Run a Python program whose sockets are those of a stack of its own.",
    "nc": "Send and receive over TCP or UDP, as nc does, from a stack of its own.",
    "ping": "Send echo requests from a stack of its own.",
    "plot": "Draw a conversation of a capture or a trace.",
    "repl": "Scapy's console, with handles on the connections of a stack.",
    "replay": "Replay captures against the stack, as regression tests.",
    "rerun": "Run a recorded session again, offline, octet for octet.",
    "run": "Run a stack on a TAP, with services on it.",
    "shell": "Open the net shell of a stack that runs.",
}
"""Every command and what its line in `--help` says."""


class Program(click.Group):
    """The group of commands: imports them late, and ends the program without tracebacks."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """The commands by name."""
        return sorted(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """The command, imported now; None if there is no such."""
        if cmd_name not in COMMANDS:
            return None
        settle()
        command: click.Command = import_module(f"scapystack.cli.{cmd_name}").command
        return command

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """The command that is called; for one that there is not, those that are like it."""
        if args[0] not in COMMANDS and not args[0].startswith("-"):
            from difflib import get_close_matches  # noqa: PLC0415 - for a mistake alone

            near = get_close_matches(args[0], COMMANDS)
            ctx.fail(f"No such command {args[0]!r}" + (f", did you mean {' or '.join(near)}?" if near else ""))
        return super().resolve_command(ctx, args)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """The list in `--help`, without importing any of them."""
        with formatter.section("Commands"):
            formatter.write_dl(sorted(COMMANDS.items()))

    def main(
        self,
        args: Sequence[str] | None = None,
        prog_name: str | None = None,
        complete_var: str | None = None,
        standalone_mode: bool = True,
        windows_expand_args: bool = True,
        **extra: Any,
    ) -> Any:
        """Run, and exit: a person sees one line on standard error, and a status.

        Without `standalone_mode` errors are the caller's, as with any click command.
        """
        words = list(sys.argv[1:] if args is None else args)
        if not standalone_mode:
            return super().main(words, prog_name, complete_var, standalone_mode=False, **extra)
        try:
            status = super().main(words, prog_name or "scapystack", complete_var, standalone_mode=False, **extra)
        except BaseException as error:
            if words[:1] == ["--debug"] and not isinstance(error, SystemExit):
                raise
            status = _report(error, words)
        _flush()
        sys.exit(status if isinstance(status, int) else 0)


def _report(error: BaseException, words: list[str]) -> int:
    """Say what went wrong in one line; the exit status for it."""
    if isinstance(error, click.exceptions.NoArgsIsHelpError):
        error.show()
        return 2
    if isinstance(error, click.UsageError):
        asked = " ".join(word for word in words[:1] if word in COMMANDS)
        where = error.ctx.command_path if error.ctx else f"scapystack {asked}".rstrip()
        return _say(where, f"{error.format_message().rstrip('.')} (see {where} --help)", 2)
    if isinstance(error, click.ClickException):
        return _say("scapystack", error.format_message(), 2)
    if isinstance(error, ConfigError):
        return _say("scapystack", str(error), 2)
    if isinstance(error, KeyboardInterrupt | click.Abort):
        return 130
    if isinstance(error, ScapystackError):
        return _say("scapystack", str(error), 1)
    if isinstance(error, OSError):
        about = f"{error.filename}: " if error.filename else ""
        return _say("scapystack", f"{about}{error.strerror or error}", 1)
    if isinstance(error, SystemExit):
        return error.code if isinstance(error.code, int) else 1
    kind = type(error).__name__
    return _say("scapystack", f"a bug of ours: {kind}: {error} (scapystack --debug ... shows where)", 70)


def _say(where: str, text: str, status: int) -> int:
    with contextlib.suppress(OSError, ValueError):
        print(f"{where}: {' '.join(text.split())}", file=sys.stderr)
    return status


def _flush() -> None:
    """Write what is buffered, and keep the interpreter from complaining about a closed pipe later."""
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except (OSError, ValueError):
            with contextlib.suppress(OSError, ValueError):
                os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())


@click.group(
    "scapystack", cls=Program, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100}
)
@click.version_option(__version__, message="scapystack %(version)s")
@click.option("--debug", is_flag=True, help="Show the traceback of an error.")
def program(debug: bool) -> None:
    """A user-space TCP/IP stack for Linux whose frames are Scapy packets."""


def main() -> None:
    """The entry point of the `scapystack` script."""
    _fill_standard_descriptors()
    program.main()


def _fill_standard_descriptors() -> None:
    """Put /dev/null where we were started without standard input or output: else the number goes to the
    next file that is opened, and what is meant for a terminal ends up in a TAP."""
    for number in (0, 1, 2):
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # the lowest free number is this one
    # what was closed when Python began is None, which nobody can print to
    sys.stdout = sys.stdout or open(1, "w")  # noqa: SIM115 - as long as we live
    sys.stderr = sys.stderr or open(2, "w")  # noqa: SIM115
