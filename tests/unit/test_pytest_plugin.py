"""The pytest plugin: fixtures, the seed, what a failure tells and keeps, and what it costs where nobody uses it.

Runs of pytest inside of pytest share this process, and so what is imported here; only xdist starts others.
"""

import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

import scapystack.repl.annotate
import scapystack.testing.kernel  # noqa: F401  # imported once, not by every run below
from scapystack.base.errors import LinkError
from scapystack.link.pcapread import read_capture

pytest_plugins = ["pytester"]

ROOT = Path(__file__).parents[2]


@pytest.fixture
def run(pytester, monkeypatch):
    """Run tests with the plugin."""
    monkeypatch.setenv("PYTHONPATH", str(ROOT))  # for workers of xdist

    def run(text, *options):
        pytester.makepyfile(text)
        return pytester.runpytest_inprocess("-p", "no:cacheprovider", *options)

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
FAILING = """
    def test_peer(scripted_peer):
        scripted_peer.listen(80)
        c = scripted_peer.connect(80)
        assert False

    def test_pair(stack_pair):
        one, two = stack_pair
        server = two.create_server(("", 80))
        one.create_connection((two.address, 80)).close()
        assert False
"""
TOLD = [
    "*- scapystack seed 7, transcript -*",
    "*0.000000  peer   IP 10.0.0.2.40000 > 10.0.0.1.80: Flags [[]S], seq 0*",
    "*- scapystack capture -*",
    "scapystack-captures/*test_peer.pcapng",
    "*- scapystack seed 7, what was open -*",
    "*two: TCP *:80 LISTEN*",
    "*- scapystack frames -*",
    "0.000000 one: ARP, Request who-has 10.0.1.2*",
    "*- scapystack capture -*",
    "scapystack-captures/*test_pair-one.pcapng",
    "scapystack-captures/*test_pair-two.pcapng",
    "scapystack: 3 annotated captures written to scapystack-captures",
]


def test_fixtures_work_and_leave_nothing(run, pytester):
    run(PASSING, "--scapystack-seed=5").assert_outcomes(passed=3)
    assert not (pytester.path / "scapystack-captures").exists()


def test_examples_of_the_document_pass(run):
    text = (ROOT / "docs" / "pytest.md").read_text()
    example = next(each for each in re.findall(r"```python\n(.*?)```", text, re.DOTALL) if "scripted_peer" in each)
    run(example).assert_outcomes(passed=3)


def test_failure_tells_seed_transcript_what_was_open_and_what_became_of_each_packet(run, pytester):
    result = run(FAILING, "--scapystack-seed=7")
    result.assert_outcomes(failed=2)
    result.stdout.fnmatch_lines(TOLD)
    (path,) = (pytester.path / "scapystack-captures").glob("*test_peer.pcapng")
    packets = read_capture(path)
    assert [packet.direction for packet in packets] == [1, 2, 1]
    comments = [packet.comment for packet in packets]
    assert "RFC 9293 section 3.10.7.2 (LISTEN), third (SYN): a connection in SYN-RECEIVED" in comments[0]
    assert "answers IP 10.0.0.2.40000 > 10.0.0.1.80: Flags [S]" in comments[1]
    assert "state    ESTABLISHED, Open: 0 octets in flight" in comments[2]


def test_failure_in_a_worker_of_xdist_tells_the_same(run):
    result = run(FAILING, "--scapystack-seed=7", "-n2", "-p", "no:hypothesispytest")
    result.assert_outcomes(failed=2)
    lines = [line for line in result.outlines if not line.startswith("[gw")]
    for line in TOLD:
        assert any(re.fullmatch(line.replace("*", ".*").replace("[[]", r"\["), each) for each in lines), line


def test_failure_is_in_the_junit_file_with_its_captures(run, pytester):
    run(FAILING, "--junitxml=junit.xml", "-k", "peer")
    (name,) = re.findall(r'<property name="scapystack_capture" value="(.*)" />', Path("junit.xml").read_text())
    assert (pytester.path / name).exists()


def test_keep_captures_keeps_those_of_tests_that_pass(run, pytester):
    result = run(PASSING, "--scapystack-seed=5", "--keep-captures", "-o", "scapystack_captures=kept")
    result.assert_outcomes(passed=3)
    result.stdout.fnmatch_lines(["scapystack: 5 annotated captures written to kept"])
    assert len(list((pytester.path / "kept").iterdir())) == 5


def test_failure_without_annotating_or_where_it_cannot_write_says_the_rest(run, pytester):
    result = run(FAILING, "--scapystack-seed=7", "-k", "peer", "-o", "scapystack_annotate=false")
    result.stdout.fnmatch_lines(TOLD[:2])
    result.stdout.no_fnmatch_line("*scapystack capture*")
    (pytester.path / "taken").write_text("a file")
    result = run(FAILING, "-k", "peer", "-o", "scapystack_captures=taken")
    result.assert_outcomes(failed=1, deselected=1)
    result.stdout.fnmatch_lines(["*- scapystack capture -*", "cannot write *taken: File exists"])


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


NEEDING = """
    import pytest

    @pytest.mark.needs_tap
    def test_marked(): pass

    def test_kernel(kernel_peer): pass
"""


def test_needs_tap_without_the_rights_skips_and_fails_where_it_must_run(run, monkeypatch):
    monkeypatch.setattr("scapystack.testing.kernel.missing_rights", lambda: ["not root (CAP_NET_ADMIN)"])
    monkeypatch.delenv("SCAPYSTACK_REQUIRE_TAP", raising=False)
    result = run(NEEDING, "-rs", "--strict-markers")
    result.assert_outcomes(skipped=2)
    result.stdout.fnmatch_lines(["SKIPPED * not root (CAP_NET_ADMIN)"])
    monkeypatch.setenv("SCAPYSTACK_REQUIRE_TAP", "1")
    result = run(NEEDING)
    result.assert_outcomes(errors=2)
    result.stdout.fnmatch_lines(["not root (CAP_NET_ADMIN)"])


def test_kernel_peer_that_cannot_be_made_skips_with_the_reason(run, monkeypatch):
    def refused(**how):
        raise LinkError("cannot make network namespace x: that takes root")

    monkeypatch.setattr("scapystack.testing.kernel.missing_rights", list)
    monkeypatch.setattr("scapystack.testing.kernel.KernelPeer", refused)
    monkeypatch.delenv("SCAPYSTACK_REQUIRE_TAP", raising=False)
    result = run(NEEDING, "-rs")
    result.assert_outcomes(passed=1, skipped=1)
    result.stdout.fnmatch_lines(["SKIPPED * cannot make network namespace x: that takes root"])


def test_package_names_the_plugin_to_pytest():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert project["entry-points"]["pytest11"] == {"scapystack": "scapystack.pytest_plugin"}


def test_plugin_that_nobody_uses_imports_neither_scapy_nor_the_stack():
    heavy = ("scapy.", "scapystack.sim", "scapystack.stack", "scapystack.replay", "hypothesis")
    code = f"import sys, scapystack.pytest_plugin; print([m for m in sys.modules if m.startswith({heavy})])"
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT, timeout=60
    )
    assert done.stdout.strip() == "[]"
