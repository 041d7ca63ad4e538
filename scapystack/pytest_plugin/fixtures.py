"""The fixtures. What they need is imported by the first test that asks for one."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import pytest

from scapystack.pytest_plugin import report, settings
from scapystack.pytest_plugin.rights import lacking, need_tap

if TYPE_CHECKING:
    from scapystack.sim import Host, Network
    from scapystack.sockets.facade import Stack
    from scapystack.testing import ScriptedPeer
    from scapystack.testing.kernel import KernelPeer


@pytest.fixture
def scapystack_seed(request: pytest.FixtureRequest) -> int:
    """What `--scapystack-seed` says."""
    return settings.seed(request.config)


@pytest.fixture
def network(request: pytest.FixtureRequest, scapystack_seed: int) -> Iterator[Network]:
    """An empty `scapystack.sim.Network` in virtual time, closed behind the test."""
    from scapystack.sim import Network  # noqa: PLC0415

    with Network(scapystack_seed) as made:
        report.tell(request.node, f"scapystack seed {scapystack_seed}, what was open", lambda: str(made.report()))
        made.on_host.append(lambda host: _observe(request, host.name, host))
        yield made


@pytest.fixture
def stack_pair(request: pytest.FixtureRequest, network: Network) -> tuple[Host, Host]:
    """Two hosts of `network`, 10.0.1.1 and 10.0.1.2, on a wire with 1 ms each way."""
    one, two = network.host("one"), network.host("two")
    network.link(one, two, delay_ms=1)
    trace = network.trace(limit=200)
    report.tell(request.node, "scapystack frames", lambda: "\n".join(trace.lines()))
    return one, two


@pytest.fixture
def scripted_peer(request: pytest.FixtureRequest, scapystack_seed: int) -> Iterator[ScriptedPeer]:
    """A `scapystack.testing.ScriptedPeer` beside a stack, closed behind the test."""
    from scapystack.testing import ScriptedPeer  # noqa: PLC0415

    with ScriptedPeer(seed=scapystack_seed) as made:
        report.tell(request.node, f"scapystack seed {scapystack_seed}, transcript", lambda: str(made.transcript))
        _observe(request, "", made.stack)
        yield made


@pytest.fixture
def kernel_peer(request: pytest.FixtureRequest, scapystack_seed: int) -> Iterator[KernelPeer]:
    """A `scapystack.testing.kernel.KernelPeer`: a stack on a TAP and the kernel at its other end, in a namespace.

    Skips without the rights to make one, and fails under SCAPYSTACK_REQUIRE_TAP=1.
    """
    need_tap()
    from scapystack.base.errors import LinkError  # noqa: PLC0415
    from scapystack.testing.kernel import KernelPeer  # noqa: PLC0415

    try:
        made = KernelPeer(seed=scapystack_seed)
    except LinkError as error:
        lacking([str(error)])
    with made:
        _observe(request, "", made.stack)
        heading = f"scapystack seed {scapystack_seed}, frames"
        report.tell(request.node, heading, lambda: "\n".join(report.frames(request.node)))
        yield made


def _observe(request: pytest.FixtureRequest, name: str, stack: Stack) -> None:
    if report.annotates(request.config):
        with stack.driver.entered() as net:
            report.observe(request.node, name, net)
