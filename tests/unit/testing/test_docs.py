"""The examples of docs/testing.md run as they stand."""

import re
from pathlib import Path

import pytest

DOC = Path(__file__).parents[3] / "docs" / "testing.md"
BLOCKS = re.findall(r"```python\n(.*?)```", DOC.read_text(), re.DOTALL)


@pytest.mark.parametrize("number", range(len(BLOCKS)))
def test_example_runs(number):
    names = {}
    # not the page's own name: whoever looks for a test's source would read the page as Python
    exec(compile(BLOCKS[number], f"<{DOC.name}, example {number}>", "exec"), names)
    for test in [each for name, each in names.items() if name.startswith("test_")]:
        test()


def test_every_example_was_found():
    assert len(BLOCKS) == 5
