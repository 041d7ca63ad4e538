"""Programs in virtual time: one runs at a time, time passes while all wait, and errors come out."""

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
    sim.close()
    assert seen == ["cleaned up"]
    sim.close()


def test_interrupt_in_a_task_comes_out_of_run_and_ends_only_that_one():
    """Ctrl-C is raised wherever the main thread is, and that may be in a task."""
    sim = Simulation()
    seen = []

    def interrupted():
        raise KeyboardInterrupt

    def other():
        sim.sleep(SECOND)
        seen.append("went on")

    sim.start(interrupted)
    sim.start(other)
    with pytest.raises(KeyboardInterrupt):
        sim.run()
    sim.run()
    assert seen == ["went on"]


def test_task_may_run_a_simulation_of_its_own():
    outer, inner = Simulation(), Simulation()
    seen = []

    def program():
        inner.start(lambda: (inner.sleep(5 * SECOND), seen.append(inner.now)))
        inner.run()
        outer.sleep(SECOND)
        seen.append(outer.now)

    outer.start(program)
    outer.run()
    assert seen == [5 * SECOND, SECOND]


def test_cancelled_event_neither_happens_nor_stops_the_clock():
    sim = Simulation()
    seen = []
    sim.at(2 * SECOND, lambda: seen.append(2))
    late = sim.at(5 * SECOND, lambda: seen.append(5))
    sim.at(SECOND, late.cancel)
    sim.run()
    assert (seen, sim.now) == ([2], 2 * SECOND)
