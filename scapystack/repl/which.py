"""Which stack a session's `conns()` and `explain()` ask: the one that was started last, or what `use` has named."""

from __future__ import annotations

import weakref
from typing import TYPE_CHECKING

from scapystack.base.errors import ConfigError

if TYPE_CHECKING:
    from scapystack.repl.live import Stack


class Which:
    """Remembers it, and keeps it not."""

    def __init__(self) -> None:
        self._stack: weakref.ref[Stack] | None = None

    def use(self, stack: Stack) -> None:
        """Ask this one from now on. Raises ConfigError for what is none."""
        if not hasattr(stack, "conns"):
            raise ConfigError(f"use(stack) takes a Stack of scapystack.all, not {type(stack).__name__}")
        self._stack = weakref.ref(stack)

    @property
    def stack(self) -> Stack:
        """The one. Raises ConfigError."""
        stack = self._stack() if self._stack is not None else None
        if stack is None or stack.closed:
            raise ConfigError("there is no stack that runs: start one, or use(stack) says which one is meant")
        return stack


which = Which()
use = which.use
