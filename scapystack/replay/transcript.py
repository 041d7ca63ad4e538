"""The transcript of a replay, and its comparison with a golden one that was kept.

A line is a packet: its time in virtual seconds since the first, `>` for what the stack sent and `<` for what it
was sent (`x`: what never arrived in the recording, and so does not now), and its fields in the words of tcpdump,
numbers relative:

    0.000000 < Flags [S], seq 0, win 64240, mss 1460, sackOK, TS val 0 ecr 0, wscale 7, length 0
    0.000000 > Flags [S.], seq 0, ack 1, win 65160, mss 1460, sackOK, TS val 0 ecr 0, wscale 7, length 0

A golden transcript is such lines in a file. What may vary is masked there: a value written as `*` matches any,
and a line `# mask: time win` masks these fields (`time` is one) in the whole file; masks outlive an
update. Neither a comparison nor an update holds more than a few lines in memory.
"""

from __future__ import annotations

import contextlib
import os
import re
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import TextIO

from scapystack.base.errors import ConfigError
from scapystack.base.segment import ACK, Segment
from scapystack.base.types import Nanoseconds

FIELDS = (
    "time", "way", "Flags", "seq", "ack", "win", "urg", "mss", "sackOK", "TS", "wscale", "tfo", "sack", "tos",
    "frags", "UDP", "ICMP", "id", "mtu", "length",
)  # fmt: skip
_HEAD = "# scapystack transcript 1"
_CONTEXT = 3
_FLAGS = ((0x01, "F"), (0x02, "S"), (0x04, "R"), (0x08, "P"), (0x10, "."), (0x20, "U"), (0x40, "E"), (0x80, "W"))
_LINE = re.compile(r"(\S+) ([<>x*]) (.+)")
MASK = 0xFFFFFFFF


@dataclass(slots=True)
class Entry:
    """One packet of a transcript. `way` is `>` for the stack's own."""

    at: Nanoseconds
    way: str
    fields: dict[str, str] = field(default_factory=dict)

    def __str__(self) -> str:
        text = ", ".join(f"{name} {value}" if value else name for name, value in self.fields.items())
        return f"{self.at // 1_000_000_000}.{self.at // 1_000 % 1_000_000:06d} {self.way} {text}"


def parse(line: str) -> dict[str, str]:
    """The fields of a line, time and way among them. Raises ConfigError for what is no line of a transcript."""
    matched = _LINE.fullmatch(line.strip())
    if matched is None:
        raise ConfigError(f"not a line of a transcript: {line.strip()[:60]!r}")
    fields = {"time": matched[1], "way": matched[2]}
    for part in matched[3].split(", "):
        name, _, value = part.partition(" ")
        fields[name] = value
    return fields


def difference(golden: str, line: str, masks: frozenset[str] = frozenset()) -> list[str]:
    """In what a line differs from the golden one, a sentence for each field; none for equal ones."""
    if golden == line:
        return []
    expected, actual = parse(golden), parse(line)
    told = []
    for name in [*expected, *(name for name in actual if name not in expected)]:
        old, new = expected.get(name), actual.get(name)
        if old not in (new, "*") and name not in masks:
            told.append(f"{name}: {_shown(old)} in the golden transcript, {_shown(new)} now")
    return told


def _shown(value: str | None) -> str:
    return "absent" if value is None else value or "present"


class Numbers:
    """What makes the numbers of a TCP conversation relative, by the side that counts them."""

    __slots__ = ("seq", "stamp")

    def __init__(self) -> None:
        self.seq: int | None = None  # the initial sequence number
        self.stamp: int | None = None  # the first timestamp


def tcp_fields(seg: Segment, own: Numbers, other: Numbers, tos: int = 0, frags: int = 0) -> dict[str, str]:
    """The fields of a segment from the side of `own`."""
    flags = seg.flags
    text = len(seg.payload)
    seq = (seg.seq - (own.seq or 0)) & MASK
    fields = {"Flags": f"[{''.join(letter for bit, letter in _FLAGS if flags & bit) or 'none'}]"}
    fields["seq"] = f"{seq}:{(seq + text) & MASK}" if text else str(seq)
    if flags & ACK:
        fields["ack"] = str((seg.ack - (other.seq or 0)) & MASK)
    fields["win"] = str(seg.wnd)
    if flags & 0x20:
        fields["urg"] = str(seg.up)
    if seg.mss is not None:
        fields["mss"] = str(seg.mss)
    if seg.sack_permitted:
        fields["sackOK"] = ""
    if seg.tsval is not None:
        if own.stamp is None:
            own.stamp = seg.tsval
        echo = seg.tsecr or 0
        relative = (echo - other.stamp) & MASK if echo and other.stamp is not None else echo
        fields["TS"] = f"val {(seg.tsval - own.stamp) & MASK} ecr {relative}"
    if seg.wscale is not None:
        fields["wscale"] = str(seg.wscale)
    if seg.fastopen is not None:
        fields["tfo"] = f"cookie of {len(seg.fastopen)}" if seg.fastopen else "request"
    if seg.sack:
        base = other.seq or 0
        fields["sack"] = "".join(f"{{{(a - base) & MASK}:{(b - base) & MASK}}}" for a, b in seg.sack)
    if tos:
        fields["tos"] = hex(tos)
    if frags:
        fields["frags"] = str(frags)
    fields["length"] = str(text)
    return fields


