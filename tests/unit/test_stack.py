"""`NetStack`: the driver's calls, taps and hooks, and setting up interfaces, routes and groups."""

import pytest
from scapy.layers.inet import ICMP, IP, UDP
from scapy.layers.l2 import ARP, Ether

from scapystack.base.addr import ANY4, ip
from scapystack.base.config import StackConfig
from scapystack.base.errors import ConfigError
from scapystack.base.frames import Frame
from scapystack.base.types import SECOND
from scapystack.codec import make_codec
from scapystack.stack import NetStack
from tests.harness.ip import Wire

PEER = ip("10.0.0.2")


def test_stack_begins_with_a_loopback_and_nothing_to_do():
    net = NetStack()
    lo = net.interfaces[0]
    assert (lo.name, lo.loopback, lo.mtu, lo.primary()) == ("lo", True, 65_536, ip("127.0.0.1"))
    assert net.next_deadline() is None
    assert net.take_frames() == []
    assert net.take_ready() == []


def test_stack_with_a_congestion_control_that_there_is_not_is_none():
    """Else the first SYN from the wire would raise it."""
    config = StackConfig()
    config.set("tcp.congestion", "vegas")
    with pytest.raises(ConfigError, match="one of: bbr, cubic, reno"):
        NetStack(config)


def test_stack_extra_calls_are_harmless():
    wire = Wire()
    for _ in range(3):
        wire.poll()
        wire.expect()
    assert wire.net.counters == {}


def test_stack_time_never_goes_back():
    wire = Wire()
    wire.net.enter(5 * SECOND)
    wire.net.poll(3 * SECOND)
    wire.net.receive(Frame(bytes(wire.rx(ICMP())), (), wire.eth[0]), 1)
    assert wire.net.core.now == 5 * SECOND
    assert wire.frames()[0].at == 5 * SECOND


def test_stack_input_waits_for_no_poll_but_tcp_does():
    """Input marks, output sends: a SYN is answered in the output pass."""
    wire = Wire()
    wire.net.tcp.listen(ANY4, 80, 5)
    from scapy.layers.inet import TCP  # noqa: PLC0415

    wire.net.receive(Frame(bytes(wire.rx(TCP(dport=80))), (), wire.eth[0]), wire.now)
    wire.expect()
    wire.poll()
    assert wire.out()[0].sprintf("%TCP.flags%") == "SA"


def test_stack_two_stacks_share_nothing():
    a, b = Wire(), Wire()
    a.send(a.rx(UDP(dport=9)))
    a.net.config.ip.ttl = 7
    assert b.net.counters == {}
    assert b.net.config.ip.ttl == 64
    b.expect()


def test_stack_same_seed_same_bytes_other_seed_others():
    def run(seed):
        wire = Wire(seed=seed)
        for n in range(20):
            wire.net.udp.bind(ANY4, 0).send(b"x", ip(f"10.0.0.{2 + n % 5}"), 9)
        return [frame.data for frame in wire.frames()]

    assert run(1) == run(1)
    assert run(1) != run(2)


def test_stack_codec_by_name_or_ready_made():
    assert NetStack(codec="paranoid").core.codec.mode == "paranoid"
    codec = make_codec("scapy")
    assert NetStack(codec=codec).core.codec is codec
    with pytest.raises(ConfigError):
        NetStack(codec="fast")


def test_stack_reads_its_config_live():
    config = StackConfig()
    net = NetStack(config)
    assert net.config is config


# -- taps and hooks


def test_stack_taps_see_both_ways_in_order():
    wire = Wire()
    seen = []
    wire.net.taps.append(lambda way, frame: seen.append((way, Ether(frame.data)[ICMP].type)))
    wire.send(wire.rx(ICMP(id=1)), wire.rx(ICMP(id=2)))
    wire.frames()
    assert seen == [("rx", 8), ("rx", 8), ("tx", 0), ("tx", 0)]


def test_stack_tap_may_remove_itself():
    wire = Wire()
    seen = []

    def once(way, frame):
        seen.append(way)
        wire.net.taps.remove(once)

    wire.net.taps.append(once)
    wire.send(wire.rx(ICMP(id=1)), wire.rx(ICMP(id=2)))
    assert seen == ["rx"]


def test_stack_rx_hook_drops_changes_and_adds():
    wire = Wire()

    def hook(frame):
        packet = Ether(frame.data)
        seq = packet[ICMP].seq
        if seq == 1:
            return None
        if seq == 2:
            return [frame, frame]
        packet[ICMP].seq = 99
        del packet[ICMP].chksum
        return Frame(bytes(packet))

    wire.net.hooks.rx.append(hook)
    wire.send(*(wire.rx(ICMP(id=1, seq=n)) for n in (1, 2, 3)))
    wire.expect(*(wire.tx(ICMP(type=0, id=1, seq=n)) for n in (2, 2, 99)))
    assert wire.count("hooks.drop.rx") == 1


