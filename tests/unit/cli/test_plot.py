"""`scapystack plot`: pictures to files, ladders and lists to the screen."""

from pathlib import Path

import pytest
from click.testing import CliRunner

from scapystack.cli.main import program
from scapystack.cli.plot import KINDS, SIDES
from scapystack.plot import KINDS as DRAWN
from scapystack.plot.flow import SIDES as NAMED

CAPTURE = str(Path(__file__).parents[3] / "pcaps" / "lost-one.pcap")


def run(*words):
    return CliRunner().invoke(program, ["plot", *words], standalone_mode=False)


def test_plot_knows_what_can_be_drawn_before_it_imports_it():
    assert (KINDS, SIDES) == (DRAWN, NAMED)


@pytest.mark.parametrize("name", ["picture.png", "picture.svg"])
def test_plot_writes_a_picture_and_says_nothing(tmp_path, name):
    path = tmp_path / name
    done = run(CAPTURE, "-o", str(path), "--kind", "rtt", "--side", "server", "--conversation", "1", "--dark")
    assert (done.exception, done.return_value, done.output) == (None, 0, "")
    assert path.read_bytes().startswith(b"\x89PNG" if name.endswith("png") else b"<?xml")


def test_plot_ladder_goes_to_the_screen_and_to_a_text_file(tmp_path):
    path = tmp_path / "ladder.txt"
    shown = run(CAPTURE, "--kind", "ladder", "--most", "3").output
    assert "|-- [S], seq 0, win 64240, length 0 ---" in shown
    assert "more packets" in shown
    run(CAPTURE, "--kind", "ladder", "--most", "3", "-o", str(path))
    assert path.read_text() == shown


def test_plot_list_names_the_conversations():
    assert run(CAPTURE, "--list").output == "   1 TCP 10.0.0.2:40000 > 10.0.0.1:80: 65 packets\n"
