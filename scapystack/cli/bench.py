"""`scapystack bench`: how fast the stack is on this machine, and the kernel beside it.

Where it is measured stands in `cli.bench_lab`, with what load in `cli.bench_load`. Stack and kernel take turns, so
that what else the machine does strikes both.
"""

from __future__ import annotations

import json
import statistics
import sys
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import click

from scapystack.base.errors import LinkError
from scapystack.cli.options import CODECS, configured, settings_option
from scapystack.cli.output import console
from scapystack.shell.params import Seconds

if TYPE_CHECKING:
    from collections.abc import Iterable

    from rich.console import Console

    from scapystack.cli.bench_lab import Lab


@dataclass(slots=True)
class Measured:
    """A workload and its figures, round by round. `less`: the smaller figure is the better one."""

    name: str
    what: str
    unit: str
    less: bool = False
    stack: list[float] = field(default_factory=list)
    kernel: list[float] = field(default_factory=list)
    cpu: list[float] = field(default_factory=list)
    """Shares of one processor that the stack's process used, from the start of the load to its end."""
    failed: str = ""

    @property
    def ratio(self) -> float:
        """How fast the stack is, the kernel being 1."""
        stack, kernel = statistics.median(self.stack), statistics.median(self.kernel)
        return kernel / stack if self.less else stack / kernel

    def told(self) -> dict[str, Any]:
        """As JSON has it."""
        if self.failed:
            return {"what": self.what, "failed": self.failed}
        return {
            "what": self.what,
            "unit": self.unit,
            "stack": statistics.median(self.stack),
            "kernel": statistics.median(self.kernel),
            "ratio": self.ratio,
            "stack_cpu": statistics.median(self.cpu),
            "rounds": {"stack": self.stack, "kernel": self.kernel},
        }


def workloads() -> list[Measured]:
    """What is measured."""
    return [
        Measured("bulk-in", "bulk into it, one connection", "MB/s"),
        Measured("bulk-out", "bulk out of it, one connection", "MB/s"),
        Measured("many-in", "bulk into it, 1,000 connections", "MB/s"),
        Measured("many-out", "bulk out of it, 1,000 connections", "MB/s"),
        Measured("echo", "one octet back and forth", "1/s"),
        Measured("connections", "connections, one after another", "1/s"),
        Measured("udp-echo", "UDP echo, 64 octets, 32 under way", "1/s"),
        Measured("ping", "ping, 56 octets, median", "us", less=True),
    ]


NAMES = [each.name for each in workloads()]


@click.command("bench")
@click.option("--seconds", type=Seconds(0.05), default=2.0, help="How long each is measured (2).")
@click.option("--rounds", type=click.IntRange(1, 100), default=1, help="How often; medians count (1).")
@click.option("--only", type=click.Choice(NAMES), multiple=True, help="Only this one (may be repeated).")
@click.option("--json", "as_json", is_flag=True, help="Figures as JSON on standard output.")
@click.option("--no-offload", is_flag=True, help="Finish checksums and cut segments in the stack.")
@click.option("--codec", type=click.Choice(CODECS), default="compiled", help="How headers are read and written.")
@settings_option("A setting (tcp.congestion=reno); help lists them.")
def command(
    seconds: float,
    rounds: int,
    only: tuple[str, ...],
    as_json: bool,
    no_offload: bool,
    codec: str,
    settings: tuple[str, ...],
) -> int:
    """Measure the stack on a TAP, and the kernel over a veth pair, with the same load.

    All of it stays in network namespaces of its own, and nothing is left. The load is a Python program on the
    kernel's sockets, whose own speed bounds both columns.
    """
    from scapystack.cli.bench_lab import Lab  # noqa: PLC0415 - nothing here is needed for --help
    from scapystack.cli.demo import why_not_a_tap  # noqa: PLC0415
    from scapystack.runtime.signals import exit_on_signals  # noqa: PLC0415

    configured(settings)  # bad ones are told of before anything is made
    reason = why_not_a_tap()
    if reason:
        raise LinkError(f"a TAP and two namespaces are needed, as root: {reason}")
    exit_on_signals()
    options = ["--codec", codec, *(["--no-offload"] if no_offload else [])]
    for setting in settings:
        options += ["--set", setting]
    chosen = [each for each in workloads() if not only or each.name in only]
    with Lab(options) as lab:
        measure(lab, chosen, seconds, rounds)
    if as_json:
        click.echo(json.dumps({each.name: each.told() for each in chosen}, indent=1))
    else:
        show(chosen, console())
    return 1 if any(each.failed for each in chosen) else 0


def measure(lab: Lab, chosen: list[Measured], seconds: float, rounds: int) -> None:
    """Fill in the figures, with a bar on standard error for who looks."""
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn  # noqa: PLC0415

    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=console(stderr=True), transient=True, disable=not sys.stderr.isatty()) as bar:
        task = bar.add_task("", total=rounds * len(chosen) * 2)
        for number in range(rounds):
            for each in chosen:
                sides = ("stack", "kernel") if number % 2 == 0 else ("kernel", "stack")
                for side in sides:
                    bar.update(task, description=f"{each.what}: {side}")
                    if not each.failed:
                        _measure_one(lab, each, side, seconds)
                    bar.advance(task)


def _measure_one(lab: Lab, each: Measured, side: str, seconds: float) -> None:
    before, began = lab.stack_cpu(), time.monotonic()
    try:
        figure = lab.measure(each.name, side, seconds)
    except LinkError as error:
        each.failed = f"{side}: {error}"
        return
    if side == "stack":
        each.stack.append(figure)
        each.cpu.append((lab.stack_cpu() - before) / (time.monotonic() - began))
    else:
        each.kernel.append(figure)


def show(chosen: Iterable[Measured], out: Console) -> None:
    """A table of stack, kernel and their ratio."""
    from rich.table import Table  # noqa: PLC0415

    table = Table(title="scapystack on a TAP, the kernel over a veth pair")
    table.add_column("")
    for heading in ("stack", "kernel", "", "ratio", "stack's CPU"):
        table.add_column(heading, justify="right" if heading else "left", no_wrap=True)
    for each in chosen:
        if each.failed:
            table.add_row(each.what, "[red]failed[/]", "", "", "", "")
            continue
        stack, kernel = statistics.median(each.stack), statistics.median(each.kernel)
        cpu = statistics.median(each.cpu)
        table.add_row(each.what, f"{stack:,.0f}", f"{kernel:,.0f}", each.unit, f"{each.ratio:.2f}", f"{cpu:.0%}")
    out.print(table)
    for each in chosen:
        if each.failed:
            out.print(f"{each.what}: {each.failed}", markup=False)
