"""The lazy heap of deadlines: early ones fire, moved ones wait, nobody spins."""

import pytest

from scapystack.base.timers import TimerHeap


class Owner:
    """Fires once at each of its deadlines; `fired` tells when."""

    def __init__(self, *deadlines):
        self.heap_at = None
        self.deadlines = sorted(deadlines)
        self.fired = []
        self.asked = 0

    def next_at(self):
        self.asked += 1
        return self.deadlines[0] if self.deadlines else None

    def expire(self, now):
        self.fired.append(now)
        self.deadlines = [at for at in self.deadlines if at > now]


def armed(heap, *deadlines):
    owner = Owner(*deadlines)
    heap.arm(owner, owner.deadlines[0])
    return owner


def test_heap_without_owners_has_no_deadline():
    heap = TimerHeap()
    assert heap.next_deadline() is None
    assert heap.expire(10**18) == 0


def test_expire_fires_those_at_or_before_now_and_no_other():
    heap = TimerHeap()
    early, exact, late = armed(heap, 5), armed(heap, 10), armed(heap, 11)
    assert heap.expire(10) == 2
    assert (early.fired, exact.fired, late.fired) == ([10], [10], [])
    assert heap.next_deadline() == 11


def test_owners_fire_in_order_of_their_deadlines_and_then_of_arming():
    heap = TimerHeap()
    order = []
    for name, at in (("c", 7), ("a", 3), ("b", 3)):
        owner = armed(heap, at)
        owner.expire = lambda now, owner=owner, name=name: (order.append(name), owner.deadlines.clear())
    heap.expire(10)
    assert order == ["a", "b", "c"]


def test_deadline_moved_later_fires_at_its_new_time_only():
    heap = TimerHeap()
    owner = armed(heap, 5)
    owner.deadlines = [20]
    assert heap.expire(10) == 0
    assert heap.next_deadline() == 20
    assert heap.expire(20) == 1
    assert owner.fired == [20]


def test_deadline_moved_later_costs_no_entry_for_each_move():
    heap = TimerHeap()
    owner = armed(heap, 5)
    for at in range(6, 1000):
        owner.deadlines = [at]
        heap.arm(owner, at)
    assert len(heap) == 1


def test_deadline_moved_earlier_fires_early_and_once():
    heap = TimerHeap()
    owner = armed(heap, 50)
    owner.deadlines = [5]
    heap.arm(owner, 5)
    assert heap.next_deadline() == 5
    assert heap.expire(60) == 1
    assert owner.fired == [60]
    assert heap.next_deadline() is None
    assert len(heap) == 0


def test_owner_that_gave_up_its_deadline_is_forgotten():
    heap = TimerHeap()
    owner = armed(heap, 5)
    owner.deadlines.clear()
    assert heap.next_deadline() is None
    assert len(heap) == 0
    heap.arm(owner, 9)
    owner.deadlines = [9]
    assert heap.next_deadline() == 9


def test_next_deadline_is_never_later_than_the_owners_own():
    heap = TimerHeap()
    owner = armed(heap, 30)
    owner.deadlines = [40]
    other = armed(heap, 35)
    assert heap.next_deadline() == 35
    assert other.heap_at == 35


def test_owner_with_several_deadlines_is_asked_for_each():
    heap = TimerHeap()
    owner = armed(heap, 5, 6, 20)
    heap.expire(6)
    assert heap.next_deadline() == 20
    heap.expire(20)
    assert owner.fired == [6, 20]


def test_owner_that_leaves_a_deadline_in_the_past_does_not_spin_the_loop():
    heap = TimerHeap()
    owner = armed(heap, 5)
    owner.expire = owner.fired.append  # acts, and clears nothing
    assert heap.expire(10) == 1
    assert heap.expire(11) == 1
    assert owner.fired == [10, 11]


def test_owner_armed_while_another_fires_is_served_in_the_same_round_if_due():
    heap = TimerHeap()
    second = Owner(7)
    first = armed(heap, 5)

    def expire(now):
        first.deadlines.clear()
        heap.arm(second, 7)

    first.expire = expire
    assert heap.expire(10) == 2
    assert second.fired == [10]


def test_owners_that_ended_let_go_before_their_time():
    """A closed connection must not be kept alive by a deadline far away."""
    heap = TimerHeap()
    staying = armed(heap, 5_000)
    for n in range(10_000):
        owner = armed(heap, 10_000 + n)
        owner.deadlines.clear()
    assert len(heap) <= 257
    assert heap.next_deadline() == 5_000
    assert heap.expire(5_000) == 1
    assert staying.fired == [5_000]


def test_many_owners_all_fire_though_the_heap_was_swept():
    heap = TimerHeap()
    owners = [armed(heap, 10_000 - n) for n in range(5_000)]
    for owner in owners[::2]:
        owner.deadlines = [3]
        heap.arm(owner, 3)  # the first entry is one too many now
    for owner in owners[1::4]:
        owner.deadlines.clear()
    for n in range(5_000):
        armed(heap, 20_000 + n).deadlines.clear()
    assert len(heap) <= 10_000
    assert heap.expire(30_000) == 2_500 + 1_250
    assert all(len(owner.fired) == 1 for owner in [*owners[::2], *owners[3::4]])


def test_owner_that_sets_its_deadline_after_arming_is_not_swept():
    heap = TimerHeap()
    for n in range(256):
        armed(heap, 100 + n).deadlines.clear()
    late = Owner()
    heap.arm(late, 50)  # this is one too many
    late.deadlines = [50]
    assert len(heap) == 1
    assert heap.expire(50) == 1


def test_heap_swept_while_it_fires():
    heap = TimerHeap()
    owner = armed(heap, 1)
    others = []

    def expire(now):
        owner.deadlines.clear()
        others.extend(armed(heap, now + 1 + n % 7) for n in range(3_000))
        for other in others[::2]:
            other.deadlines.clear()

    owner.expire = expire
    assert heap.expire(1) == 1
    assert heap.expire(100) == 1_500
    assert len(heap) == 0


def test_owner_that_raises_is_told_of_and_the_others_fire():
    told = []
    heap = TimerHeap(lambda error, where: told.append((str(error), where)))
    bad, good = armed(heap, 3), armed(heap, 5)

    def fail(now):
        raise ValueError("mine")

    bad.expire = fail
    assert heap.expire(5) == 2
    assert told == [("mine", "in a timer")]
    assert good.fired == [5]
    assert heap.next_deadline() == 5 + 10_000_000, "who raised is asked again, and not at once"


def test_owner_that_raises_to_the_caller_keeps_its_other_deadlines():
    heap = TimerHeap()
    owner = armed(heap, 3)

    def fail(now):
        raise ValueError("mine")

    owner.expire = fail
    with pytest.raises(ValueError, match="mine"):
        heap.expire(5)
    assert heap.next_deadline() == 5 + 10_000_000
