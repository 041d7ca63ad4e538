"""`scapystack rerun`: a session that `run --record` wrote down, again and offline. See `scapystack.replay.rerun`."""

from __future__ import annotations

import sys
from typing import Any

import click

from scapystack.cli.home import leave_routes


@click.command("rerun")
@click.argument("file", metavar="FILE")
@click.option("--until", type=click.IntRange(1), metavar="N", help="Stop behind frame N and show the state there.")
@click.option("-i", "interact", is_flag=True, help="Then open a Python prompt, with `stack` and `again` (the Rerun).")
@click.option("-w", "capture", metavar="FILE", help="Write every frame to this pcapng (or .pcap) file.")
@click.option("-v", "--verbose", is_flag=True, help="Print a line for every packet, with its number.")
def command(file: str, until: int | None, interact: bool, capture: str | None, verbose: bool) -> int:
    """Run a session of `run --record FILE` again: every frame that leaves must be the recorded one.

    Nothing of the machine is touched. The exit status is 0 if all was the same.
    """
    from scapystack.replay.rerun import Rerun  # noqa: PLC0415

    if not interact:
        leave_routes()
    with _Passing(capture, verbose) as passing, Rerun(file, passing.passed) as again:
        came = again.run(until)
        if again.torn:
            click.echo(f"{file} ends in the middle of a record: whoever wrote it was killed", err=True)
        same = not again.different
        for line in again.differences:
            click.echo(line)
        what = "every one as recorded" if same else f"{again.different} differences"
        click.echo(f"{again.frames} frames, {again.sent} of them sent: {what}; {again.calls} calls")
        if until is not None:
            if not came:
                click.echo(f"the recording has {again.frames} frames only", err=True)
            for line in again.state():
                click.echo(line)
        if interact:
            import code  # noqa: PLC0415

            code.interact(banner="stack, again", local={"stack": again.stack, "again": again}, exitmsg="")
        return 0 if same and came else 1


class _Passing:
    """Shows and writes the frames that pass."""

    def __init__(self, capture: str | None, verbose: bool) -> None:
        self.passed: Any = None
        self._capture: Any = None
        self._at = 0
        if capture:
            from scapystack.link.capture import Capture  # noqa: PLC0415

            self._capture = Capture(capture, clock=lambda: self._at)
        self._describer: Any = None
        if verbose:
            from scapystack.describe import Describer  # noqa: PLC0415

            self._describer = Describer()
        if capture or verbose:
            self.passed = self._pass

    def _pass(self, number: int, way: str, frame: Any, at: int) -> None:
        self._at = at
        if self._capture is not None:
            self._capture.tap(way, frame)
        if self._describer is not None:
            click.echo(f"{number:6} {'<' if way == 'rx' else '>'} {self._describer(frame, at)}", file=sys.stdout)

    def __enter__(self) -> _Passing:
        return self

    def __exit__(self, *error: object) -> None:
        if self._capture is not None:
            self._capture.close()
