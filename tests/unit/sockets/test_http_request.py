"""HTTP request heads and ranges: octets in, data or a status out."""

import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from scapystack.sockets.services.http_request import BadRequest, parse_range, parse_request


def parse(text):
    return parse_request(text.encode("latin-1"))


def test_parse_request_plain_get_gives_method_path_and_keep_alive():
    request = parse("GET /a%20b/c?q=1 HTTP/1.1\r\nHost: a\r\nRange: bytes=0-1")
    assert (request.method, request.path, request.keep_alive, request.body_length) == ("GET", "/a b/c", True, 0)
    assert request.headers["range"] == "bytes=0-1"


def test_parse_request_absolute_form_gives_its_path():
    assert parse("GET http://host:80/x/y#z HTTP/1.1\r\nHost: a").path == "/x/y"
    assert parse("GET http://host HTTP/1.1\r\nHost: a").path == "/"


@pytest.mark.parametrize(
    ("version", "connection", "keeps"),
    [
        ("1.1", "", True),
        ("1.1", "Connection: Close", False),
        ("1.1", "Connection: x, close", False),
        ("1.0", "", False),
        ("1.0", "Connection: Keep-Alive", True),
    ],
)
def test_parse_request_keep_alive_follows_version_and_header(version, connection, keeps):
    head = f"GET / HTTP/{version}\r\nHost: a" + (f"\r\n{connection}" if connection else "")
    assert parse(head).keep_alive is keeps


@pytest.mark.parametrize(
    ("head", "length"),
    [("Content-Length: 12", 12), ("Transfer-Encoding: chunked", -1), ("X: y", 0)],
)
def test_parse_request_says_how_long_the_body_is(head, length):
    assert parse(f"GET / HTTP/1.1\r\nHost: a\r\n{head}").body_length == length


@pytest.mark.parametrize(
    ("head", "status"),
    [
        ("", 400),
        ("GET /", 400),
        ("GET / HTTP/1.1 x", 400),
        ("G@T / HTTP/1.1\r\nHost: a", 400),
        ("GET / HTTP/2.0\r\nHost: a", 505),
        ("GET / SPDY/1\r\nHost: a", 400),
        ("GET / HTTP/1.1", 400),  # no Host
        ("GET / HTTP/1.1\r\nHost: a\r\nHost: b", 400),
        ("GET / HTTP/1.1\r\nHost : a", 400),
        ("GET / HTTP/1.1\r\nHost: a\r\n folded", 400),
        ("GET / HTTP/1.1\r\nHost: a\r\nnocolon", 400),
        ("GET / HTTP/1.1\r\nHost: a\r\nContent-Length: -1", 400),
        ("GET / HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\nContent-Length: 2", 400),
        ("GET / HTTP/1.1\r\nHost: a\r\nContent-Length: 99999999999999999999", 400),
        ("GET / HTTP/1.1\r\nHost: a\r\nX: \0", 400),
        ("GET relative HTTP/1.1\r\nHost: a", 400),
        ("GET /a%00b HTTP/1.1\r\nHost: a", 400),
        ("OPTIONS * HTTP/1.1\r\nHost: a", 400),
    ],
)
def test_parse_request_wrong_head_is_refused_with_its_status(head, status):
    with pytest.raises(BadRequest) as caught:
        parse(head)
    assert caught.value.status == status


@pytest.mark.parametrize(
    ("text", "part"),
    [
        (None, None),
        ("bytes=0-9", (0, 10)),
        ("bytes=90-", (90, 10)),
        ("bytes=90-1000", (90, 10)),
        ("bytes=-5", (95, 5)),
        ("bytes=-500", (0, 100)),
        ("bytes=5-2", None),
        ("bytes=-", None),
        ("bytes=0-1,3-4", None),
        ("lines=0-1", None),
        ("bytes=a-b", None),
    ],
)
def test_parse_range_gives_first_and_length_or_none(text, part):
    assert parse_range(text, 100) == part


@pytest.mark.parametrize(("text", "size"), [("bytes=100-", 100), ("bytes=-0", 100), ("bytes=0-0", 0), ("bytes=-1", 0)])
def test_parse_range_outside_of_the_file_is_416(text, size):
    with pytest.raises(BadRequest) as caught:
        parse_range(text, size)
    assert caught.value.status == 416


WORDS = st.sampled_from(
    b"GET|HEAD| |/|/a%zz|HTTP/1.1|HTTP/1.0|\r\n|\n|Host: x|:|Content-Length: 1|Transfer-Encoding: chunked|"
    b"Range: bytes=0-|%00|..|http://|\0|\xff".split(b"|")
)


@given(st.lists(WORDS | st.binary(max_size=5), max_size=20).map(b"".join))
def test_parse_request_of_anything_gives_a_request_or_a_status(head):
    with contextlib.suppress(BadRequest):
        request = parse_request(head)
        assert request.path.startswith("/")
        assert "\0" not in request.path
        assert request.body_length >= -1


@given(st.text(alphabet="bytes=-0123456789,٣ x", max_size=30), st.integers(0, 1000))
def test_parse_range_of_anything_lies_inside_of_the_file(text, size):
    with contextlib.suppress(BadRequest):
        part = parse_range(text, size)
        if part is not None:
            first, length = part
            assert 0 <= first < first + length <= size
