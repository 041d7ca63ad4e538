"""Hooks from the shelf, each with its effect on a real exchange of two stacks in virtual time."""

import pytest
from scapy.layers.inet import TCP

from scapystack.base.config import StackConfig
from scapystack.base.errors import ConfigError
from scapystack.hooks import ready
from tests.harness.duo import Duo

SIZE = 60_000


@pytest.fixture
def duo():
    with Duo() as made:
        yield made


def segments(stack, way="rx"):
    """The segments that come to a stack (or leave it), from now on."""
    seen = []
    stack.hook(way, "segment")(seen.append)
    return seen


def texts(seen):
    return [len(segment.payload) for segment in seen if len(segment.payload)]


def info(sock):
    with sock.driver.lock:
        return sock.endpoint.info()


def test_drop_nth_loses_those_and_tcp_sends_them_again(duo):
    duo.connect()
    duo.one.hook("tx", "segment", filter=lambda packet: len(packet[TCP].payload) > 0)(ready.drop_nth(3, 5))
    came = segments(duo.two)
    duo.send(SIZE)
    assert duo.one.net.counters["hooks.drop.tx"] == 2
    assert info(duo.client).total_retrans == 2
    assert sum(texts(came)) == SIZE


def test_delay_adds_to_the_round_trip(duo):
    duo.one.ping("10.0.0.2")
    duo.one.hook("tx", "ip")(ready.delay(40))
    assert duo.one.ping("10.0.0.2").rtt_ms == 60.0


def test_delay_with_jitter_is_within_its_bounds_and_repeats_with_its_seed():
    def run():
        with Duo() as duo:
            duo.one.ping("10.0.0.2")
            duo.one.hook("tx", "ip")(ready.delay(10, jitter_ms=20, seed=5))
            return [duo.one.ping("10.0.0.2").rtt_ms for _ in range(8)]

    times = run()
    assert all(30 <= each <= 50 for each in times)
    assert len(set(times)) > 4
    assert run() == times


def test_reorder_lets_later_segments_pass_and_nothing_is_lost(duo):
    duo.connect()
    duo.one.hook("tx", "segment")(ready.reorder(5, by_ms=8))
    came = segments(duo.two)
    duo.send(SIZE)
    order = [segment.seq for segment in came if len(segment.payload)]
    assert order != sorted(order)
    assert duo.one.net.counters["hooks.drop.tx"] == 0


def test_duplicate_is_dropped_by_the_receiver(duo):
    duo.connect()
    came = segments(duo.two)
    duo.one.hook("tx", "segment")(ready.duplicate(4))
    duo.send(SIZE)
    assert sum(texts(came)) > SIZE
    assert info(duo.server).bytes_received == SIZE


def test_duplicate_may_come_later(duo):
    seen = []
    duo.one.ping("10.0.0.2")
    duo.two.hook("rx", "ip")(lambda packet: seen.append(duo.simulation.now))
    duo.one.hook("tx", "ip")(ready.duplicate(by_ms=7))
    duo.one.ping("10.0.0.2")
    duo.simulation.run_for(50_000_000)
    assert [after - seen[0] for after in seen] == [0, 7_000_000]


def test_corrupt_fails_the_checksum_and_the_octets_arrive_all_the_same(duo):
    duo.connect()
    duo.one.hook("tx", "segment")(ready.corrupt(10))
    duo.send(SIZE)
    assert duo.two.net.counters["tcp.drop.checksum"] >= 4


@pytest.mark.parametrize(
    ("names", "left"),
    [((), set()), (("SAckOK", "Timestamp"), {"MSS", "WScale"}), (("WScale",), {"MSS", "SAckOK", "Timestamp"})],
)
def test_strip_options_leaves_the_others(duo, names, left):
    came = segments(duo.two)
    duo.one.hook("tx", "segment")(ready.strip_options(*names))
    duo.send(10_000)
    assert {name for name, _ in came[0].options} - {"NOP", "EOL"} == left
    assert ("Timestamp" in {name for name, _ in came[-1].options}) == ("Timestamp" in left)


def test_clamp_mss_makes_both_sides_send_less(duo):
    duo.one.hook("tx", "segment")(ready.clamp_mss(600))
    duo.one.hook("rx", "segment")(ready.clamp_mss(700))
    duo.connect()
    there, back = segments(duo.two), segments(duo.one)
    duo.send(10_000)
    duo.send(10_000, back=True)
    assert (max(texts(there)), max(texts(back))) == (700 - 12, 600 - 12)  # less the timestamps


def test_bleach_ecn_hides_what_the_sender_said():
    config = StackConfig()
    config.tcp.ecn = "on"
    with Duo(config=config) as duo:
        duo.connect()
        before = segments(duo.two)
        duo.send(5_000)
        assert {segment.underlayer.tos & 3 for segment in before if len(segment.payload)} == {2}
        duo.two.unhook(before.append)
        after = segments(duo.two)
        duo.one.hook("tx", "ip")(ready.bleach_ecn())
        duo.send(5_000)
        assert {segment.underlayer.tos & 3 for segment in after} == {0}


def test_split_cuts_segments_and_keeps_the_stream(duo):
    duo.connect()
    came = segments(duo.two)
    duo.one.hook("tx", "segment")(ready.split(500))
    duo.send(SIZE)
    assert max(texts(came)) == 500
    assert sum(texts(came)) == SIZE
    pushed = [segment.seq for segment in came if "P" in segment.flags]
    assert len(pushed) < len(texts(came))


def test_merge_joins_what_follows_within_the_time(duo):
    duo.connect()
    duo.client.setsockopt(6, 1, 1)  # TCP_NODELAY
    came = segments(duo.two)
    duo.one.hook("tx", "segment")(ready.merge(5, size=400))
    for n in range(8):
        duo.client.send(bytes((n,)) * 100)
    duo.simulation.run_for(100_000_000)
    assert duo.server.recv(1_000) == b"".join(bytes((n,)) * 100 for n in range(8))
    assert texts(came) == [400, 400]


def test_merge_lets_a_single_segment_go_in_time(duo):
    duo.connect()
    duo.one.hook("tx", "segment")(ready.merge(5))
    begun = duo.simulation.now
    duo.client.send(b"alone")
    assert duo.server.recv(10) == b"alone"
    assert duo.simulation.now - begun == 15_000_000


def test_merge_keeps_a_whole_transfer(duo):
    duo.connect()
    duo.one.hook("tx", "segment")(ready.merge(2, size=1_448))
    duo.one.hook("tx", "segment")(ready.split(400))
    duo.send(SIZE)
    duo.send(SIZE, back=True)


@pytest.mark.parametrize("make", [lambda: ready.drop_nth(), lambda: ready.drop_nth(0), lambda: ready.split(0)])
def test_ready_hooks_that_cannot_be_say_so(make):
    with pytest.raises(ConfigError):
        make()


def test_text_is_without_the_padding_of_a_short_frame(duo):
    seen = []
    duo.connect()

    @duo.one.hook("rx", "frame", filter={"TCP.flags": "A"})
    def pad(packet):
        return bytes(packet) + bytes(6)

    duo.one.hook("rx", "segment", filter={"TCP.flags": "A"})(lambda segment: seen.append(ready.text_of(segment)))
    duo.send(SIZE)
    assert seen
    assert set(seen) == {b""}
