"""The rules of the house, held by the tools themselves: an error planted in a copy must be caught.

Also what `make` says on a machine that lacks something, and what an import of the package may do.
"""

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
SH = shutil.which("sh")
MAX_LINES = 500


def run(*words, cwd=ROOT, env=None):
    return subprocess.run([str(w) for w in words], cwd=cwd, env=env, capture_output=True, text=True, check=False)


def sources(*patterns):
    """Our own files: what git tracks or would track, or what a plain copy of the project holds."""
    told = run("git", "ls-files", "-co", "--exclude-standard", *patterns) if shutil.which("git") else None
    if told is not None and told.returncode == 0:
        names = told.stdout.splitlines()
    else:
        names = [
            str(p.relative_to(ROOT)) for top in ("scapystack", "layers", "tests") for p in (ROOT / top).rglob("*.py")
        ]
    return [ROOT / name for name in names if (ROOT / name).is_file() and not (ROOT / name).is_symlink()]


# --- files


def test_sources_every_python_file_has_one_job():
    long = {str(p.relative_to(ROOT)): n for p in sources("*.py") if (n := len(p.read_text().splitlines())) > MAX_LINES}
    assert long == {}


def test_sources_every_module_opens_with_a_docstring():
    bare = [str(p.relative_to(ROOT)) for p in sources("*.py") if not p.read_text().lstrip().startswith(('"""', "#!"))]
    assert bare == []


def test_sources_hold_no_path_of_a_machine():
    home = str(Path.home())
    paths = [str(ROOT.parent) + "/"] if len(ROOT.parent.parts) > 2 else []  # /tmp/ and the like may stand anywhere
    paths += [home + "/."] if home != "/" else []
    found = [
        f"{p.relative_to(ROOT)}: {path}"
        for p in sources()
        if p.suffix not in (".pcap", ".pcapng")
        for path in paths
        if path in p.read_text(errors="replace")
    ]
    assert found == []


def test_layers_are_reached_through_the_tracked_symlink():
    link = ROOT / "scapystack" / "layers"
    assert link.is_symlink()
    assert os.readlink(link) == "../layers"


# --- import


IMPORT = """
import json, pkgutil, sys, importlib
events = []
sys.addaudithook(lambda name, args: events.append(name) if name.startswith("socket.") else None)
import scapy.config
def settings():
    # layers that are imported register themselves: that is theirs to do; we compare plain settings
    plain = (str, int, float, bool, tuple, type(None))
    return {k: repr(v) for k, v in vars(scapy.config.conf).items() if isinstance(v, plain)}
import scapy.layers.inet, scapy.layers.inet6, scapy.utils
before, events[:] = settings(), []
import scapystack
first = sorted(m for m in sys.modules if m.startswith("scapystack."))
for module in pkgutil.walk_packages(scapystack.__path__, "scapystack."):
    if module.name not in ("scapystack.__main__", "scapystack.all"):  # whose purpose is to be all of Scapy
        importlib.import_module(module.name)
after = settings()
print(json.dumps({
    "sockets": sorted(set(events)),
    "all": "scapy.all" in sys.modules,
    "changed": sorted(k for k in before | after if before.get(k) != after.get(k)),
}))
"""


def test_import_of_every_module_opens_no_socket_and_leaves_scapy_alone():
    told = run(sys.executable, "-c", IMPORT)
    assert told.returncode == 0, told.stderr
    assert json.loads(told.stdout) == {"sockets": [], "all": False, "changed": []}


def test_import_of_the_package_leaves_scapy_out():
    code = "import sys, scapystack; print([m for m in sys.modules if m.split('.')[0] == 'scapy'])"
    assert run(sys.executable, "-c", code).stdout.strip() == "[]"


# --- the tools see the layers through the symlink


@pytest.fixture
def tree(tmp_path):
    """A copy of the sources to plant errors in."""
    ignored = shutil.ignore_patterns("__pycache__")
    shutil.copytree(ROOT / "layers", tmp_path / "layers", ignore=ignored)
    shutil.copytree(ROOT / "scapystack", tmp_path / "scapystack", symlinks=True, ignore=ignored)
    shutil.copy(ROOT / "pyproject.toml", tmp_path)
    return tmp_path


