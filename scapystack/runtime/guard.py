"""`Guard`: runs the code of applications, hooks and observers so that its errors stop nobody else."""

from __future__ import annotations

import logging
from collections.abc import Callable

from scapystack.base.counters import Counters
from scapystack.base.frames import Frame

log = logging.getLogger("scapystack")


class Guard:
    """Logs each different error once, counts them all (`driver.errors`); raises them if `strict`."""

    __slots__ = ("_counters", "_reported", "_strict")

    def __init__(self, counters: Counters, strict: bool) -> None:
        self._counters = counters
        self._strict = strict
        self._reported: set[tuple[str, str]] = set()

    def run(self, call: Callable[[], None], where: str) -> None:
        """Call it."""
        try:
            call()
        except Exception as error:
            self.report(error, where)

    def report(self, error: Exception, where: str, frame: Frame | None = None) -> None:
        """An error that was caught, with the frame that it is about. Raises it if `strict`."""
        if self._strict:
            raise error
        self._counters["driver.errors"] += 1
        known = (where, f"{type(error).__name__}: {error}")
        if known not in self._reported and len(self._reported) < 1_000:
            self._reported.add(known)
            log.error("%s %s%s (logged once)", known[1], where, _about(frame), exc_info=error)

    def warn(self, counter: str, text: str) -> None:
        """Something that a person should know and that is nobody's bug."""
        self._counters[counter] += 1
        log.warning("%s", text)


def _about(frame: Frame | None) -> str:
    """The packet in a line of tcpdump's."""
    if frame is None:
        return ""
    from scapystack.describe import describe  # noqa: PLC0415 - with Scapy, when somebody reads it

    return f" at {describe(frame)}"
