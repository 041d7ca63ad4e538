"""The routing table: longest prefix, then metric; large tables."""

import pytest

from scapystack.base.addr import Prefix, ip
from scapystack.base.errors import ConfigError
from scapystack.base.iface import Interface
from scapystack.layers.routing import RoutingTable

ETH0 = Interface("eth0", b"\2\0\0\0\0\1")
ETH1 = Interface("eth1", b"\2\0\0\0\1\1")


def table_of(*routes):
    table = RoutingTable(32)
    for prefix, via in routes:
        table.add(Prefix.parse(prefix), ETH0, ip(via))
    return table


def via(table, dst):
    entry = table.lookup(ip(dst))
    return entry and ".".join(map(str, entry.via))


def test_routing_longest_prefix_wins():
    table = table_of(
        ("default", "1.1.1.1"), ("10.0.0.0/8", "2.2.2.2"), ("10.1.0.0/16", "3.3.3.3"), ("10.1.2.3", "4.4.4.4")
    )
    assert [via(table, dst) for dst in ("9.9.9.9", "10.2.0.1", "10.1.2.4", "10.1.2.3")] == [
        "1.1.1.1", "2.2.2.2", "3.3.3.3", "4.4.4.4",
    ]  # fmt: skip


def test_routing_without_default_unknown_is_none():
    assert via(table_of(("10.0.0.0/8", "2.2.2.2")), "11.0.0.1") is None


def test_routing_lower_metric_wins_and_the_older_of_equals():
    table = RoutingTable(32)
    for metric, gateway in ((10, "1.1.1.1"), (5, "2.2.2.2"), (5, "3.3.3.3")):
        table.add(Prefix.parse("default"), ETH0, ip(gateway), metric)
    assert via(table, "8.8.8.8") == "2.2.2.2"
    table.remove(Prefix.parse("default"), via=ip("2.2.2.2"))
    assert via(table, "8.8.8.8") == "3.3.3.3"


def test_routing_interface_down_is_passed_over():
    table = RoutingTable(32)
    down = Interface("down", b"\2\0\0\0\0\2", up=False)
    table.add(Prefix.parse("10.0.0.0/8"), down, ip("1.1.1.1"))
    table.add(Prefix.parse("default"), ETH0, ip("2.2.2.2"))
    assert via(table, "10.0.0.1") == "2.2.2.2"


def test_routing_unusable_gateway_is_a_last_resort():
    table = table_of(("default", "1.1.1.1"))
    table.add(Prefix.parse("default"), ETH0, ip("2.2.2.2"), 5)
    dead = {ip("1.1.1.1")}
    assert table.lookup(ip("9.9.9.9"), lambda entry: entry.via not in dead).via == ip("2.2.2.2")
    dead.add(ip("2.2.2.2"))
    assert table.lookup(ip("9.9.9.9"), lambda entry: entry.via not in dead).via == ip("1.1.1.1")


def test_routing_same_route_twice_refused_and_missing_one_too():
    table = table_of(("10.0.0.0/8", "1.1.1.1"))
    with pytest.raises(ConfigError, match=r"there is a route 10\.0\.0\.0/8 via 1\.1\.1\.1 dev eth0 already"):
        table.add(Prefix.parse("10.0.0.0/8"), ETH0, ip("1.1.1.1"))
    with pytest.raises(ConfigError, match="no such route"):
        table.remove(Prefix.parse("10.0.0.0/8"), iface=ETH1)


def test_routing_every_change_moves_the_generation():
    table = table_of()
    before = table.generation
    table.add(Prefix.parse("default"), ETH0, ip("1.1.1.1"))
    between = table.generation
    table.remove(Prefix.parse("default"))
    assert before < between < table.generation
    assert len(table) == 0
    assert list(table) == []


def test_routing_table_of_ipv6_works_alike():
    table = RoutingTable(128)
    table.add(Prefix.parse("2001:db8::/32"), ETH0)
    table.add(Prefix.parse("::/0"), ETH1)
    assert table.lookup(ip("2001:db8::1")).iface is ETH0
    assert table.lookup(ip("2001:db9::1")).iface is ETH1
    with pytest.raises(ConfigError, match="128-bit"):
        table.add(Prefix.parse("10.0.0.0/8"), ETH0)


def test_routing_hundred_thousand_routes_answer_as_a_walk_over_all_of_them():
    table = RoutingTable(32)
    routes = [(0x0B000000 + i * 9_973 & 0xFFFFFFFF, 8 + i % 25) for i in range(100_000)]
    for metric, (network, length) in enumerate(routes):
        table.add(Prefix.of(network.to_bytes(4, "big"), length), ETH0, metric=metric)
    assert len(table) == 100_000
    for dst in (0x0B000000, 0x10203040, 0x21436587, 0x45454545, 0x20000001):
        matching = [(-n, metric) for metric, (net, n) in enumerate(routes) if (net ^ dst) >> (32 - n) == 0]
        found = table.lookup(dst.to_bytes(4, "big"))
        assert (found and (-found.prefix.length, found.metric)) == min(matching, default=None)