def lint_imports(tree):
    code = "import sys; from importlinter.cli import lint_imports; sys.exit(lint_imports(no_cache=True))"
    return run(sys.executable, "-c", code, cwd=tree, env={**os.environ, "PYTHONPATH": str(tree)})


def test_import_contracts_hold(tree):
    told = lint_imports(tree)
    assert told.returncode == 0, told.stdout + told.stderr
    assert "2 kept, 0 broken" in told.stdout


@pytest.mark.parametrize(
    ("path", "line", "told"),
    [
        ("layers/planted.py", "import socket", "scapystack.layers.planted -> socket"),
        ("layers/planted.py", "import scapy.layers.inet", "scapystack.layers.planted -> scapy"),
        ("layers/planted.py", "from os import urandom", "scapystack.layers.planted -> os"),
        ("scapystack/base/planted.py", "import time", "scapystack.base.planted -> time"),
        ("layers/planted.py", "import scapystack.describe", "scapystack.layers.planted -> scapystack.describe"),
        ("scapystack/base/planted.py", "import scapystack.layers", "scapystack.base.planted -> scapystack.layers"),
        ("scapystack/planted.py", "x = 1", "planted"),
    ],
)
def test_import_contracts_planted_import_is_caught(tree, path, line, told):
    (tree / path).write_text(f'"""Planted."""\n\n{line}\n')
    result = lint_imports(tree)
    assert result.returncode != 0
    assert told in " ".join((result.stdout + result.stderr).split())


def test_mypy_planted_error_in_layers_is_caught(tmp_path):
    """A small package with our settings and our symlink: a planted error in a layer, and only it, is told."""
    (tmp_path / "layers").mkdir()
    (tmp_path / "scapystack").mkdir()
    (tmp_path / "scapystack" / "layers").symlink_to(os.readlink(ROOT / "scapystack" / "layers"))
    (tmp_path / "scapystack" / "__init__.py").write_text("")
    (tmp_path / "layers" / "__init__.py").write_text("")
    (tmp_path / "layers" / "planted.py").write_text(
        "def f(x: int) -> str:\n    return x\n\n\ndef g(y):\n    return y\n"
    )
    shutil.copy(ROOT / "pyproject.toml", tmp_path)
    told = run(sys.executable, "-m", "mypy", "--cache-dir", tmp_path / "cache", cwd=tmp_path)
    assert told.returncode == 1, told.stdout + told.stderr
    assert re.search(r"layers/planted\.py:2: error: Incompatible return value", told.stdout)
    assert re.search(r"layers/planted\.py:5: error: Function is missing a type annotation", told.stdout)


def test_ruff_import_of_layers_by_its_bare_name_is_caught():
    told = subprocess.run(
        [sys.executable, "-m", "ruff", "check", "--stdin-filename", "scapystack/planted.py", "-"],
        cwd=ROOT,
        input='"""Planted."""\n\nimport layers\n\nprint(layers)\n',
        capture_output=True,
        text=True,
        check=False,
    )
    assert told.returncode == 1
    assert "TID251" in told.stdout


# --- make


def make(*goals, cwd, path):
    """`make` with an environment that holds a PATH and nothing else."""
    return run(shutil.which("make"), *goals, cwd=cwd, env={"PATH": str(path), "HOME": str(cwd)})


@pytest.fixture
def bench(tmp_path):
    """A copy of what make needs, and a PATH with the plain tools on it but no Python."""
    (tmp_path / ".ci").mkdir()
    for name in ("Makefile", "pyproject.toml", ".ci/venv"):
        shutil.copy(ROOT / name, tmp_path / name)
    tools = tmp_path / "bin"
    tools.mkdir()
    for name in ("sh", "touch", "rm", "sed", "echo", "cat"):
        (tools / name).symlink_to(shutil.which(name))
    return tmp_path


def fake_python(bench, name, script):
    program = bench / "bin" / name
    program.write_text(f"#!{SH}\n{script}\n")
    program.chmod(0o755)


@pytest.mark.program("make")
def test_make_without_goal_lists_the_goals(bench):
    told = make(cwd=bench, path=bench / "bin")
    assert told.returncode == 0
    for goal in ("demo", "test", "lint", "bench", "clean", "help"):
        assert f"make {goal}\t" in told.stdout


