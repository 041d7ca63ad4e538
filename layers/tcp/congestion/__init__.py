"""Congestion control (MUST-19, MAY-18): one file each, chosen by name.

Read `control` for the interface, then `reno`, then `cubic`; `bbr` is of another kind. A new one is a leaf
file and a line in `_KINDS`.
"""

from __future__ import annotations

from scapystack.base.errors import ConfigError
from scapystack.layers.tcp.congestion.bbr import Bbr
from scapystack.layers.tcp.congestion.control import INFINITE_SSTHRESH, CongestionControl, initial_window
from scapystack.layers.tcp.congestion.cubic import Cubic
from scapystack.layers.tcp.congestion.reno import Reno

__all__ = ["INFINITE_SSTHRESH", "CongestionControl", "initial_window", "make", "names"]

_KINDS: dict[str, type[CongestionControl]] = {kind.name: kind for kind in (Reno, Cubic, Bbr)}


def names() -> list[str]:
    """What `make` knows."""
    return sorted(_KINDS)


def make(name: str) -> CongestionControl:
    """A new congestion control; `start` it before use. Raises ConfigError for an unknown name."""
    kind = _KINDS.get(name)
    if kind is None:
        raise ConfigError(f"no congestion control named {name!r}; one of: {', '.join(names())}")
    return kind()
