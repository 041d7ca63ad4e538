"""Ctrl-C in the main thread while it is inside the stack: held back until nothing is half done."""

import signal
import threading
from pathlib import Path

import pytest

from scapystack.base.events import Endpoint
from scapystack.link.memory import MemoryLink
from scapystack.runtime.clock import VirtualClock
from scapystack.runtime.driver import Driver
from scapystack.runtime.fdloop import FdLoop
from scapystack.sockets.facade import Stack
from scapystack.stack import NetStack

SAFETY_S = 10
LOOKS = 200


@pytest.fixture
def driver():
    made = Driver(NetStack(), VirtualClock())
    yield made
    made.close()


def ctrl_c():
    signal.raise_signal(signal.SIGINT)


def is_free(driver):
    """Whether another thread can enter."""
    entered = threading.Event()

    def enter():
        with driver.entered():
            entered.set()

    thread = threading.Thread(target=enter, daemon=True)
    thread.start()
    thread.join(SAFETY_S)
    return entered.is_set()


def test_interrupt_inside_comes_after_the_block_and_its_sending(driver):
    a, b = MemoryLink.pair()
    iface = driver.attach(a)
    done = []
    with pytest.raises(KeyboardInterrupt), driver.entered() as net:  # noqa: PT012 - it comes at the end of the block
        ctrl_c()
        net.add_address(iface, "10.0.0.1/24")
        net.arp.announce(iface, b"\x0a\0\0\1")
        done.append("block")
    assert done == ["block"]
    assert len(b.read()) == 1
    assert is_free(driver)
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_interrupt_in_a_nested_block_comes_after_the_outermost(driver):
    order = []
    with pytest.raises(KeyboardInterrupt), driver.entered():  # noqa: PT012 - it comes at the end of the block
        with driver.entered():
            ctrl_c()
        order.append("outer")
    assert order == ["outer"]
    assert is_free(driver)


def test_interrupt_in_a_round_comes_after_it(driver):
    endpoint = Endpoint()
    order = []

    def act():
        ctrl_c()
        order.append("application")

    endpoint.on_ready = act
    driver.call_soon(lambda: driver.stack.core.mark_ready(endpoint))
    driver.call_soon(lambda: order.append("call"))
    with pytest.raises(KeyboardInterrupt):
        driver.round()
    assert order == ["call", "application"]
    assert not driver.stack.core.ready
    assert is_free(driver)


def test_interrupt_in_the_loop_of_the_main_thread_ends_it_between_rounds(driver):
    order = []

    def act():
        ctrl_c()
        order.append("done")

    driver.call_soon(act)
    with pytest.raises(KeyboardInterrupt):
        driver.run()
    assert order == ["done"]
    assert is_free(driver)


def test_second_interrupt_inside_is_not_held_back(driver):
    with pytest.raises(KeyboardInterrupt), driver.entered():  # noqa: PT012 - it comes at the end of the block
        ctrl_c()
        ctrl_c()
        pytest.fail("an application that never ends could not be interrupted")
    assert is_free(driver)
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_interrupt_inside_two_stacks_comes_behind_both(driver):
    other = Driver(NetStack(), VirtualClock())
    order = []
    with pytest.raises(KeyboardInterrupt), driver.entered():  # noqa: PT012 - it comes at the end of the block
        with other.entered():
            ctrl_c()
        order.append("outer")
    assert order == ["outer"]
    assert is_free(driver)
    assert is_free(other)
    other.close()


def test_handler_of_the_program_is_left_as_it_is(driver):
    came = []
    before = signal.signal(signal.SIGINT, lambda number, frame: came.append(number))
    try:
        with driver.entered():
            ctrl_c()
            assert came == [signal.SIGINT]
    finally:
        signal.signal(signal.SIGINT, before)


def test_handler_set_inside_stays(driver):
    with pytest.raises(KeyboardInterrupt), driver.entered():  # noqa: PT012 - it comes at the end of the block
        ctrl_c()
        before = signal.signal(signal.SIGINT, signal.SIG_IGN)
        assert before is not signal.default_int_handler
    assert signal.signal(signal.SIGINT, signal.default_int_handler) is signal.SIG_IGN


# --- a signal that does not end the sleep


def deaf_ctrl_c(rescued):
    """SIGINT while the main thread sleeps, to another one: what it sleeps in does not end by itself.

    The same happens to a signal that comes between Python's last look for one and the sleep."""
    main = threading.main_thread()
    ended = threading.Event()

    def send():
        state = Path(f"/proc/self/task/{main.native_id}/stat")
        asleep = 0
        while asleep < LOOKS:  # each look lets go of the interpreter: whoever waited for that alone has gone on
            asleep = asleep + 1 if state.read_text().rpartition(")")[2].split()[0] == "S" else 0
        signal.pthread_kill(threading.get_ident(), signal.SIGINT)
        if not ended.wait(SAFETY_S):
            rescued.append(True)
            signal.pthread_kill(main.ident, signal.SIGINT)

    thread = threading.Thread(target=send, daemon=True)
    thread.start()
    return thread, ended


def interrupted(call):
    """Whether such a signal ends a call that would go on for ever."""
    rescued = []
    with pytest.raises(KeyboardInterrupt):  # noqa: PT012 - the thread has to be started inside
        thread, ended = deaf_ctrl_c(rescued)
        call()
    ended.set()
    thread.join(SAFETY_S)
    return not rescued


def test_interrupt_that_another_thread_is_given_ends_the_loop(driver, monkeypatch):
    monkeypatch.setattr("scapystack.runtime.fdloop.LISTEN_S", 0.05)
    assert interrupted(driver.run)
    assert is_free(driver)


def test_interrupt_that_another_thread_is_given_ends_a_blocked_call(monkeypatch):
    monkeypatch.setattr("scapystack.sockets.waiting.LISTEN_S", 0.05)
    a, _ = MemoryLink.pair()
    with Stack("10.0.0.1/24", link=a, seed=1) as stack, stack.create_server(("", 80)) as server:
        assert interrupted(server.accept)
        server.settimeout(1_000)
        assert interrupted(server.accept)
        assert is_free(stack.driver)


def test_interrupt_while_the_loop_is_opened_comes_when_it_is_open(driver, monkeypatch):
    """Half of it would be left otherwise, and a driver without a wakeup is deaf to other threads."""
    opened = FdLoop.open

    def interrupted_inside(self):
        ctrl_c()
        return opened(self)

    monkeypatch.setattr(FdLoop, "open", interrupted_inside)
    with pytest.raises(KeyboardInterrupt):
        driver.run()
    assert driver.loop.epoll is not None
    assert not driver.loop.running
    assert is_free(driver)
