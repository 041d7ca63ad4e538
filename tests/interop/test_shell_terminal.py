"""The net shell through a pseudo-terminal: `scapystack run` on a TAP, every command against the real kernel.

`python -m tests.interop.test_shell_terminal` types the same session and writes it into docs/shell.md.
"""

import os
import re
import signal
import socket
import subprocess
import sys
import threading
from pathlib import Path

import pexpect
import pytest

from scapystack.link import netns as namespaces
from scapystack.link.pcapread import read_capture
from scapystack.shell.table import COMMANDS
from tests.interop.netns import Namespace, needs

PROGRAM = (sys.executable, "-m", "scapystack")
LIMIT_S = 20
PASTE_ON, PASTE_OFF = re.escape("\x1b[?2004h"), re.escape("\x1b[?2004l")
"""What prompt_toolkit writes when a prompt begins, and when a line was entered."""
ESCAPES = re.compile(r"\x1b(\[[0-9;?]*[ -/]*[@-~]|[=>])")
DOCUMENT = Path(__file__).parents[2] / "docs" / "shell.md"
BEGIN, END = "<!-- session: python -m tests.interop.test_shell_terminal -->\n", "<!-- end of session -->\n"


def plain(text):
    """Without what moves the cursor and colours."""
    return ESCAPES.sub("", text).replace("\r", "")


class Terminal:
    """A program on a pseudo-terminal inside a namespace; `session` is all that a person saw of it."""

    def __init__(self, ns, home, *words):
        sockets = home / "run"  # not where the program starts: it makes a directory there of its own name
        sockets.mkdir(mode=0o700, exist_ok=True)
        environment = {
            **os.environ, "XDG_RUNTIME_DIR": str(sockets), "XDG_STATE_HOME": str(home / "state"), "TERM": "xterm",
            "PROMPT_TOOLKIT_NO_CPR": "1",
        }  # fmt: skip
        for name in ("COLUMNS", "LINES"):  # the terminal says how large it is
            environment.pop(name, None)
        self.child = namespaces.in_namespace(
            ns.name,
            lambda: pexpect.spawn(
                PROGRAM[0], [*PROGRAM[1:], *words], dimensions=(40, 150), encoding="utf-8", timeout=LIMIT_S,
                env=environment, cwd=str(home),
            ),
        )  # fmt: skip
        self.session = []
        self.child.expect(PASTE_ON)
        self.greeting = plain(self.child.before)

    def begin(self, line):
        """Type a line; its output begins."""
        self.child.send(f"{line}\r")
        self.child.expect(PASTE_OFF)
        self._line, self._seen = line, ""

    def awaits(self, pattern):
        """Wait for that in the output."""
        self.child.expect(pattern)
        self._seen += plain(self.child.before + self.child.after)

    def end(self):
        """Wait for the prompt; what was said since the line was entered."""
        self.child.expect(PASTE_ON)
        said = (self._seen + plain(self.child.before)).strip("\n")
        self.session.append(f"10.0.0.1> {self._line}\n{said}" if said else f"10.0.0.1> {self._line}")
        return said

    def run(self, line, until="", then="\x03"):
        """Type a line; with `until` wait for that and type `then` (Ctrl-C). Its output."""
        self.begin(line)
        if until:
            self.awaits(until)
            self.child.send(then)
        return self.end()

    def leave(self):
        """Ctrl-D; the rest, and the exit status."""
        self.child.send("\x04")
        return self.finish()

    def finish(self):
        self.child.expect(pexpect.EOF)
        self.child.close()
        return plain(self.child.before), self.child.exitstatus


def serving(ns, port, answer):
    """The kernel answers one TCP connection: `answer` is called with it, in a thread."""
    server = ns.socket()
    server.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    server.bind(("10.0.0.2", port))
    server.listen()

    def serve():
        with server, server.accept()[0] as sock:
            answer(sock)

    thread = threading.Thread(target=serve, daemon=True)
    thread.start()
    return thread


def http(sock):
    sock.recv(4_096)
    sock.sendall(b"HTTP/1.0 200 OK\r\nContent-Type: text/plain\r\n\r\nfrom the kernel\n")


def upper(sock):
    while data := sock.recv(4_096):
        sock.sendall(data.upper())


