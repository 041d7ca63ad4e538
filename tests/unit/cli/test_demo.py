"""The whole demo over a memory link: no root, no TAP; its status says whether every step held."""

import subprocess
import sys

import pytest

from scapystack.cli.demo_steps import STEPS
from scapystack.link.pcapread import read_capture

MAIN = "from scapystack.cli.main import main; import sys; sys.argv = ['scapystack', 'demo', *sys.argv[1:]]; main()"


def demo(*words, cwd, before="pass"):
    """`scapystack demo` behind a line of code that may put something in its way."""
    code = f"{before}\n{MAIN}"
    return subprocess.run([sys.executable, "-c", code, *words], cwd=cwd, capture_output=True, text=True, check=False)


@pytest.mark.parametrize("codec", ["compiled", "scapy", "paranoid"])
def test_demo_in_memory_every_step_holds_and_leaves_a_capture(tmp_path, codec):
    told = demo("--memory", "--codec", codec, cwd=tmp_path)
    assert told.returncode == 0, told.stdout + told.stderr
    assert told.stderr == ""
    assert "(you asked for it): a second stack over a memory link stands in" in told.stdout
    assert told.stdout.count("    ok ") == len(STEPS)
    assert f"all {len(STEPS)} steps held" in told.stdout
    # every packet is in the file, with the step that it belongs to
    assert {packet.comment for packet in read_capture(tmp_path / "demo.pcapng")} == {title for title, _ in STEPS}


def test_demo_sends_the_makefile_that_stands_there(tmp_path):
    (tmp_path / "Makefile").write_text("# one\n# two\n")
    told = demo("--memory", cwd=tmp_path)
    assert "| # one\n| # two\n" in told.stdout
    assert "    ok 12 octets, SHA-256 " in told.stdout


def test_demo_a_step_that_fails_is_named_and_the_status_is_1(tmp_path):
    before = "from scapystack.cli import clients; clients.fetch = lambda *words: b'something else'"
    told = demo("--memory", cwd=tmp_path, before=before)
    assert told.returncode == 1
    assert told.stdout.count("    FAILED ") == 1
    assert f"1 of {len(STEPS)} steps failed" in told.stdout
    assert told.stdout.count("    ok ") == len(STEPS) - 1


@pytest.mark.parametrize(
    ("before", "reason"),
    [
        ("import os; os.path.exists = lambda path: False", "there is no /dev/net/tun"),
        ("import os; os.access = lambda path, mode: False", "no right to open /dev/net/tun"),
    ],
)
def test_demo_without_a_tap_says_why_and_what_would_help(tmp_path, before, reason):
    told = demo(cwd=tmp_path, before=before)
    assert told.returncode == 0, told.stdout + told.stderr
    assert f"Without a real kernel ({reason}" in told.stdout
    assert "The real thing: " in told.stdout
    assert "-m scapystack demo" in told.stdout
    assert f"all {len(STEPS)} steps held" in told.stdout


def test_demo_where_nothing_can_be_written_puts_its_capture_elsewhere(tmp_path):
    (tmp_path / "demo.pcapng").mkdir()  # as good as no right to write, which root always has
    told = demo("--memory", cwd=tmp_path)
    assert told.returncode == 0
    path = told.stdout.splitlines()[-1].partition(":")[0]
    assert path.endswith("/demo.pcapng")
    assert read_capture(path)


def test_demo_a_capture_that_was_asked_for_and_cannot_be_written_is_one_line(tmp_path):
    told = demo("--memory", "-w", "/nosuch/directory/demo.pcapng", cwd=tmp_path)
    assert (told.returncode, told.stdout) == (1, "")
    assert told.stderr == "scapystack: cannot write /nosuch/directory/demo.pcapng: No such file or directory\n"
