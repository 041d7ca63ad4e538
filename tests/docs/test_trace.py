"""docs/trace.md is what the sources say, every field in it is explained, and its example runs."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from dataclasses import fields
from pathlib import Path

from scapystack.layers.tcp.info import TcpInfo
from tests.docs import trace


def test_document_is_what_the_sources_say() -> None:
    assert trace.DOCUMENT.read_text() == trace.render(), "run `python -m tests.docs` and commit docs/trace.md"


def test_every_field_is_explained_beside_itself() -> None:
    assert [f.name for f in fields(TcpInfo) if not trace.comments().get(f.name)] == []


def test_example_runs_and_every_field_that_it_writes_is_in_the_document(tmp_path: Path) -> None:
    (example,) = re.findall(r"^```python\n(.*?)^```", trace.DOCUMENT.read_text(), re.MULTILINE | re.DOTALL)
    told = subprocess.run([sys.executable, "-c", example], capture_output=True, text=True, check=False, cwd=tmp_path)
    assert told.stderr == ""
    assert "state ESTABLISHED" in told.stdout
    document = trace.DOCUMENT.read_text()
    lines = [json.loads(line) for line in (tmp_path / "run.jsonl").read_text().splitlines()]
    names = {name for line in lines for name in (*line, *line.get("segment", ()))}
    assert len(names) > 90
    assert [name for name in names if f"`{name}`" not in document] == []