def every_command(ns, home):
    """The session: each command once, and what must be seen of it. Yields the terminal at its end."""
    t = Terminal(ns, home, "run", "--seed", "shell")
    run = t.run
    assert "help lists commands, Ctrl-D ends it" in t.greeting
    assert "Which routers lead to a host." in run("help")
    assert "Usage: traceroute" in run("help traceroute")
    assert "2 packets transmitted, 2 received, 0% packet loss" in run("ping -c 2 -i 0.2 10.0.0.2")
    assert "6008 bytes from 10.0.0.2" in run("ping -c 1 -s 6000 10.0.0.2")
    assert "1 received" in run("ping2 -c 1 10.0.0.2")
    assert "packets transmitted" in run("ping -i 0.2 10.0.0.2", until="icmp_seq=2 ")
    assert "Received 2 response(s)" in run("arping -c 2 -i 0.2 10.0.0.2")
    assert " 1  10.0.0.2 " in run("traceroute 10.0.0.2")
    assert " 1  10.0.0.2 " in run("traceroute -T 10.0.0.2")
    assert "reachable" in run("arpcache")
    assert "10.0.0.0     *        255.255.255.0  U" in run("route")
    assert "inet 10.0.0.1/24  broadcast 10.0.0.255" in run("ifconfig tap0")
    assert "in.reply" in run("stat arp")
    assert "arp.out.request" in run("nstat 'arp.*'")
    assert "inet 10.0.0.1/24 brd 10.0.0.255 scope global tap0" in run("ip addr show dev tap0")
    assert "BROADCAST,MULTICAST,UP,LOWER_UP" in run("ip -s link show tap0")
    assert run("ip route add default via 10.0.0.2; ip route").startswith("default via 10.0.0.2 dev tap0")
    assert "10.0.0.2 dev tap0 lladdr " in run("ip neigh")
    assert '"gateway": "10.0.0.2"' in run("ip route get 192.0.2.1 --json")
    assert "tcp.congestion = reno" in run("set tcp.congestion reno; set tcp.congestion")
    assert "ip.ttl = 64" in run("sysctl ip.ttl")

    run("debug -n arp tcpstate")
    serving(ns, 8000, http)
    # with something behind it that takes a moment: what comes while a prompt stands there is drawn over it
    said = run("curl http://10.0.0.2:8000/page; arping -f -c 1 10.0.0.2; debug -c")
    assert "from the kernel" in said
    assert "SYN-SENT -> ESTABLISHED" in said
    assert "LAST-ACK -> CLOSED" in said
    assert "who-has 10.0.0.2" in said.lower()
    t.begin("tcpdump -c 2 icmp")
    t.awaits("listening")
    ns.run("ping", "-c", "1", "-W", "2", "10.0.0.1")
    assert "ICMP echo reply" in t.end()
    t.begin("tcpdump -c 2 -w seen.pcapng icmp")
    t.awaits("listening")
    ns.run("ping", "-c", "1", "-W", "2", "10.0.0.1")
    t.end()
    assert len(read_capture(home / "seen.pcapng")) == 2

    serving(ns, 9000, upper)
    assert "TYPED HERE" in run("nc 10.0.0.2 9000", until="connected to", then="typed here\r\x04")
    t.begin("snc -b 10.0.0.1:12345")
    t.awaits("listening")
    with ns.connect(12345) as sock:
        sock.sendall(b"from the host\n")
    assert "from the host" in t.end()

    with ns.connect(7) as sock:
        sock.sendall(b"x" * 5_000)
        assert len(_all(sock, 5_000)) == 5_000
        port = sock.getsockname()[1]
        assert f"10.0.0.2:{port}" in run("ss -tnp")
        assert "ts sack cubic wscale:" in run(f"ss -tinoe dport = :{port}")
        assert "skmem:(r0," in run(f"ss -tm dport = :{port}")
        assert "LISTEN" in run("ss -ltn")
        assert "ESTABLISHED" in run("conn")
        assert "received 5,000 octets" in run(f"conn 10.0.0.2:{port}")
        assert "rcv_nxt" in run("conn show")
        assert "connections: " in run("top -n 2 -d 0.2 -b")
        run("impair tap0 delay 30ms")
        assert float(re.search(r"time=([0-9.]+) ms", run("ping -c 1 10.0.0.2"))[1]) > 60
        assert "delay 30ms" in run("impair")
        assert run("impair tap0 off; impair") == "no link is impaired"
        assert f"10.0.0.2:{port}" in run(f"ss -Kt dport = :{port}")
        with pytest.raises(ConnectionResetError):
            sock.recv(1)
    assert "there is no such command" in run("nosuch")
    t.begin("clear")
    t.end()
    return t


