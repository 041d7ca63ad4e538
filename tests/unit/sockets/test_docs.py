"""The examples of docs/sockets.md run as they stand."""

import re
from pathlib import Path

import pytest

DOC = Path(__file__).parents[3] / "docs" / "sockets.md"
BLOCKS = re.findall(r"```python\n(.*?)```", DOC.read_text(), re.DOTALL)


def block(word):
    (found,) = (text for text in BLOCKS if word in text)
    return found


@pytest.mark.parametrize("word", ["timeout=5)", "Simulation()", "MSG_FASTOPEN"])
def test_example_runs(word):
    exec(compile(block(word), str(DOC), "exec"), {})


def test_example_of_services_runs(still, tmp_path, capsys):
    (tmp_path / "public").mkdir()
    text = block("start_services").replace('"public"', repr(str(tmp_path / "public")))
    scope = {"stack": still.stack}
    exec(compile(text, str(DOC), "exec"), scope)
    assert len(capsys.readouterr().out.splitlines()) == 3
    for service in scope["services"]:
        service.close()


def test_every_example_is_python():
    assert len(BLOCKS) == 5
    for text in BLOCKS:
        compile(text, str(DOC), "exec")
