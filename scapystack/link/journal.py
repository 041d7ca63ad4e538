"""`Journal`: what a process changed on the host, on disk, so that a later one can put it back.

One file for each journal under /run/scapystack, named after its process's id and start time, one JSON
line for each change, written before the change is made (a signal may come at any time), and for what
was then found out about it. A process that ends well removes its file; what a dead one left is what
`leftovers` claims for whoever asks. Where the directory cannot be written (no root: then little could
be changed either), changes are only remembered.
"""

from __future__ import annotations

import contextlib
import itertools
import json
import os
from pathlib import Path

DIRECTORY = Path("/run/scapystack")

Entry = dict[str, str | int]
"""A change: `what` was done, and all that undoing it takes."""

_TAKEN_BACK = "taken back"
_AMENDED = "amended"

_numbers = itertools.count(1)


def process_start(pid: int) -> int | None:
    """When a living process began (clock ticks since boot); None if there is none of that id."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return None
    state, *fields = stat.rsplit(")", 1)[1].split()
    return None if state in "ZX" else int(fields[18])


def _own_path(directory: Path) -> Path:
    """A file name that says who we are and is used once."""
    pid = os.getpid()
    return directory / f"{pid}-{process_start(pid)}-{next(_numbers)}"


class Journal:
    """The changes of this process, newest last."""

    def __init__(self, directory: Path = DIRECTORY) -> None:
        self.entries: list[Entry] = []
        self._path = _own_path(directory)

    @classmethod
    def claim(cls, path: Path) -> Journal | None:
        """The journal of a dead process, made ours; None if somebody else was faster or nothing can be read."""
        journal = cls(path.parent)
        try:
            path.rename(journal._path)
            lines = journal._path.read_text().splitlines()
        except OSError:
            return None
        for line in lines:
            with contextlib.suppress(ValueError):  # the process died while it wrote
                entry = json.loads(line)
                if isinstance(entry, dict):
                    journal._replay(entry)
        return journal

    def _replay(self, entry: Entry) -> None:
        what = entry.get("what")
        if what == _TAKEN_BACK:
            del self.entries[-1:]
        elif what == _AMENDED and self.entries:
            self.entries[-1].update((key, value) for key, value in entry.items() if key != "what")
        else:
            self.entries.append(entry)

    def _note(self, entry: Entry) -> None:
        self._replay(entry)
        with contextlib.suppress(OSError):
            self._path.parent.mkdir(mode=0o755, parents=True, exist_ok=True)
            with open(self._path, "a") as file:
                file.write(json.dumps(entry) + "\n")

    def add(self, what: str, **details: str | int) -> None:
        """Note a change that is about to be made; it is on disk when this returns."""
        self._note({"what": what, **details})

    def amend(self, **details: str | int) -> None:
        """Add to the newest change what only came out when it was made."""
        self._note({"what": _AMENDED, **details})

    def take_back(self) -> None:
        """The newest change could not be made."""
        self._note({"what": _TAKEN_BACK})

    def remove(self) -> None:
        """Everything was put back."""
        self.entries.clear()
        with contextlib.suppress(OSError):
            self._path.unlink()


def leftovers(directory: Path = DIRECTORY) -> list[Journal]:
    """The journals of processes that died, now ours to put back."""
    try:
        names = sorted(os.listdir(directory))
    except OSError:
        return []
    found = []
    for name in names:
        pid, _, rest = name.partition("-")
        start = rest.partition("-")[0]
        if pid.isdecimal() and start.isdecimal() and process_start(int(pid)) != int(start):
            journal = Journal.claim(directory / name)
            if journal is not None:
                found.append(journal)
    return found
