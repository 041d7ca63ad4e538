"""docs/pictures.md: its commands and its example make the pictures that it shows, and it has every kind and letter."""

from __future__ import annotations

import re
import struct
from pathlib import Path

from scapystack.plot import KINDS
from tests.docs import pictures


def size(path: Path) -> tuple[int, int]:
    width, height = struct.unpack(">II", path.read_bytes()[16:24])
    return width, height


def test_commands_and_example_make_the_pictures_of_the_document(tmp_path: Path) -> None:
    printed = pictures.make(tmp_path)
    text = pictures.DOCUMENT.read_text()
    for name, image in pictures.IMAGES.items():
        assert f"(img/{image})" in text
        assert size(tmp_path / name) == size(pictures.ROOT / "docs" / "img" / image)
    assert (tmp_path / "ladder.svg").read_text().count("length") > 10
    ladder, datagrams = re.findall(r"^```\n(.*?)^```", text, re.MULTILINE | re.DOTALL)
    assert ladder.splitlines()[:-1] == printed.splitlines()[: len(ladder.splitlines()) - 1]
    assert datagrams in printed
    assert len(re.findall(r"^ +\d TCP 10\.0\.0\.2:40000", printed, re.MULTILINE)) == 2


def test_document_has_every_kind() -> None:
    assert re.findall(r"^## `(\w+)`", pictures.DOCUMENT.read_text(), re.MULTILINE) == list(KINDS)
