"""The http service over sockets of the same stack, in virtual time, with `http.client` where it can."""

import http.client
import os
import re
import socket

import pytest

from scapystack.sockets.services import start_services

LO = "127.0.0.1"
BIG = bytes(range(256)) * 60_000  # 15 MB: more than both ends' buffers hold


@pytest.fixture
def web(still, tmp_path):
    """The service on port 80 over a directory of some files; gives the stack and the directory."""
    (tmp_path / "hello.txt").write_text("hello, world\n")
    (tmp_path / "empty").write_bytes(b"")
    (tmp_path / "big.bin").write_bytes(BIG)
    (tmp_path / "dir").mkdir()
    (service,) = start_services(still.stack, "http", tmp_path)
    still.service = service
    yield still, tmp_path
    service.close()


def exchange(still, data, *, half_close=False):
    """Send octets, and read until the server ends or nothing more comes."""
    with still.stack.create_connection((LO, 80)) as sock:
        sock.setblocking(False)
        sock.sendall(data)
        if half_close:
            sock.shutdown(socket.SHUT_WR)
        answer = bytearray()
        quiet = 0
        while quiet < 3:
            try:
                part = sock.recv(1 << 20)
            except BlockingIOError:
                quiet += 1
                still.pass_time(0.1)
                continue
            quiet = 0
            if not part:
                return bytes(answer), True
            answer += part
        return bytes(answer), False


def get(still, target, headers="", method="GET", version="1.1"):
    head = f"{method} {target} HTTP/{version}\r\nHost: x\r\n{headers}\r\n"
    answer, closed = exchange(still, head.encode())
    head_octets, _, body = answer.partition(b"\r\n\r\n")
    lines = head_octets.decode().split("\r\n")
    fields = dict(line.split(": ", 1) for line in lines[1:])
    return int(lines[0].split()[1]), fields, body, closed


def test_get_file_has_its_length_type_and_octets(web):
    status, fields, body, closed = get(web[0], "/hello.txt")
    assert (status, body, closed) == (200, b"hello, world\n", False)
    assert fields["Content-Length"] == "13"
    assert fields["Content-Type"] == "text/plain; charset=utf-8"
    assert fields["Connection"] == "keep-alive"
    assert "Last-Modified" in fields


def test_get_empty_file_is_an_empty_body(web):
    status, fields, body, _ = get(web[0], "/empty")
    assert (status, fields["Content-Length"], body) == (200, "0", b"")


def test_get_big_file_is_streamed_as_room_allows(web):
    still, _ = web
    with still.stack.create_connection((LO, 80)) as sock:
        sock.setblocking(False)
        sock.sendall(b"GET /big.bin HTTP/1.0\r\n\r\n")
        (session,) = still.service.sessions
        assert session.connection.unsent <= session.connection.options.sndbuf
        assert session._left > 0
    status, _, body, closed = get(still, "/big.bin", version="1.0")
    assert (status, closed) == (200, True)
    assert body == BIG


def test_head_is_the_same_head_without_a_body(web):
    _, with_body, _, _ = get(web[0], "/hello.txt")
    status, fields, body, _ = get(web[0], "/hello.txt", method="HEAD")
    assert (status, body) == (200, b"")
    assert fields == with_body
    assert get(web[0], "/nothing", method="HEAD")[2] == b""


@pytest.mark.parametrize(
    ("wish", "status", "first", "length"),
    [("bytes=5-9", 206, 5, 5), ("bytes=100-", 206, 100, len(BIG) - 100), ("bytes=-7", 206, len(BIG) - 7, 7)],
)
def test_range_sends_the_part(web, wish, status, first, length):
    got, fields, body, _ = get(web[0], "/big.bin", f"Range: {wish}\r\n")
    assert got == status
    assert body == BIG[first : first + length]
    assert fields["Content-Range"] == f"bytes {first}-{first + length - 1}/{len(BIG)}"


def test_range_outside_is_416_with_the_size(web):
    status, fields, _, closed = get(web[0], "/hello.txt", "Range: bytes=100-\r\n")
    assert (status, fields["Content-Range"], closed) == (416, "bytes */13", False)


def test_directory_is_moved_to_its_slash_and_listed(web):
    status, fields, _, _ = get(web[0], "/dir")
    assert (status, fields["Location"]) == (301, "/dir/")
    status, fields, body, _ = get(web[0], "/")
    assert status == 200
    assert b'<a href="dir/">' in body
    assert b'<a href="hello.txt">' in body


@pytest.mark.parametrize("target", ["/../etc/passwd", "/%2e%2e/%2e%2e/etc/passwd", "/..%2fsecret", "/nothing"])
def test_outside_of_the_directory_is_404(web, target):
    assert get(web[0], target)[0] == 404


