"""Links: down and up at a time, ways that differ, what arrives, and ports in the hands of a program."""

import pytest
from scapy.layers.inet import ICMP, IP, TCP
from scapy.layers.l2 import ARP, Ether

from scapystack.base.frames import CSUM_NONE, CSUM_VALID
from scapystack.sim import Network


@pytest.fixture
def pair():
    with Network(seed=1) as net:
        a, b = net.host("a"), net.host("b")
        link = net.link(a, b, delay_ms=10, arp=False)
        yield net, link, a, b


def test_link_that_is_down_loses_what_is_sent_and_what_is_on_its_way(pair):
    net, link, a, b = pair
    link.down(at=0.005)
    link.up(at=2)
    with pytest.raises(TimeoutError):
        a.ping(b.address)  # on its way when it was cut
    assert (net.time, link.is_up, link.under_way) == (1, False, 0)
    with pytest.raises(TimeoutError):
        a.ping(b.address)
    assert (a.ends[0].tx_dropped, b.ends[0].rx_dropped) == (1, 1)
    assert a.ping(b.address).rtt_ms == 20
    link.down()
    with pytest.raises(TimeoutError):
        a.ping(b.address)
    assert repr(link) == "<SimLink a-b down 0 under way>"


def test_connection_outlives_a_link_that_was_down(pair):
    net, link, a, b = pair
    server = b.create_server(("", 7))
    client = a.create_connection((b.address, 7))
    accepted, _ = server.accept()
    link.down(at=1)
    link.up(at=30)
    net.run(1)
    client.sendall(b"patience")
    assert accepted.recv(100) == b"patience"
    assert 30 < net.time < 60
    for each in (client, accepted, server):
        each.close()


def test_ways_of_a_link_differ_and_may_be_changed_while_it_runs():
    with Network() as net:
        a, b = net.host("a"), net.host("b")
        link = net.link(a, b, arp=False, delay_ms=10, back={"delay_ms": 50})
        assert a.ping(b.address).rtt_ms == 60
        link.way(a).delay_ms = 1
        assert a.ping(b.address).rtt_ms == 51
        assert b.ping(a.address).rtt_ms == 51
        with pytest.raises(KeyError, match="c is not on a-b"):
            link.way(net.host("c"))


def test_links_of_the_same_members_have_different_names_and_fates():
    with Network() as net:
        a, b = net.host("a"), net.host("b")
        one, two = net.link(a, b, loss=0.5, arp=False), net.link(a, b, loss=0.5, arp=False)
        assert (one.name, two.name) == ("a-b", "a-b#2")
        fates = [[], []]
        for link, address, fate in ((one, "10.0.1.2", fates[0]), (two, "10.0.2.2", fates[1])):
            link.watchers.append(lambda end, frame, passages, fate=fate: fate.append(bool(passages)))
            udp = a.socket(type=2)
            for _ in range(40):
                udp.sendto(b"", (address, 9))
            udp.close()
        assert fates[0][:40] != fates[1][:40]


def test_frames_arrive_cut_and_finished_and_are_not_summed_twice(pair):
    net, _, a, b = pair
    arrived = []
    b.ends[0].on_read.append(arrived.append)
    server = b.create_server(("", 7))
    client = a.create_connection((b.address, 7))
    client.sendall(bytes(20_000))
    net.run(1)
    text = [frame for frame in arrived if TCP in frame.packet and len(frame.packet[TCP].payload) > 1000]
    assert [len(frame) for frame in text] == [1514] * 13 + [1242]
    for frame in text:
        assert (frame.gso_size, frame.payload, frame.csum) == (0, (), CSUM_VALID)
        rebuilt = Ether(frame.data)
        del rebuilt[IP].chksum, rebuilt[TCP].chksum
        assert bytes(rebuilt) == frame.data
    client.close()
    server.close()


def test_super_segments_that_pass_whole_are_cut_for_a_hook_and_behind_a_router():
    with Network(seed=1) as net:
        a, other, router, b = net.host("a"), net.host("other"), net.router("router"), net.host("b")
        net.link(a, other, router, whole=True, delay_ms=1)
        net.link(router, b, delay_ms=1)
        came, seen = [], []
        router.ends[0].on_read.append(lambda frame: came.append(len(frame)))
        router.hook("rx", "segment")(lambda segment: seen.append(len(segment.payload)))
        server = b.create_server(("", 7))
        client = a.create_connection((b.address, 7))
        client.sendall(bytes(50_000))
        accepted, _ = server.accept()
        net.run(0.1)
        assert (accepted.recv(65_536), b.net.interfaces[1].rx_bytes > 50_000) == (bytes(50_000), True)
        assert max(came) > 10_000
        assert max(seen) == 1448
        for each in (client, accepted, server):
            each.close()


def test_corrupted_frame_is_summed_and_dropped(pair):
    net, link, a, b = pair
    link.way(a).corrupt = 1.0
    udp = a.socket(type=2)
    for _ in range(200):
        udp.sendto(b"x" * 100, (b.address, 9))
    net.run(1)
    drops = b.net.counters.drops()
    assert drops["udp.drop.checksum"] > 100
    udp.close()


# -- ports


@pytest.fixture
def port():
    with Network(seed=1) as net:
        host, port = net.host("host"), net.port()
        net.link(host, port, delay_ms=10, arp=False)
        yield net, host, port


def ping(port, host):
    link = Ether(src=port.ends[0].mac.hex(":"), dst=host.ends[0].mac.hex(":"))
    return link / IP(src="10.0.1.2", dst="10.0.1.1") / ICMP(id=7) / b"abc"


def test_port_sends_what_it_is_given_and_keeps_what_arrives(port):
    net, host, port = port
    packet = ping(port, host)
    port.send(packet)
    port.send(bytes(packet))
    net.run()
    assert [(frame.packet[ICMP].type, net.seconds(frame.at)) for frame in port.received] == [(0, 0.02)] * 2
    assert port.ends[0].arrivals.next_at() is None


def test_port_sends_wrong_checksums_as_they_stand(port):
    net, host, port = port
    packet = ping(port, host)
    packet[ICMP].chksum = 1
    port.send(packet)
    net.run()
    assert port.received == []
    assert host.net.counters["icmp.drop.checksum"] == 1
    assert CSUM_NONE == 0


def test_port_may_answer_on_the_spot(port):
    _, host, port = port
    host.net.arp.flush(host.ends[0].iface)
    host.net.arp.remove(host.ends[0].iface, bytes([10, 0, 1, 2]))

    def answer(frame):
        if ARP in frame.packet:
            own = port.ends[0].mac.hex(":")
            port.send(Ether(src=own, dst=frame.packet.src) / ARP(op=2, hwsrc=own, psrc="10.0.1.2", pdst="10.0.1.1"))
        else:
            reply = frame.packet.copy()
            reply.src, reply.dst = reply.dst, reply.src
            reply[IP].src, reply[IP].dst = reply[IP].dst, reply[IP].src
            reply[ICMP].type = 0
            del reply[IP].chksum, reply[ICMP].chksum
            port.send(reply)

    port.on_frame = answer
    assert host.ping("10.0.1.2").rtt_ms == 40


def test_port_is_on_one_link_only(port):
    net, host, port = port
    with pytest.raises(ValueError, match="peer is on host-peer already"):
        net.link(host, port)
