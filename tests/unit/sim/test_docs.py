"""The examples of docs/simulation.md run as they stand."""

import re
from pathlib import Path

import pytest

DOC = Path(__file__).parents[3] / "docs" / "simulation.md"
BLOCKS = re.findall(r"```python\n(.*?)```", DOC.read_text(), re.DOTALL)


@pytest.mark.parametrize("number", range(len(BLOCKS)))
def test_example_runs(number):
    exec(compile(BLOCKS[number], str(DOC), "exec"), {})


def test_every_example_was_found():
    assert len(BLOCKS) == 2
