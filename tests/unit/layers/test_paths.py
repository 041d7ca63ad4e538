"""Routes by destination: interface, next hop, source, MTU; addresses come and go; gateways die."""

import errno

import pytest

from scapystack.base.addr import ANY4, ip
from scapystack.base.datagram import CAST_BROADCAST, CAST_MULTICAST, CAST_UNICAST
from scapystack.base.errors import ConfigError
from scapystack.stack import NetStack
from tests.harness.ip import Wire, errno_of

BROADCAST = "255.255.255.255"


@pytest.fixture
def two():
    """10.0.0.1/24 on eth0 and 10.0.1.1/24 on eth1, a default gateway on eth1."""
    wire = Wire("10.0.0.1/24", "10.0.1.1/24")
    wire.net.add_route("default", via="10.0.1.254")
    return wire


def route(wire, dst, src=None):
    found = wire.net.ipv4.route(ip(dst), ip(src) if src else None)
    return found.iface.name, ".".join(map(str, found.hop)), ".".join(map(str, found.src))


def fails(wire, dst, src=None):
    return errno_of(wire.net.ipv4.route, ip(dst), ip(src) if src else None)


def test_paths_connected_network_goes_direct_with_its_own_source(two):
    assert route(two, "10.0.0.7") == ("eth0", "10.0.0.7", "10.0.0.1")
    assert route(two, "10.0.1.7") == ("eth1", "10.0.1.7", "10.0.1.1")


def test_paths_the_rest_goes_by_the_gateway(two):
    assert route(two, "192.0.2.1") == ("eth1", "10.0.1.254", "10.0.1.1")


def test_paths_source_given_is_kept_if_it_is_ours(two):
    assert route(two, "192.0.2.1", "10.0.0.1") == ("eth1", "10.0.1.254", "10.0.0.1")
    assert route(two, "192.0.2.1", "0.0.0.0") == ("eth1", "10.0.1.254", "10.0.1.1")
    assert fails(two, "192.0.2.1", "10.0.0.9") == errno.EADDRNOTAVAIL


def test_paths_source_is_on_the_network_of_the_next_hop():
    wire = Wire("10.0.0.1/24")
    wire.net.add_address(wire.eth[0], "172.16.0.1/16")
    wire.net.add_route("default", via="172.16.0.254")
    assert route(wire, "192.0.2.1") == ("eth0", "172.16.0.254", "172.16.0.1")
    assert route(wire, "10.0.0.5") == ("eth0", "10.0.0.5", "10.0.0.1")


def test_paths_ourselves_go_by_the_loopback(two):
    assert route(two, "10.0.0.1") == ("lo", "10.0.0.1", "10.0.0.1")
    assert route(two, "127.3.2.1") == ("lo", "127.3.2.1", "127.0.0.1")
    assert route(two, "10.0.0.1", "10.0.1.1") == ("lo", "10.0.0.1", "10.0.1.1")


@pytest.mark.parametrize("dst", ["0.0.0.0", "0.1.2.3", "240.0.0.1", "255.255.255.254"])
def test_paths_addresses_of_nobody_are_unreachable(two, dst):
    assert fails(two, dst) == errno.ENETUNREACH


def test_paths_of_another_family_unsupported(two):
    assert fails(two, "::1") == errno.EAFNOSUPPORT


def test_paths_without_a_route_unreachable(wire):
    assert fails(wire, "192.0.2.1") == errno.ENETUNREACH


def test_paths_casts(two):
    net = two.net.ipv4
    assert net.route(ip("10.0.0.2")).cast == CAST_UNICAST
    assert net.route(ip("10.0.0.255")).cast == CAST_BROADCAST
    assert net.route(ip("10.0.0.0")).cast == CAST_BROADCAST
    assert net.route(ip(BROADCAST)).cast == CAST_BROADCAST
    assert net.route(ip("239.1.1.1")).cast == CAST_MULTICAST


def test_paths_limited_broadcast_leaves_by_its_source(two):
    assert route(two, BROADCAST, "10.0.0.1") == ("eth0", BROADCAST, "10.0.0.1")
    assert route(two, BROADCAST) == ("eth1", BROADCAST, "10.0.1.1")  # where the default route points
    assert route(Wire("10.0.0.1/24"), BROADCAST) == ("eth0", BROADCAST, "10.0.0.1")


def test_paths_multicast_goes_where_a_route_points(two):
    assert route(two, "239.1.1.1") == ("eth1", "239.1.1.1", "10.0.1.1")
    two.net.add_route("239.0.0.0/8", iface=two.eth[0])
    assert route(two, "239.1.1.1") == ("eth0", "239.1.1.1", "10.0.0.1")


def test_paths_host_without_an_address_may_broadcast():
    net = NetStack()
    net.add_interface("eth0", "02:00:00:00:00:01")
    assert net.ipv4.route(ip(BROADCAST)).src == ANY4
    net.add_route("default", iface=net.interfaces[1])
    assert errno_of(net.ipv4.route, ip("192.0.2.1")) == errno.EADDRNOTAVAIL


def test_paths_stack_without_an_interface_reaches_only_itself():
    net = NetStack()
    assert net.ipv4.route(ip("127.0.0.1")).iface is net.interfaces[0]
    assert errno_of(net.ipv4.route, ip(BROADCAST)) == errno.ENETUNREACH


