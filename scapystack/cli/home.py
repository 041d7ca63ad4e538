"""A home that cannot be read or written: no reason for a stack not to run.

Scapy asks for its cache (`~/.cache/scapy`) while it is imported, and fails where it may not look at it, or may not
remove what it cannot read there. It does without one, a tenth of a second slower, where there can be none.
"""

from __future__ import annotations

import os

_CACHE = "XDG_CACHE_HOME"


def settle() -> None:
    """Before Scapy is imported: keep it from a cache that it cannot use."""
    folder = os.environ.get(_CACHE) or os.path.join(os.path.expanduser("~"), ".cache")
    if not _usable(os.path.join(folder, "scapy")):
        os.environ[_CACHE] = os.devnull


def _usable(folder: str) -> bool:
    try:
        os.stat(folder)
    except (FileNotFoundError, NotADirectoryError):
        return True
    except OSError:
        return False
    return os.access(folder, os.R_OK | os.W_OK | os.X_OK)
