"""`Stack.hook`: what a function may return, at each level and on both ways, and what its errors do."""

import logging

import pytest
from scapy.layers.inet import ICMP, IP, TCP, UDP
from scapy.layers.l2 import ARP, Ether
from scapy.packet import Raw

from scapystack import Stack
from scapystack.base.errors import ConfigError
from scapystack.base.frames import Frame
from scapystack.hooks import DROP, Delay, PacketHook
from scapystack.link.memory import MemoryLink
from scapystack.stack import NetStack
from tests.harness.duo import Duo
from tests.harness.ip import Wire


@pytest.fixture
def duo():
    with Duo() as made:
        made.one.ping("10.0.0.2")  # ARP is over
        yield made


def counters(stack):
    return stack.net.counters


def test_hook_that_returns_nothing_sees_and_passes(duo):
    seen = []

    @duo.one.hook("rx", "frame")
    def look(packet):
        packet[ICMP].seq = 77  # its own copy: nobody else sees it
        seen.append(packet)

    assert duo.one.ping("10.0.0.2").rtt_ms == 20.0
    assert [type(packet) for packet in seen] == [Ether]
    assert seen[0].time == (duo.simulation.now) / 1e9


@pytest.mark.parametrize(("level", "layer"), [("frame", Ether), ("ip", IP), ("segment", TCP)])
def test_hook_level_decides_what_the_function_gets(duo, level, layer):
    seen = []
    duo.one.hook("tx", level)(seen.append)
    duo.connect()
    assert {type(packet) for packet in seen} == {layer}
    assert seen[0].sprintf("%TCP.flags%") == "S"
    if level == "segment":
        assert seen[0].underlayer.dst == "10.0.0.2"
        assert seen[0].underlayer.underlayer.src == "02:00:00:00:00:01"


def test_hook_level_passes_by_what_has_no_such_layer(duo):
    seen = []
    duo.one.hook("tx", "segment")(seen.append)
    duo.one.ping("10.0.0.2")
    assert seen == []


def test_hook_drop_loses_the_packet_and_counts(duo):
    duo.one.hook("tx", "ip")(lambda packet: DROP if ICMP in packet else None)
    with pytest.raises(TimeoutError):
        duo.one.ping("10.0.0.2")
    assert counters(duo.one)["hooks.drop.tx"] == 1


def test_hook_changed_field_gets_new_checksums(duo):
    seen = []

    @duo.one.hook("tx", "ip")
    def change(packet):
        packet[IP].ttl = 9
        packet[ICMP].seq = 5
        return packet

    duo.two.hook("rx", "ip")(seen.append)
    with pytest.raises(TimeoutError):
        duo.one.ping("10.0.0.2")
    assert [(packet.ttl, packet[ICMP].seq) for packet in seen] == [(9, 5)]
    rebuilt = IP(bytes(seen[0]))
    rebuilt.chksum = rebuilt[ICMP].chksum = None
    assert bytes(rebuilt) == bytes(seen[0])


def test_hook_checksum_set_by_hand_stays(duo):
    @duo.one.hook("tx", "ip")
    def spoil(packet):
        packet[ICMP].chksum = 0x1234
        return packet

    with pytest.raises(TimeoutError):
        duo.one.ping("10.0.0.2")
    assert counters(duo.two)["icmp.drop.checksum"] == 1


def test_hook_payload_changed_is_sent_with_new_lengths(duo):
    got = []
    with duo.two.socket(type=2) as server, duo.one.socket(type=2) as client:
        server.bind(("", 99))

        @duo.one.hook("tx", "ip", filter={"UDP.dport": 99})
        def longer(packet):
            packet[UDP].payload = Raw(b"something longer")
            return packet

        client.sendto(b"x", ("10.0.0.2", 99))
        got.append(server.recv(100))
    assert got == [b"something longer"]


def test_hook_list_sends_several(duo):
    seen = []
    duo.one.hook("tx", "ip")(lambda packet: [packet, packet.copy()])
    duo.two.hook("rx", "ip")(seen.append)
    duo.one.ping("10.0.0.2")
    assert [packet[ICMP].type for packet in seen] == [8, 8]


def test_hook_packet_without_link_header_gets_that_of_the_frame(duo):
    seen = []

    @duo.one.hook("tx", "segment")
    def replace(segment):
        return TCP(sport=segment.sport, dport=segment.dport, seq=segment.seq, flags="S", options=[("MSS", 500)])

    duo.two.hook("rx", "segment")(seen.append)
    duo.two.create_server(("", 80))
    with duo.one.socket() as client:
        client.setblocking(False)
        client.connect_ex(("10.0.0.2", 80))
        duo.simulation.run_for(15_000_000)
    assert [segment.options for segment in seen] == [[("MSS", 500)]]
    assert seen[0].underlayer.src == "10.0.0.1"


