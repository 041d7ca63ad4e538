"""`scapystack.replay` and `scapystack replay`: verdicts, golden transcripts, broken files, several processes."""

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner

from scapystack.base.errors import ConfigError
from scapystack.cli.main import program
from scapystack.layers.tcp import transmit as transmit_module
from scapystack.replay import replay
from scapystack.replay.tcp import TcpReplay

PCAPS = Path(__file__).parents[2] / "pcaps"
NC = PCAPS / "nc-transfer.pcap"


def run(*words):
    """The program's exit status and what it printed."""
    done = CliRunner().invoke(program, ["replay", *map(str, words)], standalone_mode=False)
    assert done.exception is None, done.exception
    return done.return_value, done.output


@pytest.mark.parametrize("profile", ["linux", "rfc"])
def test_replay_nc_transfer_both_roles_pass(profile):
    server, client = replay(NC, role="both", profile=profile)
    assert (server.role, server.verdict, server.received, server.state) == ("server", "passed", 1608, "ESTABLISHED")
    assert (client.role, client.verdict, client.sent, client.state) == ("client", "passed", 1608, "ESTABLISHED")


def test_replay_golden_written_then_equal_then_masked(tmp_path):
    capture = Path(shutil.copy(NC, tmp_path))
    assert [r.golden for r in replay(capture, role="both")] == ["", ""]
    assert [r.golden for r in replay(capture, role="both", update_golden=True)] == ["written", "written"]
    golden = tmp_path / "golden" / "nc-transfer.pcap-1-server-linux.txt"
    lines = golden.read_text().splitlines()
    assert lines[2].endswith("< Flags [S], seq 0, win 29200, mss 1460, sackOK, TS val 0 ecr 0, wscale 7, length 0")
    assert [r.golden for r in replay(capture, role="both")] == ["equal", "equal"]
    lines[3] = lines[3].replace("win 4096", "win 4097").replace("0.000000", "0.000001")
    golden.write_text("\n".join(lines) + "\n")
    (result,) = replay(capture, role="server")
    assert (result.verdict, result.golden) == ("failed", "differs")
    assert result.differences[0] == f"packet 2 differs from {golden}:"
    assert result.differences[-2:] == [
        "      time: 0.000001 in the golden transcript, 0.000000 now",
        "      win: 4097 in the golden transcript, 4096 now",
    ]
    golden.write_text("\n".join([*lines[:2], "# mask: time win", *lines[2:]]) + "\n")
    (result,) = replay(capture, role="server")
    assert (result.verdict, result.golden) == ("passed", "equal")


def test_replay_update_keeps_masks(tmp_path):
    capture = Path(shutil.copy(NC, tmp_path))
    replay(capture, update_golden=True)
    golden = tmp_path / "golden" / "nc-transfer.pcap-1-server-linux.txt"
    before = golden.read_text().splitlines(keepends=True)
    masked = "".join([*before[:2], "# mask: win\n", *before[2:]])
    golden.write_text(masked.replace("win 4096", "win 1"))
    (result,) = replay(capture, update_golden=True)
    assert result.golden == "written"
    assert golden.read_text() == masked


def test_replay_golden_with_unknown_mask_says_so(tmp_path):
    capture = Path(shutil.copy(NC, tmp_path))
    replay(capture, update_golden=True)
    golden = tmp_path / "golden" / "nc-transfer.pcap-1-server-linux.txt"
    golden.write_text(golden.read_text().replace("0.000000", "# mask: windw\n0.000000", 1))
    (result,) = replay(capture)
    assert (result.verdict, result.conversation) == ("error", 1)
    assert "masks 'windw'" in result.reason


@pytest.mark.parametrize(("off_by", "says"), [(1, "acknowledges 538; the peer has sent 537"), (-1, "ack: 537 in the")])
def test_replay_of_a_stack_whose_acks_are_off_by_one_names_the_packet(tmp_path, monkeypatch, off_by, says):
    capture = Path(shutil.copy(NC, tmp_path))
    replay(capture, update_golden=True)
    right = transmit_module.transmit

    def wrong(c, *rest, **more):
        if c.bytes_received:
            c.rcv_nxt += off_by
        try:
            right(c, *rest, **more)
        finally:
            if c.bytes_received:
                c.rcv_nxt -= off_by

    monkeypatch.setattr(transmit_module, "transmit", wrong)
    (result,) = replay(capture)
    assert (result.verdict, result.golden) == ("failed", "differs")
    told = "\n".join(result.findings + result.differences)
    assert says in told
    assert "packet 5" in told
    assert f"> Flags [.], seq 1, ack {537 + off_by}, win" in told


