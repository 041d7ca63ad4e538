"""Hooks that lie, on a real exchange: what they do, and that the stack holds."""

from itertools import pairwise

import pytest

from scapystack.base.config import StackConfig
from scapystack.hooks import hostile, ready
from tests.harness.duo import Duo

SIZE = 200_000


@pytest.fixture
def duo():
    with Duo() as made:
        made.connect()
        yield made


def info(sock):
    with sock.driver.lock:
        return sock.endpoint.info()


def counters(stack):
    return stack.net.counters


def test_rst_injector_exact_ends_the_connection(duo):
    duo.two.hook("rx", "segment")(hostile.rst_injector(3))
    duo.client.sendall(bytes(20_000))
    duo.simulation.run_for(1_000_000_000)
    assert info(duo.server).state == "CLOSED"
    duo.server.recv(100_000)  # what came before
    with pytest.raises(ConnectionResetError):
        duo.server.recv(100_000)


@pytest.mark.parametrize(("beside", "counter"), [(1, "tcp.challenge_acks"), (-1, "tcp.drop.rst_outside_window")])
def test_rst_injector_beside_the_number_is_not_believed(duo, beside, counter):
    """hostile: a RST a byte beside is challenged inside of the window and dropped outside (RFC 5961 section 3)."""
    duo.two.hook("rx", "segment")(hostile.rst_injector(3, beside=beside))
    duo.send(SIZE)
    assert counters(duo.two)[counter] == 1


def test_optimistic_acks_of_what_was_never_sent_are_dropped(duo):
    honest = Duo()
    with honest:
        honest.connect()
        honest.send(SIZE)
        most = info(honest.client).snd_cwnd
    duo.one.hook("rx", "segment")(hostile.optimistic_ack(1_000_000))
    duo.send(SIZE)
    assert counters(duo.one)["tcp.drop.ack_too_new"] >= 3
    assert info(duo.client).snd_cwnd <= most


def test_optimistic_acks_of_what_is_on_its_way_harm_the_receiver_alone(duo):
    """A loss that was acknowledged is not repaired, and the window stays within what was sent."""
    duo.one.hook("rx", "segment")(hostile.optimistic_ack(3_000))
    duo.send(SIZE)
    duo.simulation.run_for(1_000_000_000)
    connection = duo.client.endpoint
    assert connection.snd_una == connection.snd_nxt
    assert info(duo.client).snd_cwnd * 1_448 <= SIZE * 2


def test_ack_division_gains_nothing():
    """RFC 3465: the window grows by what was acknowledged, not by how often that was said."""
    found = {}
    for pieces in (1, 20):
        with Duo() as duo:
            duo.connect()
            came = []
            duo.one.hook("rx", "segment")(hostile.ack_division(pieces))
            duo.one.hook("rx", "segment")(came.append)
            seconds = duo.send(SIZE)
            found[pieces] = len(came), info(duo.client).snd_cwnd, seconds
    assert found[20][0] > 5 * found[1][0], "the ACKs were divided"
    assert found[20][1] <= found[1][1] * 1.1
    assert found[20][2] >= found[1][2] * 0.9


def test_sack_reneging_is_survived(duo):
    """RFC 2018 section 8: what was SACKed is sent again when the receiver turns out to have forgotten it."""
    reneging = hostile.SackReneging()
    duo.one.hook("tx", "segment", filter=lambda packet: len(packet["TCP"].payload) > 0)(ready.drop_nth(5))
    duo.two.hook("tx", "segment")(reneging.acks)
    duo.two.hook("rx", "segment")(reneging.data)
    seconds = duo.send(SIZE)
    assert reneging.block is not None
    assert reneging.came_again
    assert counters(duo.one)["tcp.sack_reneging"] == 1
    assert seconds < 5


def test_window_shrink_is_survived(duo):
    came = []
    duo.one.hook("rx", "segment")(hostile.window_shrink(3, to=1, times=2))
    duo.one.hook("rx", "segment")(lambda segment: came.append(segment.window))
    assert duo.send(SIZE) < 10
    assert came.count(1) == 2


def test_zero_window_stall_is_waited_out_with_probes(duo):
    sent = []
    duo.one.hook("rx", "segment")(hostile.zero_window_stall(3_000, after=5))
    duo.one.hook("tx", "segment")(lambda segment: sent.append(duo.simulation.now))
    seconds = duo.send(SIZE)
    assert 3 < seconds < 8
    longest = max(b - a for a, b in pairwise(sent))
    assert longest < 3_000_000_000, "it probed meanwhile"


def test_icmp_black_hole_swallows_the_error(duo):
    with duo.one.socket(type=2) as udp:
        udp.settimeout(0.5)
        udp.connect(("10.0.0.2", 9))
        udp.send(b"x")
        with pytest.raises(ConnectionRefusedError):
            udp.recv(10)
        duo.one.hook("rx", "ip")(hostile.icmp_black_hole())
        udp.send(b"x")
        with pytest.raises(TimeoutError):
            udp.recv(10)


def test_icmp_black_hole_of_a_narrow_link_is_found_and_passed():
    """RFC 4821: where large packets vanish without a word, segments shrink, and the transfer goes on."""
    with Duo(config=StackConfig()) as duo:
        duo.connect()
        duo.one.hook("tx", "ip")(hostile.icmp_black_hole(mtu=1_000))
        assert duo.send(SIZE) < 60
        assert duo.client.endpoint.info().snd_mss <= 1_000
