"""What docs/replay.md shows is what there is."""

import re
from pathlib import Path

from click.testing import CliRunner

from scapystack.cli.main import program

ROOT = Path(__file__).parents[2]
TEXT = (ROOT / "docs" / "replay.md").read_text()


def test_docs_replay_session_is_what_the_program_prints(monkeypatch):
    monkeypatch.chdir(ROOT)
    command, shown = re.search(r"```\n\$ scapystack (.*?)\n(.*?)```", TEXT, re.S).groups()
    done = CliRunner().invoke(program, command.split(), standalone_mode=False)
    assert done.output == shown


def test_docs_replay_example_runs(monkeypatch):
    monkeypatch.chdir(ROOT)
    (example,) = re.findall(r"```python\n(.*?)```", TEXT, re.S)
    exec(compile(example, "docs/replay.md", "exec"), {})
