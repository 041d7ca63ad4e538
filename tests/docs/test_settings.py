"""docs/config.md is what the sources say, every number in it is explained, and its example runs."""

from __future__ import annotations

import re
import subprocess
import sys

from tests.docs import settings


def test_document_is_what_the_sources_say() -> None:
    assert settings.DOCUMENT.read_text() == settings.render(), "run `python -m tests.docs` and commit docs/config.md"


def test_every_setting_is_explained_beside_itself() -> None:
    """The upper end of a range may lean on the line before it."""
    bare = [s.name for s in settings.settings() if not s.comment and not s.name.endswith("_high")]
    assert bare == []


def test_every_number_of_the_rfc_profile_names_its_clause() -> None:
    other = [s for s in settings.settings() if s.rfc is not None]
    assert len(other) > 5
    assert [s.name for s in other if not re.search(r"RFC \d+ section \d", s.why)] == []


def test_example_runs() -> None:
    (example,) = re.findall(r"^```python\n(.*?)^```", settings.DOCUMENT.read_text(), re.MULTILINE | re.DOTALL)
    code = example + "print(stack.net.config.tcp.min_rto_ms, stack.net.config.tcp.msl_ms)\n"
    told = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert (told.stderr, told.stdout) == ("", "300 120000\n")
