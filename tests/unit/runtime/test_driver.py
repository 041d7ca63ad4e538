"""The driver, round by round in virtual time, and its loop and threads where those are the point."""

import os
import threading

import pytest

from scapystack.base.errors import ConfigError
from scapystack.base.frames import Frame
from scapystack.base.types import SECOND
from scapystack.link.base import WrappedLink
from scapystack.link.memory import MemoryLink
from scapystack.runtime.clock import VirtualClock
from scapystack.runtime.driver import BATCH, Driver
from scapystack.stack import NetStack
from tests.unit.runtime.helpers import Alarm, Counting, FdLink

SAFETY_S = 10


@pytest.fixture
def clock():
    return VirtualClock(SECOND)


@pytest.fixture
def driver(clock):
    made = Driver(NetStack(seed=1), clock)
    yield made
    made.close()


@pytest.fixture
def link(driver):
    made = FdLink()
    driver.attach(made)
    return made


def seen(driver):
    """The frames that the stack receives from now on."""
    frames = []
    driver.stack.taps.append(lambda way, frame: frames.append((way, frame)))
    return frames


# --- links


def test_attach_makes_the_interface_of_the_link(driver):
    a, _ = MemoryLink.pair(mtu=1300)
    iface = driver.attach(a)
    assert a.iface is iface
    assert (iface.name, iface.mac, iface.mtu, iface.gso_max) == ("mem0", a.mac, 1300, a.gso_max)
    assert driver.links == {iface.index: a}
    b, _ = MemoryLink.pair()
    with pytest.raises(ConfigError, match="mem0"):
        driver.attach(b)
    assert list(driver.links.values()) == [a]


def test_detach_takes_the_interface_its_frames_and_the_link_away(driver, link):
    iface = link.iface
    driver.stack.core.outbox.append(Frame(bytes(60), (), iface))
    with driver.entered():
        driver.stack.core.outbox.append(Frame(bytes(60), (), iface))
        driver.detach(link)
        driver.detach(link)
    assert link.closed
    assert link.sent == []
    assert iface not in driver.stack.interfaces
    driver.round()


class ToKernel(FdLink):
    """A link that has the machine's own kernel at its other end."""

    gso_kernel = 200_000
    kernel_mac = b"\2kernl"


def test_attach_and_exchange_say_what_the_kernel_at_the_other_end_takes(driver):
    link = ToKernel("tap0")
    iface = driver.attach(link)
    assert (iface.gso_kernel, iface.kernel_mac) == (200_000, b"\2kernl")
    wrapper = WrappedLink(link)
    driver.exchange(link, wrapper)  # a capture, for one: it sees frames of the usual size
    assert iface.gso_kernel == 0
    driver.exchange(wrapper, link)
    assert (iface.gso_kernel, iface.kernel_mac) == (200_000, b"\2kernl")
    assert driver.attach(FdLink()).gso_kernel == 0


def test_round_reads_what_is_there_and_passes_it_on(driver, link, clock):
    frames = seen(driver)
    link.come(3)
    driver.round()
    assert [way for way, _ in frames] == ["rx"] * 3
    assert all(frame.iface is link.iface and frame.at == clock.now for _, frame in frames)
    driver.round()
    assert len(frames) == 3


def test_round_that_fills_its_batch_tells_the_stack_that_more_waits(driver, link):
    told = []
    poll = driver.stack.poll
    driver.stack.poll = lambda now, more: (told.append(more), poll(now, more))
    link.come(BATCH + 3)
    for _ in range(3):
        driver.round()
    assert told == [True, False, False]
    link.come(2 * BATCH)
    for _ in range(2):
        driver.round()
    assert told[3:] == [True, False], "a batch that is full to the frame leaves nothing behind"
    del told[1:]
    link.come(1)
    driver.round()
    link.come(1)
    driver.round()  # a read of one frame is full at once, and says nothing
    assert not any(told[1:])


