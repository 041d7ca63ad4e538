"""The parts of the commands that need no network: addresses, accounts, relays, findings, clients."""

import io
import logging
import os
import threading
from pathlib import Path
from types import SimpleNamespace

import pytest

from scapystack.base.addr import mac
from scapystack.base.config import StackConfig
from scapystack.base.errors import ConfigError
from scapystack.base.frames import Frame
from scapystack.cli import clients, demo, doctor, guardian, logs, nc, options, run
from scapystack.cli.exec import _Program as run_program
from scapystack.cli.options import Setup
from scapystack.describe import Describer
from scapystack.link.memory import MemoryLink
from scapystack.shell import params
from scapystack.sockets import Stack
from scapystack.sockets.services import start_services


@pytest.fixture
def pair():
    """Two running stacks joined in memory: 10.0.0.1 and 10.0.0.2."""
    ours, theirs = MemoryLink.pair()
    with Stack("10.0.0.1/24", link=ours, seed=1) as stack, Stack("10.0.0.2/24", link=theirs, seed=2) as other:
        yield stack, other


# --- exec


def test_exec_a_program_that_fails_shows_its_own_lines_alone(tmp_path, capsys):
    program = tmp_path / "program.py"
    program.write_text("def f():\n    raise ValueError(3)\n\n\nf()\n")
    assert run_program(("python", str(program)))() == 1
    told = capsys.readouterr().err
    assert told.startswith(f'Traceback (most recent call last):\n  File "{program}", line 5, in <module>\n')
    assert told.endswith("ValueError: 3\n")


@pytest.mark.parametrize("words", [("python", "-c", "1 +"), ("python", "FILE")])
def test_exec_a_program_that_cannot_be_read_shows_its_line_alone(tmp_path, capsys, words):
    program = tmp_path / "program.py"
    program.write_text("1 +\n")
    assert run_program(tuple(str(program) if word == "FILE" else word for word in words))() == 1
    told = capsys.readouterr().err
    assert told.startswith("  File ")
    assert told.endswith("SyntaxError: invalid syntax\n")


def test_exec_a_program_that_is_not_there_is_one_line(tmp_path):
    for words in (("python", "-m", "no_such_module"), ("python", str(tmp_path))):
        with pytest.raises(ConfigError, match=r"No module named no_such_module|can't find '__main__' module"):
            run_program(words)()


# --- options


def test_configured_settings_apply_in_order():
    config = options.configured(("tcp.msl_ms=5000", "tcp.congestion=reno", "tcp.msl_ms = 6_000"))
    assert (config.tcp.msl_ms, config.tcp.congestion) == (6000, "reno")
    assert config.ip == StackConfig().ip


def test_configured_settings_change_numbers_of_the_profile():
    config = options.configured(("tcp.min_rto_ms=300",), "rfc")
    assert (config.tcp.min_rto_ms, config.tcp.msl_ms, config.tcp.min_rto_above_srtt) == (300, 120_000, False)


def test_print_packets_prints_a_line_for_each(pair):
    stack, _ = pair
    stream = io.StringIO()
    options.print_packets(stack, stream)
    stack.ping("10.0.0.2")
    lines = stream.getvalue().splitlines()
    assert [line.split(" ", 1)[1].split(",")[0] for line in lines] == [
        "ARP",
        "ARP",
        "IP 10.0.0.1 > 10.0.0.2: ICMP echo request",
        "IP 10.0.0.2 > 10.0.0.1: ICMP echo reply",
    ]


def test_print_packets_reader_gone_the_stack_goes_on(pair):
    stack, _ = pair
    ours, theirs = os.pipe()
    os.close(ours)
    with open(theirs, "w") as stream:
        options.print_packets(stack, stream)
        stack.ping("10.0.0.2")
        stack.ping("10.0.0.2")
        with pytest.raises(BrokenPipeError):
            stream.flush()
        os.dup2(os.open(os.devnull, os.O_WRONLY), theirs)
    assert stack.net.taps == []
    assert stack.net.counters["driver.errors"] == 0


