"""Packets to ourselves: through the core's own queue, seen like any others, bounded."""

import pytest
from scapy.layers.inet import IP
from scapy.layers.l2 import Ether

from scapystack.base.addr import ip
from tests.harness.ip import Wire


@pytest.mark.parametrize("dst", ["127.0.0.1", "127.1.2.3", "10.0.0.1"])
def test_loopback_ping_of_65000_octets_answered(wire, dst):
    endpoint = wire.net.icmp.open()
    data = bytes(range(250)) * 260
    endpoint.send(ip(dst), 9, data)
    wire.poll()
    wire.expect()
    reply = endpoint.recv()
    assert (reply.src, reply.seq, reply.data, reply.ttl) == (ip(dst), 9, data, 64)


def test_loopback_udp_comes_from_the_address_it_goes_to(wire):
    server = wire.net.udp.bind(ip("0.0.0.0"), 7)
    client = wire.net.udp.bind(ip("0.0.0.0"), 5_000)
    for dst, src in (("127.0.0.1", "127.0.0.1"), ("127.9.9.9", "127.0.0.1"), ("10.0.0.1", "10.0.0.1")):
        client.send(b"hello", ip(dst), 7)
        wire.poll()
        assert server.recv() == (b"hello", ip(src), 5_000)


def test_loopback_refusal_comes_back(wire):
    client = wire.net.udp.bind(ip("0.0.0.0"), 0)
    client.connect(ip("127.0.0.1"), 9)
    client.send(b"hello")
    wire.poll()
    with pytest.raises(ConnectionRefusedError):
        client.recv()


def test_loopback_addresses_never_leave(wire):
    endpoint = wire.net.udp.bind(ip("127.0.0.1"), 5_000)
    with pytest.raises(OSError, match="Invalid argument"):
        endpoint.send(b"x", ip("10.0.0.2"), 9)
    wire.expect()


def test_loopback_frames_seen_by_taps_and_hooks():
    wire = Wire()
    seen = []
    wire.net.taps.append(lambda way, frame: seen.append((way, frame.iface.name, Ether(frame.data)[IP].dst)))
    wire.net.icmp.ping(ip("127.0.0.1"), 1, 1)
    wire.poll()
    assert seen == [(way, "lo", "127.0.0.1") for way in ("tx", "rx", "tx", "rx")]
    wire.net.hooks.tx.append(lambda frame: None)
    wire.net.icmp.ping(ip("127.0.0.1"), 1, 1)
    wire.poll()
    assert len(seen) == 4
    assert wire.count("hooks.drop.tx") == 1


def test_loopback_storm_ends_and_asks_to_be_polled_again():
    """Two ports that answer each other for ever must not hold the driver's loop."""
    wire = Wire()
    a = wire.net.udp.bind(ip("127.0.0.1"), 1)
    rounds = []

    def echo_in_the_core(datagram, take=wire.net.udp.input):
        take(datagram)
        rounds.append(a.recv())
        a.send(b"x", ip("127.0.0.1"), 1)

    wire.net.udp.input = echo_in_the_core
    a.send(b"x", ip("127.0.0.1"), 1)
    wire.poll()
    assert len(rounds) == 32
    assert wire.net.next_deadline() == wire.now


def test_loopback_queue_is_bounded():
    wire = Wire()
    endpoint = wire.net.udp.bind(ip("127.0.0.1"), 1)
    for _ in range(5_000):
        endpoint.send(b"x", ip("127.0.0.1"), 2)
    assert len(wire.net.ipv4.looped) == 4_096
    assert wire.drops() == {"ip.drop.loopback_full": 904}
