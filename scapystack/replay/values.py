"""Plain values as octets and back, for recordings: None, truth, integers, floats, text, octets, tuples, dicts.

A tag, and what it says is behind it; numbers seven bits at a time. Reading cannot do anything but make such values,
so that a recording of a stranger's is safe to look at.
"""

from __future__ import annotations

from struct import Struct, error
from typing import Any, Protocol

from scapystack.base.errors import ConfigError

_NONE, _FALSE, _TRUE, _INT, _NEGATIVE, _FLOAT, _TEXT, _OCTETS, _TUPLE, _DICT = range(10)
_DOUBLE = Struct("!d")
_LARGEST = 1 << 30
_DEEPEST = 16


def _number(out: bytearray, n: int) -> None:
    while n > 0x7F:
        out.append(n & 0x7F | 0x80)
        n >>= 7
    out.append(n)


def encode(out: bytearray, value: Any) -> None:
    """Append a value. Raises TypeError for one of another kind."""
    if value is None:
        out.append(_NONE)
    elif value is True or value is False:
        out.append(_TRUE if value else _FALSE)
    elif isinstance(value, int):
        out.append(_INT if value >= 0 else _NEGATIVE)
        _number(out, value if value >= 0 else ~value)
    elif isinstance(value, bytes | bytearray | memoryview):
        octets = bytes(value)
        out.append(_OCTETS)
        _number(out, len(octets))
        out += octets
    elif isinstance(value, str):
        octets = value.encode(errors="surrogateescape")
        out.append(_TEXT)
        _number(out, len(octets))
        out += octets
    elif isinstance(value, float):
        out.append(_FLOAT)
        out += _DOUBLE.pack(value)
    elif isinstance(value, tuple | list):
        out.append(_TUPLE)
        _number(out, len(value))
        for each in value:
            encode(out, each)
    elif isinstance(value, dict):
        out.append(_DICT)
        _number(out, len(value))
        for key, each in value.items():
            encode(out, key)
            encode(out, each)
    else:
        raise TypeError(f"cannot record a {type(value).__name__}")


class Source(Protocol):
    """What a `Reader` needs of a file."""

    def read(self, n: int, /) -> bytes:
        """The next `n` octets, or those that are left."""


class Reader:
    """Reads values from a file, one after another."""

    def __init__(self, file: Source) -> None:
        self._file = file

    def _read(self, n: int) -> bytes:
        if n > _LARGEST:
            raise ConfigError("broken: a value of impossible size")
        octets = self._file.read(n)
        if len(octets) < n:
            raise EOFError
        return octets

    def _number(self) -> int:
        n = shift = 0
        while shift < 640:
            octet = self._read(1)[0]
            n |= (octet & 0x7F) << shift
            if octet < 0x80:
                return n
            shift += 7
        raise ConfigError("broken: a number without end")

    def value(self, depth: int = 0) -> Any:
        """The next value. Raises EOFError at the end, ConfigError for what is none."""
        tag = self._read(1)[0]
        if tag in (_NONE, _FALSE, _TRUE):
            return (None, False, True)[tag]
        if tag == _INT:
            return self._number()
        if tag == _NEGATIVE:
            return ~self._number()
        if tag == _OCTETS:
            return self._read(self._number())
        if tag == _TEXT:
            return self._read(self._number()).decode(errors="surrogateescape")
        if tag == _FLOAT:
            try:
                return _DOUBLE.unpack(self._read(8))[0]
            except error as wrong:
                raise ConfigError("broken: no number") from wrong
        if depth >= _DEEPEST:
            raise ConfigError("broken: values in values without end")
        if tag == _TUPLE:
            return tuple(self.value(depth + 1) for _ in range(self._count()))
        if tag == _DICT:
            return {self.value(depth + 1): self.value(depth + 1) for _ in range(self._count())}
        raise ConfigError(f"broken: no value begins with {tag}")

    def _count(self) -> int:
        n = self._number()
        if n > _LARGEST:
            raise ConfigError("broken: a value of impossible size")
        return n
