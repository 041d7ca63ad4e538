"""Reno over the path matrix (`tests.sim.paths`): intact, as fast as the golden file says, and each with its faults."""

from __future__ import annotations

import pytest

from tests.sim import paths
from tests.sim.bottleneck import Bottleneck

Transfer = tuple[str, Bottleneck]


@pytest.fixture(scope="module")
def transfer(request: pytest.FixtureRequest) -> Transfer:
    """A cell's title, and the path once all has arrived: one run for all tests of the cell."""
    return request.param, paths.transfer(request.param, "reno")


@pytest.mark.parametrize("transfer", paths.CELLS, indirect=True, scope="module")
def test_reno_over_a_bad_path_arrives_intact_and_as_fast_as_written_down(transfer: Transfer) -> None:
    title, path = transfer
    paths.check(title, "reno", path)


@pytest.mark.parametrize(
    "transfer", [title for title, cell in paths.CELLS.items() if cell.delay_ms == 25], indirect=True, scope="module"
)
def test_fault_of_a_cell_is_met(transfer: Transfer) -> None:
    """With these sizes and this seed no cell is clean that is not called so."""
    title, path = transfer
    cell = paths.CELLS[title]
    for faults, count in ((cell.faults, cell.size // paths.MSS), (cell.back, cell.size // paths.MSS // 2)):
        share = faults.get("loss", 0.0)
        assert not share or share * count > 2
    receiver = path.drivers[1].stack.counters
    if cell.faults.get("loss"):
        assert path.way.lost > 1
    if cell.back.get("loss"):
        assert path.back.lost > 1
    if cell.faults.get("reorder") or cell.faults.get("jitter_ms"):
        assert receiver["tcp.out_of_order"] > 1
    if cell.faults.get("duplicate"):
        assert receiver["tcp.drop.old"] > 1
    if cell.faults.get("corrupt"):
        assert sum(value for name, value in receiver.items() if ".drop." in name) > 1
