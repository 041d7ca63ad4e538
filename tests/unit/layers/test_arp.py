"""ARP (RFC 826): the cache, its questions and give-ups, the packets that wait, and who may teach it."""

import pytest
from scapy.layers.inet import ICMP, UDP
from scapy.layers.l2 import ARP, Ether

from scapystack.base.addr import ip
from scapystack.base.errors import ConfigError
from scapystack.codec import MODES
from tests.harness.ip import BROADCAST, Wire

PEER = "02:00:00:00:00:02"


def request(wire, psrc="10.0.0.2", pdst="10.0.0.1", hwsrc=PEER, dst=BROADCAST):
    return Ether(src=hwsrc, dst=dst) / ARP(op=1, hwsrc=hwsrc, psrc=psrc, pdst=pdst)


def answer(wire, psrc="10.0.0.2", hwsrc=PEER):
    ours = wire.ours()
    return Ether(src=ours, dst=hwsrc) / ARP(op=2, hwsrc=ours, psrc="10.0.0.1", hwdst=hwsrc, pdst=psrc)


def talk(wire, *data, dst="10.0.0.2"):
    endpoint = wire.net.udp.bind(ip("0.0.0.0"), 0)
    for each in data:
        endpoint.send(each, ip(dst), 9)
    wire.poll()
    return endpoint


def test_arp_request_for_us_answered_and_learned(strange):
    """826."""
    strange.send(request(strange))
    strange.expect(answer(strange))
    assert strange.neighbours() == {"10.0.0.2": "reachable"}


def test_arp_request_for_another_ignored(strange):
    strange.send(request(strange, pdst="10.0.0.3"))
    strange.expect()
    assert strange.neighbours() == {}


def test_arp_probe_answered_and_not_cached(strange):
    """hostile/arp."""
    strange.send(request(strange, psrc="0.0.0.0"))
    strange.expect(answer(strange, psrc="0.0.0.0"))
    assert strange.neighbours() == {}


def test_arp_unasked_reply_not_learned(strange):
    """hostile/arp."""
    strange.send(strange.is_at("10.0.0.2"))
    strange.expect()
    assert strange.neighbours() == {}


def test_arp_gratuitous_updates_only_who_is_known(strange):
    """826, hostile/arp."""
    strange.send(request(strange), request(strange, psrc="10.0.0.2", pdst="10.0.0.2", hwsrc="02:00:00:00:00:99"))
    strange.send(request(strange, psrc="10.0.0.7", pdst="10.0.0.7", hwsrc="02:00:00:00:00:07"))
    entry = strange.net.arp.lookup(strange.eth[0], ip("10.0.0.2"))
    assert entry.mac == b"\2\0\0\0\0\x99"
    assert strange.count("arp.changed") == 1
    assert strange.neighbours() == {"10.0.0.2": "reachable"}


def test_arp_stranger_of_another_network_answered_and_not_cached(strange):
    strange.send(request(strange, psrc="192.0.2.9"))
    strange.expect(answer(strange, psrc="192.0.2.9"))
    assert strange.neighbours() == {}


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"hwtype": 6}, "hwtype"),
        ({"ptype": 0x86DD}, "ptype"),
        ({"op": 3}, "op"),
        ({"op": 0}, "op"),
        ({"hwsrc": "01:00:5e:00:00:01"}, "sender_mac"),
        ({"hwsrc": "ff:ff:ff:ff:ff:ff"}, "sender_mac"),
        ({"hwsrc": "00:00:00:00:00:00"}, "sender_mac"),
        ({"hwsrc": "02:00:00:00:00:01"}, "sender_mac"),
        ({"psrc": "10.0.0.255"}, "sender_ip"),
        ({"psrc": "255.255.255.255"}, "sender_ip"),
        ({"psrc": "224.0.0.1"}, "sender_ip"),
        ({"psrc": "127.0.0.1"}, "sender_ip"),
    ],
)
def test_arp_impossible_packet_dropped(strange, change, reason):
    """826, hostile/arp."""
    arp = ARP(op=1, hwsrc=PEER, psrc="10.0.0.2", pdst="10.0.0.1")
    for name, value in change.items():
        setattr(arp, name, value)
    strange.send(Ether(src=PEER, dst=BROADCAST) / arp)
    strange.expect()
    assert strange.drops() == {f"arp.drop.{reason}": 1}
    assert strange.neighbours() == {}


