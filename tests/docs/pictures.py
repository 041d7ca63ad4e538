"""docs/pictures.md: its commands and its example, and the pictures in docs/img that they make.

`python -m tests.docs.pictures` draws them anew (not with the other documents: another matplotlib draws other pixels).
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).parents[2]
DOCUMENT = ROOT / "docs" / "pictures.md"
IMAGES = {"sequence.png": "plot-sequence.png", "states.png": "plot-state.png", "window.png": "plot-window.png"}
"""What the commands and the example make, and its name in docs/img."""


def commands() -> list[list[str]]:
    """The words behind `scapystack` of each command in the document."""
    return [line.split() for line in re.findall(r"^    scapystack (.*)$", DOCUMENT.read_text(), re.MULTILINE)]


def make(directory: Path) -> str:
    """Run all of them, with what they write going to `directory`; what they print."""
    os.symlink(ROOT / "pcaps", directory / "pcaps")
    (example,) = re.findall(r"^```python\n(.*?)^```", DOCUMENT.read_text(), re.MULTILINE | re.DOTALL)
    lines = ["from scapystack.cli.main import program"]
    lines += [f"program.main({words!r}, standalone_mode=False)" for words in commands()]
    code = "\n".join([*lines, example])
    told = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False, cwd=directory)
    assert told.returncode == 0, told.stderr
    return told.stdout


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as made:
        make(Path(made))
        for name, image in IMAGES.items():
            shutil.copy(Path(made) / name, ROOT / "docs" / "img" / image)
            print(ROOT / "docs" / "img" / image)