def test_other_methods_are_405_with_what_is_allowed(web):
    status, fields, _, _ = get(web[0], "/hello.txt", method="DELETE")
    assert (status, fields["Allow"]) == (405, "GET, HEAD")


def test_body_of_a_request_is_skipped_and_the_next_one_is_served(web):
    body = b"x" * 100_000
    answer, _ = exchange(
        web[0],
        b"POST /hello.txt HTTP/1.1\r\nHost: x\r\nContent-Length: 100000\r\n\r\n"
        + body
        + b"GET /hello.txt HTTP/1.1\r\nHost: x\r\n\r\n",
    )
    assert answer.startswith(b"HTTP/1.1 405")
    assert answer.endswith(b"hello, world\n")


def test_chunked_body_is_answered_and_closed_without_a_reset(web):
    answer, closed = exchange(
        web[0], b"POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n" + b"5\r\nhello\r\n" * 1000
    )
    assert answer.startswith(b"HTTP/1.1 405")
    assert closed


@pytest.mark.parametrize(
    ("octets", "status"),
    [
        (b"nonsense\r\n\r\n", b"400"),
        (b"GET / HTTP/1.1\r\n\r\n", b"400"),
        (b"GET / HTTP/3.0\r\n\r\n", b"505"),
        (b"GET /" + b"a" * 20_000 + b" HTTP/1.1\r\n\r\n", b"431"),
        (b"\x16\x03\x01\x02\x00\x01\x00\x01\r\n\r\n", b"400"),
    ],
)
def test_bad_request_is_answered_and_closed(web, octets, status):
    answer, closed = exchange(web[0], octets)
    assert answer.split()[1] == status
    assert b"Connection: close" in answer
    assert closed


def test_pipelined_requests_are_answered_in_order(web):
    request = b"GET /%s HTTP/1.1\r\nHost: x\r\n\r\n"
    answer, _ = exchange(web[0], b"\r\n" + request % b"hello.txt" + request % b"nothing" + request % b"empty")
    assert re.findall(rb"HTTP/1.1 (\d+)", answer) == [b"200", b"404", b"200"]


def test_request_in_single_octets_and_lone_line_feeds_is_served(web):
    still, _ = web
    with still.stack.create_connection((LO, 80)) as sock:
        sock.setblocking(False)
        for octet in b"GET /hello.txt HTTP/1.0\nX: y\n\n":
            sock.send(bytes((octet,)))
        still.pass_time(1)
        assert sock.recv(10_000).endswith(b"hello, world\n")


def test_half_close_after_the_request_still_gets_the_answer(web):
    answer, closed = exchange(web[0], b"GET /big.bin HTTP/1.1\r\nHost: x\r\n\r\n", half_close=True)
    assert answer.endswith(BIG)
    assert closed


def test_connection_close_closes_after_the_answer(web):
    status, fields, _, closed = get(web[0], "/hello.txt", "Connection: close\r\n")
    assert (status, fields["Connection"], closed) == (200, "close", True)


def test_file_that_shrinks_under_way_resets_the_connection(web):
    still, root = web
    sock = still.stack.create_connection((LO, 80))
    sock.setblocking(False)
    sock.sendall(b"GET /big.bin HTTP/1.0\r\n\r\n")
    os.truncate(root / "big.bin", 10)

    def read_on():
        while True:
            try:
                assert sock.recv(1 << 20)
            except BlockingIOError:
                still.pass_time(0.1)

    with pytest.raises(ConnectionResetError):
        read_on()
    assert not still.service.sessions
    sock.close()


def test_client_that_vanishes_leaves_no_descriptor_open(web):
    still, _ = web
    before = len(os.listdir("/proc/self/fd"))
    sock = still.stack.create_connection((LO, 80))
    sock.setblocking(False)
    sock.sendall(b"GET /big.bin HTTP/1.0\r\n\r\n")
    assert len(os.listdir("/proc/self/fd")) == before + 1
    sock.close()
    still.pass_time(1)
    assert len(os.listdir("/proc/self/fd")) == before
    assert not still.service.sessions


def test_http_client_keeps_one_connection_alive(live, tmp_path):
    """The standard library's client, blocking, over our `makefile`."""
    one, two = live
    (tmp_path / "a.txt").write_text("over a real client")
    (service,) = start_services(one, "http:8080", tmp_path)
    connection = http.client.HTTPConnection("10.0.0.1", 8080)
    connection.sock = two.create_connection(("10.0.0.1", 8080), timeout=20)
    for target, status in (("/a.txt", 200), ("/none", 404), ("/", 200), ("/a.txt", 200)):
        connection.request("GET", target)
        response = connection.getresponse()
        body = response.read()
        assert response.status == status
    assert body == b"over a real client"
    assert service.accepted == 1
    connection.close()
