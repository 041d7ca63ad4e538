"""`AsyncioHost` against a loop that only notes what it is asked for, and is turned by hand."""

import threading

import pytest

from scapystack.base.types import SECOND
from scapystack.link.memory import MemoryLink
from scapystack.runtime.aio import AsyncioHost
from scapystack.runtime.clock import VirtualClock
from scapystack.runtime.driver import Driver
from scapystack.runtime.host import AWAKE, NEVER
from scapystack.runtime.thread import StackThread
from scapystack.stack import NetStack
from tests.unit.runtime.test_driver import FdLink

MS = SECOND // 1000


class Timer:
    def __init__(self, delay, call):
        self.delay = delay
        self.call = call
        self.cancelled = False

    def cancel(self):
        self.cancelled = True


class Loop:
    """What an asyncio loop offers to a host, and nothing happens by itself."""

    def __init__(self):
        self.readers = {}
        self.soon = []
        self.threadsafe = []
        self.timers = []
        self.closed = False

    def add_reader(self, fd, call, *args):
        self.readers[fd] = lambda: call(*args)

    def remove_reader(self, fd):
        del self.readers[fd]

    def is_closed(self):
        return self.closed

    def call_soon(self, call):
        if self.closed:
            raise RuntimeError("Event loop is closed")
        self.soon.append(call)

    def call_soon_threadsafe(self, call):
        self.threadsafe.append(call)

    def call_later(self, delay, call):
        self.timers.append(Timer(delay, call))
        return self.timers[-1]

    def turn(self):
        """What was asked for with `call_soon`."""
        due, self.soon = self.soon, []
        for call in due:
            call()
        return len(due)

    @property
    def armed(self):
        """The delays of timers that were not cancelled, in milliseconds."""
        return [round(timer.delay * 1e3) for timer in self.timers if not timer.cancelled]

    def fire(self):
        """The one timer there is."""
        (timer,) = (timer for timer in self.timers if not timer.cancelled)
        self.timers.remove(timer)
        timer.call()


class Alarm:
    """An owner of one deadline, which it moves on by `then` (None: for good) when it is due."""

    def __init__(self, driver, at, then=None):
        self.heap_at = None
        self.at = at
        self.then = then
        self.rang = []
        self.timers = driver.stack.core.timers
        self.timers.arm(self, at)

    def next_at(self):
        return self.at

    def move(self, at):
        self.at = at
        if self.heap_at is None or at < self.heap_at:
            self.timers.arm(self, at)

    def expire(self, now):
        self.rang.append(now)
        self.at = None if self.then is None else now + self.then
        if self.at is not None:
            self.timers.arm(self, self.at)


@pytest.fixture
def clock():
    return VirtualClock(SECOND)


@pytest.fixture
def driver(clock):
    made = Driver(NetStack(seed=1), clock, strict=True)
    yield made
    made.close()


@pytest.fixture
def loop():
    return Loop()


@pytest.fixture
def host(driver, loop):
    made = AsyncioHost(driver, loop)
    assert loop.turn() == 1
    yield made
    made.close()


def test_host_makes_one_round_at_the_start_and_then_none(host, loop, driver):
    assert loop.turn() == 0
    assert loop.armed == []
    assert driver.sleeps_until == NEVER


def test_descriptor_of_a_link_is_a_reader_whenever_it_was_attached(driver, loop):
    before = FdLink("fd0")
    driver.attach(before)
    host = AsyncioHost(driver, loop)
    later = FdLink("fd1")
    driver.attach(later)
    assert set(loop.readers) == {before.fileno(), later.fileno()}
    later.come(3)
    loop.readers[later.fileno()]()
    assert later.limits
    assert not before.limits
    driver.detach(before)
    assert set(loop.readers) == {later.fileno()}
    host.close()
    assert loop.readers == {}


def test_deadline_is_one_timer_of_the_loop(host, loop, driver, clock):
    with driver.entered():
        alarm = Alarm(driver, clock.now + 30 * MS)
    assert loop.armed == [30]
    clock.advance_to(clock.now + 30 * MS)
    loop.fire()
    assert alarm.rang == [clock.now]
    assert loop.armed == []


def test_earlier_deadline_moves_the_timer_and_a_later_one_does_not(host, loop, driver, clock):
    with driver.entered():
        alarm = Alarm(driver, clock.now + 30 * MS)
    with driver.entered():
        alarm.move(clock.now + 20 * MS)
    assert loop.armed == [20]
    with driver.entered():
        alarm.move(clock.now + 50 * MS)
    assert loop.armed == [20]
    clock.advance_to(clock.now + 20 * MS)
    loop.fire()
    assert alarm.rang == []
    assert loop.armed == [30]


def test_wakes_in_the_loops_thread_are_one_call(host, loop, driver):
    driver.wake()
    driver.wake()
    driver.call_soon(lambda: None)
    assert len(loop.soon) == 1
    assert loop.threadsafe == []
    assert loop.turn() == 1
    assert loop.turn() == 0


def test_wake_of_another_thread_goes_the_safe_way(host, loop, driver, clock):
    def act():
        with driver.entered():
            Alarm(driver, clock.now + 10 * MS)
        driver.wake()

    thread = threading.Thread(target=act)
    thread.start()
    thread.join()
    assert loop.soon == []
    (call,) = loop.threadsafe
    call()
    assert loop.armed == [10]


def test_memory_link_asks_for_a_round_when_frames_come(host, loop, driver):
    mine, theirs = MemoryLink.pair()
    driver.attach(mine)
    loop.turn()
    with Driver(NetStack(seed=2), driver.clock).entered():
        theirs.write([])
    assert len(loop.soon) == 1


def test_round_that_is_broken_off_is_made_up_for(host, loop, driver):
    def interrupt():
        raise KeyboardInterrupt

    driver.call_soon(interrupt)
    with pytest.raises(KeyboardInterrupt):
        loop.turn()
    assert not driver.rounding
    assert loop.turn() == 1
    assert driver.sleeps_until == NEVER


def test_core_that_fails_does_not_take_the_processor(loop, clock):
    driver = Driver(NetStack(seed=1), clock)
    host = AsyncioHost(driver, loop)
    loop.turn()
    with driver.entered():
        Alarm(driver, clock.now + 10 * MS)
    clock.advance_to(clock.now + 20 * MS)

    def fail(now):
        raise RuntimeError("a bug")

    driver.stack.poll = fail
    loop.fire()
    assert loop.armed == [10]
    host.close()


def test_driver_with_a_thread_is_not_taken_and_a_hosted_one_not_run(host, driver, loop):
    with pytest.raises(RuntimeError, match="event loop"):
        driver.run()
    host.close()
    host.close()
    with StackThread(driver):
        ran = threading.Event()
        driver.call_soon(ran.set)
        assert ran.wait(10)
        with pytest.raises(RuntimeError, match="thread"):
            AsyncioHost(driver, loop)


def test_driver_may_be_hosted_again_and_what_was_asked_of_the_first_host_is_dropped(driver, loop):
    first = AsyncioHost(driver, loop)
    first.close()
    assert loop.turn() == 1
    assert driver.sleeps_until == AWAKE
    other = Loop()
    second = AsyncioHost(driver, other)
    assert other.turn() == 1
    assert driver.sleeps_until == NEVER
    second.close()


def test_loop_that_is_closed_is_left_alone(host, loop, driver):
    driver.attach(FdLink())
    loop.turn()
    loop.closed = True
    driver.wake()
    driver.close()
    host.close()
