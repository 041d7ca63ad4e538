"""Simulations: time jumps to the next event, always the same way, and ends."""

import contextlib

import pytest

from scapystack.base.types import MILLISECOND, SECOND
from scapystack.link.capture import Capture, CaptureLink
from scapystack.link.impair import ImpairedLink, Impairment
from scapystack.link.memory import MemoryLink
from scapystack.runtime.virtual import Simulation
from scapystack.sockets.facade import Stack
from scapystack.stack import NetStack


def two(sim, *, delay=MILLISECOND, seed=1, wrap=lambda link: link):
    """Two hosts, 10.0.0.1 and 10.0.0.2, on one link; the first end may be wrapped."""
    a, b = MemoryLink.pair(delay=delay)
    stacks = []
    for number, link in enumerate((wrap(a), b), 1):
        driver = sim.add(NetStack(seed=seed * 10 + number), link)
        driver.stack.add_address(driver.stack.interfaces[1], f"10.0.0.{number}/24")
        stacks.append(Stack(driver=driver))
    return stacks


def transfer(sim, one, two, text, deadline):
    """`text` from one to the other over TCP, non-blocking; what arrived."""
    server = two.create_server(("10.0.0.2", 80))
    server.setblocking(False)
    client = one.socket()
    client.setblocking(False)
    client.connect_ex(("10.0.0.2", 80))
    got = bytearray()
    left = memoryview(text)
    conn = None
    while len(got) < len(text) and sim.now < deadline:
        with contextlib.suppress(BlockingIOError):
            if conn is None:
                conn, _ = server.accept()
                conn.setblocking(False)
            got += conn.recv(65536)
        with contextlib.suppress(OSError):  # not connected yet, or no room
            left = left[client.send(left) :] if left else left
        assert sim.step()
    return bytes(got)


def test_time_jumps_to_the_next_event_and_stops_there():
    sim = Simulation(start=5 * SECOND)
    seen = []
    sim.at(3600 * SECOND, lambda: seen.append(sim.now))
    sim.at(7 * SECOND, lambda: seen.append(sim.now))
    sim.at(0, lambda: seen.append(sim.now))  # a time gone by is now
    assert sim.run(8 * SECOND)
    assert seen == [5 * SECOND, 7 * SECOND]
    assert sim.now == 8 * SECOND
    assert sim.run(lambda: len(seen) == 3)
    assert sim.now == 3600 * SECOND
    assert sim.next_at() is None
    assert not sim.step()
    assert not sim.run(lambda: False)
    assert sim.run()


def test_run_for_moves_on_by_a_span():
    sim = Simulation()
    sim.run_for(3 * SECOND)
    sim.run_for(SECOND)
    assert sim.now == 4 * SECOND


def test_run_without_end_is_an_error_not_a_hang():
    sim = Simulation()

    def again():
        sim.at(sim.now, again)

    again()
    with pytest.raises(RuntimeError, match="no end in 50 steps"):
        sim.run(limit=50)
    with pytest.raises(RuntimeError, match="never held in 50 steps"):
        sim.run(lambda: False, limit=50)


def test_ping_takes_two_delays_each_way_arp_included():
    sim = Simulation()
    one, _ = two(sim, delay=10 * MILLISECOND)
    answers = []
    pinger = one.pinger()
    sim.drivers[0].stack.taps.append(lambda way, frame: answers.append((way, sim.now)))
    with sim.drivers[0].entered() as net:
        net.icmp.ping(b"\x0a\0\0\2", 77, 1, b"data")
    sim.run(SECOND)
    ways = [(way, at // MILLISECOND) for way, at in answers]
    assert ways == [("tx", 0), ("rx", 20), ("tx", 20), ("rx", 40)]
    pinger.close()
    sim.close()


def run_once(path, seed):
    sim = Simulation()
    capture = Capture(path, clock=sim.clock)

    def wrap(link):
        faults = Impairment(loss=0.05, duplicate=0.05, reorder=0.05, corrupt=0.02, jitter_ms=2)
        return CaptureLink(ImpairedLink(link, seed=seed, rx=faults, tx=Impairment(loss=0.05)), capture)

    one, two_ = two(sim, seed=seed, wrap=wrap)
    text = bytes(range(256)) * 400
    assert transfer(sim, one, two_, text, 600 * SECOND) == text
    sim.close()
    capture.close()
    return path.read_bytes(), sim.now


def test_same_seed_twice_is_the_same_to_the_last_octet_and_nanosecond(tmp_path):
    first = run_once(tmp_path / "1.pcapng", 1)
    assert first == run_once(tmp_path / "2.pcapng", 1)
    assert first != run_once(tmp_path / "3.pcapng", 2)
    assert len(first[0]) > 100_000


def test_errors_of_applications_are_raised():
    sim = Simulation()
    driver = sim.add(NetStack())
    driver.call_soon(lambda: 1 // 0)
    with pytest.raises(ZeroDivisionError):
        sim.step()


def test_error_of_one_stack_leaves_the_rounds_of_the_others_to_whoever_goes_on():
    sim = Simulation()
    calls = []
    for number in range(3):
        driver = sim.add(NetStack())
        driver.call_soon(lambda number=number: calls.append(number) or 1 // (number - 1))
        if number == 1:
            driver.call_soon(lambda: calls.append("behind it"))
    with pytest.raises(ZeroDivisionError):
        sim.step()
    sim.run()
    assert calls == [0, 1, "behind it", 2]


def test_error_of_a_call_leaves_those_of_the_same_time_to_whoever_goes_on():
    sim = Simulation()
    seen = []
    for number in range(3):
        sim.at(SECOND, lambda number=number: seen.append(number) or 1 // (number - 1))
    with pytest.raises(ZeroDivisionError):
        sim.run()
    sim.run()
    assert (seen, sim.now) == ([0, 1, 2], SECOND)


def test_close_ends_all_where_a_program_raises_on_its_way_out():
    sim = Simulation()
    ends = []

    def program(name):
        try:
            sim.sleep(SECOND)
        finally:
            ends.append(name)
            raise ValueError(name)

    for name in ("one", "two"):
        sim.start(lambda name=name: program(name), name)
    driver = sim.add(NetStack(), MemoryLink.pair()[0])
    sim.step()
    with pytest.raises(ValueError, match="one"):
        sim.close()
    assert ends == ["one", "two"]
    assert driver.links == {}
