"""Mutated frames into a router with sockets of every kind: nothing raises, everything stays bounded.

The layers' own fuzz; that of the whole stack with live connections is in tests/fuzz.
"""

import pytest
from scapy.layers.inet import ICMP, IP, TCP, UDP, IPOption_LSRR, IPOption_RR, IPOption_Timestamp, fragment
from scapy.layers.l2 import ARP, Ether

from scapystack.base.addr import ANY4, ip
from scapystack.base.checksum import checksum
from scapystack.base.frames import CSUM_NONE, CSUM_PARTIAL, CSUM_VALID, Frame
from scapystack.base.rng import Rng
from tests.harness.ip import BROADCAST, Wire
from tests.unit.layers.conftest import forwarding


def seeds(wire):
    quote = bytes(IP(src="10.0.0.1", dst="10.0.0.2") / UDP(sport=7, dport=5))
    ping_quote = bytes(IP(src="10.0.0.1", dst="10.0.0.2") / ICMP(id=7))
    options = [
        IPOption_RR(length=11, pointer=4, routers=["0.0.0.0"] * 2),
        IPOption_LSRR(length=7, pointer=4, routers=["10.0.1.2"]),
        IPOption_Timestamp(length=12, pointer=9, flg=1, internet_address="1.2.3.4", timestamp=0),
    ]
    arp = Ether(src=wire.mac("10.0.0.2"), dst=BROADCAST) / ARP(
        hwsrc=wire.mac("10.0.0.2"), psrc="10.0.0.2", pdst="10.0.0.1"
    )
    packets = [
        arp,
        wire.is_at("10.0.0.2"),
        wire.rx(ICMP(id=1) / b"ping"),
        wire.rx(ICMP(type=0, id=7) / b"pong"),
        wire.rx(UDP(sport=5, dport=7) / b"hello"),
        wire.rx(UDP(sport=5, dport=7) / b"hello", dst="10.0.0.255", to=BROADCAST),
        wire.rx(UDP(sport=5, dport=99) / b"hello"),
        wire.rx(UDP(sport=5, dport=7) / b"hello", dst="10.0.1.2", ttl=2),
        wire.rx(TCP(sport=5, dport=80, options=[("MSS", 1460)])),
        wire.rx(b"raw", proto=200),
        wire.rx(ICMP(type=3, code=3) / quote),
        wire.rx(ICMP(type=3, code=4) / ping_quote),
        wire.rx(ICMP(type=5, code=1, gw="10.0.0.3") / quote),
        wire.rx(ICMP(type=11) / ping_quote),
        *(wire.rx(ICMP(id=1) / b"ping", options=[option]) for option in options),
        *(wire.rx(ICMP(id=1) / b"ping", dst="10.0.1.2", options=[option]) for option in options),
        *fragment(wire.rx(UDP(sport=5, dport=7) / bytes(4000), id=5), 1000),
    ]
    return [bytes(packet) for packet in packets]


def mutated(rng, data):
    """Some octets changed, some cut off or put behind; often with the IP checksum made right again."""
    out = bytearray(data)
    for _ in range(rng.below(4)):
        out[rng.below(len(out)) if rng.chance(0.5) else rng.below(min(len(out), 54))] = rng.below(256)
    if rng.chance(0.2):
        del out[rng.below(len(out)) :]
    if rng.chance(0.1):
        out += rng.bytes(rng.below(40))
    if rng.chance(0.7) and len(out) >= 34 and out[12:14] == b"\x08\0":
        header = (out[14] & 15) * 4
        out[24:26] = b"\0\0"
        out[24:26] = checksum(out[14 : 14 + header]).to_bytes(2, "big")
    return bytes(out)


@pytest.mark.parametrize("seed", range(4))
def test_fuzz_mutated_frames_never_raise(seed):
    wire = Wire("10.0.0.1/24", "10.0.1.1/24", known=seed % 2 == 0, configure=forwarding)
    net = wire.net
    net.config.ip.source_route = seed == 1
    net.config.arp.max_entries = 32
    net.config.ip.reassembly_max_bytes = 20_000
    net.udp.bind(ANY4, 7, reuse=True).connect(ip("10.0.0.2"), 5)
    net.udp.bind(ANY4, 7, reuse=True)
    sockets = [net.raw.open(200), net.raw.open(1), net.icmp.open(7)]
    net.tcp.listen(ANY4, 80, 5)
    corpus = seeds(wire)
    rng = Rng(seed)
    for n in range(4_000):
        csum = (CSUM_NONE, CSUM_NONE, CSUM_VALID, CSUM_PARTIAL)[rng.below(4)]
        frame = Frame(mutated(rng, corpus[rng.below(len(corpus))]), (), wire.eth[rng.below(2)], csum, 34, 16)
        net.receive(frame, wire.now)
        if n % 16 == 0:
            wire.after(ms=rng.below(2_000))
            net.take_frames()
    wire.after(ms=700_000)
    assert len(net.arp.table) <= 32
    assert net.ipv4.reassembly.held == 0
    assert sum(map(len, (net.ipv4.looped, net.ipv4.local_errors, net.acd.claims))) == 0
    assert len(net.counters.drops()) > 25  # it went many ways
    assert all(socket.readable for socket in sockets)


@pytest.mark.parametrize("mode", ["scapy", "paranoid"])
def test_fuzz_codecs_agree_on_mutated_frames(mode):
    """Whatever the bytes, the stack does the same in every mode (and `paranoid` finds no difference)."""
    results = []
    for codec in ("compiled", mode):
        wire = Wire("10.0.0.1/24", "10.0.1.1/24", codec=codec, configure=forwarding)
        corpus, rng = seeds(wire), Rng(9)
        for _ in range(250):
            wire.net.receive(Frame(mutated(rng, corpus[rng.below(len(corpus))]), (), wire.eth[0]), wire.now)
        wire.poll()
        results.append(([frame.data for frame in wire.frames()], dict(wire.net.counters)))
    assert results[0] == results[1]


def test_fuzz_noise_never_raises():
    wire = Wire(configure=forwarding)
    rng = Rng(3)
    ours = bytes.fromhex(wire.ours().replace(":", ""))
    for n in range(4_000):
        head = ours + b"\2\0\0\0\0\2" + (b"\x08\0\x45", b"\x08\x06", b"\x08\0", b"")[n % 4]
        wire.net.receive(Frame(head + rng.bytes(rng.below(120)), (), wire.eth[0]), wire.now)
    wire.after(ms=100_000)
    assert sum(wire.net.counters.drops().values()) > 3_000
