"""What a packet costs as work grows, counted in lines of Python that run: no clock, the same everywhere.

`python -m benchmarks.costs` measures the same worlds (benchmarks/curves.py) in time, up to larger sizes. A line that
calls into C counts once whatever it costs; a loop over all connections, routes or pieces shows at once.
"""

import sys

import pytest

from benchmarks.curves import CURVES

SIZES = {"connections": (4, 128), "window": (1 << 17, 1 << 20), "disorder": (10, 300), "routes": (10, 1_000)}
LARGER = {"shuffled": 3.0}
"""How many times as many lines are too many for 8 to 100 times the size, where it is not 1.5. What is shuffled far
passes for lost at times, and more ACKs tell of it: more packets, of which none costs more."""


def lines_for_a_packet(work):
    """How many lines of the stack run for each packet of `work`."""
    count = 0

    def within(frame, event, argument):
        nonlocal count
        count += event == "line"
        return within

    def called(frame, event, argument):
        name = frame.f_code.co_filename
        return within if "/scapystack/" in name or "/layers/" in name else None

    before = sys.gettrace()
    sys.settrace(called)
    try:
        packets = work()
    finally:
        sys.settrace(before)
    return count / packets


@pytest.mark.parametrize(
    "curve", [curve for curve in CURVES if curve.picture != "loss"], ids=lambda curve: f"{curve.picture}-{curve.line}"
)
def test_cost_of_a_packet_when_all_grows_runs_about_as_many_lines(curve):
    small, large = SIZES.get(curve.picture, (8, 128))
    more = LARGER.get(curve.line, 1.5) if curve.picture == "disorder" else 1.5
    assert lines_for_a_packet(curve.make(large)) < more * lines_for_a_packet(curve.make(small))
