"""`curl`: pages over HTTP and HTTPS, redirections, certificates, what is no page, in virtual time."""

import contextlib
import ssl
import subprocess

import pytest

from scapystack.sockets.services import start_services

PEER = "10.0.0.2"


@pytest.fixture
def web(shell, tmp_path):
    (tmp_path / "page.txt").write_text("a page\n" * 1_000)
    (service,) = start_services(shell.other, "http", str(tmp_path))
    yield shell
    service.close()


def test_curl_writes_the_page_to_screen_and_file(web, tmp_path):
    assert web.ok("curl http://10.0.0.2/page.txt") == "a page\n" * 1_000
    web.session.cwd = str(tmp_path)
    assert web.ok("curl -o copy 10.0.0.2/page.txt") == ""
    assert (tmp_path / "copy").read_text() == "a page\n" * 1_000
    (tmp_path / "sub").mkdir()
    web.session.cwd = str(tmp_path / "sub")
    web.ok("curl -O http://10.0.0.2:80/page.txt")
    assert (tmp_path / "sub" / "page.txt").exists()


def test_curl_head_verbose_and_failures(web):
    head = web.ok("curl -I http://10.0.0.2/page.txt")
    assert head.startswith("HTTP/1.1 200 OK\n") or head.startswith("HTTP/1.1 200 OK\r\n")
    assert "content-length: 7000" in head.lower()
    status, _, err = web.run("curl -v -H 'X-Thing: yes' http://10.0.0.2/page.txt")
    assert (status, "> X-Thing: yes\n" in err, "< HTTP/1.1 200 OK\n" in err) == (0, True, True)
    assert web.bad("curl -f http://10.0.0.2/nosuch", 22) == "curl: the answer is 404 Not Found\n"
    assert web.bad("curl http://10.0.0.2:81/", 7) == "curl: cannot connect to 10.0.0.2 port 81: Connection refused\n"


def test_curl_follows_redirections_and_posts(shell):
    asked = []

    def serve():
        server = shell.other.create_server(("", 80))
        for answer in (b"HTTP/1.1 302 Found\r\nLocation: /there\r\n\r\n", b"HTTP/1.1 200 OK\r\n\r\ndone\n"):
            sock, _ = server.accept()
            asked.append(sock.recv(9_999))
            if b"Content-Length" in asked[-1]:
                asked[-1] += sock.recv(9_999)
            sock.sendall(answer)
            sock.close()
        server.close()

    shell.at(0, serve)
    assert shell.ok("curl -L -d a=1 -w '%{num_redirects} %{num_connects} %{method}' http://10.0.0.2/here").endswith(
        "done\n1 2 GET"
    )
    assert [request.split()[:2] for request in asked] == [[b"POST", b"/here"], [b"GET", b"/there"]]
    assert asked[0].endswith(b"a=1")


def test_curl_w_tells_of_the_transfer_in_curl_s_words(web, tmp_path):
    form = "%{http_code} %{size_download} %{speed_download} %{time_connect} %{time_total} 100%% %{remote_ip}\\n"
    line = web.ok(f"curl -s -o /dev/null -w '{form}' http://10.0.0.2/page.txt")
    code, size, speed, connect, total, percent, address = line.split()
    assert (code, size, percent, address) == ("200", "7000", "100%", "10.0.0.2")
    assert float(connect) == pytest.approx(0.02, abs=0.021)  # a round trip, and perhaps one of ARP
    assert float(total) > float(connect)
    assert int(speed) == pytest.approx(7_000 / float(total), abs=1)
    (tmp_path / "form").write_text("%{errormsg}|%{exitcode}|%{http_code}")
    assert web.run(f"curl -s -w @{tmp_path}/form http://10.0.0.2:81/") == (
        7, "cannot connect to 10.0.0.2 port 81: Connection refused|7|000", "",
    )  # fmt: skip
    assert "there is http_code" in web.bad("curl -w %{http_cod} http://10.0.0.2/page.txt")
    assert "No such file" in web.bad("curl -w @nosuch http://10.0.0.2/page.txt", 1)
    assert "Connection refused" in web.bad("curl -sS http://10.0.0.2:81/", 7)


