"""`scapystack shell`: commands on a stack that runs already, over its control socket."""

from __future__ import annotations

import os
import sys

import click


@click.command("shell")
@click.option(
    "--attach",
    "path",
    is_flag=False,
    flag_value="",
    default="",
    metavar="[SOCKET]",
    help="The control socket of the stack, as scapystack run says it (that of the only one that runs).",
)
@click.option("-c", "commands", multiple=True, metavar="'CMD; CMD'", help="Run these commands instead of a prompt.")
@click.argument("script", required=False, type=click.Path(exists=True, dir_okay=False, allow_dash=True))
def command(path: str, commands: tuple[str, ...], script: str | None) -> int:
    """Open the net shell of a stack that scapystack run has started.

    With a SCRIPT (or - for standard input), or with standard input from elsewhere than a terminal, its lines are
    run; with -c those commands. Then the first command that fails ends it, and its status is the exit status.
    """
    from scapystack.shell import prompt  # noqa: PLC0415 - nothing here is needed for --help or bad arguments
    from scapystack.shell.client import Client  # noqa: PLC0415
    from scapystack.shell.control import find_socket  # noqa: PLC0415

    if commands and script:
        raise click.UsageError("-c and a script exclude each other")
    with Client.attach(find_socket(path)) as client:
        if commands:
            return prompt.lines(client, commands)
        if script and script != "-":
            with open(script) as file:
                return prompt.stream(client, file)
        if script or not os.isatty(0):
            return prompt.stream(client, sys.stdin or ())  # None: it was closed
        return prompt.interactive(client)
