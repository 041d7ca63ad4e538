"""The names of `scapystack.all`."""

import code
import subprocess
import sys

import pytest

from scapystack.base.errors import ConfigError
from scapystack.repl import session, which
from scapystack.repl.console import Console
from scapystack.repl.errors import in_one_line, tb
from tests.unit.repl.world import World


@pytest.fixture
def world():
    return World()


def test_all_has_scapy_s_names_and_ours():
    program = (
        "from scapystack.all import *\n"
        "assert IP(dst='10.0.0.1') / TCP() and Stack and fork and explain and conns and lsc and use and tb and DROP"
    )
    subprocess.run([sys.executable, "-c", program], check=True)


def test_ls_knows_connections_and_layers(world, capsys):
    from scapy.layers.inet import TCP  # noqa: PLC0415

    c, _ = world.connect()
    session.ls(c)
    session.ls(TCP)
    out = capsys.readouterr().out
    assert f"= {c.info().snd_nxt}" in out
    assert "urgptr" in out


def test_console_runs_a_program_whose_own_errors_are_python_s(world, capsys):
    console = Console(world.stack, {"connect": world.connect})
    assert console.run("c, _ = connect()\nprint(c.state)") == 0
    assert console.run("c.hold()\n1 / 0") == 1
    told = capsys.readouterr()
    assert told.out == "ESTABLISHED\n"
    assert told.err.startswith('Traceback (most recent call last):\n  File "<repl -c>", line 2, in <module>\n')
    assert "ZeroDivisionError" in told.err
    assert console.run("print(") == 1
    with pytest.raises(ConfigError):
        console.run("c.release(); c.step()")


def test_prompt_error_of_the_network_is_a_line_and_of_a_program_a_traceback(world, capsys):
    console = code.InteractiveConsole({"stack": world.stack, "tb": tb})
    with in_one_line():
        for line in ("stack.connect(('10.0.0.2', 9))", "stack.explain(1)", "tb()", "1 / 0"):
            console.push(line)
    refused, misused, *whole = capsys.readouterr().err.splitlines()
    assert refused == "ConnectionRefusedError: [Errno 111] Connection refused"
    assert "Error" not in misused
    assert whole[0] == whole[-3] == "Traceback (most recent call last):"
    assert whole[-2:] == ['  File "<console>", line 1, in <module>', "ZeroDivisionError: division by zero"]
    assert whole[-4] == f"scapystack.base.errors.ConfigError: {misused}"


def test_lsc_lists_ours_beside_scapy_s(capsys):
    session.lsc()
    out = capsys.readouterr().out
    assert "c.next()" in out
    assert "sniff " in out


def test_conns_and_explain_ask_the_stack_in_use(world):
    c, _ = world.connect()
    which.use(world.stack)
    assert session.conns() == [c]
    assert session.explain(c.log[0]).verdict == "sent"
    with pytest.raises(ConfigError, match=r"explain takes a packet: explain\(c\.log\[-1\]\)"):
        session.explain()
    world.stack.close()
    with pytest.raises(ConfigError, match="no stack that runs"):
        session.conns()
