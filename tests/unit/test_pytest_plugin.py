"""The pytest plugin: fixtures, the seed, what a failure tells, and what it costs where nobody uses it."""

import re
import subprocess
import sys
import tomllib
from importlib.metadata import entry_points
from pathlib import Path

import pytest

pytest_plugins = ["pytester"]

ROOT = Path(__file__).parents[2]
ENTRY_POINTS = [point.value for point in entry_points(group="pytest11")]
PLUGIN = [] if "scapystack.pytest_plugin" in ENTRY_POINTS else ["-p", "scapystack.pytest_plugin"]
"""By name where the package was installed before it had the plugin."""


@pytest.fixture
def run(pytester, monkeypatch):
    """Run tests in a process of their own, with the plugin."""
    monkeypatch.setenv("PYTHONPATH", str(ROOT))

    def run(text, *options):
        pytester.makepyfile(text)
        return pytester.runpytest_subprocess(*PLUGIN, "-p", "no:cacheprovider", *options)

    return run


PASSING = """
    from scapy.layers.inet import ICMP

    def test_peer(scripted_peer):
        scripted_peer.send(ICMP(id=1) / b"x")
        scripted_peer.expect(ICMP(type=0) / b"x")

    def test_pair(stack_pair):
        one, two = stack_pair
        assert one.ping(two.address).rtt_ms == 4

    def test_network(network, scapystack_seed):
        a, b = network.host("a"), network.host("b")
        network.link(a, b, delay_ms=20, arp=False)
        assert a.ping(b.address).rtt_ms == 40
        assert network.seed == scapystack_seed == 5
"""


def test_fixtures_work_alone_and_in_parallel(run):
    run(PASSING, "--scapystack-seed=5").assert_outcomes(passed=3)
    run(PASSING, "--scapystack-seed=5", "-n2").assert_outcomes(passed=3)


def test_examples_of_the_document_pass(run):
    text = (ROOT / "docs" / "pytest.md").read_text()
    (example,) = re.findall(r"```python\n(.*?)```", text, re.DOTALL)
    run(example).assert_outcomes(passed=3)


def test_failure_tells_seed_transcript_and_what_was_open(run):
    result = run(
        """
        def test_peer(scripted_peer):
            scripted_peer.listen(80)
            c = scripted_peer.connect(80)
            assert False

        def test_pair(stack_pair):
            one, two = stack_pair
            server = two.create_server(("", 80))
            one.create_connection((two.address, 80)).close()
            assert False
        """,
        "--scapystack-seed=7",
    )
    result.assert_outcomes(failed=2)
    result.stdout.fnmatch_lines(
        [
            "*- scapystack seed 7, transcript -*",
            "*0.000000  peer   IP 10.0.0.2.40000 > 10.0.0.1.80: Flags [[]S], seq 0*",
            "*- scapystack seed 7, what was open -*",
            "*two: TCP *:80 LISTEN*",
            "*- scapystack frames -*",
            "0.000000 one: ARP, Request who-has 10.0.1.2*",
        ]
    )


def test_same_seed_in_two_runs_gives_the_same_numbers(run):
    text = """
        def test_number(scripted_peer):
            scripted_peer.listen(80)
            scripted_peer.connect(80)
            print("iss", scripted_peer.conversations[40000, 80].bases(of_peer=False).seq)
    """

    def number(seed):
        lines = run(text, "-s", f"--scapystack-seed={seed}").outlines
        return next(line.partition("iss ")[2] for line in lines if "iss " in line)

    assert number(1) == number(1) != number(2)


def test_package_names_the_plugin_to_pytest():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert project["entry-points"]["pytest11"] == {"scapystack": "scapystack.pytest_plugin"}


def test_plugin_that_nobody_uses_imports_neither_scapy_nor_the_stack():
    heavy = ("scapy.", "scapystack.sim", "scapystack.stack", "hypothesis")
    code = f"import sys, scapystack.pytest_plugin; print([m for m in sys.modules if m.startswith({heavy})])"
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT, timeout=60
    )
    assert done.stdout.strip() == "[]"
