"""`scapystack bench` without a lab: what it makes of figures, and what it says where it cannot measure."""

import click
import pytest
from click.testing import CliRunner

from scapystack.base.errors import LinkError
from scapystack.cli import bench, demo
from scapystack.cli.output import console


class Lab:
    """A lab with figures made up; a list is given in turn, an error is raised."""

    def __init__(self, figures):
        self.figures = figures
        self.asked = []

    def measure(self, workload, side, seconds):
        self.asked.append(side)
        figure = self.figures[side].pop(0)
        if isinstance(figure, Exception):
            raise figure
        return figure

    def stack_cpu(self):
        return 0.0


def measured(name, figures, rounds=1):
    (each,) = (each for each in bench.workloads() if each.name == name)
    lab = Lab(figures)
    bench.measure(lab, [each], 1.0, rounds)
    return each, lab


def test_bench_ratio_is_how_fast_the_stack_is():
    assert measured("bulk-in", {"stack": [500.0], "kernel": [1_000.0]})[0].ratio == 0.5
    assert measured("ping", {"stack": [30.0], "kernel": [3.0]})[0].ratio == pytest.approx(0.1)


def test_bench_rounds_take_turns_and_medians_count():
    each, lab = measured("echo", {"stack": [1.0, 5.0, 3.0], "kernel": [6.0, 6.0, 60.0]}, rounds=3)
    assert lab.asked == ["stack", "kernel", "kernel", "stack", "stack", "kernel"]
    assert each.told()["stack"] == 3
    assert each.told()["kernel"] == 6
    assert each.ratio == 0.5


def test_bench_failed_workload_is_said_and_not_tried_again(capsys):
    each, lab = measured("echo", {"stack": [LinkError("no answer")], "kernel": []}, rounds=2)
    assert lab.asked == ["stack"]
    assert each.told() == {"what": each.what, "failed": "stack: no answer"}
    bench.show([each], console())
    assert "one octet back and forth: stack: no answer" in capsys.readouterr().out


def test_bench_without_the_right_is_one_line(monkeypatch):
    monkeypatch.setattr(demo, "why_not_a_tap", lambda: "no right to open /dev/net/tun")
    with pytest.raises(LinkError, match="as root: no right to open /dev/net/tun"):
        CliRunner().invoke(bench.command, [], standalone_mode=False, catch_exceptions=False)


def test_bench_has_an_option_for_each_workload():
    (option,) = (p for p in bench.command.params if p.name == "only")
    assert isinstance(option.type, click.Choice)
    assert list(option.type.choices) == [each.name for each in bench.workloads()]
