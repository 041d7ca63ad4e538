"""Bad arguments: one clear line on standard error, exit status 2, nothing on standard output."""

import pytest
from click.testing import CliRunner

from scapystack.base.config import StackConfig
from scapystack.cli import options
from scapystack.cli.main import COMMANDS, program

BAD = [
    ("nosuch", "No such command 'nosuch'"),
    ("pign 10.0.0.2", "No such command 'pign', did you mean ping?"),
    ("--nosuch", "No such option"),
    ("run --nosuch", "--nosuch"),
    ("run extra", "extra"),
    ("run --tap a-name-that-is-too-long", "cannot be an interface's name"),
    ("run --tap a/b", "cannot be an interface's name"),
    ("run --address 10.0.0.1", "lacks its prefix length"),
    ("run --address 10.0.0.1/33", "not a prefix length"),
    ("run --address ten/24", "is not an IP address"),
    ("run --address fe80::1/64", "IPv4"),
    ("run --address 224.0.0.1/24", "no host's address"),
    ("run --address 10.0.0.1/32", "--direct"),
    ("run --gateway 10.0.9.9", "no neighbour in 10.0.0.0/24"),
    ("run --gateway 10.0.0.1", "no neighbour in 10.0.0.0/24"),
    ("run --gateway there", "is not an IP address"),
    ("run --direct 10.0.0.2", "lacks its prefix length"),
    ("run --direct 10.0.0.1/24", "is the stack's own address"),
    ("run --direct 10.0.0.2/24 --bridge eth0", "exclude each other"),
    ("run --mac 02:00", "is not a MAC address"),
    ("run --mac 01:00:5e:00:00:01", "group's MAC address"),
    ("run --mtu 67", "--mtu"),
    ("run --mtu many", "--mtu"),
    ("run --codec fast", "--codec"),
    ("run --set tcp.msl_ms", "NAME=VALUE"),
    ("run --set tcp.nosuch=1", "no setting named 'tcp.nosuch'"),
    ("run --set WRONG=1", "no setting named 'WRONG'; docs/config.md and --set help list them"),
    ("run --set tcp.mls_ms=1", "did you mean tcp.msl_ms"),
    ("run --set tcp.msl_ms=soon", "whole number"),
    ("run --set ip.forward=perhaps", "on or off"),
    ("run --set ip.ttl=256", "from 1 to 255"),
    ("run --set tcp.congestion=nosuch", "no congestion control named 'nosuch'"),
    ("run --set tcp.min_rto_ms=0", "tcp.min_rto_ms is a number from 1"),
    ("run --set tcp.mss=87", "tcp.mss is 0, or a number from 88 to 65495, not 87"),
    ("run --set tcp.min_rto_ms=200000", "more than tcp.max_rto_ms"),
    ("run --profile bsd", "--profile"),
    ("nc --profile rfc --set tcp.min_rto_ms=200000 10.0.0.2 80", "more than tcp.max_rto_ms"),
    ("run --serve echo,nosuch", "no service named 'nosuch'"),
    ("run --serve echo:0", "is not a port for echo"),
    ("run --serve http --dir /nosuch/directory", "no directory"),
    ("run -w", "scapystack run: Option '-w' requires an argument (see scapystack run --help)"),
    ("plot", "FILE"),
    ("plot /nosuch/file.pcap -o x.pdf", "ends in .png or .svg"),
    ("plot /nosuch/file.pcap -o x.txt", "only a ladder is text"),
    ("plot /nosuch/file.pcap --kind pie", "--kind"),
    ("plot /nosuch/file.pcap --side both", "--side"),
    ("plot /nosuch/file.pcap --conversation 0", "--conversation"),
    ("run --trace", "--trace"),
    ("run --trace -", "write files"),
    ("repl --record x --trace ./x", "a file each"),
    ("run -w x.pcap --record x.pcap", "a file each"),
    ("run --netns=", "cannot be a namespace's name"),
    ("bench --seconds 0", "--seconds"),
    ("bench --seconds nan", "no number of seconds"),
    ("bench --rounds 0", "--rounds"),
    ("bench --only nosuch", "--only"),
    ("bench --set tcp.nosuch=1", "no setting named 'tcp.nosuch'"),
    ("ping", "ADDR"),
    ("ping somewhere", "is not an IP address"),
    ("ping ::1", "IPv4"),
    ("ping -c 0 10.0.0.2", "-c"),
    ("ping -s 65508 10.0.0.2", "-s"),
    ("ping -t 256 10.0.0.2", "-t"),
    ("ping -W 0 10.0.0.2", "-W"),
    ("ping -W nan 10.0.0.2", "no number of seconds"),
    ("ping -W inf 10.0.0.2", "no number of seconds"),
    ("ping -i inf 10.0.0.2", "no number of seconds"),
    ("ping -w - 10.0.0.2", "standard output is taken"),
    ("ping --set nosuch 10.0.0.2", "NAME=VALUE"),
    ("exec", "python PROGRAM"),
    ("exec -- python", "alone has nothing to run"),
    ("exec -- python -m", "is no program to run here"),
    ("exec -- python -X dev app.py", "is no program to run here"),
    ("exec -- python /nosuch/app.py", "there is no file /nosuch/app.py"),
    ("exec -- curl http://10.0.0.2", "curl is not Python"),
    ("nc", "give an ADDR and a PORT"),
    ("nc 10.0.0.2", "give an ADDR and a PORT"),
    ("nc 10.0.0.2 http", "'http' is not a port"),
    ("nc 10.0.0.2 0", "'0' is not a port"),
    ("nc 10.0.0.2 65536", "'65536' is not a port"),
    ("nc somewhere 80", "is not an IP address"),
    ("nc 10.0.0.2 80 90", "give an ADDR and a PORT"),
    ("nc -l", "give a PORT to listen on"),
    ("nc -l -p 80 10.0.0.1 90", "the port is given twice"),
    ("nc -p 70000 10.0.0.2 80", "-p"),
    ("nc --timeout 0 10.0.0.2 80", "--timeout"),
    ("nc -w 5 10.0.0.2 80", "a time is --timeout in nc"),
    ("ping -w 0.5 10.0.0.2", "-W in ping"),
    ("nc --timeout 1e300 10.0.0.2 80", "no number of seconds"),
    ("nc -w - 10.0.0.2 80", "standard output is taken"),
    ("replay", "FILE"),
    ("run --annotate", "--annotate writes comments"),
    ("run --annotate -w a.pcap", "--annotate writes comments"),
    ("repl -w -", "standard output is taken"),
    ("replay --role peer a.pcap", "--role"),
    ("replay --profile bsd a.pcap", "--profile"),
    ("replay --golden /nosuch a.pcap", "no directory of golden transcripts"),
    ("replay --set tcp.nosuch=1 a.pcap", "no setting named 'tcp.nosuch'"),
    ("replay --set nosuch a.pcap", "NAME=VALUE"),
    ("replay -j many a.pcap", "-j"),
    ("run --record /nosuch/file --tap a/b", "cannot be an interface's name"),
    ("rerun", "FILE"),
    ("rerun --until 0 session.rec", "--until"),
    ("rerun --until soon session.rec", "--until"),
    ("demo extra", "extra"),
    ("demo --codec fast", "--codec"),
    ("doctor extra", "extra"),
]


