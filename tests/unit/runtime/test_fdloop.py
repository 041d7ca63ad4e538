"""Which thread makes the rounds: the loop's own, or one that waits. No clock decides anything but the grace."""

import signal
import threading
from functools import partial

import pytest

from scapystack.link.memory import MemoryLink
from scapystack.runtime import fdloop
from scapystack.runtime.driver import Driver
from scapystack.runtime.fdloop import Waiter
from scapystack.runtime.interrupt import may_be_broken_off
from scapystack.runtime.thread import StackThread
from scapystack.sockets.facade import Stack
from scapystack.stack import NetStack

SAFETY_S = 10


class Alarm:
    """Something for `core.timers` that lets go of a waiter."""

    def __init__(self, driver, at, waiter):
        self.heap_at = None
        self.at = at
        self.waiter = waiter
        driver.stack.core.timers.arm(self, at)

    def next_at(self):
        return self.at

    def expire(self, now):
        self.at = None
        self.waiter.release()


@pytest.fixture
def driver():
    made = Driver(NetStack())
    yield made
    made.close()


@pytest.fixture
def running(driver):
    with StackThread(driver):
        yield driver


def start(call):
    thread = threading.Thread(target=call, daemon=True)
    thread.start()
    return thread


def until(condition):
    """Let other threads go on until it holds."""
    turn = threading.Event()
    for _ in range(SAFETY_S * 1_000):
        if condition():
            return
        turn.wait(0.001)
    pytest.fail("it never held")


class Waiting:
    """A thread that waits for a waiter as a socket's call does; `ran_in` says who makes the rounds meanwhile."""

    def __init__(self, driver, name="waiting", timeout=None):
        self.driver = driver
        self.waiter = Waiter(driver.loop)
        self.until = None if timeout is None else driver.clock() + timeout
        self.led = None
        self.thread = threading.Thread(target=self.wait, name=name, daemon=True)
        self.thread.start()

    def wait(self):
        self.led = self.driver.loop.lead(self.waiter, self.until)
        if not self.led and self.until is None:
            self.waiter.lock.acquire(timeout=SAFETY_S)


def ran_in(driver):
    """The name of the thread that makes the next round."""
    names = []
    done = threading.Event()
    driver.call_soon(lambda: (names.append(threading.current_thread().name), done.set()))
    assert done.wait(SAFETY_S)
    return names[0]


def release_in_a_round(driver, waiter):
    driver.call_soon(waiter.release)


def led_by_a_waiting_thread(driver):
    """The loop hands over to the first thread that it wakes, and that comes to wait again."""
    until(lambda: driver.loop.leader is driver.loop)
    first = Waiting(driver, "first")
    until(lambda: first.led is False)
    release_in_a_round(driver, first.waiter)
    first.thread.join(SAFETY_S)
    second = Waiting(driver, "second")
    until(lambda: driver.loop.leader is second.waiter or second.led is False)
    return second


@pytest.fixture
def led(running, monkeypatch):
    """A driver whose rounds a thread makes that waits, and this thread."""
    monkeypatch.setattr(fdloop, "_GRACE_S", 0.1)  # time for a machine that is slow to start the thread
    for _ in range(100):  # and if the loop has taken over again in spite of that
        waiting = led_by_a_waiting_thread(running)
        if running.loop.leader is waiting.waiter:
            return running, waiting
        waiting.waiter.release()
    pytest.fail("the loop has never let a thread lead")


def test_loop_makes_the_rounds_while_nobody_waits(running):
    assert ran_in(running) == "scapystack"


def test_thread_that_comes_while_the_loop_leads_sleeps_until_a_round_wakes_it(running):
    until(lambda: running.loop.leader is running.loop)
    waiting = Waiting(running)
    until(lambda: waiting.led is False)
    assert ran_in(running) == "scapystack"
    release_in_a_round(running, waiting.waiter)
    waiting.thread.join(SAFETY_S)
    assert not waiting.thread.is_alive()


def test_thread_that_waits_makes_the_rounds_and_ends_with_its_own(led):
    driver, waiting = led
    assert ran_in(driver) == "second"
    release_in_a_round(driver, waiting.waiter)
    waiting.thread.join(SAFETY_S)
    assert waiting.led


def test_loop_takes_over_when_nobody_waits_any_more(led):
    driver, waiting = led
    waiting.waiter.release()
    waiting.thread.join(SAFETY_S)
    assert ran_in(driver) == "scapystack"


def test_leader_that_woke_another_thread_steps_down_and_sleeps(led):
    driver, waiting = led
    other = Waiting(driver, "other")
    until(lambda: other.led is False)
    release_in_a_round(driver, other.waiter)
    other.thread.join(SAFETY_S)
    until(lambda: waiting.led is False)
    assert not waiting.waiter.free
    assert ran_in(driver) != "second"
    waiting.waiter.release()
    waiting.thread.join(SAFETY_S)
    assert not waiting.thread.is_alive()


