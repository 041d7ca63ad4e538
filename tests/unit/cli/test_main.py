"""What the program does with errors, and what it costs to ask for help."""

import errno
import resource
import subprocess
import sys

import click
import pytest
from click.testing import CliRunner

import scapystack
from scapystack.base.errors import ConfigError, LinkError
from scapystack.cli.main import COMMANDS, program

HELP_S = 0.4


def failing_with(monkeypatch, error):
    """The program, with a `doctor` that raises."""

    @click.command("doctor")
    def command():
        raise error

    monkeypatch.setattr("scapystack.cli.doctor.command", command)
    return CliRunner()


ERRORS = [
    (ConfigError("a bad setting"), 2, "scapystack: a bad setting\n"),
    (LinkError("no TAP\nto be had"), 1, "scapystack: no TAP to be had\n"),
    (ConnectionRefusedError(errno.ECONNREFUSED, "Connection refused"), 1, "scapystack: Connection refused\n"),
    (FileNotFoundError(errno.ENOENT, "No such file", "x.pcap"), 1, "scapystack: x.pcap: No such file\n"),
    (TimeoutError("no answer"), 1, "scapystack: no answer\n"),
    (KeyboardInterrupt(), 130, "\n"),
    (BrokenPipeError(errno.EPIPE, "Broken pipe"), 1, ""),
    (SystemExit(143), 143, ""),
]


@pytest.mark.parametrize(("error", "status", "told"), ERRORS, ids=[type(e).__name__ for e, _, _ in ERRORS])
def test_program_error_is_one_line_and_a_status(monkeypatch, error, status, told):
    result = failing_with(monkeypatch, error).invoke(program, ["doctor"])
    assert result.exit_code == status
    assert result.stderr == told


def test_program_bug_is_one_line_that_names_debug(monkeypatch):
    result = failing_with(monkeypatch, ValueError("odd")).invoke(program, ["doctor"])
    assert result.exit_code == 70
    assert result.stderr == "scapystack: a bug of ours: ValueError: odd (scapystack --debug ... shows where)\n"


def test_program_debug_raises_the_error(monkeypatch):
    error = LinkError("no TAP")
    result = failing_with(monkeypatch, error).invoke(program, ["--debug", "doctor"])
    assert result.exception is error


def test_program_command_status_is_the_exit_status(monkeypatch):
    @click.command("doctor")
    def command():
        return 1

    monkeypatch.setattr("scapystack.cli.doctor.command", command)
    assert CliRunner().invoke(program, ["doctor"]).exit_code == 1


def scapystack_program(*words, **options):
    return subprocess.run(
        [sys.executable, "-m", "scapystack", *words], capture_output=True, text=True, check=False, **options
    )


def test_program_version_is_the_packages():
    told = scapystack_program("--version")
    assert (told.returncode, told.stdout) == (0, f"scapystack {scapystack.__version__}\n")


def test_program_help_takes_no_time_and_no_scapy():
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    told = scapystack_program("--help")
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    assert told.returncode == 0
    assert all(about in " ".join(told.stdout.split()) for about in COMMANDS.values())
    # processor time: the clock on the wall depends on who else is at work
    assert after.ru_utime - before.ru_utime + after.ru_stime - before.ru_stime < HELP_S
    code = "import sys; import scapystack.cli.main; print(sorted({'scapy', 'rich', 'pyroute2'} & set(sys.modules)))"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "[]\n"


def test_program_output_to_a_full_device_is_one_line():
    with open("/dev/full", "w") as full:
        told = subprocess.run(
            [sys.executable, "-m", "scapystack", "--help"], stdout=full, stderr=subprocess.PIPE, text=True, check=False
        )
    assert told.returncode == 1
    assert told.stderr == "scapystack: No space left on device\n"


def test_program_started_without_descriptors_gives_their_numbers_to_nobody():
    code = (
        "import os; os.close(0); os.close(1)\n"
        "import sys; sys.argv = ['scapystack', '--version']\n"
        "from scapystack.cli import main\n"
        "main._fill_standard_descriptors()\n"
        "sys.stderr.write(' '.join(os.readlink(f'/proc/self/fd/{n}') for n in (0, 1)))\n"
    )
    told = subprocess.run([sys.executable, "-c", code], stderr=subprocess.PIPE, text=True, check=False)
    assert told.stderr == "/dev/null /dev/null"


def test_program_interrupted_while_it_is_imported_ends_with_130_in_silence(tmp_path):
    (tmp_path / "click.py").write_text("import os, signal\nos.kill(os.getpid(), signal.SIGINT)\n")
    code = "from scapystack.__main__ import main; import sys; sys.path.insert(0, sys.argv[1]); main()"
    told = subprocess.run([sys.executable, "-c", code, tmp_path], capture_output=True, check=False)
    assert (told.returncode, told.stdout, told.stderr) == (130, b"", b"")


@pytest.mark.parametrize("words", [["--version"], ["doctor", "--nosuch"]])
def test_program_started_with_all_descriptors_closed_ends_in_silence(tmp_path, words):
    said = tmp_path / "said"
    line = 'exec 2>&-; "$0" -m scapystack "$@" <&- >&-; echo $? >said'
    subprocess.run(["sh", "-c", line, sys.executable, *words], cwd=tmp_path, check=True)
    assert said.read_text() == ("0\n" if words == ["--version"] else "2\n")