def test_round_asks_a_quiet_link_for_one_frame_at_a_time_and_a_busy_one_for_many(driver, link):
    frames = seen(driver)
    for _ in range(20):
        link.come()
        driver.round()
    # the first batch had one frame; then single reads, and after sixteen of them a try
    assert link.limits == [BATCH] + [1] * 16 + [BATCH] + [1] * 2
    link.limits.clear()
    link.come(500)
    for _ in range(30):
        driver.round()
    assert len(frames) == 520
    assert link.limits[:14] == [1] * 14
    assert set(link.limits[14:21]) == {BATCH}
    assert len(link.limits) == 14 + 8


def test_frames_leave_by_the_link_of_their_interface(driver, link):
    other = FdLink("fd1")
    driver.attach(other)
    with driver.entered() as stack:
        frames = [Frame(bytes(60), (), each.iface) for each in (link, other, link)]
        stack.core.outbox.extend(frames)
    assert link.sent == [frames[0], frames[2]]
    assert other.sent == [frames[1]]


def test_frames_for_an_interface_without_a_link_are_counted(driver, link):
    driver.attach(FdLink("fd1"))
    with driver.entered() as stack:
        stack.core.outbox.append(Frame(bytes(60), (), stack.interfaces[0]))
    assert driver.stack.counters["driver.drop.no_link"] == 1


def test_link_that_died_is_left_out_and_said(driver, link, caplog):
    lost = []
    driver.on_lost = lost.append
    link.read = lambda limit: []
    link.broken = "fd0: the interface is gone"
    link.come()
    driver.round()
    driver.round()
    assert lost == [link]
    assert not link.iface.up
    assert driver.stack.counters["driver.links_lost"] == 1
    assert caplog.messages == ["fd0: the interface is gone"]


@pytest.mark.parametrize("timed", [False, True])
def test_link_whose_read_raises_is_left_out_and_the_others_go_on(driver, link, caplog, timed):
    def read(limit):
        raise ZeroDivisionError("a bug of theirs")

    failing = FdLink("fd1") if not timed else MemoryLink.pair()[0]
    failing.read = read
    failing.timed = timed
    failing.next_at = lambda: 0 if timed else None
    driver.attach(failing)
    frames = seen(driver)
    lost = []
    driver.on_lost = lost.append
    for _ in range(2):
        link.come()
        if not timed:
            failing.come()
        driver.round()
    assert lost == [failing]
    assert not failing.iface.up
    assert len(frames) == 2
    counters = driver.stack.counters
    assert (counters["driver.errors"], counters["driver.links_lost"]) == (1, 1)
    name = failing.name
    assert caplog.messages == [
        f"ZeroDivisionError: a bug of theirs while {name} was read (logged once)", f"{name}: reading it failed",
    ]  # fmt: skip
    assert driver.next_at() is None


# --- applications


def test_ready_applications_are_called_once_a_burst_and_their_output_leaves(driver, link):
    def send():
        driver.stack.core.outbox.append(Frame(b"from the application", (), link.iface))

    endpoint = Counting(send)
    with driver.entered() as stack:
        stack.core.mark_ready(endpoint)
        stack.core.mark_ready(endpoint)
        assert endpoint.calls == 0
    assert endpoint.calls == 1
    assert [f.data for f in link.sent] == [b"from the application"]


def test_application_that_makes_work_for_ever_is_bounded(driver, clock):
    endpoint = Counting()
    endpoint.act = lambda: driver.stack.core.mark_ready(endpoint)
    driver.stack.core.mark_ready(endpoint)
    driver.round()
    assert 1 < endpoint.calls < 1000
    assert driver.next_at() == 0  # the loop comes back at once, other links served in between


def test_application_errors_are_counted_logged_once_and_harm_nobody(driver, caplog):
    def fail():
        raise ValueError("mine")

    good = Counting()
    for _ in range(2):
        with driver.entered() as stack:
            stack.core.mark_ready(Counting(fail))
            stack.core.mark_ready(good)
    assert good.calls == 2
    assert driver.stack.counters["driver.errors"] == 2
    assert caplog.text.count("ValueError: mine in on_ready") == 1


