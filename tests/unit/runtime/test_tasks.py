"""Programs in virtual time: one runs at a time, time passes while all wait, and errors come out."""

import threading

import pytest

from scapystack.base.types import SECOND
from scapystack.runtime.tasks import Ended
from scapystack.runtime.virtual import Simulation


def test_tasks_sleep_side_by_side_and_in_no_time():
    sim = Simulation()
    seen = []

    def sleeper(name, span):
        for _ in range(3):
            sim.sleep(span * SECOND)
            seen.append((name, sim.now // SECOND))

    sim.start(lambda: sleeper("a", 3600))
    sim.start(lambda: sleeper("b", 7200))
    sim.run()
    assert seen == [("a", 3600), ("b", 7200), ("a", 7200), ("a", 10800), ("b", 14400), ("b", 21600)]
    assert sim.now == 6 * 3600 * SECOND


def test_only_one_runs_at_a_time_in_the_order_of_waking():
    sim = Simulation()
    running = []
    order = []

    def program(number):
        for _ in range(20):
            running.append(number)
            assert running == [number]
            order.append(number)
            running.remove(number)
            sim.sleep(SECOND)

    for number in range(5):
        sim.start(lambda number=number: program(number))
    sim.run()
    assert order == list(range(5)) * 20


def test_waiter_that_is_released_ends_a_wait_before_its_time():
    sim = Simulation()
    waiter = sim.waiter()
    got = []
    sim.start(lambda: got.append((sim.wait(waiter, 9 * SECOND), sim.now)))
    sim.at(2 * SECOND, waiter.release)
    sim.at(3 * SECOND, waiter.release)
    sim.run()
    assert got == [(True, 2 * SECOND)]
    assert sim.now == 3 * SECOND  # nothing is left of the time that was not needed
    assert sim.wait(waiter)


def test_waiter_that_nobody_releases_ends_when_the_time_is_up():
    sim = Simulation()
    got = []
    sim.start(lambda: got.append((sim.wait(sim.waiter(), 9 * SECOND), sim.now)))
    sim.run()
    assert got == [(False, 9 * SECOND)]


def test_task_gives_its_result_and_who_waits_for_it_runs_the_simulation():
    sim = Simulation()

    def program():
        sim.sleep(SECOND)
        return 42

    task = sim.start(program)
    assert not task.done
    assert sim.wait(task.ended)
    assert (task.done, task.result, sim.now) == (True, 42, SECOND)


def test_error_of_a_task_is_raised_by_run_at_its_time():
    sim = Simulation()

    def program():
        sim.sleep(SECOND)
        raise ValueError("not this one")

    task = sim.start(program)
    sim.at(2 * SECOND, lambda: None)
    with pytest.raises(ValueError, match="not this one"):
        sim.run()
    assert (sim.now, task.done) == (SECOND, True)
    sim.run()
    assert sim.now == 2 * SECOND


def test_task_cannot_run_the_simulation_it_is_part_of():
    sim = Simulation()
    sim.start(sim.run, "inner")
    with pytest.raises(RuntimeError, match="inner is part of the simulation"):
        sim.run()


def test_close_ends_tasks_that_wait_through_their_finally_clauses():
    sim = Simulation()
    seen = []

    def program():
        try:
            sim.wait(sim.waiter())
        except Exception:
            seen.append("an application must not catch the end")
        finally:
            with pytest.raises(Ended):
                sim.sleep(SECOND)
            seen.append("cleaned up")

    sim.start(program)
    never_begun = sim.start(lambda: seen.append("no"))
    sim.tasks.runnable.remove(never_begun)
    sim.run()
    before = threading.active_count()
    sim.close()
    assert seen == ["cleaned up"]
    assert threading.active_count() == before - 1
    sim.close()


def test_interrupt_of_the_simulation_while_a_task_runs_leaves_it_to_be_closed(monkeypatch):
    """Ctrl-C reaches the main thread, which waits for the baton."""
    sim = Simulation()
    seen = []
    begun, go = threading.Event(), threading.Event()

    def program():
        begun.set()
        go.wait()
        seen.append("went on")
        sim.sleep(SECOND)

    class Interrupted:
        def __init__(self, lock):
            self.lock = lock
            self.release = lock.release

        def acquire(self, **how):
            if how:
                return self.lock.acquire(**how)
            raise KeyboardInterrupt

    monkeypatch.setattr(sim.tasks, "back", Interrupted(sim.tasks.back))
    task = sim.start(program, "worker")
    other = sim.start(lambda: None)
    with pytest.raises(KeyboardInterrupt):
        sim.run()
    with pytest.raises(RuntimeError, match="worker still runs"):
        sim.run()
    monkeypatch.setattr(sim.tasks, "back", sim.tasks.back.lock)
    assert begun.wait(10)
    go.set()
    sim.close()
    task.thread.join(5)
    assert not task.thread.is_alive()
    assert seen == ["went on"]
    assert not other.done


def test_cancelled_event_neither_happens_nor_stops_the_clock():
    sim = Simulation()
    seen = []
    sim.at(2 * SECOND, lambda: seen.append(2))
    late = sim.at(5 * SECOND, lambda: seen.append(5))
    sim.at(SECOND, late.cancel)
    sim.run()
    assert (seen, sim.now) == ([2], 2 * SECOND)