def test_arp_wrong_sizes_dropped_at_every_length():
    """hostile/arp."""
    wire = Wire(known=False)
    whole = bytes(request(wire))
    wire.send(*(whole[:n] for n in range(14, 42)))
    wire.expect()
    assert wire.drops() == {"arp.drop.truncated": 28}


def test_arp_packets_wait_and_leave_in_order(strange):
    """1122/2.3.2.2."""
    endpoint = talk(strange, b"one", b"two", b"three")
    strange.expect(strange.who_has("10.0.0.2"))
    strange.send(strange.is_at("10.0.0.2"))
    port = endpoint.local_port
    strange.expect(*(strange.tx(UDP(sport=port, dport=9) / each) for each in (b"one", b"two", b"three")))


def test_arp_fragments_of_a_large_ping_wait_whole(strange):
    strange.net.icmp.open(5).send(ip("10.0.0.2"), 1, bytes(60_000))
    strange.expect(strange.who_has("10.0.0.2"))
    strange.send(strange.is_at("10.0.0.2"))
    left = strange.out()
    assert len(left) == 41
    assert [packet.frag for packet in left] == [185 * n for n in range(41)]


def test_arp_asked_once_a_second_then_given_up(strange):
    """1122/2.3.2.1."""
    endpoint = strange.net.udp.bind(ip("0.0.0.0"), 0)
    endpoint.connect(ip("10.0.0.2"), 9)
    for _ in range(4):
        endpoint.send(b"x")
        strange.expect(strange.who_has("10.0.0.2"))
        strange.after(ms=999)
        strange.expect()
        strange.after(ms=1)
    strange.expect()
    assert strange.neighbours() == {"10.0.0.2": "failed"}
    with pytest.raises(OSError, match="No route to host"):
        endpoint.recv()
    assert endpoint.recv() is None


def test_arp_failed_neighbour_is_asked_again_for_the_next_packet(strange):
    talk(strange, b"x")
    strange.after(ms=5_000)
    strange.out()
    talk(strange, b"y")
    strange.expect(strange.who_has("10.0.0.2"))


def test_arp_ping_to_nobody_fails_with_host_unreachable(strange):
    endpoint = strange.net.icmp.open()
    endpoint.send(ip("10.0.0.2"), 3, b"abc")
    strange.after(ms=4_000)
    error = endpoint.recv()
    assert (error.type, error.code, error.seq, error.dst, error.local) == (3, 1, 3, ip("10.0.0.2"), True)


def test_arp_queue_bound_keeps_the_latest(strange):
    """1122/2.3.2.2."""
    strange.net.config.arp.max_queue = 3
    talk(strange, *(b"%d" % n for n in range(5)))
    strange.out()
    strange.send(strange.is_at("10.0.0.2"))
    assert [bytes(packet[UDP].payload) for packet in strange.out()] == [b"2", b"3", b"4"]
    assert strange.drops() == {"arp.drop.queue_full": 2}


def test_arp_queues_of_many_neighbours_have_one_bound():
    wire = Wire("10.0.0.1/8", known=False)
    wire.net.config.arp.max_queue_bytes = 10_000
    endpoint = wire.net.udp.bind(ip("0.0.0.0"), 0)
    for n in range(200):
        endpoint.send(bytes(1400), ip(f"10.1.0.{n}"), 9)
    held = sum(entry.queued for entry in wire.net.arp.table.values())
    assert held <= 160_000
    assert wire.drops()["arp.drop.queues_full"] == 200 - 160_000 // 1442


