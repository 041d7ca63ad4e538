"""Lines and their commands: words, statuses, help, what a wrong word says."""

import pytest

from scapystack.base.errors import ConfigError
from scapystack.shell.session import told
from scapystack.shell.table import COMMANDS, find, split


def test_split_takes_quotes_comments_and_semicolons_apart():
    assert split("ping -c 1 'a b'; ss -t;; # all\nip a;ip r\n\n") == [
        ["ping", "-c", "1", "a b"], ["ss", "-t"], ["ip", "a"], ["ip", "r"],
    ]  # fmt: skip


def test_split_with_an_open_quote_names_the_line():
    with pytest.raises(ConfigError, match="a quote without its end: ping 'a"):
        split("ping 'a")


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_is_loaded_by_its_name_and_has_help(shell, name):
    text = shell.ok(f"help {name}")
    assert text.startswith(f"Usage: {name}")
    assert ("--json" in text) == COMMANDS[name].json


def test_help_lists_every_command(shell):
    text = shell.ok("help")
    assert all(entry.about in text for entry in COMMANDS.values())
    assert shell.ok("?") == text


def test_find_takes_the_beginning_of_one_name_alone():
    assert find("trace").name == "traceroute"
    with pytest.raises(ConfigError, match="it could be ping, ping2"):
        find("pin")


def test_execute_ends_at_the_first_failure_with_its_status(shell):
    status, out, err = shell.run("set tcp.msl_ms; nosuch; set ip.ttl")
    assert (status, out) == (2, "tcp.msl_ms = 30000\n")
    assert err == "nosuch: there is no such command; help lists those there are\n"


def test_execute_with_nothing_to_do_is_well(shell):
    assert shell.run("  # nothing\n;;") == (0, "", "")


def test_exit_leaves_what_is_behind_it_undone(shell):
    assert shell.run("exit; set") == (0, "", "")
    assert shell.session.left


def test_execute_with_a_bug_of_ours_is_one_line(shell, monkeypatch, caplog):
    monkeypatch.setattr("scapystack.shell.tables.neighbours", lambda net: 1 / 0)
    assert shell.bad("arpcache", 70) == "arpcache: a bug of ours: ZeroDivisionError: division by zero\n"
    assert "in the command arpcache" in caplog.text


def test_clear_where_no_terminal_is_says_nothing(shell):
    assert shell.ok("clear") == ""
    shell.session.out.terminal = True
    assert shell.ok("clear").startswith("\x1b[H\x1b[2J")


def test_help_option_says_to_the_session_what_help_says(shell, capsys):
    for name in ("ping", "set", "exit", "help"):
        assert shell.ok(f"{name} --help") == shell.ok(f"help {name}") != ""
    assert not shell.session.left
    assert capsys.readouterr().out == ""


def test_told_runs_a_line_in_a_session_of_its_own(shell):
    how = {"simulation": shell.simulation}
    assert told(shell.stack.driver, "set ip.ttl", **how) == (0, "ip.ttl = 64\n", "")
    assert told(shell.stack.driver, "set ip.tt", **how)[::2] == (
        2,
        "set: no setting named 'ip.tt'; did you mean ip.ttl? set alone lists them\n",
    )


BAD = [
    ("help nosuch", "no such command"),
    ("exit now", "unexpected extra argument"),
    ("stat --nosuch", "No such option"),
    ("ip", "say which"),
    ("pign 10.0.0.2", "it could be ping"), ("help pign", "it could be ping"),
    ("ip nosuch", "no object 'nosuch'"),
    ("ip addr nosuch", "no verb 'nosuch'"),
    ("ip addr add 10.0.0.9/24", "dev IFACE is missing"),
    ("ip addr add 10.0.0.9/24 dev nosuch", "no interface 'nosuch'; there is lo, mem0"),
    ("ip addr add ten dev mem0", "is not an IP address"),
    ("ip addr add 10.0.0.1/24 dev mem0", "is in use on this stack already"),
    ("ip addr add 127.0.0.9/8 dev mem0", "127.0.0.0/8 is the loopback's alone"),
    ("ip addr del 10.0.0.9/24 dev mem0", "is not an address of mem0"),
    ("ip addr flush", "dev IFACE is missing"),
    ("ip addr add dev", "lacks what should follow"),
    ("ip addr add 10.0.0.9/24 dev mem0 dev mem0", "given twice"),
    ("ip addr add 10.0.0.9/24 by mem0", "what is 'by'"),
    ("ip link set mem0", "say what to set"),
    ("ip link set mem0 mtu 10", "from 68 to 1500"),
    ("ip link set mem0 mtu large", "from 68 to 1500"),
    ("ip link set mem0 address 01:00:5e:00:00:01", "cannot be the hardware address"),
    ("ip link add eth9", "of type tap"),
    ("ip link add mem0 type tap", "there is an interface mem0 already"),
    ("ip link del lo", "lo cannot be deleted"),
    ("ip route add 10.9.0.0/16", "a gateway or an interface"),
    ("ip route add 10.9.0.0/16 via 10.7.7.7", "is on no network of ours"),
    ("ip route add 10.9.0.0/16 via 10.0.0.2 metric low", "a metric is a number"),
    ("ip route del 10.9.0.0/16", "there is no such route"),
    ("ip route add", "where the route leads"),
    ("ip route replace 10.9.0.0/16 via 10.7.7.7", "is on no network of ours"),
    ("ip route get ::1", "IPv4"),
    ("ip neigh add 10.0.0.7 dev mem0", "lladdr MAC is missing"),
    ("ip neigh add 10.0.0.7 lladdr 02:00 dev mem0", "is not a MAC address"),
    ("ip neigh del 10.0.0.7 dev mem0", "there is no neighbour"),
    ("set tcp.nosuch 1", "no setting named 'tcp.nosuch'"),
    ("set nosuch", "no setting named 'nosuch'"),
    ("set ttl", "did you mean ip.ttl?"),
    ("set tcp.min_rto_ms 0", "tcp.min_rto_ms is a number from 1"),
    ("set tcp.congestion nosuch", "no congestion control named 'nosuch'; one of: bbr, cubic, reno"),
    ("set ip.ttl=5 tcp.min_rto_ms", "NAME=VALUE was expected"),
    ("sysctl", "name a setting"),
    ("sysctl -w ip.ttl", "-w takes NAME=VALUE"),
    ("ifconfig nosuch", "no interface 'nosuch'"),
    ("ifconfig mem0 away", "Invalid value"),
]  # fmt: skip


@pytest.mark.parametrize(("line", "expected"), BAD, ids=[line for line, _ in BAD])
def test_wrong_words_are_one_line_that_says_what_to_do(shell, line, expected):
    before = shell.ok("ip addr; ip route; ip neigh; set")
    text = shell.bad(line, 1 if "no route" in expected else 2)
    assert expected.lower() in text.lower()
    assert text.startswith(f"{line.split()[0]}: ")
    assert shell.ok("ip addr; ip route; ip neigh; set") == before
