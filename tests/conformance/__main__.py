"""`python -m tests.conformance`: write docs/conformance.md and docs/hostile.md; `--holes`: only say what they lack."""

from __future__ import annotations

import sys

from tests.conformance.table import Table


def main(words: list[str]) -> int:
    """The exit status is 1 when there are holes, 2 for words that mean nothing here."""
    if words not in ([], ["--holes"]):
        print("usage: python -m tests.conformance [--holes]", file=sys.stderr)
        return 2
    table = Table.load()
    holes = list(table.holes())
    if not words:
        for path, text in table.documents().items():
            path.write_text(text)
    print("\n".join(holes) or "no holes")
    return 1 if holes else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
