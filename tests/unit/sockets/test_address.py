"""`(host, port)` as the socket module takes it, errors included."""

import socket

import pytest

from scapystack.sockets.address import resolve, text_address, unpack_address


@pytest.mark.parametrize(
    ("host", "packed"),
    [
        ("10.1.2.3", b"\x0a\1\2\3"),
        ("", b"\0\0\0\0"),
        ("localhost", b"\x7f\0\0\1"),
        ("<broadcast>", b"\xff\xff\xff\xff"),
        ("127.1", b"\x7f\0\0\1"),
        (b"10.0.0.1", b"\x0a\0\0\1"),
        (bytearray(b"10.0.0.2"), b"\x0a\0\0\2"),
    ],
)
def test_resolve_known_host_packs_it(host, packed):
    assert resolve(host) == packed


@pytest.mark.parametrize("host", ["example.org", "10.0.0.256", "::1", "10.0.0.1 and more", "1.2.3.4\n", "a\0b", "ü"])
def test_resolve_name_of_a_name_service_is_gaierror(host):
    with pytest.raises(socket.gaierror) as caught:
        resolve(host)
    assert caught.value.errno == socket.EAI_NONAME


@pytest.mark.parametrize("host", [None, 5, 1.5])
def test_resolve_no_text_is_type_error(host):
    with pytest.raises(TypeError):
        resolve(host)


def test_unpack_address_pair_gives_packed_and_port():
    assert unpack_address(("10.0.0.1", 65535)) == (b"\x0a\0\0\1", 65535)


@pytest.mark.parametrize("port", [-1, 65536])
def test_unpack_address_port_out_of_range_is_overflow_error(port):
    with pytest.raises(OverflowError):
        unpack_address(("10.0.0.1", port))


@pytest.mark.parametrize("address", ["10.0.0.1", ("10.0.0.1",), ("10.0.0.1", 1, 2), ("10.0.0.1", "80"), None])
def test_unpack_address_of_another_shape_is_type_error(address):
    with pytest.raises(TypeError):
        unpack_address(address)


def test_text_address_is_what_unpack_address_takes():
    assert text_address(*unpack_address(("192.0.2.7", 7))) == ("192.0.2.7", 7)
