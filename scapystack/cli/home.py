"""What Scapy looks at on this machine while it is imported, and need not.

A home that cannot be read or written is no reason for a stack not to run. Scapy asks for its cache (`~/.cache/scapy`),
and fails where it may not look at it, or may not remove what it cannot read there. It does without one, a tenth of a
second slower, where there can be none. Nor has it to know the host's routes for a stack that has its own.
"""

from __future__ import annotations

import os
import sys

_CACHE = "XDG_CACHE_HOME"


def settle() -> None:
    """Before Scapy is imported: keep it from a cache that it cannot use."""
    folder = os.environ.get(_CACHE) or os.path.join(os.path.expanduser("~"), ".cache")
    if not _usable(os.path.join(folder, "scapy")):
        os.environ[_CACHE] = os.devnull


def leave_routes() -> None:
    """Before Scapy is imported by a command that runs no code but ours: the host's routes stay unread.

    Only what Scapy itself sends needs them. It dissects each as a packet of its own: with a dozen routes a fifth of
    the CPU that such a command takes to start, and more with each. Who has imported Scapy already keeps them.
    """
    if "scapy" not in sys.modules:
        from scapy.config import conf  # noqa: PLC0415

        conf.route_autoload = conf.route6_autoload = False


def _usable(folder: str) -> bool:
    try:
        os.stat(folder)
    except (FileNotFoundError, NotADirectoryError):
        return True
    except OSError:
        return False
    return os.access(folder, os.R_OK | os.W_OK | os.X_OK)
