"""Tests against the real kernel, on TAPs in namespaces of their own.

All of them need the rights to make those (`@pytest.mark.needs_tap`, see the conftest above): they skip with a
reason without, and fail under SCAPYSTACK_REQUIRE_TAP=1. `needs("curl")` does the same for programs.
"""

import os
from pathlib import Path

import pytest

from scapystack.link.netns import RUN_NETNS
from tests.interop.netns import Namespace, lacking, stack_on_tap

HERE = f"{Path(__file__).parent}{os.sep}"


def pytest_collection_modifyitems(items):
    for item in items:
        if str(item.path).startswith(HERE):
            item.add_marker(pytest.mark.needs_tap)


@pytest.fixture(scope="session", autouse=True)
def nothing_is_left():
    """No namespace of this process outlives its tests, and /run/netns is not mounted upon itself."""
    yield
    left = [name for name in os.listdir(RUN_NETNS) if f"-{os.getpid()}-" in name] if os.path.isdir(RUN_NETNS) else []
    assert left == []
    points = [line.split()[4] for line in Path("/proc/self/mountinfo").read_text().splitlines()]
    assert points.count(RUN_NETNS) <= 1, "a second bind doubles every mount below"


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
