"""The tables: requirements, the code that names them, the tests that name them, reasons.

Two lists make one table: the requirements of the RFCs, and the rows of hostile input (`hostile/...`), for which
only the tests count. Read `scan.py` first. `Table.load()` draws it from the sources, `documents` writes it,
`holes` says what is missing or wrong; all of it is what the tests of this directory look at.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from tests.conformance.scan import ROOT, Citation, Finder, Place, citations, files, may_cite

LISTS = OURSELVES = Path(__file__).parent
DOCS = ROOT / "docs"

HEAD = """\
# Conformance

Written by `python -m tests.conformance` from the sources: do not edit. A requirement is *met* where a comment or
docstring of the code names its id, and *shown* by the tests that name it. What is not, or not wholly, says why
(`tests/conformance/reasons.tsv`). The ids are those of `tests/conformance/requirements.tsv`; a number of RFC 9293
is cited without the RFC's own.
"""

HOSTILE_HEAD = """\
# Hostile input

Written by `python -m tests.conformance` from the sources: do not edit. Each row is what somebody may send, the
reaction to it, and the tests that name the row. In those of `test_hostile_table*.py` a connection beside
the attack must pass text both ways when it is over.

| row | input | reaction | tests |
|---|---|---|---|
"""


def read_code() -> Iterator[Citation]:
    """Every comment and docstring of the program that may cite something."""
    return _read(files("layers", "scapystack"))


def read_tests() -> Iterator[Citation]:
    """The same of the tests, but for those here: what speaks of citations makes none."""
    return _read(path for path in files("tests") if not path.is_relative_to(OURSELVES))


def _read(paths: Iterable[Path]) -> Iterator[Citation]:
    return (each for path in paths for each in citations(path) if may_cite(each[1]))


@dataclass
class Requirement:
    """A line of the list of requirements, and what the sources say to it."""

    id: str
    section: str
    text: str
    code: set[Place] = field(default_factory=set)
    tests: set[Place] = field(default_factory=set)
    reason: str = ""
    """Why it is not met; one that begins with `partly: ` says what is left out of one that is."""

    @property
    def is_met(self) -> bool:
        """Whether code and tests have to show it."""
        return not self.reason or self.reason.startswith("partly: ")

    @property
    def is_hostile(self) -> bool:
        """A row of hostile input: `section` is the input, `text` the reaction."""
        return self.id.startswith("hostile/")

    @property
    def kind(self) -> str:
        """`MUST`, `SHLD`, `MAY` or `REC` of RFC 9293; else empty."""
        return self.id.removeprefix("9293/").split("-")[0] if self.id.startswith("9293/") else ""

    @property
    def family(self) -> str:
        """What it is listed under: the kinds of RFC 9293 by themselves, others by their RFC."""
        return f"RFC 9293 {self.kind}" if self.kind else "RFC " + self.id.split("/")[0].split("-")[0]


@dataclass
class Table:
    """Every requirement, and every citation of an id that is none."""

    requirements: dict[str, Requirement]
    unknown: list[tuple[Place, str]]
    reasons: dict[str, str]

    @classmethod
    def load(cls, code: Iterable[Citation] | None = None, tests: Iterable[Citation] | None = None) -> Table:
        """Draw the table from the sources as they are, or from what was read of them before."""
        rows = [row for name in ("requirements.tsv", "hostile.tsv") for row in _rows(name)]
        requirements = {id_: Requirement(id_, section, text) for id_, section, text in rows}
        reasons = dict(_rows("reasons.tsv"))
        table = cls(requirements, [], reasons)
        finder = Finder(requirements)
        for place, text in read_code() if code is None else code:
            for id_ in table._cited(finder, place, text):
                requirements[id_].code.add(place)
        for place, text in read_tests() if tests is None else tests:
            for id_ in table._cited(finder, place, text):
                if place.is_test:
                    requirements[id_].tests.add(place)
        for id_, reason in reasons.items():
            if id_ in requirements:
                requirements[id_].reason = reason
        return table

    def _cited(self, finder: Finder, place: Place, text: str) -> set[str]:
        self.unknown += [(place, wrong) for wrong in sorted(finder.unknown(text))]
        return finder.ids(text)

    def holes(self) -> Iterator[str]:
        """What keeps the table from being whole, a line each; nothing when all is well."""
        for r in self.requirements.values():
            if r.is_met and not r.tests:
                yield f"{r.id}: no test names it and no reason says why ({r.text})"
            if r.is_met and not r.code and not r.is_hostile:
                yield f"{r.id}: no code names it and no reason says why ({r.text})"
            if not r.is_met and r.tests and r.code:
                yield f"{r.id}: code and tests name it, and reasons.tsv says that it is not met"
        for id_ in self.reasons:
            if id_ not in self.requirements:
                yield f"{id_}: reasons.tsv gives a reason for an id that is not in the list"
        for place, wrong in self.unknown:
            yield f"{wrong}: cited by {place.file}:{place.name or '(top)'}, and not in the list"

    def documents(self) -> dict[Path, str]:
        """What is to stand where."""
        return {DOCS / "conformance.md": self._conformance(), DOCS / "hostile.md": self._hostile()}

    def _conformance(self) -> str:
        families: dict[str, list[Requirement]] = defaultdict(list)
        for r in self.requirements.values():
            if not r.is_hostile:
                families[r.family].append(r)
        parts = [HEAD, "| | requirements | shown by tests | with a reason instead |", "|---|---|---|---|"]
        for name, members in families.items():
            shown = sum(1 for r in members if r.tests and r.is_met)
            parts.append(f"| {name} | {len(members)} | {shown} | {sum(1 for r in members if not r.is_met) or ''} |")
        for name, members in families.items():
            parts.append(f"\n## {name}\n")
            parts += [line for r in members for line in _entry(r)]
        return "\n".join(parts) + "\n"

    def _hostile(self) -> str:
        rows = (r for r in self.requirements.values() if r.is_hostile)
        return HOSTILE_HEAD + "".join(
            f"| {r.id.partition('/')[2]} | {r.section} | {r.text} | {_places(r.tests, '<br>')} |\n" for r in rows
        )


def _rows(name: str) -> Iterator[list[str]]:
    """The lines of a list, its heading left out."""
    return (line.split("\t") for line in (LISTS / name).read_text().splitlines()[1:])


def _entry(r: Requirement) -> Iterator[str]:
    where = f" ({r.section})" if r.section != "-" else ""
    yield f"- **{r.id.removeprefix('9293/')}**{where} {r.text}"
    if r.reason:
        yield f"  - {r.reason}" if r.is_met else f"  - not met: {r.reason}"
    if r.code:
        yield f"  - met: {_places(r.code)}"
    if r.tests:
        yield f"  - shown: {_places(r.tests)}"


def _places(places: set[Place], between: str = "; ") -> str:
    by_file: dict[str, list[str]] = defaultdict(list)
    for place in sorted(places):
        by_file[place.file] += [place.name] if place.name else []
    return between.join(f"`{file}`" + "".join(f" `{name}`" for name in names) for file, names in by_file.items())