def test_stack_tx_hooks_run_in_order_on_what_is_left():
    wire = Wire()
    wire.net.hooks.tx += [lambda frame: [frame, frame], lambda frame: frame if len(wire.net.hooks.tx) else None]
    wire.send(wire.rx(ICMP(id=1)))
    assert len(wire.frames()) == 2
    wire.net.hooks.tx.append(lambda frame: None)
    wire.send(wire.rx(ICMP(id=1)))
    assert wire.frames() == []
    assert wire.count("hooks.drop.tx") == 2


# -- endpoints


def test_stack_endpoint_without_callback_is_never_handed_out():
    wire = Wire()
    endpoint = wire.net.udp.bind(ANY4, 7)
    wire.send(wire.rx(UDP(sport=5, dport=7)))
    assert wire.net.take_ready() == []
    assert endpoint.readable


# -- setting up


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("eth0", "02:00:00:00:00:09"), "there is an interface eth0 already"),
        (("eth9", "01:00:00:00:00:09"), "neither a group's nor zero"),
        (("eth9", "00:00:00:00:00:00"), "neither a group's nor zero"),
        (("eth9", "nonsense"), "not a MAC address"),
        (("eth9", "02:00:00:00:00:09", 60), "too small for IPv4"),
    ],
)
def test_stack_interface_that_cannot_be_refused(arguments, message):
    with pytest.raises(ConfigError, match=message):
        Wire().net.add_interface(*arguments)


def test_stack_routes_that_lead_nowhere_refused():
    wire = Wire()
    for via, iface, message in (
        (None, None, "needs a gateway or an interface"),
        ("192.0.2.1", None, r"192\.0\.2\.1 is on no network of ours"),
        ("10.0.0.1", None, "is on no network of ours"),
    ):
        with pytest.raises(ConfigError, match=message):
            wire.net.add_route("default", via=via, iface=iface)
    with pytest.raises(ConfigError, match="no such route"):
        wire.net.remove_route("198.51.100.0/24")


def test_stack_gateway_on_no_network_is_allowed_with_its_interface():
    wire = Wire()
    wire.net.add_route("default", via="192.0.2.1", iface=wire.eth[0])
    assert wire.net.ipv4.route(ip("8.8.8.8")).hop == ip("192.0.2.1")


def test_stack_loopback_stays():
    net = NetStack()
    with pytest.raises(ConfigError, match="lo cannot be removed"):
        net.remove_interface(net.interfaces[0])


def test_stack_interface_removed_and_made_again_starts_afresh():
    wire = Wire()
    old = wire.eth[0]
    wire.net.join_group(old, "239.1.2.3")
    wire.net.remove_interface(old)
    new = wire.net.add_interface("eth0", "02:00:00:00:00:01")
    assert new.index != old.index
    assert new.multicast_groups == {ip("224.0.0.1")}
    wire.net.receive(Frame(bytes(wire.rx(ICMP())), (), old), wire.now)
    assert wire.drops() == {"ethernet.drop.interface_down": 1}


def test_stack_interfaces_that_come_and_go_leave_nothing():
    wire = Wire()
    net = wire.net
    thief = Ether(src="02:00:00:00:00:66", dst="ff:ff:ff:ff:ff:ff") / ARP(
        hwsrc="02:00:00:00:00:66", psrc="10.0.0.1", pdst="10.0.0.1"
    )
    wire.send(thief)
    assert wire.count("arp.conflict.defended") == 1
    net.join_group(wire.eth[0], "239.1.2.3")
    net.remove_interface(wire.eth[0])
    kept = (
        net._members,
        net.ethernet.groups,
        net.acd.claims,
        net.acd._defended_at,
        net.arp.table,
        list(net.routes)[1:],
    )
    assert not any(kept)


def test_stack_groups_that_are_none_refused():
    wire = Wire()
    for group in ("10.0.0.1", "255.255.255.255", "ff02::1"):
        with pytest.raises(ConfigError, match="not a multicast group"):
            wire.net.join_group(wire.eth[0], group)
    with pytest.raises(ConfigError, match="not a member"):
        wire.net.leave_group(wire.eth[0], "239.1.2.3")


def test_stack_next_deadline_is_arps_then_none():
    wire = Wire(known=False)
    wire.net.icmp.ping(PEER, 1, 1)
    assert wire.net.next_deadline() == wire.now + SECOND
    wire.after(ms=60_000)
    assert wire.net.next_deadline() is None
    assert [packet.summary() for packet in wire.out() if IP in packet] == []
