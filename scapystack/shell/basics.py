"""`help`, `clear`, `exit`."""

from __future__ import annotations

from itertools import groupby

import click

from scapystack.shell.session import Session
from scapystack.shell.table import COMMANDS, find


@click.command("help", add_help_option=False)
@click.argument("name", required=False, metavar="[COMMAND]")
@click.pass_obj
def help_command(session: Session, name: str | None) -> None:
    """What commands there are, or how one of them is called."""
    if name is not None:
        entry = find(name)
        command = entry.load()
        context = click.Context(command, info_name=entry.name, terminal_width=max(session.out.width, 80) - 2)
        for text in command.get_help(context).splitlines():
            session.out.line(text)
        if entry.json:
            session.out.line("\n  --json says it as JSON.")
        return
    for group, entries in groupby(COMMANDS.values(), key=lambda entry: entry.group):
        session.out.line(group, "bold")
        for entry in entries:
            session.out.line(f"  {entry.name:<11}{entry.about}")
    session.out.line("help COMMAND says more; Ctrl-C ends a command, Ctrl-D leaves.")


@click.command("clear")
@click.pass_obj
def clear_command(session: Session) -> None:
    """Clear the screen."""
    session.out.clear()


@click.command("exit")
@click.pass_obj
def exit_command(session: Session) -> None:
    """Leave the shell, as Ctrl-D does."""
    session.left = True
