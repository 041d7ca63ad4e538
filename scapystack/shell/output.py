"""`Output`: where a command says what it found: lines for a person, JSON for a program.

Everything leaves as octets by one function, the sink, so that a terminal, a socket and a string are all
the same. Colours go through a rich console, and only to a terminal.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Sequence
from typing import Any, TextIO, cast

from rich.console import Console

OUT = "out"
ERR = "err"
Sink = Callable[[str, bytes], None]
"""Takes octets for `OUT` or `ERR`."""


class _Stream:
    """The file that the console writes to."""

    def __init__(self, sink: Sink) -> None:
        self._sink = sink

    def write(self, text: str) -> int:
        """Pass it on."""
        if text:
            self._sink(OUT, text.encode(errors="replace"))
        return len(text)

    def flush(self) -> None:
        """Nothing is held back."""


class Output:
    """One session's. `json` is set for the time of a command that was asked for it."""

    def __init__(self, sink: Sink, *, terminal: bool = False, width: int = 80, height: int = 24) -> None:
        self.terminal = terminal
        self.width = width
        self.height = height
        self.json = False
        self._sink = sink
        self._console = Console(
            file=cast(TextIO, _Stream(sink)),
            force_terminal=terminal,
            color_system="standard" if terminal else None,
            width=width,
            highlight=False,
            markup=False,
            emoji=False,
            soft_wrap=True,
            legacy_windows=False,
        )

    def resize(self, width: int, height: int) -> None:
        """What it leads to has another size now."""
        self.width, self.height = width, height
        self._console.width = width

    def line(self, text: str = "", style: str | None = None) -> None:
        """One line; `style` is rich's (`bold`, `red`)."""
        if style is None:
            self._sink(OUT, (text + "\n").encode(errors="replace"))
        else:
            self._console.print(text, style=style)

    def raw(self, octets: bytes) -> None:
        """Octets as they are."""
        if octets:
            self._sink(OUT, octets)

    def error(self, text: str) -> None:
        """One line beside the output."""
        self._sink(ERR, (" ".join(text.split()) + "\n").encode(errors="replace"))

    def show(self, data: Any, lines: Iterable[str]) -> None:
        """A finding: `data` as JSON where that was asked for, else the lines."""
        if self.json:
            self.raw(json.dumps(data, indent=2, default=str).encode() + b"\n")
            return
        for text in lines:
            self.line(text)

    def table(self, header: Sequence[str], rows: Sequence[Sequence[Any]], *, right: Sequence[int] = ()) -> None:
        """A table, its columns aligned (`right`: those that end at the same place); as JSON a list of objects."""
        if self.json:
            self.show([dict(zip(header, row, strict=True)) for row in rows], ())
            return
        first, *rest = columns(header, rows, right=right)
        self.line(first, "bold")
        for text in rest:
            self.line(text)

    def clear(self) -> None:
        """An empty screen, where there is one."""
        if self.terminal:
            self.raw(b"\x1b[H\x1b[2J\x1b[3J")


def columns(header: Sequence[str], rows: Sequence[Sequence[Any]], *, right: Sequence[int] = ()) -> list[str]:
    """Aligned lines, two blanks between the columns."""
    cells = [list(header), *([str(cell) for cell in row] for row in rows)]
    widths = [max(len(row[i]) for row in cells) for i in range(len(header))]
    return [
        "  ".join(
            cell.rjust(width) if i in right else cell.ljust(width)
            for i, (cell, width) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in cells
    ]
