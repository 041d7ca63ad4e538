"""BBR over the path matrix (`tests.sim.paths`): intact, and as fast as the golden file says."""

from __future__ import annotations

import pytest

from tests.sim import paths


@pytest.mark.parametrize("title", paths.CELLS)
def test_bbr_over_a_bad_path_arrives_intact_and_as_fast_as_written_down(title: str) -> None:
    paths.check(title, "bbr")
