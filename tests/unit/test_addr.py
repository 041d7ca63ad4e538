"""Addresses between text and octets, and the questions asked of them."""

import pytest

from scapystack.base import addr
from scapystack.base.addr import Prefix
from scapystack.base.errors import ConfigError


@pytest.mark.parametrize("text", ["10.0.0.1", "0.0.0.0", "255.255.255.255", "::", "fe80::1", "2001:db8::ff00:42:8329"])
def test_ip_text_and_octets_go_both_ways(text):
    assert addr.ip_text(addr.ip(text)) == text
    assert addr.ip(addr.ip(text)) == addr.ip(text)


@pytest.mark.parametrize(
    "text", ["", "10.0.0", "10.0.0.256", "10.0.0.1/24", "localhost", "::g", b"\1\2\3", "010.0.0.1"]
)
def test_ip_of_something_else_is_a_clear_error(text):
    with pytest.raises(ConfigError, match="IP address"):
        addr.ip(text)


@pytest.mark.parametrize("text", ["02:00:00:00:00:0a", "02-00-00-00-00-0A", b"\2\0\0\0\0\x0a"])
def test_mac_is_read_in_each_form(text):
    assert addr.mac(text) == b"\2\0\0\0\0\x0a"
    assert addr.mac_text(addr.mac(text)) == "02:00:00:00:00:0a"


@pytest.mark.parametrize("text", ["", "02:00:00:00:00", "02:00:00:00:00:0g", "02:00:00:00:00:00:00", b"\2\0"])
def test_mac_of_something_else_is_a_clear_error(text):
    with pytest.raises(ConfigError, match="MAC address"):
        addr.mac(text)


@pytest.mark.parametrize(
    ("question", "yes", "no"),
    [
        (addr.is_multicast, ["224.0.0.1", "239.255.0.1", "ff02::1"], ["223.1.1.1", "240.0.0.1", "fe80::1"]),
        (addr.is_loopback, ["127.0.0.1", "127.9.9.9", "::1"], ["128.0.0.1", "::2"]),
        (addr.is_unspecified, ["0.0.0.0", "::"], ["0.0.0.1", "::1"]),
    ],
)
def test_address_is_asked_for_its_class(question, yes, no):
    """RFC 1122 section 3.2.1.3"""
    assert all(question(addr.ip(text)) for text in yes)
    assert not any(question(addr.ip(text)) for text in no)


@pytest.mark.parametrize(
    ("text", "network", "length"),
    [
        ("10.1.2.3/24", "10.1.2.0", 24),
        ("10.1.2.3", "10.1.2.3", 32),
        ("default", "0.0.0.0", 0),
        ("2001:db8::1/64", "2001:db8::", 64),
    ],
)
def test_prefix_is_parsed_and_its_host_bits_cleared(text, network, length):
    assert Prefix.parse(text) == Prefix(addr.ip(network), length)
    assert str(Prefix.parse(text)) == f"{network}/{length}"


@pytest.mark.parametrize("text", ["10.0.0.0/33", "10.0.0.0/-1", "10.0.0.0/", "10.0.0.0/x", "x/24", "::/129"])
def test_prefix_of_something_else_is_a_clear_error(text):
    with pytest.raises(ConfigError):
        Prefix.parse(text)


@pytest.mark.parametrize(
    ("prefix", "inside", "outside"),
    [
        ("10.0.0.0/24", "10.0.0.255", "10.0.1.0"),
        ("10.0.0.0/31", "10.0.0.1", "10.0.0.2"),
        ("10.0.0.7/32", "10.0.0.7", "10.0.0.6"),
        ("2001:db8::/33", "2001:db8:7fff::1", "2001:db8:8000::"),
        ("default", "255.255.255.255", "::"),
    ],
)
def test_prefix_knows_what_lies_in_it(prefix, inside, outside):
    assert addr.ip(inside) in Prefix.parse(prefix)
    assert addr.ip(outside) not in Prefix.parse(prefix)


@pytest.mark.parametrize(
    ("prefix", "broadcast"),
    [
        ("10.0.0.0/24", "10.0.0.255"),
        ("10.0.0.0/30", "10.0.0.3"),
        ("10.0.0.0/31", None),
        ("10.0.0.0/32", None),
        ("fd00::/64", None),
    ],
)
def test_prefix_knows_its_directed_broadcast(prefix, broadcast):
    assert Prefix.parse(prefix).broadcast == (addr.ip(broadcast) if broadcast else None)


def test_interface_address_without_a_length_says_what_to_write():
    assert addr.interface_address("10.0.0.1/24") == (addr.ip("10.0.0.1"), 24)
    with pytest.raises(ConfigError, match=r"write 10\.0\.0\.1/24"):
        addr.interface_address("10.0.0.1")


def test_endpoint_is_written_as_people_do():
    assert addr.endpoint_text(addr.ip("10.0.0.1"), 80) == "10.0.0.1:80"
    assert addr.endpoint_text(addr.ip("::1"), 80) == "[::1]:80"
    assert addr.endpoint_text(addr.ANY4, 80) == "*:80"


@pytest.mark.parametrize(
    ("address", "neighbour"),
    [
        ("10.0.0.1/24", "10.0.0.2/24"),
        ("10.0.0.2/24", "10.0.0.1/24"),
        ("192.168.7.200/16", "192.168.0.1/16"),
        ("10.0.0.5/31", "10.0.0.4/31"),
        ("10.0.0.6/30", "10.0.0.5/30"),
        ("10.0.0.1/8", "10.0.0.2/8"),
        ("10.0.0.1/32", None),
    ],
)
def test_first_neighbour_is_the_first_other_host(address, neighbour):
    assert addr.first_neighbour(address) == neighbour
