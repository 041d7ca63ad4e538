"""docs/config.md: every setting, drawn from `scapystack/base/config.py` and the comments in it.

The comment behind a field is what the document says of it, the comments in `TcpConfig.rfc` say why a
number is another one there, and numbers and limits are asked of the classes themselves.
"""

from __future__ import annotations

import ast
import io
import tokenize
from collections.abc import Iterator
from dataclasses import dataclass, fields
from pathlib import Path

from scapystack.base import config
from scapystack.base.config import PROFILES, StackConfig

SOURCE = Path(config.__file__)
DOCUMENT = Path(__file__).parents[2] / "docs" / "config.md"

HEAD = """\
# Settings

Written by `python -m tests.docs` from `scapystack/base/config.py`: do not edit.

`scapystack run --set tcp.min_rto_ms=300 --set ip.forward=on` sets any of them, in the order given. In Python
the configuration is plain data, handed to a stack and read live by it:

```python
from scapystack import Stack
from scapystack.base.config import StackConfig

config = StackConfig.profile("rfc")
config.tcp.rcvbuf = 65_536
config.set("tcp.min_rto_ms", "300")  # the same from text, with the limits below
stack = Stack("10.0.0.1/24", config=config)
```

A name that ends in `_ms` is a time in milliseconds, one that ends in `_bytes` and both `rcvbuf` and `sndbuf` are
octets. A switch takes `on` and `off` (or `true`, `yes`, `1`, ...). "From 0" ends at 2,147,483,647.

## Profiles

`--profile linux` is the default: TCP as a Linux 6 peer shows it on the wire, which is what other ends, and
whoever reads a capture, are used to. `--profile rfc` takes the numbers that the RFCs give or recommend where
Linux does otherwise; both conform to what they demand. `--set` changes single numbers of either.
"""


@dataclass(frozen=True)
class Setting:
    """One row. `rfc` is None where both profiles agree."""

    name: str
    value: object
    limits: str
    comment: str
    rfc: object = None
    why: str = ""


def render() -> str:
    """The whole document."""
    parts = [HEAD]
    for group in fields(StackConfig()):
        title, settings = _group(group.name)
        parts.append(f"## {group.name}\n\n{title}\n")
        if any(s.rfc is not None for s in settings):
            parts.append(_table(("setting", "linux", "rfc", "values", ""), [_row_of_profiles(s) for s in settings]))
        else:
            parts.append(_table(("setting", "default", "values", ""), [_row(s) for s in settings]))
    return "\n".join(parts)


def settings() -> Iterator[Setting]:
    """Every setting there is."""
    for group in fields(StackConfig()):
        yield from _group(group.name)[1]


def _group(group: str) -> tuple[str, list[Setting]]:
    """What the class of a group says of itself, and its settings."""
    values = getattr(StackConfig(), group)
    rfc = getattr(StackConfig.profile("rfc"), group)
    comments = _comments()
    tree = ast.parse(SOURCE.read_text())
    (made,) = (node for node in tree.body if isinstance(node, ast.ClassDef) and node.name == type(values).__name__)
    documented = {}
    reasons = {}
    for node in ast.walk(made):
        if isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name):
            documented[node.target.id] = comments.get(node.lineno, "")
        if isinstance(node, ast.keyword) and node.arg is not None:
            reasons[node.arg] = comments.get(node.lineno, "")
    rows = []
    for field in fields(values):
        name = f"{group}.{field.name}"
        value, other = getattr(values, field.name), getattr(rfc, field.name)
        row = Setting(name, value, _limits(name, value), documented[field.name])
        if other != value:
            row = Setting(name, value, row.limits, row.comment, other, reasons.get(field.name, ""))
        rows.append(row)
    return (ast.get_docstring(made) or "").partition("\n\n")[0], rows


def _comments() -> dict[int, str]:
    """The comments of the source by line."""
    tokens = tokenize.generate_tokens(io.StringIO(SOURCE.read_text()).readline)
    return {t.start[0]: t.string.lstrip("# ") for t in tokens if t.type == tokenize.COMMENT}


def _limits(name: str, value: object) -> str:
    if isinstance(value, bool):
        return "on, off"
    if isinstance(value, int):
        least, most = config.limits(name)
        off = "0, " if name in config.OFF_WITH_0 else ""
        return f"{off}from {least}" if most == config.MOST else f"{off}{least} to {most:,}"
    return ", ".join(config.CHOICES.get(name, ["a name"]))


def _text(value: object) -> str:
    if isinstance(value, bool):
        return "on" if value else "off"
    return f"{value:,}" if isinstance(value, int) else str(value)


def _row(s: Setting) -> tuple[str, ...]:
    return f"`{s.name}`", _text(s.value), s.limits, s.comment


def _row_of_profiles(s: Setting) -> tuple[str, ...]:
    if s.rfc is None:
        return f"`{s.name}`", _text(s.value), "", s.limits, s.comment
    said = f"{s.comment}; rfc: {s.why}" if s.comment else f"rfc: {s.why}"
    return f"`{s.name}`", _text(s.value), _text(s.rfc), s.limits, said


def _table(heads: tuple[str, ...], rows: list[tuple[str, ...]]) -> str:
    lines = [heads, ("---",) * len(heads), *rows]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in lines) + "\n"


assert set(PROFILES) == {"linux", "rfc"}, "the document has a column for each profile"