def test_announce_tells_every_neighbour_every_address(pair):
    stack, other = pair
    stack.net.add_address(stack.net.interfaces[1], "10.0.0.9/24")
    seen = []
    other.net.taps.append(lambda way, frame: seen.append(frame.data) if way == "rx" else None)
    options.announce(stack)
    other.ping("10.0.0.1")  # what was sent before has been seen when this is answered
    told = [data for data in seen if data[:6] == b"\xff" * 6 and data[28:32] == data[38:42]]
    assert [data[28:32] for data in told] == [b"\x0a\0\0\1", b"\x0a\0\0\x09"]


def test_warnings_of_the_stack_are_lines_behind_the_program_s_name(capsys):
    with logs.in_lines():
        logging.getLogger("scapystack.link").error("cannot\nwrite", exc_info=ValueError(3))
    assert capsys.readouterr().err == "scapystack: cannot write\n"
    assert logging.getLogger("scapystack").propagate


# --- run


def tap(**facts):
    return SimpleNamespace(**{"name": "tap7", "created": True, "offload": 7, "mac": mac("02:00:00:00:00:09")} | facts)


def test_account_says_what_was_made_and_how_to_reach_it(pair):
    services = start_services(pair[0], "echo:77,http:8080", ".")
    setup = Setup(pair[0], tap(), "10.0.0.1/24", "10.0.0.2/24", "", "blue", True)
    text = "\n".join(run.account(setup, services))
    for part in (
        "10.0.0.1/24 on tap7 in namespace blue (both made for it; offload;",
        "MAC 02:00:00:00:00:09",
        "the kernel's end of tap7 is 10.0.0.2/24",
        "serving echo on TCP and UDP port 77",
        "sudo ip netns exec blue ping 10.0.0.1",
        "sudo ip netns exec blue nc 10.0.0.1 77",
        "sudo ip netns exec blue curl http://10.0.0.1:8080/",
        "Ctrl-C",
    ):
        assert part in text


def test_account_tap_that_existed_is_left_as_it_is(pair):
    setup = Setup(pair[0], tap(created=False, offload=0), "10.0.0.1/24", "", "", "", False)
    text = "\n".join(run.account(setup, []))
    assert "found, the kernel's side left as it is; no offload" in text
    assert "the kernel's end" not in text
    assert "nc 10.0.0.1" not in text


def test_summary_counts_what_went_through(pair):
    stack, other = pair
    services = start_services(stack, "echo")
    with other.create_connection(("10.0.0.1", 7), timeout=5) as sock:
        sock.sendall(b"abc")
        assert sock.recv(3) == b"abc"
    line = run.summary(stack, services, 1.25)
    assert line.startswith("ran 1.2 s: received ")
    assert "served 1 connections, dropped nothing" in line
    assert "\n" not in line


# --- nc


@pytest.mark.parametrize(
    ("words", "listen", "port", "target"),
    [
        (("10.0.0.2", "80"), False, None, ("10.0.0.2", 80)),
        (("10.0.0.2", "80"), False, 99, ("10.0.0.2", 80)),
        (("80",), True, None, ("", 80)),
        (("10.0.0.1", "80"), True, None, ("10.0.0.1", 80)),
        ((), True, 80, ("", 80)),
        (("10.0.0.1",), True, 80, ("10.0.0.1", 80)),
    ],
)
def test_nc_target_takes_what_nc_takes(words, listen, port, target):
    assert params.peer(words, listen, port) == target


@pytest.fixture
def standard_streams(monkeypatch):
    """Pipes for descriptors 0 and 1 as `nc` uses them: (write the input, read the output)."""
    in_read, in_write = os.pipe()
    out_read, out_write = os.pipe()
    read, write = os.read, os.write
    monkeypatch.setattr(nc.os, "read", lambda fd, n: read(in_read if fd == 0 else fd, n))
    monkeypatch.setattr(nc.os, "write", lambda fd, data: write(out_write if fd == 1 else fd, data))
    yield in_write, out_read
    for fd in (in_read, out_read, out_write):
        os.close(fd)


