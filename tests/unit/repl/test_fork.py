"""`fork`: a copy that is the same, goes its own way, and is quick."""

import pytest
from scapy.layers.inet import TCP

from scapystack.repl.fork import fork
from tests.harness.tcp_invariants import check
from tests.unit.repl.world import World


@pytest.fixture
def deep():
    """A connection with text in flight, text behind a gap, and text that nobody has read."""
    world = World()
    c, _ = world.connect()
    c.inject(c.from_peer(b"unread"))
    c.inject(c.from_peer(b"behind a gap", seq=c.info().rcv_nxt + 10))
    c.hold()
    c.write(b"z" * 5_000)
    return c


def test_a_copy_has_the_same_variables_and_its_invariants_hold(deep):
    copy = fork(deep)
    assert copy.info().of == deep.info().of
    check(copy.connection.tcp)
    assert copy.recv(timeout=0) == b"unread"
    assert deep.info().rcv_queue == 6


def test_what_a_copy_does_leaves_the_original_alone(deep):
    before = deep.info().of
    copy = fork(deep)
    answers = copy.inject(copy.from_peer(b"0123456789"))
    assert answers[-1][TCP].ack == before.rcv_nxt + 22
    assert deep.info().of == before
    copy.inject(copy.from_peer(flags="R"))
    assert (copy.state, deep.state) == ("CLOSED", "ESTABLISHED")


def test_a_copy_s_timers_run_in_virtual_time(deep):
    copy = fork(deep)
    again = [packet for _ in range(3) for packet in copy.to_next_timer()]
    assert any(packet[TCP].seq == deep.info().snd_una for packet in again)
    assert any(len(packet[TCP].payload) for packet in copy.advance(5))


def test_a_copy_of_a_copy_is_one(deep):
    one = fork(deep)
    one.inject(one.from_peer(b"0123456789"))
    two = fork(one)
    assert two.info().of == one.info().of
    two.inject(two.from_peer(b"more"))
    assert two.info().rcv_nxt == one.info().rcv_nxt + 4


def test_the_same_packet_has_the_same_effect_on_copy_and_original(deep):
    copy = fork(deep)
    packet = deep.from_peer(flags="A", ack=deep.info().snd_una + 1_000)
    copy.inject(packet)
    deep.inject(packet)
    assert copy.info().of == deep.info().of


def test_every_copy_of_one_state_answers_its_own_packet(deep):
    before = deep.info().of
    for n in range(1, 30):
        copy = fork(deep)
        copy.inject(copy.from_peer(b"x" * n, seq=before.rcv_nxt))
        assert copy.info().rcv_nxt == before.rcv_nxt + min(n, 10) + (12 if n >= 10 else 0) + max(0, n - 22)
        copy.discard()
    assert deep.info().of == before
