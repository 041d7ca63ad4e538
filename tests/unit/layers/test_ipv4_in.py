"""IPv4 on its way in: what is dropped and why, what is ours, and what reaches a transport."""

import pytest
from scapy.layers.inet import ICMP, IP, TCP, UDP, IPOption_NOP, IPOption_Router_Alert

from scapystack.base.addr import ip
from scapystack.base.frames import CSUM_PARTIAL, Frame
from tests.harness.ip import BROADCAST


def hello(wire, **fields):
    return wire.rx(UDP(sport=5, dport=7) / b"hello", **fields)


def listen(wire, address="0.0.0.0"):
    return wire.net.udp.bind(ip(address), 7)


@pytest.mark.parametrize(
    ("fields", "reason"),
    [
        ({"version": 5}, "version"),
        ({"version": 6}, "version"),
        ({"ihl": 4}, "ihl"),
        ({"ihl": 15}, "truncated"),
        ({"len": 19}, "length"),
        ({"len": 34}, "truncated"),
        ({"len": 65535}, "truncated"),
        ({"chksum": 1}, "checksum"),
    ],
)
def test_ipv4_wrong_header_dropped(wire, fields, reason):
    """hostile/ip-lengths: 791-1122/3.2.1.1, 1122/3.2.1.2."""
    endpoint = listen(wire)
    wire.send(hello(wire, **fields))
    wire.expect()
    assert wire.drops() == {f"ip.drop.{reason}": 1}
    assert endpoint.recv() is None


def test_ipv4_truncated_at_every_length_dropped(wire):
    """hostile/ip-lengths."""
    whole = bytes(hello(wire))
    wire.send(*(whole[:n] for n in range(14, len(whole))))
    wire.expect()
    assert wire.drops() == {"ip.drop.truncated": len(whole) - 14}


@pytest.mark.parametrize(
    "src", ["0.0.0.0", "0.1.2.3", "127.0.0.1", "224.0.0.1", "240.0.0.1", "255.255.255.255", "10.0.0.255"]
)
def test_ipv4_impossible_source_dropped(wire, src):
    """1122/3.2.1.3, hostile/sources."""
    wire.send(wire.rx(ICMP(), src=src, by="10.0.0.2"))
    wire.expect()
    assert wire.drops() == {"ip.drop.source": 1}


def test_ipv4_land_attack_dropped(wire):
    """hostile/sources."""
    wire.net.tcp.listen(ip("0.0.0.0"), 80, 5)
    wire.send(wire.rx(TCP(sport=80, dport=80), src="10.0.0.1", by="10.0.0.2"))
    wire.expect()
    assert wire.drops() == {"ip.drop.source": 1}


@pytest.mark.parametrize("dst", ["127.0.0.1", "127.1.2.3", "0.0.0.1", "240.0.0.1"])
def test_ipv4_impossible_destination_dropped(router, dst):
    router.send(router.rx(ICMP(), dst=dst))
    router.expect()
    assert router.drops() == {"ip.drop.destination": 1}


def test_ipv4_packet_for_another_dropped_by_a_host(wire):
    wire.send(hello(wire, dst="10.0.0.9"), hello(wire, dst="192.0.2.1"))
    wire.expect()
    assert wire.drops() == {"ip.drop.not_ours": 2}


def test_ipv4_link_broadcast_of_a_unicast_dropped(wire):
    """1122/3.3.6, hostile/casts."""
    endpoint = listen(wire)
    wire.send(hello(wire, to=BROADCAST))
    wire.expect()
    assert wire.drops() == {"ip.drop.link_cast": 1}
    assert endpoint.recv() is None


@pytest.mark.parametrize("dst", ["255.255.255.255", "10.0.0.255", "10.0.0.0", "0.0.0.0"])
def test_ipv4_every_form_of_broadcast_taken(wire, dst):
    """1122/3.3.6."""
    endpoint = listen(wire)
    wire.send(hello(wire, dst=dst, to=BROADCAST))
    assert endpoint.recv() == (b"hello", ip("10.0.0.2"), 5)


def test_ipv4_broadcast_of_another_interface_not_taken(router):
    endpoint = listen(router)
    router.send(hello(router, dst="10.0.1.255"))
    router.expect()
    assert endpoint.recv() is None
    assert router.drops() == {"ip.drop.destination": 1}


def test_ipv4_multicast_taken_by_members_only(wire):
    endpoint = listen(wire)
    wire.send(hello(wire, dst="239.0.0.1", to="01:00:5e:00:00:01"))  # our link address group, not our group
    assert wire.drops() == {"ip.drop.not_a_member": 1}
    wire.send(hello(wire, dst="224.0.0.1", to="01:00:5e:00:00:01"))
    assert endpoint.recv() == (b"hello", ip("10.0.0.2"), 5)


def test_ipv4_weak_host_takes_its_address_on_any_interface(router):
    endpoint = listen(router, "10.0.1.1")
    router.send(hello(router, dst="10.0.1.1"))
    assert endpoint.recv() == (b"hello", ip("10.0.0.2"), 5)


def test_ipv4_ttl_of_one_or_none_is_enough_for_us(wire):
    endpoint = listen(wire)
    wire.send(hello(wire, ttl=1), hello(wire, ttl=0))  # 1122/3.2.1.6-7
    assert endpoint.recv()
    assert endpoint.recv()


def test_ipv4_unknown_protocol_answered_with_protocol_unreachable(wire):
    packet = wire.rx(b"hello", proto=200)
    wire.send(packet)
    wire.expect(wire.tx(ICMP(type=3, code=2) / bytes(packet[IP]), tos=0xC0))


def test_ipv4_unknown_options_ignored(wire):
    """MUST-50, 1122/3.2.1.8: ignored, and passed up."""
    endpoint = listen(wire)
    wire.send(hello(wire, options=[IPOption_NOP(), IPOption_Router_Alert(), IPOption_NOP()]))
    message = endpoint.recv_message()
    assert message.data == b"hello"
    assert message.options == b"\1\x94\4\0\0\1\0\0"


def test_ipv4_reserved_flag_is_no_reason_to_drop(wire):
    endpoint = listen(wire)
    wire.send(hello(wire, flags="evil"))
    assert endpoint.recv()


def test_ipv4_checksum_that_the_link_vouches_for_is_not_verified(wire):
    endpoint = listen(wire)
    packet = hello(wire)
    packet[UDP].chksum = 1
    wire.send(packet, csum=CSUM_PARTIAL)
    assert endpoint.recv()
    wire.send(packet)
    assert endpoint.recv() is None
    assert wire.drops() == {"udp.drop.checksum": 1}


def test_ipv4_super_segment_reaches_the_transport_whole(wire):
    taken = []

    class Spy:
        def input(self, datagram):
            taken.append(datagram)

    wire.net.ipv4.register(6, Spy())
    data = bytes(wire.rx(TCP() / bytes(60_000), flags="DF"))
    wire.net.receive(Frame(data, (), wire.eth[0], CSUM_PARTIAL, 34, 16, 1448), wire.now)
    assert (len(taken[0].payload), taken[0].gso_size, taken[0].csum, taken[0].df) == (60_020, 1448, CSUM_PARTIAL, True)
    assert bytes(taken[0].packet) == data[14:]
