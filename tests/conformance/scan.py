"""Find where sources name requirements: the function, class or constant, and never the line.

A requirement is named by its id, in a comment or a docstring: `MUST-12` of RFC 9293 without the number of the
RFC, others as the lists have them (`5961/3-b`, `hostile/fin`). An id that is an RFC as a whole (`5927`) may be
`RFC 5927` too.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TypeAlias

ROOT = Path(__file__).parents[2]
_EDGE, _END = r"(?<![\w/.-])", r"(?![\w/]|[.-]\w)"
_OF_9293 = re.compile(_EDGE + r"(?:MUST|SHLD|MAY|REC)-\d+" + r"(?!\w)")
_IN_FAMILY = re.compile(_EDGE + r"(\d{3,4}|hostile)/[\w.-]*\w")
_MAY_CITE = re.compile(r"\d|hostile/")
_COMMENT = re.compile(
    r"""(#[^\n]*)|\"{3}(?:\\.|[^\\])*?\"{3}|'{3}(?:\\.|[^\\])*?'{3}|"(?:\\.|[^"\\\n])*"|'(?:\\.|[^'\\\n])*'""",
    re.DOTALL,
)
"""A comment, or a string that it is not in."""


@dataclass(frozen=True, order=True)
class Place:
    """A name in a file; the name is empty when the file as a whole is meant."""

    file: str
    name: str

    @property
    def is_test(self) -> bool:
        """Whether pytest collects it."""
        return self.file.rpartition("/")[2].startswith("test_") and self.name.rpartition(".")[2].startswith("test_")


Citation: TypeAlias = tuple[Place, str]
"""Where it stands, and the whole comment or docstring."""


@dataclass(frozen=True)
class _Span:
    first: int
    last: int
    name: str
    kind: type[ast.stmt]


class Finder:
    """Knows every way to write each id, and finds them in a text."""

    def __init__(self, ids: Iterable[str]) -> None:
        self._id_of: dict[str, str] = {}
        for each in ids:
            for spelling in spellings(each):
                self._id_of[spelling] = each
        self._families = {s.split("/")[0] for s in self._id_of if "/" in s}
        longest_first = sorted(self._id_of, key=len, reverse=True)
        self._known = re.compile(_EDGE + "(?:" + "|".join(re.escape(s) for s in longest_first) + ")" + _END)

    def ids(self, text: str) -> set[str]:
        """The requirements that `text` names."""
        return {self._id_of[found] for found in self._known.findall(text)}

    def unknown(self, text: str) -> set[str]:
        """What looks like a requirement's id and is none."""
        rest = self._known.sub(" ", text)
        wrong = set(_OF_9293.findall(rest))
        return wrong | {m.group() for m in _IN_FAMILY.finditer(rest) if m.group(1) in self._families}


def may_cite(text: str) -> bool:
    """Whether it is worth asking a `Finder`: no id is without one of these."""
    return _MAY_CITE.search(text) is not None


def spellings(id_: str) -> list[str]:
    """How an id is written in the sources: `9293/` is left out, and a row of several may be named by each."""
    short = id_.removeprefix("9293/")
    ways = [short]
    if ", " in short:  # "4821/7, 8899/5"
        ways += short.split(", ")
    elif "," in short:  # "4861/6.1,7.1,8.1"
        family, sections = short.split("/", 1)
        ways += [f"{family}/{section}" for section in sections.split(",")]
    return ways


def files(*tops: str) -> list[Path]:
    """The Python files below these directories, each once (`scapystack/layers` is a link to `layers`)."""
    found = {p for top in tops for p in (ROOT / top).rglob("*.py")}
    return sorted(p for p in found if not p.is_relative_to(ROOT / "scapystack" / "layers"))


def citations(path: Path) -> Iterator[Citation]:
    """Each comment and docstring of a file, with what it belongs to."""
    source = path.read_text()
    tree = ast.parse(source)
    spans = list(_spans(tree.body, ""))
    lines = source.splitlines()
    file = str(path.relative_to(ROOT))
    for line, text in comments(source):
        yield Place(file, _owner(spans, lines, line)), text
    for line, text in _docstrings(tree):
        yield Place(file, _owner(spans, lines, line)), text


def _spans(body: list[ast.stmt], prefix: str) -> Iterator[_Span]:
    """What has a name: functions, classes with what is in them, constants and fields."""
    for node in body:
        last = node.end_lineno or node.lineno
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            first = min([node.lineno, *(d.lineno for d in node.decorator_list)])
            yield _Span(first, last, prefix + node.name, type(node))
            if isinstance(node, ast.ClassDef):
                yield from _spans(node.body, f"{prefix}{node.name}.")
        elif isinstance(node, ast.Assign | ast.AnnAssign):
            target = node.targets[0] if isinstance(node, ast.Assign) else node.target
            if isinstance(target, ast.Tuple):
                target = target.elts[0]
            if isinstance(target, ast.Name):
                yield _Span(node.lineno, last, prefix + target.id, type(node))


def comments(source: str) -> Iterator[tuple[int, str]]:
    """Each comment with the number of its line: what `tokenize` finds, in a tenth of the time."""
    line, read = 1, 0
    for found in _COMMENT.finditer(source):
        if found[1]:
            line += source.count("\n", read, found.start())
            read = found.start()
            yield line, found[1]


def _docstrings(tree: ast.Module) -> Iterator[tuple[int, str]]:
    for node in _statements(tree.body):
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant) and isinstance(node.value.value, str):
            yield node.lineno, node.value.value
        elif isinstance(node, ast.FunctionDef):  # and the names of a test's cases
            for decorator in node.decorator_list:
                for part in ast.walk(decorator):
                    if isinstance(part, ast.Constant) and isinstance(part.value, str):
                        yield node.lineno, part.value


def _statements(body: list[ast.stmt]) -> Iterator[ast.stmt]:
    """Those that may be a docstring or have one."""
    for node in body:
        yield node
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            yield from _statements(node.body)


def _owner(spans: list[_Span], lines: list[str], line: int) -> str:
    """The innermost name around a line; for a comment on a line of its own outside of functions, the next name."""
    inside = [s for s in spans if s.first <= line <= s.last]
    innermost = max(inside, key=lambda s: s.first, default=None)
    is_open = innermost is None or innermost.kind is ast.ClassDef
    if is_open and lines[line - 1].lstrip().startswith("#"):
        below = line
        while below <= len(lines) and (not lines[below - 1].strip() or lines[below - 1].lstrip().startswith("#")):
            below += 1
        for span in spans:
            if span.first == below:
                return span.name
    return innermost.name if innermost is not None else ""
