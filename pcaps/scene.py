"""What a scene is: a function that is captured while it runs, with what it shows and what it needs. See `make.py`."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from pcaps.lab import Edit, Lab, Rule

Act = Callable[[Lab], None]


@dataclass
class Scene:
    """One capture. `at` is the end that captures, `interface` another than its usual one; `words` are for tcpdump."""

    name: str
    shows: str
    act: Act
    at: str
    edits: Mapping[Rule, Edit]
    setup: Mapping[str, Any]
    interface: str = ""
    words: str = ""

    @property
    def file(self) -> str:
        """The name of the capture."""
        return f"{self.name}.pcap"

    def made(self) -> str:
        """How it was made, for the README."""
        told = [f"captured at the {self.at}" + (f" on `{self.interface}`" if self.interface else "")]
        which: dict[tuple[str, str, str], list[int]] = {}
        for (way, kind, n), edit in self.edits.items():
            which.setdefault((way, kind, (edit.__doc__ or "").rstrip(".").lower()), []).append(n)
        for (way, kind, what), numbers in which.items():
            whose = "client's" if way == ">" else "server's"
            told.append(f"the {whose} {kind} {', '.join(map(str, numbers)) if all(numbers) else '(all)'}: {what}")
        for side in ("sysctls", "client_sysctls"):
            for key, value in self.setup.get(side, {}).items():
                whose = "both kernels" if side == "sysctls" else "the client"
                told.append(f"`{key.rpartition('.')[2]}={value}` ({whose})")
        if self.setup.get("offload"):
            told.append("veth with offload, no wire between")
        if self.setup.get("router"):
            told.append("a router of the kernel's between")
        return "; ".join(told)


SCENES: dict[str, Scene] = {}


def scene(
    shows: str,
    *,
    at: str = "server",
    edits: Mapping[Rule, Edit] | None = None,
    interface: str = "",
    words: str = "",
    **setup: Any,
) -> Callable[[Act], Act]:
    """Make a scene of a function; `setup` is for `Lab`."""

    def add(act: Act) -> Act:
        name = act.__name__.replace("_", "-")
        SCENES[name] = Scene(name, shows, act, at, edits or {}, setup, interface, words)
        return act

    return add
