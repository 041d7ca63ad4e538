"""What a stack changes on the host, and that nothing of it is left: after close, signals and crashes."""

import json
import os
import signal
import subprocess
import sys
import textwrap

import pytest

from scapystack.base.errors import ConfigError, LinkError
from scapystack.link import netns as namespaces
from scapystack.link.hostsetup import HostSetup, clean_leftovers
from scapystack.link.netlink import HostRoute
from scapystack.link.tap import TapLink
from scapystack.sockets.facade import Stack
from tests.interop.netns import KERNEL, STACK, needs, stack_on_tap


@pytest.fixture
def setup(tmp_path):
    with HostSetup(tmp_path / "journals") as made:
        yield made


def state(ns):
    """All that a set-up may change in a namespace."""
    net = ns.net
    return [(each, net.addresses(each.name), net.routes(each.name)) for each in net.interfaces()]


# --- netlink


def test_netlink_interface_addresses_and_routes(netns):
    net = netns.net
    bridge = net.add_bridge("br0", "02:00:00:00:00:99")
    assert (bridge.kind, bridge.up, bridge.mac.hex()) == ("bridge", True, "020000000099")
    net.add_address("br0", "10.1.0.2/24")
    net.add_address("br0", "10.1.0.3/24")
    assert net.addresses("br0") == ["10.1.0.2/24", "10.1.0.3/24"]
    net.add_route("10.2.0.0/16", via="10.1.0.1", metric=5)
    net.add_route("10.3.0.0/16", dev="br0")
    net.add_route("default", via="10.1.0.1", dev="br0")
    assert sorted(net.routes("br0"), key=lambda r: r.prefix) == [
        HostRoute("10.2.0.0/16", "10.1.0.1", 5),
        HostRoute("10.3.0.0/16", None),
        HostRoute("default", "10.1.0.1"),
    ]
    net.delete_route("10.2.0.0/16", via="10.1.0.1")
    net.delete_address("br0", "10.1.0.3/24")
    assert net.addresses("br0") == ["10.1.0.2/24"]
    assert len(net.routes("br0")) == 2
    net.add_veth("v0", "v1")
    net.set_master("v0", "br0")
    assert net.interface("v0").master == "br0"
    net.set_master("v0", None)
    assert net.interface("v0").master == ""
    net.set_up("v1", False)
    net.rename("v1", "w1")
    net.set_mtu("w1", 1400)
    assert net.interface("w1").mtu == 1400
    net.delete("w1")
    assert net.find("v0") is None


def test_netlink_errors_are_one_line_each(netns):
    net = netns.net
    net.add_bridge("br0")
    for act, words in (
        (lambda: net.add_bridge("br0"), "cannot make bridge br0: it exists already"),
        (lambda: net.set_up("none"), "there is no interface none"),
        (lambda: net.interface("none"), f"there is no interface none in namespace {netns.name}"),
        (lambda: net.rename("br0", "x" * 16), "cannot be an interface's name"),
        (lambda: net.set_mtu("br0", 10_000_000), "cannot set the MTU of br0 to 10000000: "),
        (
            lambda: net.delete_route("10.9.0.0/16", dev="br0"),
            "cannot delete the route to 10.9.0.0/16 dev br0: there is",
        ),
        (lambda: net.add_route("10.9.0.0/16", via="10.8.0.1"), "10.9.0.0/16 via 10.8.0.1: Network is unreachable"),
        (lambda: net.delete_address("br0", "10.9.0.1/24"), "take the address 10.9.0.1/24 from br0: it has no such"),
    ):
        with pytest.raises(LinkError, match=words) as caught:
            act()
        assert "\n" not in str(caught.value)
    with pytest.raises(ConfigError, match="prefix length"):
        net.add_address("br0", "10.0.0.1")
    with pytest.raises(LinkError, match="already"):
        namespaces.create(netns.name)
    with pytest.raises(LinkError, match="there is no network namespace"):
        namespaces.remove("sstest-none")


# --- the two set-ups


@needs("ping")
def test_direct_kernel_is_the_stacks_neighbour(netns, setup):
    link = TapLink("tap0", netns=netns.name)
    setup.direct("tap0", f"{KERNEL}/24", netns.name)
    with Stack(f"{STACK}/24", link=link) as stack:
        netns.run("ping", "-c", 1, "-W", 5, STACK)
        assert stack.ping(KERNEL, timeout=5).data
    assert netns.net.find("tap0") is None


@needs("ip")
def test_direct_on_a_persistent_tap_is_undone(netns, setup):
    netns.run("ip", "tuntap", "add", "dev", "tap0", "mode", "tap")
    before = state(netns)
    setup.direct("tap0", f"{KERNEL}/24", netns.name)
    assert netns.net.addresses("tap0") == [f"{KERNEL}/24"]
    setup.close()
    assert state(netns) == before


def lan_of_two(netns, other):
    """`other` is a host 10.5.0.2 at the far end of a cable whose near end, `eth0`, has 10.5.0.1 and routes."""
    netns.net.add_veth("eth0", "cable", other.name)
    netns.net.add_address("eth0", "10.5.0.1/24")
    netns.net.add_route("default", via="10.5.0.2", metric=7)
    netns.net.add_route("10.77.0.0/16", dev="eth0")
    other.net.add_address("cable", "10.5.0.2/24")


