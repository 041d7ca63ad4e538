"""`Around`: a call in the place of a method of one object, around the one that was there.

So trace, observer and recorder may stand at the same place of a stack, come and go in any order, and hear each of what
passes. An object that nobody stands around has its class's own method, and pays nothing.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any


class Around:
    """From now on `thing.name(...)` is `call(inner, ...)`, until `end`; `inner` is what it was before."""

    def __init__(self, thing: object, name: str, call: Callable[..., Any]) -> None:
        self._thing = thing
        self._name = name
        self._call = call
        self._bare = name not in vars(thing)
        self.inner: Callable[..., Any] = getattr(thing, name)
        vars(thing)[name] = self

    def __call__(self, *args: Any) -> Any:
        """What others call."""
        return self._call(self.inner, *args)

    def end(self) -> None:
        """Step aside, wherever others stand by now."""
        names = vars(self._thing)
        outer = names[self._name]
        if outer is not self:
            while outer.inner is not self:
                outer = outer.inner
            outer.inner, outer._bare = self.inner, self._bare
        elif self._bare:
            del names[self._name]
        else:
            names[self._name] = self.inner