def test_paths_unnumbered_interface_speaks_with_anothers_address(two):
    tun = two.net.add_interface("tun0", "02:00:00:00:02:01")
    two.net.add_route("192.0.2.0/24", iface=tun)
    assert route(two, "192.0.2.1") == ("tun0", "192.0.2.1", "10.0.0.1")


def test_paths_routes_are_cached_until_something_changes(two):
    net = two.net.ipv4
    held = net.route(ip("192.0.2.1"))
    assert net.route(ip("192.0.2.1")) is held
    two.net.add_route("192.0.2.0/24", via="10.0.0.9")
    assert not net.fresh(held)
    assert route(two, "192.0.2.1") == ("eth0", "10.0.0.9", "10.0.0.1")
    two.net.remove_route("192.0.2.0/24")
    assert route(two, "192.0.2.1") == ("eth1", "10.0.1.254", "10.0.1.1")


def test_paths_route_cache_is_bounded(two):
    for n in range(10_000):
        two.net.ipv4.route(ip(f"192.{n >> 8}.{n & 255}.1"))
    assert len(two.net.ipv4.paths._cache) <= 4_096


def test_paths_dead_gateway_passed_over_while_it_is_dead():
    """1122/3.3.1 (RFC 1122 section 3.3.1.4)."""
    wire = Wire("10.0.0.1/24", known=False)
    wire.net.add_route("default", via="10.0.0.3")
    wire.net.add_route("default", via="10.0.0.4", metric=10)
    assert route(wire, "192.0.2.1") == ("eth0", "10.0.0.3", "10.0.0.1")
    wire.net.icmp.ping(ip("192.0.2.1"), 1, 1)
    wire.after(ms=4_000)
    assert route(wire, "192.0.2.1") == ("eth0", "10.0.0.4", "10.0.0.1")
    wire.send(wire.is_at("10.0.0.3"))
    assert route(wire, "192.0.2.1") == ("eth0", "10.0.0.3", "10.0.0.1")


def test_paths_mtu_is_the_interfaces_and_never_over_a_packet(two):
    two.eth[0].mtu = 9_000
    assert two.net.ipv4.route(ip("10.0.0.2")).mtu == 9_000
    assert two.net.ipv4.route(ip("127.0.0.1")).mtu == 65_535


def test_paths_address_removed_with_its_network_route(two):
    two.net.remove_address(two.eth[0], "10.0.0.1")
    assert route(two, "10.0.0.7") == ("eth1", "10.0.1.254", "10.0.1.1")
    assert not two.net.ipv4.is_local(ip("10.0.0.1"))
    with pytest.raises(ConfigError, match=r"10\.0\.0\.1 is not an address of eth0"):
        two.net.remove_address(two.eth[0], "10.0.0.1/24")


def test_paths_second_address_keeps_the_network(two):
    two.net.add_address(two.eth[0], "10.0.0.9/24")
    two.net.remove_address(two.eth[0], "10.0.0.1")
    assert route(two, "10.0.0.7") == ("eth0", "10.0.0.7", "10.0.0.9")


@pytest.mark.parametrize(
    ("address", "message"),
    [
        ("10.0.5.255/24", "not an address of one host"),
        ("224.0.0.1/24", "not an address of one host"),
        ("0.0.0.0/0", "not an address of one host"),
        ("255.255.255.255/32", "not an address of one host"),
        ("127.0.0.5/8", "loopback's alone"),
        ("10.0.0.1/16", "in use on this stack already"),
        ("10.0.0.1", "lacks its prefix length"),
        ("10.0.0.1/33", "not a prefix length"),
        ("nonsense/24", "not an IP address"),
        ("2001:db8::1/64", "not an IPv4 address"),
    ],
)
def test_paths_address_that_cannot_be_refused_in_one_line(wire, address, message):
    with pytest.raises(ConfigError, match=message) as caught:
        wire.net.add_address(wire.eth[0], address)
    assert "\n" not in str(caught.value)


def test_paths_interface_removed_with_all_that_goes_through_it(two):
    two.net.remove_interface(two.eth[1])
    assert fails(two, "192.0.2.1") == errno.ENETUNREACH
    assert not two.net.ipv4.is_local(ip("10.0.1.1"))
    assert [entry.iface.name for entry in two.net.arp.entries() if entry.iface is two.eth[1]] == []
    assert [iface.name for iface in two.net.interfaces] == ["lo", "eth0"]


def test_paths_interface_down_is_passed_over_until_it_is_up(two):
    two.net.add_route("default", via="10.0.0.254", metric=9)
    two.net.set_up(two.eth[1], False)
    assert route(two, "192.0.2.1") == ("eth0", "10.0.0.254", "10.0.0.1")
    two.net.set_up(two.eth[1], True)
    assert route(two, "192.0.2.1") == ("eth1", "10.0.1.254", "10.0.1.1")


def test_paths_neighbour_that_is_no_gateway_changes_no_route():
    wire = Wire("10.0.0.1/24", known=False)
    wire.net.add_route("default", via="10.0.0.3")
    held = wire.net.ipv4.route(ip("192.0.2.1"))
    wire.net.icmp.ping(ip("10.0.0.77"), 1, 1)
    wire.after(ms=5_000)
    assert wire.neighbours() == {"10.0.0.77": "failed"}
    assert wire.net.ipv4.fresh(held)