@needs("ping")
def test_bridged_with_an_interface_stack_and_kernel_are_hosts_on_its_lan(netns, another_netns, setup):
    lan_of_two(netns, another_netns)
    before = state(netns)
    link = TapLink("tap0", netns=netns.name)
    bridge = setup.bridged("tap0", "eth0", netns.name)
    with Stack("10.5.0.9/24", link=link):
        another_netns.run("ping", "-c", 1, "-W", 5, "10.5.0.9")
        netns.run("ping", "-c", 1, "-W", 5, "10.5.0.9")
        # the machine keeps its own place on the LAN, through the bridge
        another_netns.run("ping", "-c", 1, "-W", 5, "10.5.0.1")
        assert netns.net.addresses(bridge) == ["10.5.0.1/24"]
        assert {r.prefix for r in netns.net.routes(bridge)} == {"default", "10.77.0.0/16"}
    setup.close()
    assert state(netns) == before
    another_netns.run("ping", "-c", 1, "-W", 5, "10.5.0.1")


@needs("ping")
def test_bridged_with_a_bridge_or_its_port_joins_it(netns, another_netns, setup):
    netns.net.add_veth("eth0", "cable", another_netns.name)
    another_netns.net.add_address("cable", "10.5.0.2/24")
    netns.net.add_bridge("br7")
    netns.net.set_master("eth0", "br7")
    before = state(netns)
    for other in ("br7", "eth0"):
        link = TapLink("tap0", netns=netns.name)
        assert setup.bridged("tap0", other, netns.name) == "br7"
        with Stack("10.5.0.9/24", link=link):
            another_netns.run("ping", "-c", 1, "-W", 5, "10.5.0.9")
        assert state(netns) == before


def test_bridged_with_the_loopback_is_refused(netns, setup):
    link = TapLink("tap0", netns=netns.name)
    with pytest.raises(LinkError, match="loopback"):
        setup.bridged("tap0", "lo", netns.name)
    link.close()


# --- nothing is left


def test_setup_undoes_everything_in_reverse(netns, another_netns, tmp_path):
    before = state(netns)
    with HostSetup(tmp_path) as setup:
        made = setup.namespace()
        setup.veth("eth0", "far", netns.name, made)
        setup.bridge("br0", netns.name)
        setup.port("eth0", "br0", netns.name)
        setup.address("br0", "10.6.0.1/24", netns.name)
        setup.route("10.7.0.0/16", via="10.6.0.2", netns=netns.name)
        setup.rename("br0", "br1", netns.name)
        assert len(state(netns)) == 3
        assert namespaces.exists(made)
        assert len(list(tmp_path.iterdir())) == 1
    assert state(netns) == before
    assert not namespaces.exists(made)
    assert list(tmp_path.iterdir()) == []


def test_setup_leaves_alone_what_is_another_thing_by_now(netns, tmp_path):
    with HostSetup(tmp_path) as setup:
        setup.bridge("br0", netns.name)
        netns.net.delete("br0")
        netns.net.add_bridge("br0")
    assert netns.net.find("br0") is not None


PROGRAM = textwrap.dedent("""
    import json, sys, time
    from pathlib import Path
    from scapystack.link.hostsetup import HostSetup
    from scapystack.link.tap import TapLink
    from scapystack.runtime.signals import exit_on_signals
    from scapystack.sockets.facade import Stack

    exit_on_signals()
    journals, netns = sys.argv[1:]
    setup = HostSetup(Path(journals))
    made = setup.namespace()
    link = TapLink("tap0", netns=netns)
    bridge = setup.bridged("tap0", "eth0", netns)
    stack = Stack("10.5.0.9/24", link=link)
    try:
        print(json.dumps([made, bridge]), flush=True)
        stack.driver.run()
    except KeyboardInterrupt:
        sys.exit(130)
""")


def start_program(tmp_path, netns):
    child = subprocess.Popen(
        [sys.executable, "-c", PROGRAM, str(tmp_path), netns.name], stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    line = child.stdout.readline()
    assert line, child.stderr.read().decode()
    return child, json.loads(line)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP], ids=lambda n: n.name)
def test_signal_leaves_nothing(netns, another_netns, tmp_path, number):
    lan_of_two(netns, another_netns)
    before = state(netns)
    child, (made, _) = start_program(tmp_path, netns)
    assert namespaces.exists(made)
    child.send_signal(number)
    _, err = child.communicate(timeout=20)
    assert (child.returncode, err) == (128 + number, b"")
    assert not namespaces.exists(made)
    assert state(netns) == before
    assert list(tmp_path.iterdir()) == []


def test_kill_leaves_nothing_after_the_next_start(netns, another_netns, tmp_path):
    lan_of_two(netns, another_netns)
    before = state(netns)
    child, (made, bridge) = start_program(tmp_path, netns)
    HostSetup(tmp_path).close()  # it lives: nothing of its is touched
    assert namespaces.exists(made)
    assert netns.net.find(bridge) is not None
    child.kill()
    child.communicate()
    assert netns.net.find("tap0") is None  # with its descriptor
    assert netns.net.find(bridge) is not None
    HostSetup(tmp_path).close()
    assert not namespaces.exists(made)
    assert state(netns) == before
    assert list(tmp_path.iterdir()) == []
    assert clean_leftovers(tmp_path) == []


def test_stack_closed_leaves_no_tap_and_no_descriptor(netns):
    open_before = set(os.listdir("/proc/self/fd"))
    lan = stack_on_tap(netns, offload=True)
    lan.stack.close()
    assert netns.net.find("tap0") is None
    del lan
    assert set(os.listdir("/proc/self/fd")) <= open_before
