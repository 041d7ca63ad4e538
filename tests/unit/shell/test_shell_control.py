"""The control socket: who may come in, what a client sees, and that both ends let go of each other."""

import contextlib
import os
import socket
import stat

import pytest

from scapystack.base.errors import ConfigError, LinkError
from scapystack.link.memory import MemoryLink
from scapystack.shell import control, prompt, wire
from scapystack.shell.client import Client
from scapystack.shell.complete import complete
from scapystack.shell.control import ControlServer, default_path, find_socket
from scapystack.sockets.facade import Stack


@pytest.fixture
def home(tmp_path, monkeypatch):
    """The directory of control sockets."""
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path))
    return tmp_path / "scapystack"


@pytest.fixture
def stack():
    a, b = MemoryLink.pair()
    with Stack("10.0.0.1/24", link=a, seed=1) as one, Stack("10.0.0.2/24", link=b, seed=2):
        yield one


@pytest.fixture
def server(stack, home):
    with ControlServer(stack.driver, default_path(), name="10.0.0.1") as made:
        yield made


def test_control_socket_is_its_owners_alone(server, home):
    assert stat.S_IMODE(os.lstat(server.path).st_mode) == 0o600
    assert stat.S_IMODE(home.stat().st_mode) == 0o700
    server.close()
    assert not os.path.exists(server.path)


def test_control_another_users_connection_is_cut_off(server, monkeypatch):
    monkeypatch.setattr(control, "_peer", lambda sock: os.geteuid() + 1)
    with pytest.raises(LinkError, match=r"cannot attach|answers something else"):
        Client.attach(server.path)


def test_client_runs_lines_and_sees_what_they_say(server, capfd):
    with Client.attach(find_socket()) as client:
        assert client.name == "10.0.0.1"
        assert client.run("ping -c 1 10.0.0.2") == 0
        assert client.run("set ip.nosuch") == 2
        assert client.run("exit") == 0
        assert client.left
    out, err = capfd.readouterr()
    assert "1 packets transmitted, 1 received" in out
    assert err == "set: no setting named 'ip.nosuch'; set alone lists them\n"


def test_client_lines_end_at_the_first_failure(server, capfd):
    with Client.attach(server.path) as client:
        assert prompt.lines(client, ["set ip.ttl", "# nothing", "nosuch", "set ip.ttl"]) == 2
    assert capfd.readouterr().out == "ip.ttl = 64\n"


def test_client_names_of_files_begin_where_it_stands(server, tmp_path, monkeypatch, capfd):
    monkeypatch.chdir(tmp_path)
    with Client.attach(server.path) as client:
        assert client.run("tcpdump -q -c 1 -w nowhere/seen.pcap", with_input=False) == 1
    assert f"cannot write {tmp_path}/nowhere/seen.pcap" in capfd.readouterr().err


def test_client_interrupt_ends_the_command_and_not_the_stack(server, stack, capfd):
    with Client.attach(server.path) as client:
        frames = iter(range(9))
        # while the fourth ping or so is under way
        stack.net.taps.append(lambda way, frame: client._interrupt(2, None) if next(frames, None) == 8 else None)
        assert client.run("ping -i 0.01 10.0.0.2") == 0
        assert client.run("set ip.ttl") == 0
    assert "packets transmitted" in capfd.readouterr().out


def test_client_whose_reader_has_ended_ends_the_command(server, stack, monkeypatch):
    read, write = os.pipe()
    with os.fdopen(write, "w") as gone, Client.attach(server.path) as client:
        os.close(read)
        monkeypatch.setattr("sys.stdout", gone)
        with pytest.raises(BrokenPipeError):
            client.run("ping -i 0.01 10.0.0.2")
        monkeypatch.undo()
        with contextlib.suppress(BrokenPipeError):
            gone.close()
    assert not stack.closed


def test_client_that_goes_away_leaves_nothing(server, stack):
    here, there = socket.socketpair()
    server.serve(there)
    raw = wire.Wire(here)
    raw.put(wire.HELLO, b'{"cwd": "/", "terminal": false, "width": 80, "height": 24}')
    assert raw.take() == (wire.NAME, b"10.0.0.1")
    raw.put(wire.RUN, b"debug all")
    raw.put(wire.RUN, b"nc -l 99")
    (client,) = server._clients
    raw.close()
    client.join(10)
    assert stack.net.taps == []
    assert stack.net.tcp.listeners == {}
    assert server._clients == set()


