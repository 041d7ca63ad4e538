"""Putting the host back, on a host that is only told about: order, names that mean something else, crashes."""

import os
import subprocess
import sys

import pytest

from scapystack.base.errors import LinkError
from scapystack.link import hostsetup
from scapystack.link.hostsetup import HostSetup, clean_leftovers
from scapystack.link.netlink import HostRoute, Interface


class Host:
    """A namespace as a set of facts: interfaces with addresses, routes and masters; every change is noted."""

    def __init__(self):
        self.links = {}
        self.addresses = {}
        self.routes = {}
        self.log = []
        self.interrupt = False
        self._next = 10
        for name in ("lo", "eth0", "tap0"):
            self.make(name)
        self.addresses["eth0"] = ["10.5.0.1/24"]
        self.routes["eth0"] = [HostRoute("default", "10.5.0.2", 7)]

    def make(self, name, kind=""):
        self._next += 1
        self.links[name] = Interface(self._next, name, False, 1500, bytes(6), kind)
        self.addresses[name] = []
        self.routes[name] = []

    def state(self):
        return {
            name: (link.up, link.master, list(self.addresses[name]), list(self.routes[name]))
            for name, link in self.links.items()
        }


class FakeNetlink:
    """`Netlink` on a `Host`."""

    host: Host

    def __init__(self, netns=None):
        self.netns = netns

    def interface(self, name):
        if name not in self.host.links:
            raise LinkError(f"there is no interface {name}")
        return self.host.links[name]

    def find(self, name):
        return self.host.links.get(name)

    def addresses(self, name):
        return list(self.host.addresses[name])

    def routes(self, name):
        return list(self.host.routes[name])

    def set_up(self, name, up=True):
        self.interface(name).up = up
        self.host.log.append(("up" if up else "down", name))

    def add_bridge(self, name, mac=None):
        self.host.make(name, "bridge")
        if self.host.interrupt:
            raise KeyboardInterrupt
        self.set_up(name)

    def delete(self, name):
        self.interface(name)
        for table in (self.host.links, self.host.addresses, self.host.routes):
            del table[name]
        for link in self.host.links.values():
            link.master = link.master if link.master != name else ""
        self.host.log.append(("delete", name))

    def set_master(self, name, bridge):
        self.interface(name).master = bridge or ""
        self.host.log.append(("master", name, bridge))

    def rename(self, name, new):
        link = self.interface(name)
        for table in (self.host.links, self.host.addresses, self.host.routes):
            table[new] = table.pop(name)
        link.name = new

    def add_address(self, name, address):
        if address in self.host.addresses[name]:
            raise LinkError("it exists already")
        self.host.addresses[name].append(address)
        self.host.log.append(("address", name, address))

    def delete_address(self, name, address):
        self.host.addresses[name].remove(address)
        # as in the kernel: routes that stood on the address go with it
        self.host.routes[name] = []

    def add_route(self, prefix, *, via=None, dev=None, metric=0):
        if any(route.prefix == prefix for table in self.host.routes.values() for route in table):
            raise LinkError("it exists already")
        self.host.routes[dev].append(HostRoute(prefix, via, metric))
        self.host.log.append(("route", dev, prefix))

    def delete_route(self, prefix, *, via=None, dev=None, metric=0):
        self.host.routes[dev] = [route for route in self.host.routes[dev] if route.prefix != prefix]


@pytest.fixture
def host(monkeypatch):
    made = Host()
    monkeypatch.setattr(FakeNetlink, "host", made, raising=False)
    monkeypatch.setattr(hostsetup, "Netlink", FakeNetlink)
    return made


def test_direct_is_undone_to_the_last_bit(host, tmp_path):
    before = host.state()
    with HostSetup(tmp_path) as setup:
        setup.direct("tap0", "10.0.0.2/24")
        assert host.state()["tap0"] == (True, "", ["10.0.0.2/24"], [])
    assert host.state() == before


def test_direct_leaves_what_was_there_before(host, tmp_path):
    host.links["tap0"].up = True
    host.addresses["tap0"] = ["10.0.0.2/24"]
    with HostSetup(tmp_path) as setup:
        setup.direct("tap0", "10.0.0.2/24")
    assert host.state()["tap0"] == (True, "", ["10.0.0.2/24"], [])