def test_errors_of_hooks_and_observers_do_not_stop_the_round(driver, link):
    def fail(*args):
        raise ValueError("mine")

    driver.stack.taps.append(fail)
    link.come(2)
    driver.round()
    assert driver.stack.counters["driver.errors"] == 2
    with driver.entered() as stack:
        stack.core.outbox.append(Frame(bytes(60), (), link.iface))
    assert driver.stack.counters["driver.errors"] == 3


def test_error_of_an_observer_of_connections_is_counted_and_logged_once(driver, caplog):
    def fail(*args):
        raise ValueError("mine")

    driver.stack.tcp.observers.append(fail)
    for port in (80, 81):
        with driver.entered() as stack:
            stack.tcp.connect(b"\x7f\0\0\1", port)
    assert driver.stack.counters["driver.errors"] == 4  # SYN-SENT, and refused
    assert caplog.text.count("ValueError: mine in the observer fail") == 1
    assert driver.stack.tcp.connections == {}


def test_strict_driver_raises_what_applications_raise(clock):
    driver = Driver(NetStack(), clock, strict=True)

    def fail():
        raise ValueError("mine")

    driver.call_soon(fail)
    with pytest.raises(ValueError, match="mine"):
        driver.round()
    driver.close()


def test_call_soon_runs_in_the_next_round_in_order(driver):
    ran = []
    driver.call_soon(lambda: ran.append(1))
    driver.call_soon(lambda: driver.call_soon(lambda: ran.append(3)))
    driver.call_soon(lambda: ran.append(2))
    assert ran == []
    assert driver.next_at() == 0
    driver.round()
    assert ran == [1, 2, 3]


# --- time


def test_round_lets_due_timers_fire_and_next_at_says_when(driver, clock):
    alarm = Alarm(driver, SECOND + 500)
    assert driver.next_at() == SECOND + 500
    driver.round()
    assert alarm.fired == []
    clock.advance_to(SECOND + 500)
    driver.round()
    assert alarm.fired == [SECOND + 500]
    assert driver.next_at() is None


def test_timed_link_is_told_the_time_and_read_when_due(driver, clock):
    a, b = MemoryLink.pair(delay=1000)
    driver.attach(a)
    frames = seen(driver)
    b.advance(clock.now)
    b.write([Frame(bytes(60))])
    assert driver.next_at() == SECOND + 1000
    driver.round()
    assert frames == []
    clock.advance_to(SECOND + 1000)
    driver.round()
    assert len(frames) == 1
    assert driver.next_at() is None


def test_entered_sets_the_time_of_links_and_stack(driver, clock):
    a, b = MemoryLink.pair(delay=1000)
    driver.attach(a)
    clock.advance_to(5 * SECOND)
    with driver.entered() as stack:
        assert stack.core.now == 5 * SECOND
        stack.core.outbox.append(Frame(bytes(60), (), a.iface))
    assert b.next_at() == 5 * SECOND + 1000


def test_entered_nested_sends_at_the_outermost_end(driver, link):
    with driver.entered() as stack:
        with driver.entered() as same:
            assert same is stack
            stack.core.outbox.append(Frame(bytes(60), (), link.iface))
        assert link.sent == []
    assert len(link.sent) == 1


def test_entered_that_fails_still_sends_and_lets_others_in(driver, link):
    def fail():
        with driver.entered() as stack:
            stack.core.outbox.append(Frame(bytes(60), (), link.iface))
            raise KeyError

    with pytest.raises(KeyError):
        fail()
    assert len(link.sent) == 1
    entered = []

    def enter():
        if driver.lock.acquire(timeout=SAFETY_S):
            entered.append(1)
            driver.lock.release()

    other = threading.Thread(target=enter)
    other.start()
    other.join()
    assert entered == [1]


# --- the loop