def test_replay_twice_and_in_two_processes_says_the_same():
    status, first = run("--role", "both", "--json", "-j", "1", NC, NC)
    assert (status, len(first.splitlines())) == (0, 4)
    assert run("--role", "both", "--json", "-j", "1", NC, NC) == (status, first)
    assert run("--role", "both", "--json", "-j", "2", NC, NC) == (status, first)


def test_replay_of_datagrams_tells_of_no_state():
    status, told = run("--role", "client", PCAPS / "ping.pcap")
    assert (status, told.splitlines()[1].rpartition("octets sent, ")[2]) == (0, "168 received, golden transcript equal")


def test_replay_broken_file_is_one_line_and_the_others_go_on(tmp_path):
    (tmp_path / "text.pcap").write_text("no capture at all, but a text that is long enough")
    (tmp_path / "cut.pcap").write_bytes(NC.read_bytes()[:-100])
    (tmp_path / "empty.pcap").write_bytes(NC.read_bytes()[:24])
    status, told = run(*(tmp_path / name for name in ("text.pcap", "nosuch.pcap", "empty.pcap", "cut.pcap")), NC)
    assert status == 1
    lines = told.splitlines()
    assert lines[1] == "  ERR  is neither a pcap nor a pcapng file"
    assert lines[3] == "  ERR  No such file or directory"
    assert lines[5] == "  ERR  there is no conversation in it (no packets)"
    assert lines[7].startswith("  ok   1 server")
    assert lines[8].startswith("  ERR  incomplete: the last packet is cut at octet ")
    assert lines[10].startswith("  ok   1 server")
    assert lines[11] == "2 passed, 4 error"


def test_replay_update_that_cannot_be_written_names_the_place(tmp_path):
    capture = Path(shutil.copy(NC, tmp_path))
    (tmp_path / "golden").write_text("no directory")
    status, told = run("--update-golden", capture)
    assert status == 1
    (line,) = told.splitlines()[1:-1]
    assert line.startswith("  ERR  1 server TCP ")
    assert line.endswith(f": {tmp_path / 'golden'}: File exists")


def test_replay_interrupted_update_leaves_the_old_transcript_and_nothing_else(tmp_path, monkeypatch):
    def interrupted(self):
        raise KeyboardInterrupt

    capture = Path(shutil.copy(NC, tmp_path))
    replay(capture, update_golden=True)
    (golden,) = (tmp_path / "golden").iterdir()
    before = golden.read_text()
    monkeypatch.setattr(TcpReplay, "run", interrupted)
    with pytest.raises(KeyboardInterrupt):
        replay(capture, update_golden=True)
    assert list((tmp_path / "golden").iterdir()) == [golden]
    assert golden.read_text() == before


def test_replay_ctrl_c_while_processes_work_ends_them_all_in_silence():
    code = (
        "import os, signal, sys\n"
        "from scapystack.cli.main import main\n"
        "from scapystack.replay import run\n"
        "run._one = lambda *task: os.killpg(0, signal.SIGINT)\n"
        "sys.argv = ['scapystack', 'replay', '-j', '2', *sys.argv[1:]]\n"
        "main()"
    )
    words = [sys.executable, "-c", code, *[str(NC)] * 20]
    told = subprocess.run(words, capture_output=True, text=True, check=False, start_new_session=True)
    assert (told.returncode, told.stdout, told.stderr.strip()) == (130, "", "")


def test_replay_json_is_one_object_a_line():
    status, told = run("--json", NC)
    (line,) = told.splitlines()
    assert status == 0
    assert json.loads(line)["title"] == "TCP 10.0.0.2:36292 > 10.0.0.1:12345"


def test_replay_setting_goes_above_the_recording(tmp_path):
    capture = Path(shutil.copy(NC, tmp_path))
    replay(capture, update_golden=True)
    (result,) = replay(capture, overrides={"tcp.mss": "536"})
    assert "mss: 1460 in the golden transcript, 536 now" in "\n".join(result.differences)


def test_replay_wrong_arguments_raise():
    with pytest.raises(ConfigError, match="no role named 'peer'"):
        replay(NC, role="peer")
    with pytest.raises(ConfigError, match="no directory of golden transcripts"):
        replay(NC, golden="/nosuch")
    with pytest.raises(ConfigError, match="no profile named"):
        replay(NC, profile="bsd")