@pytest.mark.parametrize("way", ["rx", "tx"])
def test_hook_delay_lets_the_packet_go_on_later(duo, way):
    order = []
    duo.one.hook(way, "ip")(lambda packet: Delay(30))
    duo.one.hook(way, "ip")(lambda packet: order.append(duo.simulation.now))
    begun = duo.simulation.now
    assert duo.one.ping("10.0.0.2").rtt_ms == 50.0
    assert len(order) == 1, "the hooks behind see it once, when it goes on"
    assert order[0] - begun == (30_000_000 if way == "tx" else 50_000_000)


def test_hook_delay_on_the_loopback_keeps_the_counts(duo):
    duo.one.hook("tx", "ip")(lambda packet: Delay(5))
    assert duo.one.ping("127.0.0.1").rtt_ms == 10.0
    lo = duo.one.net.interfaces[0]
    assert (lo.tx_frames, lo.rx_frames) == (2, 2)


def test_hook_delay_may_carry_another_packet(duo):
    @duo.one.hook("tx", "ip", filter=lambda packet: ICMP in packet)
    def twice(packet):
        return [packet, Delay(5, packet.copy())]

    duo.one.ping("10.0.0.2")
    duo.simulation.run_for(30_000_000)
    assert duo.one.net.interfaces[1].rx_frames == 4  # ARP, the reply before, two now


@pytest.mark.parametrize("kind", ["datagram", "connection"])
def test_hook_that_sends_has_it_leave_at_once(duo, kind):
    """And not with whatever makes the next round."""
    came = []
    duo.connect()
    endpoint = duo.server.endpoint
    if kind == "datagram":
        endpoint = duo.two.net.udp.bind(bytes(4), 9)
        endpoint.connect(b"\x0a\0\0\1", 9)
    send = endpoint.write if kind == "connection" else endpoint.send

    @duo.two.hook("tx", "ip", filter=ICMP(type=0))
    def beside(packet):
        send(b"beside it")

    duo.one.hook("rx", "ip", filter=lambda packet: packet[Raw].load == b"beside it")(
        lambda packet: came.append(duo.simulation.now)
    )
    begun = duo.simulation.now
    duo.one.ping("10.0.0.2")
    duo.simulation.run_for(1)
    assert came == [begun + 20_000_000]


def test_hook_held_frame_skips_hooks_that_were_removed(duo):
    def second(packet):
        return DROP

    duo.one.hook("tx", "ip")(lambda packet: Delay(5))
    duo.one.hook("tx", "ip")(second)
    duo.simulation.at(duo.simulation.now + 1, lambda: duo.one.unhook(second))
    assert duo.one.ping("10.0.0.2").rtt_ms == 25.0


def test_hooks_hold_a_bounded_number_of_frames(duo, monkeypatch):
    monkeypatch.setattr("scapystack.hooks.frames.MAX_HELD", 1)
    duo.one.hook("tx", "ip")(lambda packet: [Delay(1), Delay(2)])
    duo.one.ping("10.0.0.2")
    assert counters(duo.one)["hooks.drop.held"] == 1


def test_hook_sees_a_super_segment_cut_to_wire_size_and_leaves_it_whole(duo):
    sizes, whole = [], []
    duo.connect()
    duo.one.hook("tx", "segment")(lambda segment: sizes.append(len(segment.payload)))
    duo.one.hook("tx", "segment", whole=True)(lambda segment: whole.append(len(segment.payload)))
    duo.send(40_000)
    assert max(sizes) == 1448
    assert max(whole) > 5_000
    assert sum(sizes) == sum(whole) == 40_000


@pytest.mark.parametrize("filter", ["tcp port 81", {"TCP.dport": 81}])
def test_hook_whose_filter_takes_nothing_cuts_no_super_segment(duo, monkeypatch, filter):
    duo.one.hook("tx", "segment", filter=filter)(lambda segment: DROP)
    monkeypatch.setattr("scapystack.hooks.packets.split", None)
    duo.send(40_000)  # who cuts it now raises


def test_hook_filter_that_pieces_decide_takes_those_alone(duo):
    seen = []
    duo.connect(5000)
    last = "tcp port 5000 and tcp[13] & 8 != 0"  # PSH: the last piece of what the application gave
    duo.one.hook("tx", "segment", filter=last)(lambda segment: seen.append(len(segment.payload)))
    duo.send(10_000)
    assert seen == [10_000 % 1448]


def test_hook_that_changes_one_piece_of_a_super_segment_changes_it_alone(duo):
    changed = []

    @duo.one.hook("tx", "segment", filter=lambda packet: len(packet[TCP].payload) == 1448 and not changed)
    def push(segment):
        changed.append(segment.seq)
        segment.flags |= "P"
        return segment

    duo.send(40_000)
    assert len(changed) == 1
    assert counters(duo.two)["tcp.drop.checksum"] == 0


