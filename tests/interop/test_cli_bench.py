"""`scapystack bench` measures both sides, says so to people and to programs, and leaves nothing."""

import json
import os
import signal
import subprocess
import sys
import time

import pytest

from scapystack.cli.bench import NAMES

PROGRAM = (sys.executable, "-m", "scapystack", "bench")
QUICK = [name for name in NAMES if not name.startswith("many")]


def bench(*words):
    return subprocess.run([*PROGRAM, *words], capture_output=True, text=True, timeout=60, check=False)


def only(names):
    return [word for name in names for word in ("--only", name)]


def test_bench_json_has_stack_kernel_and_ratio_of_each():
    told = bench("--json", "--seconds", "0.1", *only(QUICK))
    assert (told.returncode, told.stderr) == (0, "")
    figures = json.loads(told.stdout)
    assert list(figures) == QUICK
    for name, each in figures.items():
        assert each["stack"] > 0, name
        faster = each["kernel"] / each["stack"] if name == "ping" else each["stack"] / each["kernel"]
        assert each["ratio"] == pytest.approx(faster)


def test_bench_thousand_connections_both_ways():
    told = bench("--json", "--seconds", "0.2", "--only", "many-in", "--only", "many-out")
    assert told.returncode == 0, told.stdout + told.stderr
    assert all(each["stack"] > 0 for each in json.loads(told.stdout).values())


def test_bench_shows_a_line_for_each_and_takes_the_stacks_options():
    told = bench("--seconds", "0.1", "--only", "echo", "--no-offload", "--set", "tcp.congestion=reno")
    assert (told.returncode, told.stderr) == (0, "")
    assert "one octet back and forth" in told.stdout
    assert "ratio" in told.stdout


def test_bench_that_is_killed_leaves_no_process():
    with subprocess.Popen([*PROGRAM, "--seconds", "20", "--only", "echo"], stderr=subprocess.DEVNULL) as program:
        children = within(lambda: [pid for pid in children_of(program.pid) if b"bench_load" in command_of(pid)][1:])
        everyone = children_of(program.pid)
        assert len(everyone) >= len(children)
        program.send_signal(signal.SIGKILL)
    within(lambda: not [pid for pid in everyone if b"serve" in command_of(pid) or b"bench_lab" in command_of(pid)])
    for pid in everyone:  # the client measures on until its time is over
        if b"bench_load" in command_of(pid):
            os.kill(pid, signal.SIGKILL)


def children_of(pid):
    told = subprocess.run(["ps", "-o", "pid=", "--ppid", str(pid)], capture_output=True, text=True, check=False)
    return [int(word) for word in told.stdout.split()]


def command_of(pid):
    try:
        with open(f"/proc/{pid}/cmdline", "rb") as file:
            return file.read()
    except OSError:
        return b""


def within(condition, limit=15.0):
    """What the condition gives once it gives something."""
    end = time.monotonic() + limit
    while not (given := condition()):
        assert time.monotonic() < end, "what was waited for did not happen"
        time.sleep(0.02)
    return given
