"""Blocking sockets in virtual time: the waiting call runs the simulation. One thread, exact times."""

import errno
import socket

import pytest

from scapystack.link.memory import MemoryLink
from scapystack.runtime.virtual import Simulation
from scapystack.sockets.facade import Stack
from scapystack.sockets.services import start_services

DELAY = 10_000_000


@pytest.fixture
def world():
    """A simulation with two stacks, 10 ms apart."""
    simulation = Simulation()
    a, b = MemoryLink.pair(delay=DELAY)
    one = Stack("10.0.0.1/24", link=a, simulation=simulation, seed=1)
    two = Stack("10.0.0.2/24", link=b, simulation=simulation, seed=2)
    with one, two:
        yield simulation, one, two
    simulation.close()


def test_connect_takes_a_round_trip_for_arp_and_one_for_the_handshake(world):
    simulation, one, two = world
    server = one.create_server(("", 80))
    client = two.create_connection(("10.0.0.1", 80))
    assert simulation.now == 4 * DELAY
    accepted, address = server.accept()
    assert simulation.now == 5 * DELAY
    assert address == client.getsockname()
    accepted.close()


def test_recv_waits_exactly_as_long_as_the_octets_travel(world):
    simulation, one, two = world
    server = one.create_server(("", 80))
    client = two.create_connection(("10.0.0.1", 80))
    accepted, _ = server.accept()
    begin = simulation.now
    client.sendall(b"over")
    assert accepted.recv(10) == b"over"
    assert simulation.now - begin == DELAY
    client.close()
    assert accepted.recv(10) == b""


def test_time_out_is_exact_to_the_nanosecond(world):
    simulation, one, _ = world
    sock = one.socket(socket.AF_INET, socket.SOCK_DGRAM)
    sock.settimeout(2.5)
    begin = simulation.now
    with pytest.raises(TimeoutError):
        sock.recv(1)
    assert simulation.now - begin == 2_500_000_000


def test_connect_to_nobody_ends_when_arp_gives_up(world):
    simulation, _, two = world
    sock = two.socket()
    with pytest.raises(OSError, match="No route") as caught:
        sock.connect(("10.0.0.77", 80))
    assert caught.value.errno == errno.EHOSTUNREACH
    assert 3_000_000_000 <= simulation.now <= 5_000_000_000


def test_call_that_nobody_will_ever_wake_is_edeadlk(world):
    _, one, _ = world
    sock = one.socket(socket.AF_INET, socket.SOCK_DGRAM)
    with pytest.raises(OSError, match="nobody will ever wake") as caught:
        sock.recv(1)
    assert caught.value.errno == errno.EDEADLK
    assert sock._channel.readers == []


def test_ping_takes_exactly_the_way_there_and_back(world):
    _, _, two = world
    assert two.ping("10.0.0.1").rtt_ms == 40.0  # ARP first
    assert two.ping("10.0.0.1").rtt_ms == 20.0


def download():
    """A transfer from the source service, and everything that was on the wire."""
    frames = []
    simulation = Simulation()
    a, b = MemoryLink.pair(delay=DELAY)
    one = Stack("10.0.0.1/24", link=a, simulation=simulation, seed=1)
    two = Stack("10.0.0.2/24", link=b, simulation=simulation, seed=2)
    two.net.taps.append(lambda way, frame: frames.append((simulation.now, way, frame.data)))
    start_services(one, "source")
    with two.create_connection(("10.0.0.1", 19)) as sock, sock.makefile("rwb") as file:
        file.write(b"300000\n")
        file.flush()
        data = file.read()
    simulation.run_for(1_000_000_000)
    for stack in (one, two):
        stack.close()
    simulation.close()
    return data, frames


def test_same_seeds_give_the_same_octets_at_the_same_times():
    data, frames = download()
    assert len(data) == 300_000
    assert len(frames) > 200
    assert download() == (data, frames)