def test_arp_stale_neighbour_is_used_and_asked_by_unicast(strange):
    strange.send(request(strange))
    strange.out()
    strange.after(ms=60_000)
    assert strange.neighbours() == {"10.0.0.2": "stale"}
    port = talk(strange, b"x").local_port
    strange.expect(
        strange.who_has("10.0.0.2", to=PEER),
        strange.tx(UDP(sport=port, dport=9) / b"x"),
    )
    assert strange.neighbours() == {"10.0.0.2": "probe"}
    strange.send(strange.is_at("10.0.0.2"))
    assert strange.neighbours() == {"10.0.0.2": "reachable"}
    strange.after(ms=10_000)
    strange.expect()


def test_arp_stale_neighbour_that_is_gone_is_looked_for_afresh(strange):
    strange.send(request(strange))
    strange.after(ms=60_000)
    talk(strange, b"x")
    strange.after(ms=4_000)
    assert [packet.dst for packet in strange.out() if ARP in packet] == [PEER] * 5  # our reply, four questions
    talk(strange, b"y")
    strange.expect(strange.who_has("10.0.0.2"))


def test_arp_entry_forgotten_after_its_time(strange):
    """1122/2.3.2.1."""
    strange.send(request(strange))
    strange.after(ms=600_000)
    strange.out()
    assert strange.neighbours() == {}
    talk(strange, b"x")
    strange.expect(strange.who_has("10.0.0.2"))


def test_arp_static_entry_never_changes(strange):
    strange.net.arp.add_static(strange.eth[0], ip("10.0.0.2"), b"\2\0\0\0\0\2")
    strange.send(request(strange, hwsrc="02:00:00:00:00:66"))
    strange.out()
    strange.after(ms=10_000_000)
    port = talk(strange, b"x").local_port
    strange.expect(strange.tx(UDP(sport=port, dport=9) / b"x"))


def test_arp_static_entry_releases_what_waits(strange):
    port = talk(strange, b"x").local_port
    strange.out()
    strange.net.arp.add_static(strange.eth[0], ip("10.0.0.2"), b"\2\0\0\0\0\2")
    strange.expect(strange.tx(UDP(sport=port, dport=9) / b"x"))


def test_arp_static_entry_for_a_group_refused():
    wire = Wire()
    with pytest.raises(ConfigError, match="group"):
        wire.net.arp.add_static(wire.eth[0], ip("10.0.0.2"), b"\1\0\0\0\0\2")
    for address in ("10.0.0.255", "224.0.0.1", "fe80::1"):
        with pytest.raises(ConfigError, match="no neighbour's address"):
            wire.net.arp.add_static(wire.eth[0], ip(address), b"\2\0\0\0\0\2")


def test_arp_flood_of_requests_is_bounded_and_washes_out_nobody_in_use():
    """hostile/arp."""
    wire = Wire("10.0.0.1/8", known=False)
    wire.net.config.arp.max_entries = 64
    wire.send(request(wire))
    talk(wire, b"x")
    wire.out()
    whole = bytes(request(wire, psrc="10.1.0.0", hwsrc="02:00:00:01:00:00"))
    for n in range(1_500):
        number = n.to_bytes(2, "big")  # where both copies of its Ethernet address end, and its IP address
        wire.send(whole[:10] + number + whole[12:26] + number + whole[28:30] + number + whole[32:])
    assert len(wire.net.arp.table) == 64
    assert wire.neighbours()["10.0.0.2"] == "reachable"
    assert len(wire.out()) == 1_500  # each was answered


def test_arp_flood_of_requests_does_not_evict_questions():
    wire = Wire("10.0.0.1/8", known=False)
    wire.net.config.arp.max_entries = 4
    for n in range(4):
        talk(wire, b"x", dst=f"10.0.0.{n + 2}")
    wire.send(*(request(wire, psrc=f"10.9.0.{n}", hwsrc=f"02:00:00:00:09:{n:02x}") for n in range(100)))
    assert sorted(wire.neighbours()) == [f"10.0.0.{n + 2}" for n in range(4)]


