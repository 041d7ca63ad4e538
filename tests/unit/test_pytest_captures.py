"""Captures as tests of pytest: names, golden transcripts, skips, broken files, settings, and a stack that is wrong."""

import shutil
from pathlib import Path

import pytest
from scapy.layers.inet import IP, TCP
from scapy.layers.l2 import Ether
from scapy.utils import wrpcap

import scapystack.repl.annotate
import scapystack.replay.run  # noqa: F401  # imported once, not by every run below
from scapystack.layers.tcp import transmit
from scapystack.link.pcapread import read_capture

pytest_plugins = ["pytester"]

PCAPS = Path(__file__).parents[2] / "pcaps"


@pytest.fixture
def project(pytester):
    """A project whose captures are tests; copies the captures that it is given, and runs pytest."""
    folder = pytester.path / "captures"
    folder.mkdir()
    pytester.makeini("[pytest]\nscapystack_pcaps = captures\n")

    def run(*options, copy=()):
        for name in copy:
            shutil.copy(PCAPS / name, folder)
        return pytester.runpytest_inprocess("-p", "no:cacheprovider", *options)

    return run


def outcome(result):
    """Every test that was reported in `-v`: its id, and what came of it."""
    words = [line.split() for line in result.outlines if line.startswith("captures/") and "::" in line]
    return {name.removeprefix("captures/"): verdict for name, verdict, *_ in words}


def test_capture_is_a_test_for_each_conversation_and_role(project):
    result = project("-v", copy=["ports-again.pcap", "udp.pcap"])
    assert outcome(result) == dict.fromkeys(
        [
            *(f"ports-again.pcap::{n}-{role}" for n in (1, 2) for role in ("server", "client")),
            "udp.pcap::1-server",
            "udp.pcap::1-client",
        ],
        "PASSED",
    )
    assert outcome(project("-v", "-k", "ports and server")) == {
        "ports-again.pcap::1-server": "PASSED",
        "ports-again.pcap::2-server": "PASSED",
    }
    assert outcome(project("-v", "-k", "UDP and client")) == {"udp.pcap::1-client": "PASSED"}
    assert outcome(project("-v", "captures/ports-again.pcap::2-client")) == {"ports-again.pcap::2-client": "PASSED"}


def test_capture_that_cannot_be_replayed_skips_with_the_reason(project):
    syn = Ether() / IP(src="10.0.0.2", dst="10.0.0.1") / TCP(sport=4000, dport=80, flags="S")
    wrpcap("captures/alone.pcap", [syn])
    result = project("-v", "-rs")
    assert outcome(result) == {"alone.pcap::1-server": "SKIPPED", "alone.pcap::1-client": "PASSED"}
    result.stdout.fnmatch_lines(["SKIPPED * TCP 10.0.0.2:* > 10.0.0.1:*: nobody answers the SYN, *"])


def test_file_that_is_broken_fails_in_one_line_and_the_others_go_on(project, pytester):
    whole = (PCAPS / "http.pcap").read_bytes()
    for name, octets in (("junk.pcap", b"junk"), ("torn.pcapng", whole[:900]), ("empty.pcap", whole[:24])):
        (pytester.path / "captures" / name).write_bytes(octets)
    result = project("-v", "-r", "N", copy=["ping.pcap"])
    assert outcome(result) == {
        "empty.pcap::file": "FAILED",
        "junk.pcap::file": "FAILED",
        "ping.pcap::1-server": "PASSED",
        "ping.pcap::1-client": "PASSED",
        "torn.pcapng::1-server": "PASSED",
        "torn.pcapng::1-client": "PASSED",
        "torn.pcapng::file": "FAILED",
    }
    told = result.outlines[result.outlines.index(next(line for line in result.outlines if "= FAILURES =" in line)) :]
    assert [line for line in told if not line.startswith(("=", "_"))] == [
        "empty.pcap: there is no conversation in it (no packets)",
        "junk.pcap: is neither a pcap nor a pcapng file",
        "torn.pcapng: incomplete: the last packet is cut at octet 841",
    ]


