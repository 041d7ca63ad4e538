"""Calls around a method: nested, and ended in any order."""

import itertools

import pytest

from scapystack.hooks.around import Around


class Thing:
    def name(self, word):
        return [word]


def noted(who):
    return lambda inner, word: [who, *inner(word)]


@pytest.mark.parametrize("order", [*itertools.permutations(range(3))])
def test_around_three_end_in_any_order_and_leave_no_trace(order):
    thing = Thing()
    around = {number: Around(thing, "name", noted(number)) for number in range(3)}
    assert thing.name("it") == [2, 1, 0, "it"]
    for number in order:
        around.pop(number).end()
        assert thing.name("it") == [*sorted(around, reverse=True), "it"]
    assert vars(thing) == {}


def test_around_what_an_object_has_of_its_own_is_put_back():
    thing = Thing()
    thing.name = own = lambda word: ["own", word]
    outer = Around(thing, "name", noted(1))
    assert thing.name("it") == [1, "own", "it"]
    outer.end()
    assert thing.name is own
