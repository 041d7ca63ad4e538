"""Tests against the real kernel, on TAPs in namespaces of their own.

All of them need the rights to make those (`@pytest.mark.tap`, see the conftest above): they skip with a
reason without, and fail under SCAPYSTACK_REQUIRE_TAP=1. `needs("curl")` does the same for programs.
"""

from pathlib import Path

import pytest

from tests.interop.netns import Namespace, lacking, stack_on_tap

HERE = Path(__file__).parent


def pytest_collection_modifyitems(items):
    for item in items:
        if HERE in item.path.parents:
            item.add_marker(pytest.mark.tap)


@pytest.fixture
def netns():
    """A fresh namespace, removed afterwards with all that runs inside."""
    made = Namespace()
    yield made
    made.close()


@pytest.fixture
def another_netns():
    """A second one."""
    made = Namespace()
    yield made
    made.close()


@pytest.fixture(params=[True, False], ids=["offload", "no-offload"])
def lan(request, netns):
    """A running stack on a TAP, the kernel its neighbour, with and without offload."""
    made = stack_on_tap(netns, offload=request.param)
    yield made
    made.stack.close()


@pytest.fixture(scope="module", params=[True, False], ids=["offload", "no-offload"])
def shared_lan(request):
    """The same for all tests of a module: for those that leave nothing behind."""
    ns = Namespace()
    try:
        made = stack_on_tap(ns, offload=request.param)
        if made.offload != request.param:
            lacking("the kernel grants no offload")
        yield made
        assert made.stack.net.counters["driver.errors"] == 0
        made.stack.close()
    finally:
        ns.close()
