"""The pytest plugin: networks and scripted peers as fixtures, their seed and transcript in the report of a failure.

    def test_hello(scripted_peer):
        scripted_peer.listen(80)
        scripted_peer.connect(80)

Loading it costs next to nothing: the stack and Scapy are imported by the first test that asks for a fixture.
`docs/pytest.md` is the guide.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from scapystack.sim import Host, Network
    from scapystack.testing import ScriptedPeer

_TELL = pytest.StashKey[list[tuple[str, Callable[[], str]]]]()
"""Of a test: headings, and what a failure shows below them."""


def pytest_addoption(parser: pytest.Parser) -> None:
    """`--scapystack-seed`."""
    group = parser.getgroup("scapystack", "scapystack: simulated networks and scripted peers")
    group.addoption(
        "--scapystack-seed",
        type=int,
        default=0,
        metavar="N",
        help="the seed of networks and scripted peers (0); a failure says with which one it came",
    )


@pytest.fixture
def scapystack_seed(request: pytest.FixtureRequest) -> int:
    """What `--scapystack-seed` says."""
    return int(request.config.getoption("--scapystack-seed"))


@pytest.fixture
def network(request: pytest.FixtureRequest, scapystack_seed: int) -> Iterator[Network]:
    """An empty `scapystack.sim.Network` in virtual time, closed behind the test."""
    from scapystack.sim import Network  # noqa: PLC0415

    with Network(scapystack_seed) as made:
        _tell(request.node, f"scapystack seed {scapystack_seed}, what was open", lambda: str(made.report()))
        yield made


@pytest.fixture
def stack_pair(request: pytest.FixtureRequest, network: Network) -> tuple[Host, Host]:
    """Two hosts of `network`, 10.0.1.1 and 10.0.1.2, on a wire with 1 ms each way."""
    one, two = network.host("one"), network.host("two")
    network.link(one, two, delay_ms=1)
    trace = network.trace(limit=200)
    _tell(request.node, "scapystack frames", lambda: "\n".join(trace.lines()))
    return one, two


@pytest.fixture
def scripted_peer(request: pytest.FixtureRequest, scapystack_seed: int) -> Iterator[ScriptedPeer]:
    """A `scapystack.testing.ScriptedPeer` beside a stack, closed behind the test."""
    from scapystack.testing import ScriptedPeer  # noqa: PLC0415

    with ScriptedPeer(seed=scapystack_seed) as made:
        _tell(request.node, f"scapystack seed {scapystack_seed}, transcript", lambda: str(made.transcript))
        yield made


def _tell(item: pytest.Item, heading: str, text: Callable[[], str]) -> None:
    item.stash.setdefault(_TELL, []).append((heading, text))


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item, call: pytest.CallInfo[None]) -> Any:
    """Add what the fixtures know to the report of a failure."""
    report = yield
    if report.when == "call" and report.failed:
        report.sections += [(heading, text()) for heading, text in item.stash.get(_TELL, [])]
    return report
