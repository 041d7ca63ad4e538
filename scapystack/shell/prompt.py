"""A prompt in front of a `Client`, and lines from `-c`, a script or a pipe in its place.

prompt_toolkit edits the line, remembers it (`~/.local/state/scapystack/history`) and asks the stack what completes
it. Ctrl-C at the prompt drops the line, during a command it ends the command; Ctrl-D leaves.
"""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from scapystack.base.errors import LinkError
from scapystack.shell.client import GONE, Client

if TYPE_CHECKING:
    from prompt_toolkit import PromptSession


def history_file() -> Path:
    """Where lines are remembered."""
    base = os.environ.get("XDG_STATE_HOME") or Path.home() / ".local" / "state"
    return Path(base) / "scapystack" / "history"


def interactive(client: Client) -> int:
    """Prompt, run, again, until Ctrl-D or `exit`; the status of the last line. Raises LinkError: the stack is gone."""
    from prompt_toolkit.patch_stdout import patch_stdout  # noqa: PLC0415 - 0.2 s, for who sits at a terminal

    session = _prompt_session(client)

    def lost() -> None:
        app = session.app
        loop = app.loop
        if loop is not None and app.is_running:
            with contextlib.suppress(RuntimeError):
                loop.call_soon_threadsafe(lambda: app.exit(exception=LinkError(GONE)) if app.is_running else None)

    client.on_lost = lost
    status = 0
    while not client.left:
        if client.lost:
            raise LinkError(GONE)
        try:
            with patch_stdout(raw=True):
                line = session.prompt(f"{client.name}> ")
        except KeyboardInterrupt:
            continue
        except EOFError:
            break
        if line.strip():
            status = client.run(line)
    return status


def _prompt_session(client: Client) -> PromptSession[str]:
    from prompt_toolkit import PromptSession  # noqa: PLC0415
    from prompt_toolkit.completion import Completer, Completion  # noqa: PLC0415
    from prompt_toolkit.history import FileHistory, InMemoryHistory  # noqa: PLC0415

    class Words(Completer):
        """Asks the stack."""

        def get_completions(self, document: Any, complete_event: Any) -> Iterator[Completion]:
            """What it says."""
            before = document.text_before_cursor
            begun = len(before) - max(before.rfind(each) for each in " ;") - 1
            for word in client.complete(before):
                yield Completion(word, start_position=-begun)

    history: Any = InMemoryHistory()
    path = history_file()
    with contextlib.suppress(OSError):
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        path.touch(mode=0o600)
        history = FileHistory(str(path))
    return PromptSession(history=history, completer=Words(), complete_while_typing=False)


def lines(client: Client, given: Iterable[str], *, with_input: bool = True) -> int:
    """Run lines until one fails or asks to leave; the status of the last that ran."""
    status = 0
    for line in given:
        status = client.run(line, with_input=with_input)
        if status or client.left:
            break
    return status


def stream(client: Client, file: Iterable[str]) -> int:
    """The same with the lines of a file; commands have no input where it is standard input itself."""
    return lines(client, file, with_input=file is not sys.stdin)