def _all(sock, count):
    octets = b""
    while len(octets) < count:
        octets += sock.recv(count - len(octets))
    return octets


def documented():
    """The session in docs/shell.md, an entry for each line that was typed."""
    text = DOCUMENT.read_text().partition(BEGIN)[2].partition(END)[0]
    return re.split(r"\n(?=10\.0\.0\.1> )", text.strip().removeprefix("```\n").removesuffix("\n```"))


def numberless(entries):
    """What was typed, whatever the ports were."""
    return [re.sub(r"\d{4,}", "N", entry.splitlines()[0]) for entry in entries]


@needs("ping")
def test_terminal_every_command_against_the_kernel_and_ctrl_d_leaves(netns, tmp_path):
    t = every_command(netns, tmp_path)
    typed = {part.split()[0] for entry in t.session for part in entry.splitlines()[0].partition("> ")[2].split(";")}
    assert set(COMMANDS) - typed == {"exit"}
    assert numberless(documented()) == numberless(t.session), "record the session anew"
    helped = [[entry for entry in entries if "> help" in entry] for entries in (documented(), t.session)]
    assert helped[0] == [re.sub(r" +$", "", entry, flags=re.MULTILINE) for entry in helped[1]], "record it anew"
    rest, status = t.leave()
    assert status == 0
    assert "ran " in rest
    assert "Traceback" not in rest
    assert list((tmp_path / "run" / "scapystack").iterdir()) == []
    assert "ping -c 2 -i 0.2 10.0.0.2" in (tmp_path / "state" / "scapystack" / "history").read_text()


def test_terminal_completes_with_tab_ctrl_c_drops_the_line_and_q_ends_top(netns, tmp_path):
    t = Terminal(netns, tmp_path, "run")
    t.child.send("tracer\t")
    t.child.expect("oute")
    t.child.send("\x03")
    t.child.expect(PASTE_ON)
    t.child.send("set ip.t\t")
    t.child.expect("tl")
    assert "ip.ttl = 64" in t.run("")
    t.begin("top -d 60; set ip.ttl")
    t.awaits("Congestion")
    t.child.setwinsize(3, 20)
    t.awaits("connections: ")  # drawn anew
    t.child.send("q")
    assert "ip.ttl = 64" in t.end()
    t.begin("exit")
    assert t.finish()[1] == 0


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_terminal_prompt_ends_with_a_signal_and_nothing_is_left(netns, tmp_path, number):
    t = Terminal(netns, tmp_path, "run")
    t.child.kill(number)
    rest, status = t.finish()
    assert status == 0
    assert "ran " in rest
    assert "Traceback" not in rest
    assert list((tmp_path / "run" / "scapystack").iterdir()) == []


def test_terminals_attached_at_once_serve_themselves_and_hear_when_the_stack_dies(netns, tmp_path):
    stack = Terminal(netns, tmp_path, "run")
    one, two = (Terminal(netns, tmp_path, "shell", "--attach") for _ in range(2))
    one.begin("ping -i 0.2 10.0.0.2")
    one.awaits("icmp_seq=1 ")
    assert "1 received" in two.run("ping -c 1 10.0.0.2")
    one.child.send("\x03")  # one's alone
    assert "packets transmitted" in one.end()
    one.begin("nc 10.0.0.1 7")
    one.awaits("connected to")
    assert "ESTAB" in two.run("ss -K dst 10.0.0.1:7")
    assert one.end().endswith("Software caused connection abort")
    two.begin("tcpdump")
    two.awaits("listening")
    stack.child.kill(signal.SIGKILL)
    for each in (one, two):  # one at its prompt, one in a command
        rest, status = each.finish()
        assert (rest.splitlines()[-1].strip(), status) == ("scapystack: the stack has ended", 1)
    stack.child.close()


