"""`StackThread`: a driver's loop in a thread of its own, so that an ordinary program, a test or a REPL
can use blocking sockets while the stack goes on answering the network.
"""

from __future__ import annotations

import threading
from typing import Self

from scapystack.runtime.driver import Driver


class StackThread:
    """Runs `driver.run()` in a daemon thread from `start()` to `stop()`; a context manager for both."""

    def __init__(self, driver: Driver, name: str = "scapystack") -> None:
        self.driver = driver
        self._thread = threading.Thread(target=driver.run, name=name, daemon=True)

    @property
    def alive(self) -> bool:
        """Whether the loop runs."""
        return self._thread.is_alive()

    def start(self) -> None:
        """Start the loop."""
        self._thread.start()

    def stop(self) -> None:
        """End the loop and wait for it; the driver and its links stay open."""
        self.driver.stop()
        if self._thread.is_alive() and threading.current_thread() is not self._thread:
            self._thread.join()

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *error: object) -> None:
        self.stop()