@pytest.fixture
def running(driver):
    """The driver's loop in a thread."""
    thread = threading.Thread(target=driver.run, daemon=True)
    thread.start()
    yield driver
    driver.stop()
    thread.join(SAFETY_S)
    assert not thread.is_alive()


def test_run_is_woken_by_a_call_a_frame_and_another_threads_deadline(running, clock):
    done = threading.Event()
    running.call_soon(done.set)
    assert done.wait(SAFETY_S)

    link = FdLink()
    arrived = threading.Event()
    running.stack.taps.append(lambda way, frame: arrived.set())
    running.attach(link)
    link.come()
    assert arrived.wait(SAFETY_S)

    fired = threading.Event()
    with running.entered():
        alarm = Alarm(running, SECOND + 10_000)
        alarm.expire = lambda now: (fired.set(), setattr(alarm, "at", None))
        clock.advance_to(2 * SECOND)
    assert fired.wait(SAFETY_S)


def test_run_is_woken_by_the_other_end_of_a_memory_link(running):
    a, b = MemoryLink.pair()
    arrived = threading.Event()
    running.stack.taps.append(lambda way, frame: arrived.set())
    running.attach(a)
    b.write([Frame(bytes(60))])
    assert arrived.wait(SAFETY_S)


def test_run_wakes_for_each_of_very_many_calls_from_many_threads(running):
    count, threads = 300, 4
    ran = []
    done = threading.Semaphore(0)

    def call():
        for _ in range(count):
            running.call_soon(lambda: (ran.append(1), done.release()))
            # the loop goes back to sleep between any two: none of the wake-ups may get lost
            assert done.acquire(timeout=SAFETY_S)

    callers = [threading.Thread(target=call) for _ in range(threads)]
    for each in callers:
        each.start()
    for each in callers:
        each.join()
    assert len(ran) == count * threads


def test_stop_before_run_makes_run_return(driver):
    driver.stop()
    driver.run()
    thread = threading.Thread(target=driver.run, daemon=True)
    thread.start()
    driver.stop()
    thread.join(SAFETY_S)
    assert not thread.is_alive()


def test_close_ends_a_running_loop_and_leaves_no_descriptor(clock):
    before = set(os.listdir("/proc/self/fd"))
    driver = Driver(NetStack(), clock)
    link = FdLink()
    driver.attach(link)
    thread = threading.Thread(target=driver.run, daemon=True)
    thread.start()
    driver.close()
    driver.close()
    thread.join(SAFETY_S)
    assert not thread.is_alive()
    assert link.closed
    driver.call_soon(lambda: None)
    driver.wake()
    driver.run()
    assert set(os.listdir("/proc/self/fd")) <= before


def test_without_run_and_descriptors_of_links_nothing_is_opened(clock):
    before = set(os.listdir("/proc/self/fd"))
    driver = Driver(NetStack(), clock)
    driver.attach(MemoryLink.pair()[0])
    driver.round()
    with driver.entered():
        driver.call_soon(lambda: None)
    assert set(os.listdir("/proc/self/fd")) == before
    driver.close()


def test_loop_that_found_no_descriptors_left_opens_them_later(driver, monkeypatch):
    link = FdLink()

    def none_left(*args):
        raise OSError(24, "Too many open files")

    monkeypatch.setattr(os, "eventfd", none_left)
    with pytest.raises(OSError, match="Too many"):
        driver.loop.watch(link.fileno())
    monkeypatch.undo()
    driver.loop.watch(link.fileno())
    driver.loop.wake()
    assert len(driver.loop.ready()) == 1
    link.close()


def test_failing_core_does_not_take_the_processor(driver):
    """A core that cannot be polled is a bug; its deadline stays in the past, and the loop must not spin on it."""
    Alarm(driver, SECOND)

    def fail(now):
        raise RuntimeError("a bug")

    driver.stack.poll = fail
    assert driver.turn(()) >= 0.01
    assert driver.stack.counters["driver.errors"] == 1
    del driver.stack.poll
    assert driver.turn(()) == -1