@pytest.mark.parametrize("way", ["rx", "tx"])
def test_hook_that_changes_a_whole_super_segment_leaves_the_cutting_to_the_link(way):
    with Duo(offload=way == "rx") as duo:
        duo.connect()
        sizes, changed = [], []
        host = duo.one if way == "tx" else duo.two

        @host.hook(way, "segment", whole=True)
        def nearer(segment):
            segment.underlayer.ttl = 9
            changed.append(len(segment.payload))
            return segment

        duo.two.net.taps.append(lambda way, frame: sizes.append(len(frame)))
        duo.send(40_000)
        assert max(changed) > 5_000
        assert max(sizes) == 1514 or way == "rx"
        assert counters(duo.two)["tcp.drop.checksum"] == 0


def test_unhook_takes_away_and_says_so_where_there_is_none(duo):
    seen = []
    duo.one.hook("rx")(seen.append)
    duo.one.unhook(seen.append)
    assert duo.one.net.hooks.rx == []
    with pytest.raises(ConfigError, match="hooks nothing"):
        duo.one.unhook(seen.append)


@pytest.mark.parametrize(("way", "level"), [("in", "ip"), ("rx", "tcp")])
def test_hook_unknown_way_or_level_is_one_clear_line(duo, way, level):
    with pytest.raises(ConfigError, match="a hook"):
        duo.one.hook(way, level)(print)


def test_hook_shows_its_name_and_hits(duo):
    def mine(packet):
        """Nothing."""

    duo.one.hook("rx", "ip")(mine)
    duo.one.ping("10.0.0.2")
    assert repr(duo.one.net.hooks.rx[0]).endswith("mine on rx ip, 1 hits>")


def test_hook_on_arp_at_the_frame_level(duo):
    duo.one.net.arp.flush()
    seen = []
    duo.one.hook("tx", "frame", filter={"ARP.op": 1})(lambda packet: seen.append(packet[ARP].pdst))
    duo.one.ping("10.0.0.2")
    assert seen == ["10.0.0.2"]


# -- errors


@pytest.fixture
def two_stacks():
    """Driven by threads, where errors are logged and not raised."""
    a, b = MemoryLink.pair()
    with Stack("10.0.0.1/24", link=a, seed=1) as one, Stack("10.0.0.2/24", link=b, seed=2) as two:
        yield one, two


@pytest.mark.parametrize("way", ["rx", "tx"])
def test_hook_error_is_reported_once_with_its_packet_and_the_packet_passes(two_stacks, caplog, way):
    one, _ = two_stacks

    def broken(packet):
        raise KeyError("mine")

    one.hook(way, "ip")(broken)
    with caplog.at_level(logging.ERROR, "scapystack"):
        for _ in range(3):
            one.ping("10.0.0.2", timeout=5)
    assert counters(one)["driver.errors"] == 3
    assert len(caplog.records) == 1
    text = caplog.records[0].getMessage()
    assert "KeyError: 'mine' in the" in text
    assert "broken" in text
    assert "ICMP echo re" in text


def test_hook_that_returns_nonsense_is_reported_and_the_packet_passes(two_stacks, caplog):
    one, _ = two_stacks
    one.hook("tx", "ip")(lambda packet: "later")
    with caplog.at_level(logging.ERROR, "scapystack"):
        one.ping("10.0.0.2", timeout=5)
    assert "a hook returns None, DROP, packets, octets, Delay or a list of them, not str" in caplog.text


def test_tap_error_is_reported_and_the_frame_passes(two_stacks, caplog):
    one, _ = two_stacks

    def broken(way, frame):
        raise ValueError("mine")

    one.net.taps.append(broken)
    with caplog.at_level(logging.ERROR, "scapystack"):
        one.ping("10.0.0.2", timeout=5)
    assert "ValueError: mine in the tap broken at " in caplog.text


def test_hook_error_without_a_driver_is_the_callers():
    wire = Wire()
    wire.net.hooks.rx.append(PacketHook(lambda packet: 1 / 0, "rx"))
    with pytest.raises(ZeroDivisionError):
        wire.send(wire.rx(ICMP(id=1)))


def test_hook_of_frames_whose_list_ends_in_nonsense_lets_the_frame_pass_once():
    net, told = NetStack(), []
    net.core.report = lambda error, where, frame: told.append(str(error))
    net.hooks.rx.append(lambda frame: [frame, "later"])
    frame = Frame(bytes(60), (), net.interfaces[0])
    assert net.hooks.run("rx", frame) == [frame]
    assert told == ["a hook returns frames, not str"]
