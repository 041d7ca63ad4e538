"""The `scapystack` program, and `python -m scapystack`: see `scapystack.cli.main`."""

import os
import signal
from types import FrameType


def main() -> None:
    """Run it. Ctrl-C while its modules are being imported ends it as it does later: with 130, and without a word."""
    awaited = signal.getsignal(signal.SIGINT) is signal.default_int_handler  # not what a parent had us ignore
    if awaited:
        signal.signal(signal.SIGINT, _end)
    from scapystack.cli.main import main as program  # noqa: PLC0415

    if awaited:
        signal.signal(signal.SIGINT, signal.default_int_handler)
    program()


def _end(number: int, frame: FrameType | None) -> None:
    os._exit(130)


if __name__ == "__main__":
    main()
