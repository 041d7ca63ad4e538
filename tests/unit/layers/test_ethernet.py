"""Ethernet: which frames are for us, and what becomes of the others."""

from scapy.layers.inet import IP, UDP
from scapy.layers.l2 import ARP, LLC, SNAP, Dot1Q, Dot3, Ether

from scapystack.base.addr import ip
from scapystack.base.frames import Frame
from tests.harness.ip import BROADCAST, Wire


def test_ethernet_frame_to_another_station_dropped(wire):
    wire.send(wire.rx(UDP(dport=9), to="02:00:00:00:00:77"))
    wire.expect()
    assert wire.drops() == {"ethernet.drop.not_ours": 1}


def test_ethernet_runt_of_every_length_dropped(wire):
    frame = bytes(wire.rx(UDP(dport=9)))
    wire.send(*(frame[:n] for n in range(14)))
    assert wire.drops() == {"ethernet.drop.runt": 14}


def test_ethernet_group_source_dropped(wire):
    packet = wire.rx(UDP(dport=9))
    packet.src = "03:00:00:00:00:02"
    wire.send(packet)
    assert wire.drops() == {"ethernet.drop.source": 1}


def test_ethernet_other_protocols_counted_by_what_they_are(wire):
    ours = wire.ours()
    wire.send(
        Ether(dst=ours, type=0x88CC) / b"lldp",
        Ether(dst=ours) / Dot1Q(vlan=5) / IP(dst="10.0.0.1") / UDP(),
        Ether(dst=ours, type=0x88A8) / bytes(8),
        Dot3(dst=ours) / LLC() / SNAP() / bytes(30),
    )
    wire.expect()
    assert wire.drops() == {
        "ethernet.drop.type": 1,
        "ethernet.drop.vlan": 2,
        "ethernet.drop.ieee_802_3": 1,
    }


def test_ethernet_padding_behind_the_packet_is_no_part_of_it(wire):
    """hostile/ip-lengths."""
    endpoint = wire.net.udp.bind(ip("0.0.0.0"), 7)
    wire.send(bytes(wire.rx(UDP(sport=5, dport=7) / b"x")) + b"\xaa" * 17)
    assert endpoint.recv() == (b"x", ip("10.0.0.2"), 5)


def test_ethernet_multicast_heard_only_by_members(wire):
    group = wire.rx(UDP(sport=5, dport=7) / b"x", dst="239.1.2.3", to="01:00:5e:01:02:03")
    endpoint = wire.net.udp.bind(ip("0.0.0.0"), 7)
    wire.send(group)
    assert wire.drops() == {"ethernet.drop.not_a_member": 1}
    wire.net.join_group(wire.eth[0], "239.1.2.3")
    wire.send(group)
    assert endpoint.recv() == (b"x", ip("10.0.0.2"), 5)
    wire.net.leave_group(wire.eth[0], "239.1.2.3")
    wire.send(group)
    assert endpoint.recv() is None


def test_ethernet_groups_that_share_an_address_are_told_apart_by_ip(wire):
    wire.net.join_group(wire.eth[0], "239.1.2.3")
    wire.send(wire.rx(UDP(dport=7), dst="238.129.2.3", to="01:00:5e:01:02:03"))
    assert wire.drops() == {"ip.drop.not_a_member": 1}


def test_ethernet_membership_counted_last_leave_ends_it(wire):
    eth0 = wire.eth[0]
    wire.net.join_group(eth0, "239.1.2.3")
    wire.net.join_group(eth0, "239.1.2.3")
    wire.net.join_group(eth0, "238.1.2.3")  # the same link address
    wire.net.leave_group(eth0, "239.1.2.3")
    assert ip("239.1.2.3") in eth0.multicast_groups
    wire.net.leave_group(eth0, "239.1.2.3")
    assert ip("239.1.2.3") not in eth0.multicast_groups
    assert b"\1\0\x5e\1\2\3" in wire.net.ethernet.groups[eth0]


def test_ethernet_interface_down_takes_nothing(wire):
    wire.eth[0].up = False
    wire.send(wire.rx(UDP(dport=9)))
    assert wire.drops() == {"ethernet.drop.interface_down": 1}


def test_ethernet_counts_frames_and_octets_both_ways(wire):
    request = Ether(src=wire.mac("10.0.0.2"), dst=BROADCAST) / ARP(
        hwsrc=wire.mac("10.0.0.2"), psrc="10.0.0.2", pdst="10.0.0.1"
    )
    wire.send(request)
    eth0 = wire.eth[0]
    assert (eth0.rx_frames, eth0.rx_bytes, eth0.tx_frames, eth0.tx_bytes) == (1, 42, 1, 42)


def test_ethernet_frame_in_pieces_is_read_whole():
    wire = Wire()
    endpoint = wire.net.udp.bind(ip("0.0.0.0"), 7)
    data = bytes(wire.rx(UDP(sport=5, dport=7) / b"in pieces"))
    wire.net.receive(Frame(data[:40], (data[40:45], memoryview(data)[45:]), wire.eth[0]), wire.now)
    assert endpoint.recv() == (b"in pieces", ip("10.0.0.2"), 5)