@pytest.mark.parametrize(("line", "told"), BAD, ids=[line for line, _ in BAD])
def test_program_bad_arguments_one_line_and_status_2(line, told):
    result = CliRunner().invoke(program, line.split())
    assert result.exit_code == 2
    assert result.stdout == ""
    assert result.stderr.endswith("\n")
    assert len(result.stderr.splitlines()) == 1, result.stderr
    assert told in result.stderr
    assert result.stderr.startswith("scapystack")


@pytest.mark.parametrize("name", sorted(COMMANDS))
def test_command_help_says_what_it_does(name):
    result = CliRunner().invoke(program, [name, "--help"])
    assert result.exit_code == 0
    assert f"scapystack {name}" in result.stdout
    assert result.stderr == ""


def test_program_without_arguments_shows_help():
    result = CliRunner().invoke(program, [])
    assert result.exit_code == 2
    for name in COMMANDS:
        assert name in result.stderr


@pytest.mark.parametrize("words", ["run --set help", "bench --set help", "replay --set help", "ping --set help"])
def test_set_help_lists_every_setting_as_it_is_set(words):
    result = CliRunner().invoke(program, words.split())
    assert result.exit_code == 0
    assert {line.partition("=")[0] for line in result.stdout.splitlines()} == set(StackConfig().names())
    options.configured(tuple(result.stdout.splitlines()))
