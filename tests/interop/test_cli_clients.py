"""`scapystack demo`, `nc`, `ping` and `doctor` against the real kernel and its programs."""

import json
import os
import subprocess
import sys

import pytest

from scapystack.cli.demo_steps import STEPS
from scapystack.link.pcapread import read_capture
from tests.interop.netns import needs

PROGRAM = (sys.executable, "-m", "scapystack")
LIMIT_S = 60


def scapystack(*words, **options):
    return subprocess.run([*PROGRAM, *words], capture_output=True, text=True, check=False, timeout=LIMIT_S, **options)


# --- demo


def links(ns):
    """The names of the interfaces in a namespace."""
    return {link["ifname"] for link in json.loads(ns.run("ip", "-j", "link"))}


@needs("ping", "nc", "curl", "ip")
@pytest.mark.parametrize("words", [[], ["--no-offload"]], ids=["offload", "no-offload"])
def test_demo_beside_the_kernel_every_step_holds(netns, tmp_path, words):
    (tmp_path / "Makefile").write_bytes(b"".join(b"line %d of a Makefile\n" % i for i in range(80)))
    child = program(netns, "demo", *words, cwd=tmp_path, text=True)
    out, err = child.communicate(timeout=LIMIT_S)
    assert (child.returncode, err) == (0, ""), out
    assert "in a network namespace of its own, " + ("no offload" if words else "checksum") in out
    assert "clients: ping, nc, curl\n" in out
    assert "cat Makefile | nc -v -N 10.0.0.1 12345" in out
    assert out.count("    ok ") == len(STEPS)
    packets = read_capture(tmp_path / "demo.pcapng")
    assert {packet.comment for packet in packets} == {title for title, _ in STEPS}
    assert links(netns) == {"lo"}


def test_demo_without_the_programs_uses_its_own_clients(tmp_path):
    code = (
        "import shutil, sys; shutil.which = lambda *words, **how: None\n"
        "from scapystack.cli.main import main; sys.argv = ['scapystack', 'demo']; main()"
    )
    told = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert told.returncode == 0, told.stdout + told.stderr
    assert "Python's own sockets for ping and nc and curl (not installed)" in told.stdout
    assert told.stdout.count("    ok ") == len(STEPS)


@needs("ip")
def test_demo_killed_leaves_nothing(netns, tmp_path):
    child = program(netns, "demo", cwd=tmp_path)
    assert b"in a network namespace of its own" in child.stdout.readline()
    child.kill()
    child.communicate()
    assert links(netns) == {"lo"}
    assert not [name for name in os.listdir("/run/netns") if name.startswith(f"scapystack-{child.pid}")]


# --- nc


def program(ns, *words, **how):
    return ns.popen(*PROGRAM, *words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, **how)


def wait_for(child, text):
    for line in child.stderr:
        if text in line:
            return
    pytest.fail(f"it ended without saying {text!r}")


def ended(child, data=None):
    out, err = child.communicate(data, timeout=LIMIT_S)
    assert child.returncode == 0, err
    return out


@needs("nc")
def test_nc_listen_takes_the_makefile_of_the_transcript(netns):
    makefile = b"".join(b"\t$(CC) -o step%d\n" % i for i in range(100))[:1854]
    child = program(netns, "nc", "-l", "12345")
    wait_for(child, b"listening")
    netns.run("nc", "-N", "10.0.0.1", "12345", data=makefile)
    assert ended(child) == makefile


@needs("nc")
def test_nc_listen_half_close_at_the_end_of_its_input_the_peer_goes_on(netns):
    child = program(netns, "nc", "-l", "-p", "12345")
    wait_for(child, b"listening")
    with netns.connect(12345) as sock:
        child.stdin.write(b"all I have to say")
        child.stdin.close()
        child.stdin = None
        said = b""
        while piece := sock.recv(100):
            said += piece
        assert said == b"all I have to say"
        sock.sendall(b"after your end")
    assert ended(child) == b"after your end"


def test_nc_connect_sends_its_input_and_prints_what_comes_back(netns):
    """The echo is another stack's on another TAP, and the kernel forwards between the two."""
    data = os.urandom(3_000_000)
    netns.sysctl("net.ipv4.ip_forward", 1)
    server = program(netns, "run", "--serve", "echo", "--gateway", "10.0.0.2")
    while not server.stdout.readline().startswith(b"Ctrl-C"):
        assert server.poll() is None
    client = program(netns, "nc", "--address", "10.1.0.1/24", "--gateway", "10.1.0.2", "10.0.0.1", "7")
    assert ended(client, data) == data
    server.terminate()
    assert b"served 1 connections" in ended(server)


@needs("nc")
def test_nc_udp_every_line_arrives_the_first_one_too(netns):
    listener = netns.popen("nc", "-u", "-l", "12345", stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    child = program(netns, "nc", "-u", "10.0.0.2", "12345")
    lines = [b"line %d\n" % i for i in range(5)]
    for line in lines:
        child.stdin.write(line)
        child.stdin.flush()
        assert listener.stdout.readline() == line
    ended(child)


@needs("nc")
def test_nc_udp_listen_answers_who_spoke_first(netns):
    child = program(netns, "nc", "-u", "-l", "12345", "--timeout", "2")
    wait_for(child, b"listening")
    client = netns.popen("nc", "-u", "10.0.0.1", "12345", stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    client.stdin.write(b"question\n")
    client.stdin.flush()
    assert child.stdout.read(9) == b"question\n"
    child.stdin.write(b"answer\n")
    child.stdin.flush()
    assert client.stdout.readline() == b"answer\n"
    assert ended(child) == b""


@pytest.mark.parametrize("kind", [[], ["-u"]], ids=["tcp", "udp"])
def test_nc_to_a_closed_port_is_one_line(netns, kind):
    child = program(netns, "nc", *kind, "10.0.0.2", "4321")
    out, err = child.communicate(b"anybody there?\n", timeout=LIMIT_S)
    assert (child.returncode, out, err) == (1, b"", b"scapystack: Connection refused\n")


# --- ping


@pytest.mark.parametrize("size", ["56", "6000", "60000"])
def test_ping_kernel_answers(netns, size):
    out = netns.run(*PROGRAM, "ping", "-c", "2", "-i", "0.05", "-s", size, "10.0.0.2").decode()
    assert out.count(f"{int(size) + 8} bytes from 10.0.0.2: icmp_seq=") == 2
    assert "2 packets transmitted, 2 received, 0% packet loss" in out


def test_ping_nobody_there_is_status_1_and_a_full_disk_a_line(netns):
    child = program(netns, "ping", "-c", "1", "-W", "0.2", "-w", "/dev/full", "10.0.0.99")
    out, err = child.communicate(timeout=LIMIT_S)
    assert child.returncode == 1
    assert err == b"scapystack: cannot write /dev/full: No space left on device; the capture ends here\n"
    assert b"no answer: icmp_seq=1" in out
    assert b"100% packet loss" in out


# --- doctor


def test_doctor_here_finds_everything():
    told = scapystack("doctor")
    assert told.returncode == 0, told.stdout
    assert "missing" not in told.stdout
    assert "made one, with checksum and segmentation offload" in told.stdout
