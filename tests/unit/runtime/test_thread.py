"""The owner thread starts, stops, and starts again; signals end a program so that it can tidy up."""

import os
import signal
import subprocess
import sys
import threading

import pytest

from scapystack.runtime.driver import Driver
from scapystack.runtime.thread import StackThread
from scapystack.runtime.wakeup import Wakeup
from scapystack.stack import NetStack


def test_thread_runs_the_loop_from_start_to_stop_again_and_again():
    driver = Driver(NetStack())
    thread = StackThread(driver)
    assert not thread.alive
    thread.stop()
    for _ in range(3):
        with thread:
            thread.start()
            assert thread.alive
            names = []
            done = threading.Event()
            driver.call_soon(lambda names=names, done=done: (names.append(threading.current_thread().name), done.set()))
            assert done.wait(10)
            assert names == ["scapystack"]
        assert not thread.alive
    driver.close()


def test_thread_may_stop_itself():
    driver = Driver(NetStack())
    thread = StackThread(driver)
    thread.start()
    inner = thread._thread
    driver.call_soon(thread.stop)
    inner.join(10)
    assert not thread.alive
    driver.close()


def test_wakeup_is_readable_from_set_to_clear():
    wakeup = Wakeup()
    wakeup.clear()
    wakeup.set()
    wakeup.set()
    assert os.eventfd_read(wakeup.fd) == 1
    wakeup.clear()
    wakeup.set()
    assert os.eventfd_read(wakeup.fd) == 1
    fd = wakeup.fd
    del wakeup
    with pytest.raises(OSError, match="Bad file"):
        os.fstat(fd)


SIGNALLED = """
import atexit, select, signal, sys
from scapystack.runtime.signals import exit_on_signals
signal.signal(signal.SIGHUP, signal.SIG_IGN)
exit_on_signals()
atexit.register(lambda: print("tidy", flush=True))
try:
    print(signal.getsignal(signal.SIGHUP) is signal.SIG_IGN, flush=True)
    while True:  # not pause(): a signal that comes before it has begun does not end it
        select.select((), (), (), 0.1)
finally:
    signal.raise_signal(signal.SIGTERM)
    print("finally", flush=True)
"""


def test_sigterm_ends_a_program_the_way_an_exception_does():
    child = subprocess.Popen([sys.executable, "-c", SIGNALLED], stdout=subprocess.PIPE, text=True)
    assert child.stdout.readline() == "True\n"
    child.send_signal(signal.SIGTERM)
    out, _ = child.communicate(timeout=20)
    assert out == "finally\ntidy\n"
    assert child.returncode == 128 + signal.SIGTERM


IN_A_LOOP = """
import asyncio, signal, sys
from scapystack.runtime.signals import exit_on_signals
exit_on_signals()
async def callback():
    signal.raise_signal(signal.SIGTERM)
    signal.raise_signal(signal.SIGHUP)
    print("not cut short", flush=True)
async def main():
    beside = asyncio.ensure_future(callback())
    try:
        await asyncio.sleep(60)
    finally:
        signal.raise_signal(signal.SIGTERM)
        await asyncio.sleep(0)
        print("finally", beside.exception(), flush=True)
asyncio.run(main())
"""


def test_sigterm_in_an_asyncio_loop_ends_the_loop_and_not_the_callback_it_comes_in():
    child = subprocess.run([sys.executable, "-c", IN_A_LOOP], capture_output=True, text=True, timeout=20, check=False)
    assert child.stdout == "not cut short\nfinally None\n"
    assert child.stderr == ""
    assert child.returncode == 128 + signal.SIGTERM


def test_thread_stopped_by_one_that_is_inside_the_driver_does_not_hang():
    driver = Driver(NetStack())
    thread = StackThread(driver)
    thread.start()
    inner = thread._thread

    def stop():
        with driver.entered():
            thread.stop()
            driver.close()

    stopping = threading.Thread(target=stop, daemon=True)
    stopping.start()
    stopping.join(10)
    assert not stopping.is_alive()
    inner.join(10)
    assert not inner.is_alive()