def test_terminal_no_shell_gives_no_prompt(netns, tmp_path):
    words = [*PROGRAM[1:], "run", "--no-shell"]
    child = namespaces.in_namespace(
        netns.name, lambda: pexpect.spawn(PROGRAM[0], words, encoding="utf-8", timeout=LIMIT_S)
    )
    child.expect("Ctrl-C ends it")
    child.sendintr()
    child.expect("ran ")
    child.expect(pexpect.EOF)
    child.close()
    assert child.exitstatus == 0


@pytest.fixture
def running(netns, tmp_path):
    """A stack without a terminal, and how to call the program beside it."""
    sockets = tmp_path / "run"  # not where the program starts: it makes a directory there of its own name
    sockets.mkdir(mode=0o700)
    environment = {**os.environ, "XDG_RUNTIME_DIR": str(sockets)}
    child = netns.popen(
        *PROGRAM, "run", stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, text=True, env=environment, cwd=tmp_path
    )
    for line in child.stdout:
        if line.startswith("Ctrl-C"):
            break

    def shell(*words, text=""):
        return subprocess.run(
            [*PROGRAM, "shell", *words], input=text, capture_output=True, text=True, check=False, timeout=LIMIT_S,
            env=environment, cwd=tmp_path,
        )  # fmt: skip

    yield shell
    child.send_signal(signal.SIGINT)
    assert child.communicate(timeout=LIMIT_S)[0].startswith("ran ")
    assert child.returncode == 0


def test_shell_attached_runs_commands_scripts_and_pipes_with_their_status(running, tmp_path):
    told = running("-c", "ping -c 1 10.0.0.2; ip -j addr show tap0")
    assert (told.returncode, told.stderr) == (0, "")
    assert '"local": "10.0.0.1"' in told.stdout
    (tmp_path / "script").write_text("# a script\nset ip.ttl\n\nset ip.nosuch\nset ip.ttl\n")
    told = running("--attach", str(next((tmp_path / "run" / "scapystack").iterdir())), "script")
    assert (told.returncode, told.stdout) == (2, "ip.ttl = 64\n")
    assert told.stderr == "set: no setting named 'ip.nosuch'; set alone lists them\n"
    told = running(text="sysctl -n ip.ttl\nexit\nset ip.ttl\n")
    assert (told.returncode, told.stdout) == (0, "64\n")
    told = running("-c", "nc -u -w 1 10.0.0.1 7", text="to ourselves\n")
    assert (told.returncode, told.stdout) == (0, "to ourselves\n")


def test_shell_without_a_stack_is_one_line(tmp_path):
    told = subprocess.run(
        [*PROGRAM, "shell", "-c", "help"], capture_output=True, text=True, check=False,
        env={**os.environ, "XDG_RUNTIME_DIR": str(tmp_path)},
    )  # fmt: skip
    assert (told.returncode, told.stdout) == (2, "")
    assert told.stderr.startswith("scapystack: no stack of yours runs here: start one with scapystack run")


def test_run_c_runs_its_commands_and_ends_with_their_status(netns):
    for line, status in (("ping -c 1 10.0.0.2", 0), ("ping -c 1 -W 0.1 10.0.0.77", 1)):
        child = netns.popen(*PROGRAM, "run", "-c", line, stdout=subprocess.PIPE, text=True)
        out, _ = child.communicate(timeout=LIMIT_S)
        assert child.returncode == status
        assert out.startswith("PING 10.0.0.")
        assert out.splitlines()[-1].startswith(("rtt min", "1 packets"))


def record():
    """Type the session, and write it into docs/shell.md."""
    from tempfile import TemporaryDirectory  # noqa: PLC0415

    ns = Namespace()
    try:
        with TemporaryDirectory() as home:
            t = every_command(ns, Path(home))
            text = "\n".join(line.rstrip() for entry in t.session for line in entry.splitlines())
            t.leave()
    finally:
        ns.close()
    document = DOCUMENT.read_text()
    before, _, rest = document.partition(BEGIN)
    DOCUMENT.write_text(f"{before}{BEGIN}\n```\n{text}\n```\n\n{END}{rest.partition(END)[2]}")


if __name__ == "__main__":
    record()
