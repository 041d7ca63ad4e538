"""The session of docs/repl.md, against a real server of the kernel's; and the same text in captures."""

import doctest
import threading
from pathlib import Path

import pytest

import scapystack.all as names
from scapystack.repl.console import Console
from tests.interop.netns import KERNEL, LIMIT_S, stack_on_tap

PAGE = Path(__file__).parents[2] / "docs" / "repl.md"
FLAGS = doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE


@pytest.fixture
def console(netns):
    """A console beside a stack on a TAP; on port 7 of the kernel a server sends back what it gets."""
    lan = stack_on_tap(netns, offload=True)
    with lan.stack, lan.ns.socket() as server, Console(lan.stack, vars(names)) as made:
        server.bind((KERNEL, 7))
        server.listen()
        server.settimeout(LIMIT_S)

        def echo():
            client, _ = server.accept()
            with client:
                while data := client.recv(65_536):
                    client.sendall(data)

        thread = threading.Thread(target=echo)
        thread.start()
        yield made
        for c in made.stack.conns():
            c.rst()
        thread.join(LIMIT_S)


def test_the_page_s_session_runs_against_the_kernel(console):
    text = PAGE.read_text().replace("```", "")
    test = doctest.DocTestParser().get_doctest(text, console.names, "repl.md", str(PAGE), 0)
    assert len(test.examples) > 30
    report = []
    runner = doctest.DocTestRunner(optionflags=FLAGS, verbose=False)
    failed, _ = runner.run(test, out=report.append, clear_globs=False)
    assert not failed, "".join(report)
