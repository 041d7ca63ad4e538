"""The path matrix itself: whole, with the faults it speaks of, and a golden file that cannot pass for another."""

from __future__ import annotations

from pathlib import Path

import pytest

from scapystack.layers.tcp.congestion import names
from tests.sim import paths
from tests.sim.bottleneck import PERIOD, Bottleneck

HERE = Path(__file__).parent


def test_golden_file_has_every_cell_for_every_algorithm_and_no_other() -> None:
    """Else: `python -m tests.sim.paths --update`, and a `test_paths_NAME.py` beside this file."""
    assert set(paths.golden()) == {(title, name) for title in paths.CELLS for name in names()}
    assert all((HERE / f"test_paths_{name}.py").exists() for name in names())


def test_golden_file_is_what_its_table_says() -> None:
    assert paths.HEAD + paths.table(paths.golden()) == paths.GOLDEN.read_text()


def test_no_goodput_is_above_the_rate_of_the_line() -> None:
    assert max(result.goodput for result in paths.golden().values()) < paths.RATE * paths.MSS / paths.FRAME


def test_cell_that_differs_from_the_golden_file_fails(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    was = paths.golden()
    title = "25 ms, clean"
    result = was[title, "reno"]
    was[title, "reno"] = result._replace(goodput=result.goodput + 1)
    monkeypatch.setattr(paths, "GOLDEN", tmp_path / "goodput.txt")
    paths.GOLDEN.write_text(paths.table(was))
    with pytest.raises(AssertionError, match="--update"):
        paths.check(title, "reno")


def test_flow_notices_an_octet_in_a_wrong_place() -> None:
    path = Bottleneck("reno", rate=paths.RATE, delay_ms=1, queue_ms=100, size=3 * PERIOD)
    flow = path.flows[0]
    path.run(0.02)
    assert flow.intact
    flow.received += 1
    path.run(5)
    assert not flow.intact
