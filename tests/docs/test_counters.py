"""docs/counters.md has every counter that the sources count and no other, and its example runs."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from pathlib import Path

import pytest

from scapystack.base.counternames import LAYERS, LINUX, MEANINGS, describe
from tests.docs import counters
from tests.docs.counted import Sources


def test_document_is_what_the_table_says() -> None:
    told = "run `python -m tests.docs` and commit docs/counters.md"
    assert counters.DOCUMENT.read_text() == counters.render(), told


def test_every_counter_of_the_sources_is_explained_and_no_other() -> None:
    counted = Sources().names()
    assert counted - set(MEANINGS) == set(), "counted, and not in scapystack/base/counternames.py"
    assert set(MEANINGS) - counted == set(), "in scapystack/base/counternames.py, and never counted"


@pytest.mark.parametrize(
    ("code", "names"),
    [
        ('counters["a.b"] += 1', {"a.b"}),
        ('self.core.counters["a" if x else "b"] += 2', {"a", "b"}),
        (
            'def f(self):\n r = g(1)\n self._counters["x." + r] += 1\ndef g(n):\n return "p" if n else "q"',
            {"x.p", "x.q"},
        ),
        ('def f():\n r = g(1)\n counters["x." + r] += 1\ndef g(n):\n if n: return "p"\n return ""', {"x.p"}),
        ('def f(self, r):\n counters[f"{r}.z"] += 1\ndef g():\n o.f("a")\n f("b", 1)', {"a.z"}),
        ('T = {1: "p"}\ndef f():\n r = "s" if x else T.get(k, "q")\n counters["x." + r] += 1', {"x.p", "x.q", "x.s"}),
        ('def f():\n r = ""\n if x: r = "p"\n counters["x." + r] += 1', {"x.p"}),
        ("def f(n):\n counters[n] += 1", None),
        ("counters[n] += 1", None),
    ],
)
def test_name_that_is_put_together_is_followed_or_refused(code: str, names: set[str] | None) -> None:
    sources = Sources(ast.parse(code))
    if names is None:
        with pytest.raises(LookupError):
            sources.names()
    else:
        assert sources.names() == names


def test_every_layer_has_its_counters() -> None:
    assert {name.partition(".")[0] for name in MEANINGS} == set(LAYERS)
    assert describe("tcp.timeouts") == MEANINGS["tcp.timeouts"]


def test_every_name_of_linux_is_one_that_linux_has() -> None:
    known = set()
    for table in ("snmp", "netstat"):
        for line in Path("/proc/net", table).read_text().splitlines():
            group, *names = line.split()
            known |= {group.rstrip(":") + name for name in names}
    assert set(LINUX) <= set(MEANINGS)
    assert set(LINUX.values()) - known == set()


def test_example_runs() -> None:
    (example,) = re.findall(r"^```python\n(.*?)^```", counters.DOCUMENT.read_text(), re.MULTILINE | re.DOTALL)
    told = subprocess.run([sys.executable, "-c", example], capture_output=True, text=True, check=False)
    assert (told.stderr, told.stdout) == ("", "0\n{}\n{}\n")
