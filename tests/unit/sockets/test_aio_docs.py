"""The examples of docs/asyncio.md run as they stand."""

import re
from pathlib import Path

import pytest

DOC = Path(__file__).parents[3] / "docs" / "asyncio.md"
BLOCKS = re.findall(r"```python\n(.*?)```", DOC.read_text(), re.DOTALL)


@pytest.mark.parametrize(("number", "said"), [(0, "b'HELLO\\n'\n"), (1, "b'hello' from ('127.0.0.1', ")])
def test_example_runs_and_says(number, said, capsys):
    exec(compile(BLOCKS[number], str(DOC), "exec"), {"__name__": "example"})
    assert capsys.readouterr().out.startswith(said)


def test_document_has_no_example_that_is_not_run():
    assert len(BLOCKS) == 2