@pytest.mark.program("make")
@pytest.mark.parametrize("goal", ["demo", "test"])
def test_make_without_python_says_what_to_get(bench, goal):
    told = make(goal, cwd=bench, path=bench / "bin")
    assert told.returncode == 2
    assert "Python 3.11, 3.12 or 3.13 is needed and was not found." in told.stderr
    assert "apt-get install python3 python3-venv" in told.stderr


@pytest.mark.program("make")
def test_make_old_python_says_which_it_found(bench):
    fake_python(bench, "python3", 'case "$1" in -V) echo Python 3.9.2;; *) exit 3;; esac')
    told = make("demo", cwd=bench, path=bench / "bin")
    assert told.returncode == 2
    assert "there is: python3 (Python 3.9.2)" in told.stderr


@pytest.mark.program("make")
def test_make_python_without_venv_names_the_package(bench):
    fake_python(bench, "python3", 'case "$2" in *sys.exit*) exit 1;; *) echo 3.11;; esac')
    told = make("test", cwd=bench, path=bench / "bin")
    assert told.returncode == 2
    assert "apt-get install python3.11-venv" in told.stderr


@pytest.mark.program("make")
def test_make_broken_shim_is_passed_over_for_one_that_works(bench):
    fake_python(bench, "python3.13", "exit 127")
    fake_python(bench, "python3.12", 'case "$1" in -V) echo Python 3.12.1;; -m) exit 9;; esac')
    told = make("demo", cwd=bench, path=bench / "bin")
    assert "making .venv with Python 3.12.1" in told.stdout
    assert "'python3.12 -m venv .venv' failed" in told.stderr


@pytest.mark.program("make")
def test_make_failed_install_shows_pips_own_words_and_leaves_no_stamp(bench):
    fake_python(bench, "python3", "exit 0")
    (bench / ".venv" / "bin").mkdir(parents=True)
    inner = bench / ".venv" / "bin" / "python"
    inner.write_text(f'#!{SH}\ncase "$2" in pip) echo "ERROR: no route to the index" >&2; exit 1;; esac\n')
    inner.chmod(0o755)
    told = make("demo", cwd=bench, path=bench / "bin")
    assert told.returncode == 2
    assert "ERROR: no route to the index" in told.stderr
    assert "pip could not install ." in told.stderr
    assert not (bench / ".venv" / ".ready-run").exists()


@pytest.mark.program("make")
def test_make_second_time_installs_nothing(bench):
    (bench / ".venv" / "bin").mkdir(parents=True)
    inner = bench / ".venv" / "bin" / "python"
    inner.write_text(f'#!{SH}\necho "$@" >>log\n')
    inner.chmod(0o755)
    for _ in range(2):
        assert make("demo", "test", cwd=bench, path=bench / "bin").returncode == 0
    log = (bench / "log").read_text()
    assert log.count("pip install") == 2  # what demo needs, and what test needs, once each
    assert log.count("-m scapystack demo") == 2
    assert log.count("-m pytest") == 2


# --- documents


def blocks(name):
    """The Python blocks of a document."""
    return re.findall(r"^```python\n(.*?)^```", (ROOT / name).read_text(), re.MULTILINE | re.DOTALL)


@pytest.mark.parametrize("number", range(4))
def test_readme_example_runs_as_it_stands(number):
    told = run(sys.executable, "-W", "ignore::ResourceWarning", "-c", blocks("README.md")[number])
    assert (told.returncode, told.stderr) == (0, "")


def test_readme_has_no_example_that_is_not_run():
    assert len(blocks("README.md")) == 4


@pytest.mark.parametrize("name", ["README.md", "CONTRIBUTING.md", "CHANGELOG.md"])
def test_document_names_only_files_that_exist(name):
    text = (ROOT / name).read_text()
    named = re.findall(r"\]\(([\w./-]+)\)|`((?:tests|layers|scapystack|docs)/[\w./-]+)`", text)
    absent = {path for pair in named for path in pair if not (ROOT / path).exists()}
    assert absent - {"scapystack/cli/NAME.py"} == set()


@pytest.mark.parametrize("name", ["README.md", "CONTRIBUTING.md"])
def test_document_names_only_goals_that_make_has(name):
    goals = set(re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    assert set(re.findall(r"(?:^    |`)make ([a-z]+)", (ROOT / name).read_text(), re.MULTILINE)) <= goals
