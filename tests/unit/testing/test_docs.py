"""The examples of docs/testing.md run as they stand."""

import re
from pathlib import Path

import pytest

DOC = Path(__file__).parents[3] / "docs" / "testing.md"
BLOCKS = re.findall(r"```python\n(.*?)```", DOC.read_text(), re.DOTALL)


@pytest.mark.parametrize("number", range(len(BLOCKS)))
def test_example_runs(number):
    names = {}
    exec(compile(BLOCKS[number], str(DOC), "exec"), names)
    for test in [each for name, each in names.items() if name.startswith("test_")]:
        test()


def test_every_example_was_found():
    assert len(BLOCKS) == 5
