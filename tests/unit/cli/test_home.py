"""A home that cannot be used: Scapy does without its cache, the console without startup files and with a history."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner
from scapy.config import conf

from scapystack.cli import home, options
from scapystack.cli.main import program
from scapystack.repl.home import settled, usable


@pytest.fixture
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    (tmp_path / "scapy").mkdir()
    return tmp_path


def denying(monkeypatch, denied):
    """`os.access` as for a person who has no right to `denied`: tests may run as root, who has every right."""
    monkeypatch.setattr(os, "access", lambda path, how: Path(path) != denied)


def test_command_with_a_cache_that_it_may_not_use_keeps_scapy_from_it(cache, monkeypatch):
    denying(monkeypatch, cache / "scapy")
    assert CliRunner().invoke(program, ["ping", "--help"]).exit_code == 0
    assert os.environ["XDG_CACHE_HOME"] == os.devnull
    # where Scapy takes that for its cache it can be imported
    subprocess.run([sys.executable, "-c", "import scapy.data"], check=True)


@pytest.mark.parametrize("state", ["there", "not there", "a file above it"])
def test_command_with_a_cache_that_scapy_can_use_leaves_it_alone(cache, monkeypatch, state):
    if state != "there":
        (cache / "scapy").rmdir()
    if state == "a file above it":
        cache.rmdir()
        cache.write_text("")
    home.settle()
    assert os.environ["XDG_CACHE_HOME"] == str(cache)


def test_usable_asks_for_the_file_or_the_directory_that_would_get_it(tmp_path, monkeypatch):
    denying(monkeypatch, tmp_path)
    assert not usable(tmp_path / "new" / "file", os.R_OK)
    (tmp_path / "file").write_text("")
    assert usable(tmp_path / "file", os.R_OK)
    assert not usable(tmp_path / "file" / "below", os.R_OK)


def test_console_in_a_home_without_rights_has_a_history_for_the_session(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(conf, "histfile", str(tmp_path / "scapy" / "history"))
    monkeypatch.setenv("IPYTHONDIR", str(tmp_path / "ipython"))
    monkeypatch.setattr("scapystack.repl.home.DEFAULT_STARTUP_FILE", str(tmp_path / "scapy" / "startup.py"))
    monkeypatch.setattr("scapystack.repl.home.DEFAULT_PRESTART_FILE", None)
    denying(monkeypatch, tmp_path)
    with settled() as options:
        assert options == ["-C"]
        assert Path(conf.histfile).parent == Path(os.environ["IPYTHONDIR"]) != tmp_path
    assert capsys.readouterr().err.count("\n") == 1
    assert not any(tmp_path.iterdir())


def test_console_in_a_home_of_its_own_keeps_its_history_there(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(conf, "histfile", str(tmp_path / "scapy" / "history"))
    monkeypatch.setenv("IPYTHONDIR", str(tmp_path / "ipython"))
    monkeypatch.setattr("scapystack.repl.home.DEFAULT_STARTUP_FILE", None)
    monkeypatch.setattr("scapystack.repl.home.DEFAULT_PRESTART_FILE", str(tmp_path / "scapy" / "prestart.py"))
    with settled() as options:
        assert options == []
        assert conf.histfile == str(tmp_path / "scapy" / "history")
    assert (tmp_path / "scapy").is_dir()
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize(
    ("words", "unread"), [("ping 10.0.0.1", True), ("repl", False), ("exec -- python -c pass", False)]
)
def test_command_leaves_the_host_s_routes_unread_but_where_a_person_may_send_with_scapy(monkeypatch, words, unread):
    left = []
    monkeypatch.setattr(options, "leave_routes", lambda: left.append(True))
    monkeypatch.setattr(options, "setting_up", lambda *words, **how: pytest.fail("a stack was to be made", False))
    CliRunner().invoke(program, words.split())
    assert bool(left) == unread


def test_scapy_imported_after_its_routes_were_left_has_none_and_knows_its_interfaces():
    code = (
        "from scapystack.cli.home import leave_routes; leave_routes(); from scapy.config import conf\n"
        "from scapy.layers.inet import IP; print(conf.route.routes, 'lo' in conf.ifaces, end='')"
    )
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, check=True).stdout == b"[] True"
