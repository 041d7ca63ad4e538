"""Runs rows in a process of its own, one at a time, for `run` and `compare`: a line of JSON in, one out.

    echo '{"row": "checksum.1448", "seconds": 0.1}' | python -m benchmarks.worker

It measures the scapystack of the directory that it is started in, so that two of them compare two commits. `Worker`
is the other end.
"""

from __future__ import annotations

import contextlib
import gc
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any


class RowFailed(Exception):
    """The row raised; the message says what. (An old commit may lack what it measures.)"""


class Worker:
    """A process that runs rows of the tree at `tree`. A context manager."""

    def __init__(self, tree: Path) -> None:
        self.tree = tree
        self._process = subprocess.Popen(
            [sys.executable, "-m", "benchmarks.worker"],
            cwd=tree,
            env=os.environ | {"PYTHONPATH": str(tree)},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def __enter__(self) -> Worker:
        return self

    def __exit__(self, *error: object) -> None:
        assert self._process.stdin is not None
        with contextlib.suppress(OSError):
            self._process.stdin.close()
        try:
            self._process.wait(timeout=5)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()

    def run(self, row: str, seconds: float) -> float:
        """The figure of a row. Raises RowFailed."""
        process = self._process
        assert process.stdin is not None
        assert process.stdout is not None
        try:
            process.stdin.write(json.dumps({"row": row, "seconds": seconds}) + "\n")
            process.stdin.flush()
            line = process.stdout.readline()
        except OSError:
            line = ""
        if not line:
            raise RowFailed(f"its process ended with status {process.wait()}")
        answer: dict[str, Any] = json.loads(line)
        if "error" in answer:
            raise RowFailed(answer["error"])
        return float(answer["figure"])


def main() -> None:
    """Answer until there is no more to read."""
    answers = sys.stdout
    sys.stdout = sys.stderr  # what a row prints is no answer
    for line in sys.stdin:
        order = json.loads(line)
        try:
            from benchmarks.rows import ROWS  # noqa: PLC0415 - may fail on an old commit

            gc.collect()
            answer: dict[str, Any] = {"figure": ROWS[order["row"]].run(order["seconds"])}
        except Exception as error:
            answer = {"error": f"{type(error).__name__}: {error}"}
        print(json.dumps(answer), file=answers, flush=True)


if __name__ == "__main__":
    main()
