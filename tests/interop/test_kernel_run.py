"""`scapystack run` as its users have it, a program of its own, under the kernel's clients at once and in bulk."""

import os
import signal
import subprocess
import sys

import pytest

from scapystack.sockets.services.source import pattern
from tests.interop.netns import STACK, Namespace, needs
from tests.interop.peers import Doing, drained, sha256

PAGE = os.urandom(5_000_000)


@pytest.fixture(scope="module", params=[[], ["--no-offload"]], ids=["offload", "no-offload"])
def served(request, tmp_path_factory):
    """A namespace in which the program serves everything it can."""
    directory = tmp_path_factory.mktemp("www")
    (directory / "page.bin").write_bytes(PAGE)
    ns = Namespace()
    try:
        words = ["run", *request.param, "--serve", "echo,discard,source,daytime,http", "--dir", directory]
        child = ns.popen(sys.executable, "-m", "scapystack", *words, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        while not (line := child.stdout.readline()).startswith(b"Ctrl-C"):
            assert line, child.stderr.read()
        yield ns
        child.send_signal(signal.SIGINT)
        out, err = child.communicate(timeout=10)
        assert (child.returncode, err) == (0, b"")
        assert b"served" in out
        assert ns.net.find("tap0") is None
    finally:
        ns.close()


def test_echo_of_20_megabytes_comes_back_the_same(served):
    data = os.urandom(20_000_000)
    with served.connect(7) as sock:
        sending = Doing(lambda: (sock.sendall(data), sock.shutdown(1)))
        assert drained(sock) == (len(data), sha256(data))
        sending.result()


def test_source_and_discard_at_once(served):
    size = 50_000_000
    with served.connect(19) as source, served.connect(9) as discard:
        source.sendall(b"%d\n" % size)
        sending = Doing(lambda: (discard.sendall(bytes(size)), discard.shutdown(1), discard.recv(1)))
        assert drained(source) == (size, sha256(pattern(0, size)))
        assert sending.result()[-1] == b""


def test_200_clients_at_once(served):
    socks = [served.connect(7) for _ in range(200)]
    for number, sock in enumerate(socks):
        sock.sendall(b"%d," % number * 500)
        sock.shutdown(1)
    for number, sock in enumerate(socks):
        text = b"%d," % number * 500
        assert drained(sock) == (len(text), sha256(text))
        sock.close()


@needs("ping", "curl")
def test_ping_curl_and_daytime(served, tmp_path):
    assert "2 received" in served.run("ping", "-c", 2, "-i", 0.02, "-W", 2, "-s", 60_000, STACK).decode()
    assert served.run("curl", "-sS", "-m", 10, f"http://{STACK}/page.bin") == PAGE
    with served.connect(13) as sock:
        assert drained(sock)[0] > 10