def test_arp_scan_of_our_own_evicts_the_oldest_question():
    wire = Wire("10.0.0.1/8", known=False)
    wire.net.config.arp.max_entries = 8
    for n in range(100):
        talk(wire, b"x", dst=f"10.7.0.{n}")
    assert len(wire.net.arp.table) == 8
    assert wire.drops()["arp.drop.evicted"] == 92
    wire.after(ms=60_000)
    assert wire.net.next_deadline() is None


def test_arp_table_full_of_permanent_entries_counts_what_it_cannot_ask():
    wire = Wire(known=False)
    wire.net.config.arp.max_entries = 2
    for n in (2, 3):
        wire.net.arp.add_static(wire.eth[0], ip(f"10.0.0.{n}"), bytes((2, 0, 0, 0, 0, n)))
    talk(wire, b"x", dst="10.0.0.4")
    wire.expect()
    assert wire.drops() == {"arp.drop.table_full": 1}
    with pytest.raises(ConfigError, match="full of permanent entries"):
        wire.net.arp.add_static(wire.eth[0], ip("10.0.0.4"), b"\2\0\0\0\0\4")


def test_arp_suspicion_within_a_second_of_the_last_question_waits(strange):
    talk(strange, b"x")
    strange.out()
    strange.send(strange.is_at("10.0.0.2"))
    strange.out()
    strange.net.ipv4.advise(strange.net.ipv4.route(ip("10.0.0.2")))
    strange.expect()
    strange.after(ms=1_000)
    strange.expect(strange.who_has("10.0.0.2", to=PEER))


def test_arp_answers_only_for_the_interface_asked(router):
    router.send(request(router, pdst="10.0.1.1"))
    router.expect()


def test_arp_forwarded_packet_to_nobody_is_reported_to_its_source():
    wire = Wire("10.0.0.1/24", "10.0.1.1/24", configure=lambda config: setattr(config.ip, "forward", True))
    packet = wire.rx(UDP(dport=9) / b"hello", dst="10.0.1.77", ttl=9)
    wire.send(packet)
    wire.after(ms=4_000)
    left = wire.out(0)
    assert len(left) == 1
    assert (left[0][ICMP].type, left[0][ICMP].code, left[0].dst) == (3, 1, PEER)


def test_arp_transport_without_answers_makes_us_ask_again(strange):
    strange.send(request(strange))
    strange.out()
    strange.net.ipv4.advise(strange.net.ipv4.route(ip("10.0.0.2")))
    strange.expect(strange.who_has("10.0.0.2", to=PEER))


def test_arp_static_removed_and_flushed(strange):
    strange.net.arp.add_static(strange.eth[0], ip("10.0.0.2"), b"\2\0\0\0\0\2")
    strange.send(request(strange, psrc="10.0.0.3", hwsrc="02:00:00:00:00:03"))
    strange.net.arp.flush()
    assert [entry.address for entry in strange.net.arp.entries()] == [ip("10.0.0.2")]
    assert strange.net.arp.remove(strange.eth[0], ip("10.0.0.2"))
    assert not strange.net.arp.remove(strange.eth[0], ip("10.0.0.2"))


def test_arp_evicted_neighbour_is_not_used_by_old_routes(strange):
    strange.send(request(strange))
    talk(strange, b"x")
    strange.out()
    strange.net.arp.flush()
    talk(strange, b"y")
    strange.expect(strange.who_has("10.0.0.2"))


@pytest.mark.parametrize("codec", MODES)
def test_arp_arping_sends_a_request_whatever_is_cached(codec):
    wire = Wire(codec=codec)
    wire.net.arp.request(wire.eth[0], ip("10.0.0.2"))
    wire.expect(wire.who_has("10.0.0.2"))
