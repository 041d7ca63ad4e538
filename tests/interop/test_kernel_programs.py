"""Programs and protocol layers that open sockets by themselves, over the stack: `sockets_for` and `scapystack exec`.

The servers are real ones in the kernel's namespace: Python's http.server and openssl's s_server.
"""

import http.client
import socket
import subprocess
import sys
import threading

import pytest
import scapy.layers.http
from scapy.config import conf
from scapy.layers.http import HTTP, HTTP_Client, HTTPRequest, HTTPResponse
from scapy.packet import Raw
from scapy.supersocket import StreamSocket

from tests.interop.netns import KERNEL, STACK, needs

LIMIT_S = 20
PAGE = b"".join(b"line %d of the page\n" % n for n in range(5_000))


@pytest.fixture(scope="module")
def lan(shared_lan):
    return shared_lan


@pytest.fixture(autouse=True)
def quiet(monkeypatch):
    monkeypatch.setattr(conf, "verb", 0)


class HttpServer:
    """Python's, in the namespace, with `page` in it; over TLS with a certificate."""

    def __init__(self, ns, directory, certificate=None):
        (directory / "page").write_bytes(PAGE)
        wrap = f"""
import ssl
context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
context.load_cert_chain({str(certificate)!r})
server.socket = context.wrap_socket(server.socket, server_side=True)
"""
        code = f"""
import functools, http.server
handler = functools.partial(http.server.SimpleHTTPRequestHandler, directory={str(directory)!r})
handler.func.protocol_version = "HTTP/1.1"
server = http.server.ThreadingHTTPServer(("", 0), handler)
{wrap if certificate else ""}
print(server.server_port, flush=True)
server.serve_forever()
"""
        self._child = ns.popen(sys.executable, "-c", code, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
        self.port = int(self._child.stdout.readline())

    def __enter__(self):
        return self

    def __exit__(self, *error):
        self._child.kill()
        self._child.wait()
        self._child.stdout.close()


@pytest.fixture(scope="module")
def certificate(tmp_path_factory):
    """For 10.0.0.2, with its key, in one file."""
    path = tmp_path_factory.mktemp("tls") / "both.pem"
    command = f"openssl req -x509 -newkey rsa:2048 -nodes -keyout {path}.key -out {path}.crt -days 2 -subj /CN={KERNEL}"
    subprocess.run(
        [*command.split(), "-addext", f"subjectAltName=IP:{KERNEL}"], check=True, capture_output=True, timeout=LIMIT_S
    )
    path.write_bytes(b"".join((path.parent / f"{path.name}.{kind}").read_bytes() for kind in ("key", "crt")))
    return path


# -- Scapy's layers


def test_scapys_http_client_fetches_a_page_over_the_stack(lan, tmp_path):
    with HttpServer(lan.ns, tmp_path) as server, lan.stack.sockets_for(scapy.layers.http):
        client = HTTP_Client(verb=False)
        answer = client.request(f"http://{KERNEL}:{server.port}/page", timeout=LIMIT_S)
        again = client.request(f"http://{KERNEL}:{server.port}/nosuch", timeout=LIMIT_S)
        client.close()
    assert answer[HTTPResponse].Status_Code == b"200"
    assert answer[Raw].load == PAGE
    assert again[HTTPResponse].Status_Code == b"404"
    assert scapy.layers.http.socket is socket


@needs("openssl")
def test_scapys_http_client_over_tls(lan, tmp_path, certificate):
    with HttpServer(lan.ns, tmp_path, certificate) as server, lan.stack.sockets_for(scapy.layers.http):
        client = HTTP_Client(verb=False, no_check_certificate=True)
        answer = client.request(f"https://{KERNEL}:{server.port}/page", timeout=LIMIT_S)
        client.close()
    assert answer[Raw].load == PAGE


def test_scapys_stream_socket_over_a_connection(lan, tmp_path):
    with HttpServer(lan.ns, tmp_path) as server:
        stream = StreamSocket(lan.stack.create_connection((KERNEL, server.port), timeout=LIMIT_S), HTTP)
        request = HTTP() / HTTPRequest(Path=b"/page", Host=KERNEL.encode())
        answer = stream.sr1(request, timeout=LIMIT_S, verbose=0)
        stream.close()
    assert answer[HTTPResponse].Status_Code == b"200"
    assert answer[Raw].load == PAGE


@needs("openssl")
@pytest.mark.parametrize("version", ["tls12", "tls13"])
def test_scapys_tls_automaton_against_s_server(lan, certificate, version, capfd):
    """Issue 6: Scapy's TLS client automaton against `openssl s_server`."""
    from scapy.layers.tls import automaton_cli  # noqa: PLC0415 - with cryptography

    server = lan.ns.popen(
        "openssl", "s_server", "-accept", "4433", "-cert", certificate, "-key", certificate, "-rev",
        stdout=subprocess.PIPE, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    try:
        assert any(line.startswith(b"ACCEPT") for line in server.stdout)
        with lan.stack.sockets_for(automaton_cli):
            link = automaton_cli.TLSClientAutomaton.tlslink(
                Raw, server=KERNEL, dport=4433, version=version, verbose=False
            )
            for text in (b"over the stack\n", bytes(range(97, 123)) * 200 + b"\n"):
                link.send(Raw(text))
                got = b""
                while len(got) < len(text):
                    got += bytes(link.recv())
                assert got == text[-2::-1] + b"\n"
            link.close()
    finally:
        server.kill()
        server.wait()
        server.stdout.close()


# -- other people's modules


def test_http_client_of_the_library_for_a_while(lan, tmp_path):
    with HttpServer(lan.ns, tmp_path) as server, lan.stack.sockets_for(http.client):
        connection = http.client.HTTPConnection(KERNEL, server.port, timeout=LIMIT_S)
        connection.request("GET", "/page")
        assert connection.getresponse().read() == PAGE
        assert connection.sock is None or connection.sock.getsockname()[0] == STACK
        connection.close()


PROGRAM = """
import http.client, smtplib, socket, ssl, sys, urllib.request
import requests
host, plain, secure, mail, certificate = sys.argv[1], *map(int, sys.argv[2:5]), sys.argv[5]
page = urllib.request.urlopen(f"http://{host}:{plain}/page", timeout=20).read()
connection = http.client.HTTPConnection(host, plain, timeout=20)
connection.request("GET", "/page")
assert connection.getresponse().read() == page
assert connection.sock is None or connection.sock.getsockname()[0] == "10.0.0.1"
assert requests.get(f"http://{host}:{plain}/page", timeout=20).content == page
assert requests.get(f"https://{host}:{secure}/page", timeout=20, verify=certificate).content == page
context = ssl.create_default_context(cafile=certificate)
assert urllib.request.urlopen(f"https://{host}:{secure}/page", timeout=20, context=context).read() == page
with smtplib.SMTP(host, mail, timeout=20) as smtp:
    smtp.sendmail("me@here", ["you@there"], "Subject: over the stack\\r\\n\\r\\nhello")
print(len(page), type(socket.socket()).__module__)
sys.exit(7)
"""


class MailServer:
    """As much of SMTP as one message takes, on a kernel's socket."""

    def __init__(self, ns):
        self.said = []
        self._server = ns.socket()
        self._server.bind(("", 0))
        self._server.listen()
        self.port = self._server.getsockname()[1]
        self._thread = threading.Thread(target=self._serve)
        self._thread.start()

    def _serve(self):
        sock, _ = self._server.accept()
        sock.settimeout(LIMIT_S)
        with sock, sock.makefile("rwb") as file:
            file.write(b"220 here\r\n")
            file.flush()
            in_data = False
            for line in file:
                self.said.append(line)
                if in_data and line != b".\r\n":
                    continue
                in_data = line.lower() == b"data\r\n"
                file.write(
                    b"354 go on\r\n" if in_data else b"221 bye\r\n" if line.lower() == b"quit\r\n" else b"250 ok\r\n"
                )
                file.flush()

    def close(self):
        self._thread.join(LIMIT_S)
        self._server.close()


@needs("openssl")
def test_exec_runs_an_unmodified_program_over_a_stack(netns, tmp_path, certificate):
    """urllib, http.client, smtplib and requests, plain and over TLS; the exit status is the program's."""
    app = tmp_path / "app.py"
    app.write_text(PROGRAM)
    with HttpServer(netns, tmp_path) as plain, HttpServer(netns, tmp_path, certificate) as secure:
        mail = MailServer(netns)
        words = (app, KERNEL, plain.port, secure.port, mail.port, certificate)
        told = subprocess.run(
            [sys.executable, "-m", "scapystack", "exec", "--netns", netns.name, "--", "python", *map(str, words)],
            capture_output=True, text=True, timeout=60, check=False,
        )  # fmt: skip
        assert (told.returncode, told.stderr) == (7, "")
        assert told.stdout == f"{len(PAGE)} scapystack.sockets.stream\n"
        mail.close()
    assert b"hello\r\n" in mail.said


def test_exec_that_ends_right_after_sendall_delivers_everything(netns):
    """As a kernel would: the program is gone, what its socket took is not."""
    size = 3_000_000
    with netns.socket() as server:
        server.bind(("", 0))
        server.listen()
        code = f"import socket, sys; s = socket.create_connection(({KERNEL!r}, {server.getsockname()[1]}), 20);"
        code += f" s.sendall(bytes({size})); sys.exit(3)"
        child = netns.popen(sys.executable, "-m", "scapystack", "exec", "--", "python", "-c", code)
        sock, _ = server.accept()
        came = 0
        with sock:
            while piece := sock.recv(65_536):
                came += len(piece)
        assert came == size
        assert child.wait(LIMIT_S) == 3