@pytest.mark.parametrize("said", [b"", b"GET / HTTP/1.1\r\n\r\n", b"hello\0\0\0\0\0\0\2{}", b"\xff" * 4_096])
def test_control_server_survives_what_is_no_client(server, said):
    here, there = socket.socketpair()
    server.serve(there)
    here.sendall(said)
    here.shutdown(socket.SHUT_WR)
    here.settimeout(10)
    with contextlib.suppress(ConnectionResetError):  # what was not read when it was cut off
        assert here.recv(99) == b""
    here.close()
    with Client.attach(server.path) as client:
        assert client.run("# well") == 0


def test_client_of_a_stack_that_ends_says_so(server, stack):
    with Client.attach(server.path) as client:
        server.close()
        with pytest.raises(LinkError, match="the stack has ended"):
            client.run("set")
        assert client.complete("se") == []


def test_find_socket_wants_one_stack_and_sweeps_what_is_dead(home, stack):
    with pytest.raises(ConfigError, match="no stack of yours runs here: start one with scapystack run"):
        find_socket()
    home.mkdir(mode=0o700)
    dead = socket.socket(socket.AF_UNIX)
    dead.bind(str(home / "1.sock"))
    dead.close()
    with ControlServer(stack.driver, home / "2.sock"):
        assert find_socket() == str(home / "2.sock")
        assert not (home / "1.sock").exists()
        with ControlServer(stack.driver, home / "3.sock"), pytest.raises(ConfigError, match="several stacks run"):
            find_socket()
    assert find_socket("/any/path") == "/any/path"


def test_control_paths_that_cannot_be_are_one_line(home, stack, tmp_path):
    (tmp_path / "file").write_text("precious")
    with pytest.raises(LinkError, match="is there already"):
        ControlServer(stack.driver, tmp_path / "file").open()
    assert (tmp_path / "file").read_text() == "precious"
    with pytest.raises(LinkError, match="too long for a UNIX socket"):
        ControlServer(stack.driver, tmp_path / ("x" * 120)).open()
    with pytest.raises(LinkError, match="cannot open the control socket"):
        ControlServer(stack.driver, "/nonexistent/x.sock").open()
    with pytest.raises(LinkError, match=r"cannot attach to .*No such file.*; scapystack run says the path"):
        Client.attach(str(tmp_path / "nothing"))
    home.mkdir(mode=0o777)
    home.chmod(0o777)
    with pytest.raises(LinkError, match="not a directory that is ours alone"):
        default_path()


COMPLETIONS = [
    ("pin", ["ping", "ping2"]), ("ss; trac", ["traceroute"]),
    ("ip addr add 10.0.0.9/24 dev ", ["lo", "mem0"]), ("ip addr add 10.0.0.9/24 me", ["mem0", "metric"]),
    ("ip ", ["addr", "link", "neigh", "route"]), ("ip -s link s", ["set", "show"]), ("ip route add default via ", []),
    ("tcpdump -i ", ["lo", "mem0"]), ("tcpdump -c ", []), ("arping -I m", ["mem0"]),
    ("ss -t state es", ["established"]), ("ss src ", ["10.0.0.1:{port}"]),
    ("set tcp.congest", ["tcp.congestion"]), ("debug tcp", ["tcp", "tcpstate"]),
    ("arping -", ["-D", "-I", "-U", "-c", "-f", "-i", "-w"]),
    ("ifconfig ", ["down", "lo", "mem0", "up"]),
    ("ss dst 10.", ["10.0.0.2:9"]), ("nosuch ", []), ("help imp", ["impair"]),
    ("route --j", ["--json"]),
]  # fmt: skip


@pytest.mark.parametrize(("line", "words"), COMPLETIONS, ids=[line for line, _ in COMPLETIONS])
def test_complete_knows_commands_words_and_what_there_is(shell, line, words):
    server = shell.other.create_server(("", 9))
    client = shell.stack.create_connection(("10.0.0.2", 9))
    port = client.getsockname()[1]
    assert complete(shell.session, line) == [word.format(port=port) for word in words]
    client.close()
    server.close()