class Transcript:
    """Takes the packets of one replay as they pass; the last few stay, for whoever has to explain something, and
    all of them go to `lines`, if that is given."""

    def __init__(self, start: Nanoseconds, golden: Golden | None = None, lines: list[str] | None = None) -> None:
        self.start = start
        self.golden = golden
        self.lines = lines
        self.packets = 0
        self.recent: deque[str] = deque(maxlen=_CONTEXT + 1)

    def add(self, at: Nanoseconds, way: str, fields: dict[str, str]) -> int:
        """Take one; its number, from 1."""
        line = str(Entry(at - self.start, way, fields))
        self.packets += 1
        if self.golden is not None:
            self.golden.see(line, self.recent)
        if self.lines is not None:
            self.lines.append(line)
        self.recent.append(line)
        return self.packets


class Golden:
    """A golden transcript that is compared with a replay line by line, or written anew (`update`).

    `told` is what is different, in lines, naming the first packet that is; empty while nothing is. `close` ends
    the comparison, or puts the new file in place. Raises ConfigError for a file that is no transcript.
    """

    def __init__(self, path: Path, title: str, *, update: bool = False) -> None:
        self.path = path
        self.title = title
        self.update = update
        self.told: list[str] = []
        self.exists = path.exists()
        self.masks: frozenset[str] = frozenset()
        self._seen = 0
        self._file: TextIO | None = None
        self._lines: Iterator[str] = iter(())
        self._head: list[str] = []
        if self.exists:
            self._head = self._read_head()
        if update:
            self._begin()
        elif self.exists:
            self._lines = self._read()

    def _read_head(self) -> list[str]:
        """The masks, and the comments that an update keeps."""
        kept = []
        masks: set[str] = set()
        with self.path.open() as file:
            if file.readline().rstrip() != _HEAD:
                raise ConfigError(f"{self.path} is no golden transcript")
            file.readline()
            for line in file:
                if not line.startswith("#"):
                    break
                kept.append(line.rstrip())
                if line.startswith("# mask:"):
                    masks.update(line.removeprefix("# mask:").split())
        wrong = masks.difference(FIELDS)
        if wrong:
            raise ConfigError(f"{self.path} masks {min(wrong)!r}; the fields are: {', '.join(FIELDS)}")
        self.masks = frozenset(masks)
        return kept

    def _read(self) -> Iterator[str]:
        with self.path.open() as file:
            for line in file:
                if not line.startswith("#") and line.strip():
                    yield line.rstrip()

    def _begin(self) -> None:
        self.path.parent.mkdir(parents=True, exist_ok=True)
        self._file = self._beside().open("w")
        self._file.write("\n".join([_HEAD, f"# {self.title}", *self._head]) + "\n")

    def _beside(self) -> Path:
        return self.path.with_name(f".{self.path.name}.{os.getpid()}")

    def see(self, line: str, before: deque[str]) -> None:
        """Compare, or write, the next line; `before` are those that came before it."""
        self._seen += 1
        if self._file is not None:
            self._file.write(line + "\n")
        elif self.exists and not self.told:
            expected = next(self._lines, None)
            if expected is None:
                self._tell(list(before), None, line, ["the golden transcript ends before it"])
            elif differs := difference(expected, line, self.masks):
                self._tell(list(before), expected, line, differs)

    def _tell(self, before: list[str], expected: str | None, line: str | None, differs: list[str]) -> None:
        self.told = [f"packet {self._seen} differs from {self.path}:"]
        self.told += [f"    {each}" for each in before[-_CONTEXT:]]
        self.told += [f"  - {expected}"] if expected is not None else []
        self.told += [f"  + {line}"] if line is not None else []
        self.told += [f"      {each}" for each in differs]

    def close(self, before: deque[str], *, keep: bool = True) -> None:
        """The replay is over. With `keep` false nothing is written."""
        if self._file is not None:
            if not keep:
                self.abandon()
                return
            self._file.close()
            self._file = None
            self._beside().replace(self.path)
        elif self.exists and not self.told:
            expected = next(self._lines, None)
            if expected is not None:
                self._seen += 1
                self._tell(list(before), expected, None, ["the replay ends before it"])

    def abandon(self) -> None:
        """Leave nothing of what was to be written. Harmless when repeated."""
        file, self._file = self._file, None
        if file is not None:
            self._beside().unlink(missing_ok=True)
            with contextlib.suppress(OSError):  # a full disk
                file.close()
