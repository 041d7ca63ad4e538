"""What a replay finds wrong, and where: the packet, its line and those before it."""

from __future__ import annotations

from scapystack.replay.transcript import Transcript

_MOST = 5


class Stuck(Exception):
    """The replay cannot go on: the stack does not do what the next packet of the recording answers."""


class Findings:
    """What is wrong, in lines: the first few findings, each with the packet it was found at."""

    def __init__(self, transcript: Transcript) -> None:
        self.transcript = transcript
        self.lines: list[str] = []
        self.count = 0

    def add(self, text: str) -> None:
        """Something is wrong with the last packet, or after it."""
        self.count += 1
        if self.count > _MOST:
            return
        recent = list(self.transcript.recent)
        self.lines.append(f"packet {self.transcript.packets}: {text}")
        if self.count == 1:
            self.lines += [f"    {line}" for line in recent[:-1]]
        self.lines += [f" => {line}" for line in recent[-1:]]

    def told(self) -> list[str]:
        """All of it."""
        more = self.count - _MOST
        return [*self.lines, f"and {more} more"] if more > 0 else self.lines