def test_relay_half_closes_at_the_end_of_input_and_goes_on_reading(pair, standard_streams):
    stack, other = pair
    to_input, from_output = standard_streams
    seen = []

    def serve(server):
        sock, _ = server.accept()
        with sock:
            while data := sock.recv(100):
                seen.append(data)
            sock.sendall(b"after your end")

    with other.create_server(("10.0.0.2", 80)) as server:
        server.settimeout(5)
        thread = threading.Thread(target=serve, args=(server,))
        thread.start()
        with stack.create_connection(("10.0.0.2", 80), timeout=5) as sock:
            os.write(to_input, b"question")
            os.close(to_input)
            nc.relay(sock, 100, lambda: sock.shutdown(nc.socket.SHUT_WR), wait_for_input=True)
        thread.join()
    assert b"".join(seen) == b"question"
    assert os.read(from_output, 100) == b"after your end"


# --- doctor


def finding(verdict, advice=""):
    return doctor.Finding("thing", verdict, "is so", advice)


def test_doctor_shows_advice_below_what_is_missing(capsys):
    doctor.show([finding(doctor.GOOD), finding(doctor.BAD, "do [this]")])
    out = capsys.readouterr().out
    assert "missing  thing  is so\n" in out
    assert "do [this]\n" in out
    assert "cannot run on a TAP here yet" in out


@pytest.mark.parametrize(("verdict", "status"), [(doctor.GOOD, 0), (doctor.WARN, 0), (doctor.BAD, 1)])
def test_doctor_status_is_1_for_what_is_missing_only(monkeypatch, verdict, status):
    monkeypatch.setattr(doctor, "CHECKS", (lambda: iter([finding(verdict)]),))
    assert doctor.command.callback() == status


def test_doctor_tun_that_is_not_there_names_modprobe(monkeypatch):
    def stat(path):
        raise FileNotFoundError(path)

    monkeypatch.setattr(doctor.os, "stat", stat)
    (found,) = doctor.tun()
    assert found.verdict == doctor.BAD
    assert "modprobe tun" in found.advice


def test_doctor_clients_that_lack_name_their_packages(monkeypatch):
    monkeypatch.setattr(doctor.shutil, "which", lambda name, path=None: None if name in ("nc", "nft") else name)
    (found,) = doctor.clients()
    assert found.advice == "sudo apt-get install netcat-openbsd nftables"


def test_doctor_clients_are_what_ci_installs():
    text = (Path(__file__).parents[3] / ".ci" / "run").read_text()
    for program, package in doctor.CLIENTS.items():
        assert f"{program}:{package}" in text


# --- demo


def frames(n):
    return [(i, Frame(bytes(12) + b"\x88\xb5" + bytes(46 + i))) for i in range(n)]


def test_demo_lines_shows_the_first_and_last_of_many():
    lines = list(demo.lines(frames(20), Describer(), False))
    assert len(lines) == demo.HEAD + 1 + demo.TAIL
    assert lines[demo.HEAD] == "... 12 more packets ..."
    assert lines[-1].endswith("length 79")


@pytest.mark.parametrize("n", [0, 3, demo.HEAD + demo.TAIL + 1])
def test_demo_lines_shows_few_whole(n):
    assert len(list(demo.lines(frames(n), Describer(), False))) == n
    assert len(list(demo.lines(frames(50), Describer(), True))) == 50


def test_clients_fetch_refuses_what_is_not_whole(pair, tmp_path):
    stack, other = pair
    (tmp_path / "page.html").write_bytes(b"x" * 1000)
    start_services(stack, "http", tmp_path)
    assert clients.fetch(other, "10.0.0.1", 80, "/page.html") == b"x" * 1000
    with pytest.raises(OSError, match="404"):
        clients.fetch(other, "10.0.0.1", 80, "/nosuch.html")


# --- guardian


def test_guardian_nothing_to_watch_starts_no_process():
    with guardian.Guardian() as watched:
        assert watched._process is None


def test_guardian_ends_with_us():
    watched = guardian.Guardian()
    watched.start()
    process = watched._process
    watched.start()
    assert watched._process is process
    watched.close()
    assert process.poll() == 0
