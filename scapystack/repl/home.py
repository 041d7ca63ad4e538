"""Scapy's and IPython's files in the home of a person, where there may be none that can be read or written."""

from __future__ import annotations

import os
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from scapy.config import conf
from scapy.main import DEFAULT_PRESTART_FILE, DEFAULT_STARTUP_FILE


@contextmanager
def settled() -> Iterator[list[str]]:
    """Within it the console finds a place for its history; the options of Scapy's console for what it cannot read.

    Without a directory for its history Scapy does without IPython, and a startup file that it cannot make or read
    ends it. What cannot be kept in the home lasts as long as the session, and one line says so.
    """
    options = [
        option
        for option, name in (("-P", DEFAULT_PRESTART_FILE), ("-C", DEFAULT_STARTUP_FILE))
        if name and not usable(Path(name), os.R_OK)
    ]
    history = Path(conf.histfile)
    ipython = Path(os.environ.get("IPYTHONDIR") or os.path.expanduser("~/.ipython")) / "profile_default"
    lasting = usable(history, os.R_OK | os.W_OK) and usable(ipython, os.R_OK | os.W_OK)
    with tempfile.TemporaryDirectory() as place:
        if lasting:
            history.parent.mkdir(parents=True, exist_ok=True)
        else:
            print("scapystack: the home cannot be written: lines are remembered for this session", file=sys.stderr)
            conf.histfile = os.path.join(place, "history")
            os.environ["IPYTHONDIR"] = place
        yield options


def usable(path: Path, how: int) -> bool:
    """Whether a file may be read (or more), or else be made, with the directories that it needs."""
    try:
        path.stat()
    except FileNotFoundError:
        folder = path.parent
        while not os.path.lexists(folder):
            folder = folder.parent
        return os.access(folder, os.W_OK | os.X_OK)
    except OSError:
        return False
    return os.access(path, how)
