"""Programs that people have, against the stack: nc in both roles over TCP and UDP, and curl."""

import os
import random
import socket
import subprocess

import pytest

from scapystack.sockets.services import start_services
from tests.interop.netns import KERNEL, STACK, needs
from tests.interop.peers import Doing, drained, sha256, until

PORT = 12345
TEXT = random.Random(1).randbytes(300_000)
PAGE = random.Random(2).randbytes(20_000_000)


@pytest.fixture
def lan(shared_lan):
    return shared_lan


def nc(lan, *words):
    return lan.ns.popen("nc", *words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE)


def listening(lan, kind, port):
    """Whether a program on the kernel has the port (/proc/net/tcp or udp: the local address in hexadecimal)."""
    return f":{port:04X} 00000000:0000 " in lan.ns.run("cat", f"/proc/net/{kind}").decode()


# -- nc ----------------------------------------------------------------------------------------------------


@needs("nc")
def test_nc_connects_sends_a_file_and_reads_the_answer(lan):
    with lan.stack.create_server((STACK, PORT)) as server:
        server.settimeout(10)
        client = nc(lan, "-N", STACK, PORT)
        talking = Doing(client.communicate, TEXT, 20)
        ours, _ = server.accept()
        with ours:
            ours.settimeout(10)
            assert drained(ours) == (len(TEXT), sha256(TEXT))
            ours.sendall(TEXT[::-1])
    assert talking.result() == (TEXT[::-1], b"")
    assert client.returncode == 0


@needs("nc")
def test_nc_listens_gets_a_file_and_answers(lan):
    server = nc(lan, "-l", "-N", KERNEL, PORT)
    until(lambda: listening(lan, "tcp", PORT))
    talking = Doing(server.communicate, TEXT[::-1], 20)
    with lan.stack.create_connection((KERNEL, PORT), timeout=10) as ours:
        ours.sendall(TEXT)
        # nc -l ends with its peer's FIN, so that comes last
        assert drained(ours) == (len(TEXT), sha256(TEXT[::-1]))
        ours.shutdown(socket.SHUT_WR)
        assert ours.recv(1) == b""
    assert talking.result() == (TEXT, b"")
    assert server.returncode == 0


@needs("nc")
def test_nc_sees_which_ports_are_open(lan):
    [echo] = start_services(lan.stack, "echo")
    assert nc(lan, "-z", "-w", 2, STACK, 7).wait(5) == 0
    assert nc(lan, "-z", "-w", 2, STACK, 8).wait(5) == 1
    echo.close()


@needs("nc")
def test_nc_sends_datagrams_line_by_line_and_reads_the_answers(lan):
    with lan.stack.socket(type=socket.SOCK_DGRAM) as ours:
        ours.bind((STACK, PORT))
        ours.settimeout(5)
        client = nc(lan, "-u", STACK, PORT)
        for line in (b"one\n", b"two\n", b"three\n"):
            client.stdin.write(line)
            client.stdin.flush()
            text, peer = ours.recvfrom(100)
            assert text == line
            ours.sendto(line.upper(), peer)
            assert client.stdout.readline() == line.upper()
        client.kill()


@needs("nc")
def test_nc_listens_for_datagrams_and_gets_every_line(lan):
    server = nc(lan, "-u", "-l", KERNEL, PORT)
    until(lambda: listening(lan, "udp", PORT))
    with lan.stack.socket(type=socket.SOCK_DGRAM) as ours:
        ours.settimeout(5)
        ours.connect((KERNEL, PORT))
        for line in (b"one\n", b"two\n", b"three\n"):
            ours.send(line)
            assert server.stdout.readline() == line
        server.stdin.write(b"enough\n")
        server.stdin.flush()
        assert ours.recv(100) == b"enough\n"
    server.kill()


# -- curl ------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def web(shared_lan, tmp_path_factory):
    directory = tmp_path_factory.mktemp("www")
    (directory / "page.html").write_text("<p>hello</p>\n")
    (directory / "large.bin").write_bytes(PAGE)
    [http] = start_services(shared_lan.stack, "http:80", directory)
    yield f"http://{STACK}"
    http.close()


@needs("curl")
def test_curl_fetches_20_megabytes_the_same(lan, web, tmp_path):
    out = tmp_path / "out"
    told = lan.ns.run("curl", "-sS", "-m", 20, "-w", "%{http_code} %{size_download}", "-o", out, f"{web}/large.bin")
    assert told == b"200 20000000"
    assert sha256(out.read_bytes()) == sha256(PAGE)


@needs("curl")
def test_curl_fetches_a_range_a_head_and_what_is_not_there(lan, web):
    assert lan.ns.run("curl", "-sS", "-m", 5, "-r", "1000000-1000099", f"{web}/large.bin") == PAGE[1_000_000:1_000_100]
    assert b"Content-Length: 20000000" in lan.ns.run("curl", "-sS", "-m", 5, "-I", f"{web}/large.bin")
    assert lan.ns.run("curl", "-sS", "-m", 5, "-o", os.devnull, "-w", "%{http_code}", f"{web}/nothing") == b"404"


@needs("curl")
def test_curl_asks_again_over_the_same_connection(lan, web):
    told = lan.ns.run("curl", "-sS", "-m", 5, "-w", "%{num_connects}\n", f"{web}/page.html", f"{web}/page.html")
    assert told == b"<p>hello</p>\n1\n<p>hello</p>\n0\n"


@needs("curl")
def test_curl_fetches_in_parallel(lan, web, tmp_path):
    words = [f"{web}/large.bin" for _ in range(4)]
    outs = [word for n in range(4) for word in ("-o", tmp_path / str(n))]
    lan.ns.run("curl", "-sS", "-m", 20, "--parallel", "--parallel-immediate", *outs, *words)
    assert {sha256((tmp_path / str(n)).read_bytes()) for n in range(4)} == {sha256(PAGE)}


@needs("curl")
def test_curl_that_is_killed_leaves_no_session(lan, web):
    client = lan.ns.popen("curl", "-sS", "--limit-rate", "100k", "-o", os.devnull, f"{web}/large.bin")
    connections = lan.stack.net.tcp.connections
    until(lambda: any(c.local_port == 80 and len(c.sendbuf) for c in connections.values()))
    client.kill()
    client.wait()
    until(lambda: not any(c.local_port == 80 and c.held for c in list(connections.values())))
