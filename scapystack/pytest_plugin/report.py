"""What the report of a test says of its stacks: headings with text, and annotated captures.

Fixtures and captures `tell` and `observe` while a test runs; nothing is made of it unless somebody wants to see it.
An observed stack keeps its latest packets, with its connections before and after each (`scapystack.repl.observer`).
"""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from scapystack.pytest_plugin import settings

if TYPE_CHECKING:
    from scapystack.repl.observer import Observer
    from scapystack.stack import NetStack

KEPT = 2_000
"""Packets of each stack that an annotated capture has; the latest."""
_SHOWN = 200
_WHAT = "what became of each packet, and why, is its comment (Wireshark shows it)"
CAPTURE, GOLDEN = "scapystack_capture", "scapystack_golden"
"""Properties of a test's report: files that were written."""

_TOLD = pytest.StashKey[list[tuple[str, Callable[[], str]]]]()
_OBSERVED = pytest.StashKey[dict[str, "Observer"]]()


def tell(item: pytest.Item, heading: str, text: Callable[[], str]) -> None:
    """Have a failure show `text()` below a heading."""
    item.stash.setdefault(_TOLD, []).append((heading, text))


def observe(item: pytest.Item, name: str, net: NetStack) -> Observer:
    """Note what becomes of each packet of a stack from now on, for its annotated capture. Under the driver's lock."""
    from scapystack.repl.observer import Observer  # noqa: PLC0415

    observer = Observer(net, KEPT)
    observer.attach()
    item.stash.setdefault(_OBSERVED, {})[name] = observer
    return observer


def annotates(config: pytest.Config) -> bool:
    """Whether stacks are to be observed."""
    return bool(config.getini("scapystack_annotate"))


def keeps(config: pytest.Config) -> bool:
    """Whether tests that pass leave captures, too."""
    return bool(config.getoption("--keep-captures"))


def complete(item: pytest.Item, report: pytest.TestReport) -> None:
    """Add to a report what is known, once for each test."""
    if report.failed:
        told = item.stash.get(_TOLD, [])
        report.sections += [(heading, text()) for heading, text in told]
        told.clear()
    if report.failed or (report.when == "call" and report.passed and keeps(item.config)):
        try:
            paths = _write_captures(item)
        except OSError as error:
            paths = []
            why = f"cannot write {short(item, error.filename)}: {error.strerror}"
            report.sections.append(("scapystack capture", why))
        note(item, report, CAPTURE, paths)
        if report.failed and paths:
            text = [*(short(item, path) for path in paths), _WHAT]
            report.sections.append(("scapystack capture", "\n".join(text)))


def note(item: pytest.Item, report: pytest.TestReport, name: str, paths: list[Path]) -> None:
    """Have the report, and a junit file, name files that were written."""
    for path in paths:
        item.user_properties.append((name, short(item, path)))
        report.user_properties.append((name, short(item, path)))


def short(item: pytest.Item, text: object) -> str:
    """A path, or a text with paths in it, in which those below the root directory begin there."""
    return str(text).replace(f"{item.config.rootpath}/", "")


def _write_captures(item: pytest.Item) -> list[Path]:
    """The annotated captures of a test's stacks; their paths. Raises OSError."""
    observed = {name: each for name, each in item.stash.get(_OBSERVED, {}).items() if each.records}
    if not observed:
        return []
    from scapystack.repl.annotate import AnnotatedFile  # noqa: PLC0415

    folder = settings.output(item.config)
    folder.mkdir(parents=True, exist_ok=True)
    test = re.sub(r"[^\w.\[\]-]+", "-", item.nodeid)[-180:]
    paths = []
    for name, observer in observed.items():
        path = folder / f"{test}{'-' if name else ''}{name}.pcapng"
        with path.open("wb") as file:
            written = AnnotatedFile(file)
            for record in observer.records:
                written.write(record)
        paths.append(path)
    item.stash[_OBSERVED] = {}
    return paths


def summary(reports: list[Any]) -> list[str]:
    """What a run has written, in lines."""
    properties = {each for report in reports for each in getattr(report, "user_properties", ())}
    captures = sorted(path for name, path in properties if name == CAPTURE)
    golden = sorted(path for name, path in properties if name == GOLDEN)
    lines = [_counted(captures, "annotated capture")] if captures else []
    return lines + ([_counted(golden, "golden transcript")] if golden else [])


def _counted(paths: list[str], what: str) -> str:
    where = sorted({str(Path(path).parent) for path in paths})
    return f"scapystack: {len(paths)} {what}{'s' if len(paths) > 1 else ''} written to {', '.join(where)}"


def frames(item: pytest.Item) -> list[str]:
    """The packets of a test's observed stacks as lines of tcpdump: seconds since the first, and the way."""
    from scapystack.describe import describe  # noqa: PLC0415

    records = [record for observer in item.stash.get(_OBSERVED, {}).values() for record in observer.records]
    first = records[0].at if records else 0
    return [f"{(record.at - first) / 1e9:.6f} {record.way} {describe(record.octets)}" for record in records[-_SHOWN:]]
