"""What becomes of a test that needs what is not there: it skips, and fails where everything must really run."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import NoReturn

import pytest


def lacking(reasons: Sequence[str]) -> NoReturn:
    """Skip the running test for these reasons; fail it under SCAPYSTACK_REQUIRE_TAP=1, as in CI."""
    if os.environ.get("SCAPYSTACK_REQUIRE_TAP") == "1":
        pytest.fail("; ".join(reasons), pytrace=False)
    pytest.skip("; ".join(reasons))


def need_tap() -> None:
    """Go on only with the rights to make a TAP in a namespace."""
    from scapystack.testing.kernel import missing_rights  # noqa: PLC0415

    if reasons := missing_rights():
        lacking(reasons)
