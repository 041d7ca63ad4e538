"""Printing for people: one console, plain where nobody looks at it."""

from __future__ import annotations

from rich.console import Console


def console(*, stderr: bool = False) -> Console:
    """A console that colours on a terminal and never breaks a line or guesses at highlights."""
    return Console(stderr=stderr, highlight=False, soft_wrap=True, emoji=False)
