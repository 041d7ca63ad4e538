"""The names of `scapystack.all`."""

import subprocess
import sys

import pytest

from scapystack.base.errors import ConfigError
from scapystack.repl import session, which
from tests.unit.repl.world import World


@pytest.fixture
def world():
    return World()


def test_all_has_scapy_s_names_and_ours():
    code = (
        "from scapystack.all import *\n"
        "assert IP(dst='10.0.0.1') / TCP() and Stack and fork and explain and conns and lsc and use and DROP"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_ls_knows_connections_and_layers(world, capsys):
    from scapy.layers.inet import TCP  # noqa: PLC0415

    c, _ = world.connect()
    session.ls(c)
    session.ls(TCP)
    out = capsys.readouterr().out
    assert f"= {c.info().snd_nxt}" in out
    assert "urgptr" in out


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
    world.stack.close()
    with pytest.raises(ConfigError, match="no stack that runs"):
        session.conns()
