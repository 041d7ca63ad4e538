"""Makes the captures of this directory anew, against the real kernel: `python -m pcaps.make [NAME...]`, as root.

A scene (`scenes_*.py`) is a function with a name, what it shows, and how the laboratory is to
be set up (`lab.py`); it is captured while it runs. The table in `README.md` is drawn from the scenes. A new capture has
other times and sequence numbers than the old one: see what that changes in its golden transcripts
(`scapystack replay --role both --update-golden`).
"""

from __future__ import annotations

import sys
from pathlib import Path

from pcaps import scenes_data, scenes_datagrams, scenes_end, scenes_open
from pcaps.lab import Lab
from pcaps.scene import SCENES, Scene

HERE = Path(__file__).parent
CHAPTERS = (scenes_open, scenes_data, scenes_end, scenes_datagrams)


def make(one: Scene) -> None:
    """Run a scene and keep its capture."""
    with Lab(one.edits, **one.setup) as lab, lab.capture(HERE / one.file, one.at, one.interface, one.words):
        one.act(lab)


def table() -> str:
    """The rows of the README."""
    names = [chapter.__name__ for chapter in CHAPTERS]
    scenes = sorted(SCENES.values(), key=lambda one: names.index(one.act.__module__))
    return "".join(f"| `{one.file}` | {one.shows} | {one.made()} |\n" for one in scenes)


def with_table(text: str) -> str:
    """The README with the table in its place."""
    begin, end = "<!-- drawn by make.py -->\n", "<!-- end -->\n"
    before, _, rest = text.partition(begin)
    _, _, after = rest.partition(end)
    return f"{before}{begin}| file | what it shows | how it was made |\n|---|---|---|\n{table()}{end}{after}"


def main(names: list[str]) -> None:
    """Make these captures, or all."""
    for name in names or list(SCENES):
        print(name, flush=True)
        make(SCENES[name])
    readme = HERE / "README.md"
    readme.write_text(with_table(readme.read_text()))


if __name__ == "__main__":
    main(sys.argv[1:])
