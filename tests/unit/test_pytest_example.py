"""`examples/pytest-regression` passes in a copy, with `pytest` alone, and so does the project that README makes."""

import os
import shutil
import subprocess
from pathlib import Path

import scapystack.repl.annotate
import scapystack.replay.run
import scapystack.testing  # noqa: F401  # imported once, not by the runs below

pytest_plugins = ["pytester"]

ROOT = Path(__file__).parents[2]
EXAMPLE = ROOT / "examples" / "pytest-regression"


def test_example_project_passes_in_a_copy_and_its_golden_transcripts_are_those_it_would_write(pytester):
    shutil.copytree(EXAMPLE, pytester.path, dirs_exist_ok=True)
    golden = {path.name: path.read_text() for path in (EXAMPLE / "captures" / "golden").iterdir()}
    pytester.runpytest_inprocess("-p", "no:cacheprovider").assert_outcomes(passed=10)
    pytester.runpytest_inprocess("-p", "no:cacheprovider", "--update-golden", "captures").assert_outcomes(passed=6)
    assert {path.name: path.read_text() for path in (pytester.path / "captures" / "golden").iterdir()} == golden
    assert not (pytester.path / "scapystack-captures").exists()


def test_example_project_is_red_where_a_packet_differs(pytester):
    shutil.copytree(EXAMPLE, pytester.path, dirs_exist_ok=True)
    path = pytester.path / "captures" / "golden" / "web.pcap-2-server-linux.txt"
    path.write_text(path.read_text().replace("Flags [F", "Flags [PF", 1))
    result = pytester.runpytest_inprocess("-p", "no:cacheprovider", "captures")
    result.assert_outcomes(passed=5, failed=1)
    result.stdout.fnmatch_lines(["packet * differs from captures/golden/web.pcap-2-server-linux.txt:"])


def test_commands_of_the_readme_make_a_capture_a_test(pytester):
    """All but those that install."""
    section = (ROOT / "README.md").read_text().partition("## From a capture to a test in your CI")[2]
    runs = 0
    for whole in section.partition("\nEach")[0].splitlines():
        line = whole.partition("  #")[0].strip()
        if line.startswith(".venv/bin/pytest"):
            result = pytester.runpytest_inprocess("-p", "no:cacheprovider", *line.split()[1:])
            result.assert_outcomes(passed=2)
            runs += 1
        elif line.startswith(("mkdir ", "cp ", "printf ")):
            subprocess.run(line, shell=True, check=True, env={**os.environ, "SCAPYSTACK": str(ROOT)})
    assert runs == 3
    assert len(list((pytester.path / "captures" / "golden").iterdir())) == 2