def test_bridged_moves_addresses_and_routes_and_back(host, tmp_path):
    host.links["eth0"].up = True
    before = host.state()
    with HostSetup(tmp_path) as setup:
        bridge = setup.bridged("tap0", "eth0")
        assert len(bridge) <= 15
        state = host.state()
        assert state[bridge] == (True, "", ["10.5.0.1/24"], [HostRoute("default", "10.5.0.2", 7)])
        assert state["eth0"] == (True, bridge, [], [])
        assert state["tap0"] == (True, bridge, [], [])
    assert host.state() == before
    # the bridge has to be gone before its routes can stand on eth0 again
    assert host.log.index(("delete", bridge)) < max(i for i, e in enumerate(host.log) if e[:2] == ("route", "eth0"))


def test_bridged_with_a_port_of_a_bridge_uses_that(host, tmp_path):
    host.make("br7", "bridge")
    host.links["eth0"].master = "br7"
    host.links["br7"].up = True
    before = host.state()
    with HostSetup(tmp_path) as setup:
        assert setup.bridged("tap0", "eth0") == "br7"
    assert host.state() == before


def test_close_leaves_a_name_that_means_another_interface(host, tmp_path):
    with HostSetup(tmp_path) as setup:
        setup.bridge("br0")
        host.make("br0", "bridge")
    assert "br0" in host.links


def test_close_goes_on_past_what_is_gone(host, tmp_path):
    before = host.state()
    with HostSetup(tmp_path) as setup:
        setup.address("tap0", "10.9.0.1/24")
        setup.bridge("br0")
        setup.port("eth0", "br0")
        setup.rename("br0", "br1")
        del host.links["br1"], host.addresses["br1"], host.routes["br1"]
        host.links["eth0"].master = ""
    assert host.state() == before


def test_change_that_could_not_be_made_is_not_undone(host, tmp_path):
    host.make("br0", "bridge")
    host.routes["eth0"].append(HostRoute("10.7.0.0/16", None))
    before = host.state()
    with HostSetup(tmp_path) as setup:
        with pytest.raises(LinkError, match="there is an interface br0 already"):
            setup.bridge("br0")
        with pytest.raises(LinkError, match="exists"):
            setup.route("10.7.0.0/16", dev="eth0")
        with pytest.raises(LinkError, match="no interface none"):
            setup.port("none", "br0")
    assert host.state() == before


def test_change_that_was_interrupted_is_undone(host, tmp_path):
    before = host.state()
    host.interrupt = True
    with HostSetup(tmp_path) as setup, pytest.raises(KeyboardInterrupt):
        setup.bridge("br0")
    assert host.state() == before


def test_close_in_a_forked_child_does_nothing(host, tmp_path):
    setup = HostSetup(tmp_path)
    setup.bridge("br0")
    owner, setup._owner = setup._owner, -1
    setup.close()
    assert "br0" in host.links
    setup._owner = owner
    setup.close()
    setup.close()
    assert "br0" not in host.links


def test_leftovers_are_put_back_by_the_next_setup(host, tmp_path):
    host.links["eth0"].up = True
    before = host.state()
    setup = HostSetup(tmp_path)
    bridge = setup.bridged("tap0", "eth0")
    (path,) = tmp_path.iterdir()
    child = subprocess.Popen([sys.executable, "-c", ""])
    child.wait()
    os.rename(path, tmp_path / f"{child.pid}-1-1")  # as if another process had done it, and died
    HostSetup(tmp_path).close()
    assert host.state() == before
    assert bridge not in host.links
    assert clean_leftovers(tmp_path) == []


def test_leftovers_of_an_unknown_kind_are_passed_over(host, tmp_path):
    (tmp_path / "1-1-1").write_text('{"what": "magic"}\n{"what": "up", "interface": "eth0", "index": 12}\n')
    host.links["eth0"].up = True
    assert [line.split()[0] for line in clean_leftovers(tmp_path)] == ["what=up"]
    assert not host.links["eth0"].up


def test_namespace_is_not_made_by_a_path(tmp_path):
    with HostSetup(tmp_path / "journals") as setup, pytest.raises(LinkError, match="by a path"):
        setup.namespace(str(tmp_path / "made"))
    assert not (tmp_path / "made").exists()