def test_update_golden_writes_what_later_runs_compare_with(project, pytester):
    golden = pytester.path / "captures" / "golden"
    result = project("--update-golden", copy=["handshake.pcap"])
    result.stdout.fnmatch_lines(["scapystack: 2 golden transcripts written to captures/golden"])
    for name in ("handshake.pcap-1-server-linux.txt", "handshake.pcap-1-client-linux.txt"):
        assert (golden / name).read_text() == (PCAPS / "golden" / name).read_text()
    project().assert_outcomes(passed=2)
    path = golden / "handshake.pcap-1-server-linux.txt"
    path.write_text(path.read_text().replace("ack 301", "ack 300", 1))
    result = project()
    result.assert_outcomes(passed=1, failed=1)
    result.stdout.fnmatch_lines(
        [
            "packet 5 differs from captures/golden/handshake.pcap-1-server-linux.txt:",
            "*ack: 300 in the golden transcript, 301 now",
        ]
    )
    path.write_text("something else\n")
    project().stdout.fnmatch_lines(["captures/golden/*.txt is no golden transcript"])


def test_capture_against_a_broken_stack_is_red_and_keeps_an_annotated_capture(project, pytester, monkeypatch):
    right = transmit.transmit

    def wrong(c, *rest, **more):
        c.rcv_nxt += 1
        try:
            right(c, *rest, **more)
        finally:
            c.rcv_nxt -= 1

    monkeypatch.setattr(transmit, "transmit", wrong)
    result = project("--scapystack-seed=3", "-k", "server", copy=["handshake.pcap"])
    result.assert_outcomes(failed=1, deselected=1)
    result.stdout.fnmatch_lines(
        [
            "packet 5: acknowledges 302; the peer has sent 301 without a gap",
            " => * > Flags [[].], seq 1, ack 302, *",
            "*- scapystack seed 3, transcript -*",
            "0.000000 < Flags [[]S], seq 0, *",
            "*- scapystack capture -*",
            "scapystack-captures/captures-handshake.pcap-1-server.pcapng",
        ]
    )
    packets = read_capture(pytester.path / "scapystack-captures" / "captures-handshake.pcap-1-server.pcapng")
    assert "RCV.NXT advances by 300" in packets[3].comment
    assert packets[4].comment.startswith("sent: IP 10.0.0.1.80 > 10.0.0.2.40000: Flags [.]")


def test_keep_captures_keeps_those_of_captures_that_pass_and_takes_none_of_them_for_tests(project, pytester):
    options = ("--keep-captures", "-o", "scapystack_pcaps=.", "-o", "scapystack_role=client")
    result = project(*options, copy=["ping.pcap"])
    result.stdout.fnmatch_lines(["scapystack: 1 annotated capture written to scapystack-captures"])
    project(*options).assert_outcomes(passed=1)


def test_settings_of_the_ini_file_are_those_of_the_replay(project, pytester):
    pytester.makeini(
        "[pytest]\ntestpaths = tests\nscapystack_pcaps = captures\nscapystack_golden = kept\nscapystack_role = server\n"
        "scapystack_profile = rfc\nscapystack_set =\n    tcp.sack = off\n    tcp.timestamps=off\n"
    )
    (pytester.path / "tests").mkdir()
    (pytester.path / "tests" / "test_it.py").write_text("def test_it(): pass\n")
    project("--update-golden", copy=["handshake.pcap"]).assert_outcomes(passed=2)
    (written,) = (pytester.path / "kept").iterdir()
    assert written.name == "handshake.pcap-1-server-rfc.txt"
    answer = next(line for line in written.read_text().splitlines() if "Flags [S.]" in line)
    assert "mss 1460, wscale" in answer  # neither SACK nor timestamps
    project("tests").assert_outcomes(passed=1)


@pytest.mark.parametrize(
    ("setting", "says"),
    [
        ("scapystack_pcaps=elsewhere", "scapystack_pcaps: there is no folder *elsewhere"),
        ("scapystack_role=waiter", "scapystack: no role named 'waiter'; one of: server, client, auto, both"),
        ("scapystack_profile=bsd", "scapystack: *bsd*"),
        ("scapystack_golden=nowhere", "scapystack: *nowhere is no directory of golden transcripts (--update-golden*"),
        ("scapystack_set=tcp.sack", "scapystack: scapystack_set takes NAME=VALUE, not 'tcp.sack'"),
        ("scapystack_set=tcp.sock=off", "scapystack: *tcp.sock*"),
    ],
)
def test_setting_that_makes_no_sense_is_one_line(project, setting, says):
    result = project("-o", setting)
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines([f"ERROR: {says}"])
    assert len([line for line in result.errlines if line]) == 1
