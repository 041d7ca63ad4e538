"""The benchmarks run, and say what they are asked for; what they measure is nobody's to judge here."""

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from benchmarks import compare, costs, document
from benchmarks.curves import CURVES
from benchmarks.row import Row
from benchmarks.rows import ROWS

ROOT = Path(__file__).parents[1]
TAKE_LONG = {"ip.lookup", "sim.share", "mode.packets", "mode.super-packets", "mode.super-paranoid", "start.stack"}


def row(*, less):
    return Row("name", "what", "unit", lambda seconds: 0.0, less=less, goal=10)


@pytest.mark.parametrize("name", [n for n, r in ROWS.items() if n not in TAKE_LONG and not (r.slow or r.root)])
def test_row_run_briefly_gives_a_figure(name):
    assert ROWS[name].run(0.0005) > 0


@pytest.mark.parametrize(("less", "figure", "reached"), [(True, 9, True), (True, 11, False), (False, 11, True)])
def test_row_goal_is_a_bound_on_the_right_side(less, figure, reached):
    assert row(less=less).reached(figure) == reached


# --- two commits


def test_compare_ratio_above_one_is_the_better_tree_whatever_the_unit():
    pairs = [(10.0, 5.0), (12.0, 4.0)]
    assert compare.better(row(less=True), pairs) == [2, 3]
    assert compare.better(row(less=False), pairs) == [0.5, 1 / 3]


@pytest.mark.parametrize(
    ("ratios", "said"),
    [
        ([1.2, 1.3, 1.1], "better"),
        ([0.8, 0.7, 0.9], "worse"),
        ([1.2, 1.3, 0.99], "same"),  # one pair says otherwise
        ([1.01, 1.02, 1.03], "same"),  # too little to be sure
    ],
)
def test_compare_verdict_is_given_only_where_all_pairs_agree(ratios, said):
    assert said in compare.verdict(ratios)


@pytest.fixture(scope="module")
def repository(tmp_path_factory):
    """A copy of the project with one commit, which the working tree has gone beyond: thirty times as slow in one
    place, which no other load on the machine makes up for."""
    root = tmp_path_factory.mktemp("repository")
    for name in ("scapystack", "layers", "benchmarks"):
        shutil.copytree(ROOT / name, root / name, symlinks=True)  # with its bytecode: nothing is compiled again
    (root / ".gitignore").write_text(".bench/\n__pycache__/\n")
    identity = ("-c", "user.name=x", "-c", "user.email=x")
    for words in (("init", "-q"), ("add", "-A"), (*identity, "commit", "-q", "-m", "base")):
        subprocess.run(["git", *words], cwd=root, check=True)
    checksum = root / "scapystack" / "base" / "checksum.py"
    text = checksum.read_text()
    slowed = text.replace(
        "def checksum(", "def checksum(data):\n    return [_checksum(data) for _ in range(30)][0]\n\n\ndef _checksum("
    )
    assert slowed != text
    checksum.write_text(slowed)
    return root


def bench(root, *words):
    words = (sys.executable, "-m", "benchmarks", *words)
    return subprocess.run(words, cwd=root, capture_output=True, text=True, check=False, timeout=60)


@pytest.mark.program("git")
def test_bench_base_finds_what_a_change_made_slower_and_leaves_no_worktree(repository):
    told = bench(repository, "--base", "HEAD", "--only", "checksum.1448", "--quick", "--rounds", "1")
    assert told.returncode == 0, told.stderr
    (line,) = (line for line in told.stdout.splitlines() if "checksum.1448" in line)
    assert "worse" in line
    worktrees = subprocess.run(["git", "worktree", "list"], cwd=repository, capture_output=True, text=True, check=True)
    assert len(worktrees.stdout.splitlines()) == 1


@pytest.mark.program("git")
def test_bench_base_unknown_commit_is_one_line(repository):
    told = bench(repository, "--base", "nosuch", "--only", "checksum.1448")
    assert told.returncode == 1
    assert told.stderr.startswith("git knows no commit 'nosuch'")
    assert len(told.stderr.splitlines()) == 1


@pytest.mark.program("git")
def test_bench_run_is_remembered_with_machine_python_and_commit(repository):
    told = bench(repository, "--only", "checksum.1448", "--quick")
    assert told.returncode == 0, told.stderr
    (line,) = (repository / ".bench" / "history.jsonl").read_text().splitlines()
    run = json.loads(line)
    assert run["commit"].endswith("+")  # the tree was changed
    assert "Python" in run["machine"]
    assert run["rows"]["checksum.1448"]["median"] > 0


def test_bench_unknown_row_is_told_where_the_names_are():
    told = bench(ROOT, "--only", "nosuch")
    assert told.returncode == 2
    assert "no row fits 'nosuch'; --list names them" in told.stderr


# --- curves and documents


@pytest.mark.parametrize(
    ("points", "power"),
    [([(1, 5.0), (10, 5.0), (100, 5.0)], 0), ([(1, 5.0), (10, 5.0), (100, 50.0)], 1), ([(1, 1.0), (100, 10.0)], 0.5)],
)
def test_costs_power_is_the_steepest_exponent_of_a_decade(points, power):
    curve = next(curve for curve in CURVES if curve.picture == "connections")
    assert costs.power(curve, points) == pytest.approx(power)


def test_document_put_replaces_what_stands_between_the_marks(tmp_path):
    path = tmp_path / "doc.md"
    path.write_text("before\n<!-- a -->\nold\n<!-- end -->\n<!-- b -->\nkept\n<!-- end -->\n")
    document.put("a", r"new \1", path)
    assert path.read_text() == "before\n<!-- a -->\nnew \\1\n<!-- end -->\n<!-- b -->\nkept\n<!-- end -->\n"
    with pytest.raises(ValueError, match="no place for c"):
        document.put("c", "", path)
