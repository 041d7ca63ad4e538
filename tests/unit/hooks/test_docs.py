"""The examples of docs/hooks.md and docs/scapy.md run as they stand; those with servers run in tests/interop."""

import re
from pathlib import Path

import pytest

from scapystack import Stack

DOCS = Path(__file__).parents[3] / "docs"


def blocks(name):
    return re.findall(r"```python\n(.*?)```", (DOCS / name).read_text(), re.DOTALL)


def run(text, name, **scope):
    exec(compile(text, str(DOCS / name), "exec"), scope)
    return scope


def test_hooks_example_runs(capsys):
    run(blocks("hooks.md")[0], "hooks.md")
    assert "echo-reply" in capsys.readouterr().out


def test_hooks_snippets_attach_what_they_say():
    with Stack() as stack:
        filters, shelf = blocks("hooks.md")[1:]
        run(filters, "hooks.md", stack=stack)
        assert len(stack.net.hooks.tx) == 4
        run(shelf, "hooks.md", stack=stack)
        assert [hook.__name__.split(".")[0] for hook in stack.net.hooks.rx] == ["clamp_mss", "rst_injector"]


def test_every_ready_hook_is_in_the_table():
    from scapystack.hooks import hostile, ready  # noqa: PLC0415

    text = (DOCS / "hooks.md").read_text()
    for module in (ready, hostile):
        for name in vars(module):
            made_here = getattr(vars(module)[name], "__module__", "") == module.__name__
            if made_here and name not in ("flow_of", "text_of", "lowest", "with_text") and not name.startswith("_"):
                assert f"`{name}(" in text, name


def test_scapy_example_runs():
    scope = run(blocks("scapy.md")[0], "scapy.md")
    assert scope["reply"].src == "10.0.0.2"
    assert scope["answer"].sprintf("%TCP.flags%") == "RA"


@pytest.mark.parametrize("name", ["hooks.md", "scapy.md"])
def test_every_example_is_python(name):
    for text in blocks(name):
        compile(text, name, "exec")
