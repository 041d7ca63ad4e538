"""Captures as tests: a `.pcap` or `.pcapng` file is a collector, each conversation in each role a test.

`web.pcap::2-server` is the second conversation of `web.pcap`, the stack in the server's part. What cannot be replayed
skips with the reason; what is wrong with the file itself is one failing test, `web.pcap::file`. Read
`scapystack.replay.run` first.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from scapystack.base.errors import ScapystackError
from scapystack.link.pcapread import CaptureReader
from scapystack.pytest_plugin import report
from scapystack.replay.run import FAILED, Case, cases, trouble

if TYPE_CHECKING:
    from scapystack.replay.run import Plan
    from scapystack.stack import NetStack

_BEFORE, _BEHIND = 60, 20
"""Lines of a transcript that a failure shows, around the packet where it begins."""


class CaptureFile(pytest.File):
    """A capture."""

    plan: Plan
    reader: CaptureReader | None = None

    def collect(self) -> Iterator[pytest.Item]:
        """Its conversations."""
        name = str(self.path)
        try:
            self.reader = reader = CaptureReader(name)
            for case in cases(reader, self.plan):
                yield ConversationTest.of(self, case)
        except (OSError, ScapystackError) as error:
            yield FileTest.of(self, trouble(name, error))
        if self.reader is not None:
            self.reader.pause()

    def teardown(self) -> None:
        """The last of its tests is over."""
        if self.reader is not None:
            self.reader.pause()


class ConversationTest(pytest.Item):
    """One conversation in one role."""

    case: Case

    @classmethod
    def of(cls, parent: CaptureFile, case: Case) -> ConversationTest:
        """The test of a case."""
        made: ConversationTest = cls.from_parent(parent, name=f"{case.conversation.number}-{case.role}")
        made.case = case
        made.extra_keyword_matches.update((case.conversation.title.partition(" ")[0], case.role))
        if case.why_not:
            made.add_marker(pytest.mark.skip(reason=f"{case.conversation.title}: {case.why_not}"))
        return made

    def runtest(self) -> None:
        """Replay it; once more, with somebody looking, if that fails: it goes the same way every time."""
        lines: list[str] = []
        keeps = report.keeps(self.config)
        try:
            result = self.case.run(watch=self._watch if keeps else None)
            if result.verdict == FAILED:
                self.case.run(watch=self._watch, lines=lines)
        except (OSError, ScapystackError) as error:
            pytest.fail(report.short(self, trouble(self.case.file, error)), pytrace=False)
        if result.golden == "written":
            path = self.case.plan.transcript(self.case.file, self.case.conversation, self.case.role)
            self.user_properties.append((report.GOLDEN, report.short(self, path)))
        if result.verdict == FAILED:
            told = [*result.findings, *result.differences]
            heading = f"scapystack seed {self.case.plan.terms.seed}, transcript"
            report.tell(self, heading, lambda: "\n".join(_around(lines, told[0])))
            pytest.fail(report.short(self, "\n".join(told)), pytrace=False)

    def _watch(self, net: NetStack) -> None:
        report.observe(self, "", net)

    def reportinfo(self) -> tuple[Path, int, str]:
        """For the heading of a failure."""
        return self.path, 0, f"{self.path.name} {self.name}: {self.case.conversation.title}"


class FileTest(pytest.Item):
    """What is wrong with a whole file."""

    trouble: str

    @classmethod
    def of(cls, parent: CaptureFile, text: str) -> FileTest:
        """The test that fails with this."""
        made: FileTest = cls.from_parent(parent, name="file")
        made.trouble = text
        return made

    def runtest(self) -> None:
        """It failed when it was read."""
        pytest.fail(f"{self.path.name}: {self.trouble}", pytrace=False)

    def reportinfo(self) -> tuple[Path, int, str]:
        """For the heading of the failure."""
        return self.path, 0, f"{self.path.name}"


def collected(path: Path, parent: pytest.Collector, plan: Plan) -> CaptureFile:
    """The collector of a capture."""
    made: CaptureFile = CaptureFile.from_parent(parent, path=path)
    made.plan = plan
    return made


def _around(lines: list[str], first: str) -> list[str]:
    """The lines of a transcript about the packet that the first finding names."""
    named = re.match(r"packet (\d+)", first)
    at = int(named[1]) if named else len(lines)
    shown = lines[max(at - _BEFORE, 0) : at + _BEHIND]
    before, behind = at - _BEFORE, len(lines) - at - _BEHIND
    head = [f"({before} lines before)"] if before > 0 else []
    return [*head, *shown, *([f"({behind} lines behind)"] if behind > 0 else [])]
