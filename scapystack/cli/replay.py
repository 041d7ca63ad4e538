"""`scapystack replay`: captures as regression tests. The work is done in `scapystack.replay`."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import click

from scapystack.base.config import PROFILES
from scapystack.cli.home import leave_routes
from scapystack.cli.options import overrides, settings_option

if TYPE_CHECKING:
    from scapystack.replay import Result

_MARKS = {"passed": "ok  ", "failed": "FAIL", "skipped": "skip", "error": "ERR "}


@click.command("replay")
@click.argument("files", nargs=-1, required=True, metavar="FILE...")
@click.option(
    "--role",
    type=click.Choice(("server", "client", "auto", "both")),
    default="auto",
    help="The stack's part (auto: the capturing host's, else the server's).",
)
@click.option("--profile", type=click.Choice(tuple(PROFILES)), default="linux", help="What TCP's numbers are (linux).")
@click.option("--timed", is_flag=True, help="Send at the recorded times; else each packet waits for what it answers.")
@click.option("--golden", metavar="DIR", help="Where the golden transcripts are (golden/ beside the capture).")
@click.option("--update-golden", is_flag=True, help="Write the golden transcripts anew.")
@settings_option("A setting (tcp.sack=off); help lists them.")
@click.option("-j", "jobs", type=click.IntRange(0, 1_024), default=0, metavar="N", help="Processes (0: as pays).")
@click.option("--json", "as_json", is_flag=True, help="Print a JSON object for each conversation.")
def command(
    files: tuple[str, ...],
    role: str,
    profile: str,
    timed: bool,
    golden: str | None,
    update_golden: bool,
    settings: tuple[str, ...],
    jobs: int,
    as_json: bool,
) -> int:
    """Replay the conversations of captures (pcap, pcapng, gzip) against the stack, without root.

    The stack takes one part, the recorded other side is its peer, and what the stack sends is judged. The exit
    status is 0 if all that could be replayed passed, and something could.
    """
    from scapystack.replay.run import planned, replay_each  # noqa: PLC0415

    leave_routes()
    plan = planned(role, profile, timed, golden, update_golden, 0, overrides(settings))
    counts: dict[str, int] = dict.fromkeys(_MARKS, 0)
    file = ""
    with _progress(sys.stderr.isatty()) as progress:
        for result in replay_each(files, plan, jobs, progress):
            counts[result.verdict] += 1
            if as_json:
                click.echo(json.dumps(result.as_dict()))
                continue
            if result.file != file:
                file = result.file
                click.echo(file)
            for line in account(result):
                click.echo(line)
    if not as_json:
        click.echo(", ".join(f"{n} {what}" for what, n in counts.items() if n or what == "passed"))
    return 0 if counts["passed"] and not counts["failed"] and not counts["error"] else 1


def account(result: Result) -> list[str]:
    """What came of one conversation, in lines."""
    mark = _MARKS[result.verdict]
    if not result.conversation:
        return [f"  {mark} {result.reason}"]
    what = f"  {mark} {result.conversation} {result.role:6} {result.title}"
    if result.verdict in ("skipped", "error"):
        return [f"{what}: {result.reason}"]
    state = f", {result.state}" if result.state else ""  # datagrams have none
    golden = f", golden transcript {result.golden}" if result.golden else ""
    lines = [
        f"{what}: {result.packets} packets in {result.seconds:.3f} s, {result.sent:,} octets sent, "
        f"{result.received:,} received{state}{golden}"
    ]
    return lines + [f"         {line}" for line in (*result.findings, *result.differences)]


@contextmanager
def _progress(wanted: bool) -> Iterator[Callable[[str, int, int], None] | None]:
    """A bar on a terminal, for what takes more than a moment."""
    if not wanted:
        yield None
        return
    from rich.console import Console  # noqa: PLC0415
    from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn  # noqa: PLC0415

    # no thread of its own: work may go on in forked processes
    bar = Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        DownloadColumn(),
        TimeRemainingColumn(),
        console=Console(stderr=True),
        transient=True,
        auto_refresh=False,
    )
    tasks: dict[str, Any] = {}
    shown = 0

    def tell(name: str, position: int, octets: int) -> None:
        nonlocal shown
        if name not in tasks:
            for task in tasks.values():
                bar.remove_task(task)
            tasks.clear()
            tasks[name] = bar.add_task(name, total=octets)
            shown = 0
        if position - shown > octets // 200:
            shown = position
            bar.update(tasks[name], completed=position, refresh=True)

    with bar:
        yield tell