def test_waiter_that_another_thread_lets_go_of_ends_the_leaders_sleep(led):
    driver, waiting = led
    with driver.entered():
        waiting.waiter.release()
    waiting.thread.join(SAFETY_S)
    assert waiting.led


def test_waiter_let_go_of_twice_or_without_the_lock_is_free(driver):
    waiter = Waiter(driver.loop)
    waiter.release()
    waiter.release()
    assert waiter.free
    assert waiter.lock.acquire(timeout=0)


def test_leader_whose_time_is_up_leaves_off_and_the_loop_takes_over(led):
    driver, waiting = led
    waiting.waiter.release()
    waiting.thread.join(SAFETY_S)
    late = Waiting(driver, "late", timeout=1)
    late.thread.join(SAFETY_S)
    assert not late.waiter.free
    assert ran_in(driver) == "scapystack"


def test_deadline_that_another_thread_sets_is_kept_by_the_leader(led):
    driver, waiting = led
    with driver.entered():
        Alarm(driver, driver.clock() + 1_000_000, waiting.waiter)
    waiting.thread.join(SAFETY_S)
    assert waiting.led


def test_deadline_set_while_nobody_leads_is_kept(led):
    driver, waiting = led
    waiting.waiter.release()
    waiting.thread.join(SAFETY_S)
    next_one = Waiter(driver.loop)
    with driver.entered():
        Alarm(driver, driver.clock() + 1_000_000, next_one)
    until(lambda: next_one.free)


def test_loop_that_is_stopped_sends_the_leader_to_sleep_and_may_be_run_again(driver):
    thread = StackThread(driver)
    thread.start()
    waiting = led_by_a_waiting_thread(driver)
    thread.stop()
    until(lambda: waiting.led is False)
    assert not waiting.waiter.free
    assert driver.loop.leader is None
    with thread:
        release_in_a_round(driver, waiting.waiter)
        waiting.thread.join(SAFETY_S)
        assert not waiting.thread.is_alive()


def test_driver_that_is_closed_lets_the_leader_go_to_sleep(led):
    driver, waiting = led
    driver.close()
    until(lambda: waiting.led is False)
    until(lambda: driver.loop.epoll is None and not driver.loop.running)


def test_stack_that_does_not_run_has_no_leader(driver):
    waiter = Waiter(driver.loop)
    assert not driver.loop.lead(waiter, None)
    waiter.release()
    assert driver.loop.lead(waiter, None)


def test_main_thread_with_handlers_of_the_program_does_not_lead(led):
    """One may raise between any two bytecodes: in the middle of a round."""
    driver, waiting = led
    waiting.waiter.release()
    waiting.thread.join(SAFETY_S)
    assert not may_be_broken_off()
    before = signal.signal(signal.SIGALRM, lambda number, frame: None)
    try:
        assert may_be_broken_off()
        assert not driver.loop.lead(Waiter(driver.loop), None)
    finally:
        signal.signal(signal.SIGALRM, before)


def test_interrupt_ends_the_round_of_a_main_thread_that_leads_and_leaves_the_loop_to_others(led):
    driver, waiting = led
    waiting.waiter.release()
    waiting.thread.join(SAFETY_S)
    order = []

    def act():
        if threading.current_thread() is not threading.main_thread():  # the loop has taken over before
            waiter.release()
            return
        signal.raise_signal(signal.SIGINT)
        order.append("done")

    for _ in range(100):
        waiter = Waiter(driver.loop)
        driver.call_soon(act)
        try:
            if not driver.loop.lead(waiter, None):
                waiter.lock.acquire(timeout=SAFETY_S)
        except KeyboardInterrupt:
            break
    assert order == ["done"]
    assert driver.loop.leader is not waiter
    assert ran_in(driver) == "scapystack"


def test_many_threads_on_sockets_lose_no_octet_and_no_wake_up():
    """Each octet goes there and back between a thread of one stack and a thread of another."""
    count, threads = 30, 6
    a, b = MemoryLink.pair()
    with Stack("10.0.0.1/24", link=a, seed=1) as one, Stack("10.0.0.2/24", link=b, seed=2) as two:
        listening = one.create_server(("10.0.0.1", 80))
        listening.settimeout(SAFETY_S)
        got = []
        echoing = []

        def serve():
            for _ in range(threads):
                sock, _ = listening.accept()
                echoing.append(start(partial(echo, sock)))

        def echo(sock):
            with sock:
                while data := sock.recv(100):
                    sock.sendall(data)

        def ask():
            with two.create_connection(("10.0.0.1", 80), timeout=SAFETY_S) as sock:
                for number in range(count):
                    sock.sendall(bytes((number,)))
                    got.append(sock.recv(1)[0])

        serving = start(serve)
        asking = [start(ask) for _ in range(threads)]
        serving.join(SAFETY_S)
        for each in asking + echoing:
            each.join(SAFETY_S)
        assert sorted(got) == sorted(list(range(count)) * threads)