def test_curl_to_what_is_no_url_asked_for_or_answered_is_one_line(shell):
    def serve():
        with shell.other.create_server(("", 80)) as server:
            sock, _ = server.accept()
            sock.recv(9_999)
            sock.sendall(b"HTTP/1.1 302 Found\r\nLocation: http://[0]/\r\n\r\n")
            sock.close()

    assert "is no URL" in shell.bad("curl http://[0]/")
    shell.at(0, serve)
    assert "the answer leads to http://[0]/, which is no URL" in shell.bad("curl -L http://10.0.0.2/")


@pytest.mark.parametrize(
    ("heading", "text", "said"),
    [
        (b"Content-Length: 9", b"half", "5 octets are missing"),
        (b"Transfer-Encoding: chunked", b"2\r\nha\r\n7\r\nlf", "4 octets came"),
    ],
)
def test_curl_of_a_page_that_is_cut_short_writes_what_came_and_fails(shell, heading, text, said):
    def serve():
        with shell.other.create_server(("", 80)) as server:
            sock, _ = server.accept()
            with sock:
                sock.recv(9_999)
                sock.sendall(b"HTTP/1.1 200 OK\r\n" + heading + b"\r\n\r\n" + text)

    shell.at(0, serve)
    status, out, err = shell.run("curl -w ' %{size_download} %{exitcode}' http://10.0.0.2/")
    assert (status, out) == (18, "half 4 18")
    assert err == f"curl: the connection ended before the page did: {said}\n"


def test_curl_of_what_is_no_http_is_one_line(shell, services):
    assert shell.bad("curl http://10.0.0.2:13/", 1) == "curl: no HTTP came from 10.0.0.2: BadStatusLine\n"
    shell.interrupt_after(1_000)
    assert shell.run("curl http://10.0.0.2:9/")[0] == 130


@pytest.fixture(scope="module")
def certificate(tmp_path_factory):
    """For 10.0.0.2, with its key, in one file."""
    path = tmp_path_factory.mktemp("tls") / "both.pem"
    words = f"openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -keyout {path}.key -out {path}.crt"
    more = f"-days 2 -subj /CN={PEER} -addext subjectAltName=IP:{PEER}"
    subprocess.run([*words.split(), *more.split()], check=True, capture_output=True, timeout=20)
    path.write_bytes(b"".join((path.parent / f"{path.name}.{kind}").read_bytes() for kind in ("key", "crt")))
    return path


@pytest.fixture
def secure_web(shell, certificate):
    """A page over TLS, for as many as come."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate)
    server = shell.other.create_server(("", 443))

    def serve():
        while True:
            try:
                sock, _ = server.accept()
            except OSError:
                return
            with sock:
                answer(sock)

    def answer(sock):
        coming, leaving = ssl.MemoryBIO(), ssl.MemoryBIO()
        tls = context.wrap_bio(coming, leaving, server_side=True)
        asked = b""
        while b"\r\n\r\n" not in asked:
            try:
                asked += tls.read()
            except ssl.SSLWantReadError:
                sock.sendall(leaving.read())
                piece = sock.recv(9_999)
                if not piece:
                    return
                coming.write(piece)
            except ssl.SSLError:
                return
        tls.write(b"HTTP/1.1 200 OK\r\n\r\n" + b"secret\n" * 5_000)
        with contextlib.suppress(ssl.SSLWantReadError):
            tls.unwrap()
        sock.sendall(leaving.read())

    shell.at(0, serve)
    yield shell
    server.close()


@pytest.mark.program("openssl")
def test_curl_https_checks_the_certificate(secure_web, certificate, tmp_path):
    page = "secret\n" * 5_000
    assert secure_web.ok(f"curl --cacert {certificate} https://10.0.0.2/") == page
    said = secure_web.bad("curl https://10.0.0.2/", 60)
    assert said == "curl: the certificate is not to be trusted: self-signed certificate (-k takes it all the same)\n"
    assert secure_web.ok("curl -k https://10.0.0.2/") == page
    status, out, err = secure_web.run("curl -kv https://10.0.0.2/")
    assert (status, out, err.startswith("* TLSv1.3, ")) == (0, page, True)
    (tmp_path / "empty.pem").write_text("nothing\n")
    assert "holds no certificates" in secure_web.bad(f"curl --cacert {tmp_path}/empty.pem https://10.0.0.2/")


def test_curl_https_of_what_is_no_tls_is_one_line(shell, services):
    assert shell.bad("curl -k https://10.0.0.2:13/", 35).startswith("curl: no TLS with that server: ")
    assert shell.bad("curl -m 2 -k https://10.0.0.2:9/", 1) == "curl: timed out\n"
