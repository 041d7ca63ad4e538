"""docs/memory.md names every bound that can be set, with the default that it has."""

from __future__ import annotations

import re
from pathlib import Path

from scapystack.base.config import StackConfig

DOCUMENT = (Path(__file__).parents[2] / "docs" / "memory.md").read_text()
ROWS = [
    [cell.strip() for cell in line.strip("|").split("|")] for line in DOCUMENT.splitlines() if line.startswith("| ")
]


def setting(name: str) -> object:
    group, _, field = name.partition(".")
    return getattr(getattr(StackConfig(), group), field)


def test_every_bound_that_can_be_set_stands_in_the_table() -> None:
    bounds = {
        name for name in StackConfig().names() if re.search(r"\.(.*_)?max_(?!rto)|backlog|rcvbuf|sndbuf|orphan", name)
    }
    assert len(bounds) > 15
    assert bounds <= set(re.findall(r"`([a-z]+\.[a-z_0-9]+)`", DOCUMENT))


def test_every_default_is_the_one_that_it_has() -> None:
    checked = 0
    for _, where, default, _ in (row for row in ROWS if len(row) == 4):
        names = re.findall(r"`([a-z]+\.[a-z_]+)`", where)
        told = [int(number.replace(",", "")) for number in re.findall(r"\d[\d,]*\d|\d", default.replace(", ", " "))]
        if names and "times" not in where and default != "off":
            assert told == [setting(name) for name in names], where
            checked += len(names)
    assert checked > 15
