"""Warnings of the stack for a person: one line each on standard error, behind the program's name."""

from __future__ import annotations

import logging
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any


@contextmanager
def in_lines() -> Iterator[None]:
    """Within it, warnings and errors of the stack are lines on standard error."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(_OneLine("scapystack: %(message)s"))
    logger = logging.getLogger("scapystack")
    before = logger.level, logger.propagate
    logger.addHandler(handler)
    logger.setLevel(logging.WARNING)
    logger.propagate = False
    try:
        yield
    finally:
        logger.removeHandler(handler)
        logger.setLevel(before[0])
        logger.propagate = before[1]


class _OneLine(logging.Formatter):
    """Messages without the traceback that may hang on them."""

    def formatException(self, ei: Any) -> str:
        """Nothing."""
        return ""

    def format(self, record: logging.LogRecord) -> str:
        """The message on one line."""
        return " ".join(super().format(record).split())
