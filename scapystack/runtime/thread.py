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
        self.name = name
        self._thread: threading.Thread | None = None

    @property
    def alive(self) -> bool:
        """Whether the loop runs."""
        return self._thread is not None and self._thread.is_alive()

    @property
    def is_current(self) -> bool:
        """Whether this is called by the thread itself."""
        return threading.current_thread() is self._thread

    def start(self) -> None:
        """Start the loop; nothing happens if it runs already."""
        if not self.alive:
            self._thread = threading.Thread(target=self.driver.run, name=self.name, daemon=True)
            self._thread.start()

    def stop(self) -> None:
        """End the loop and wait for it; the driver and its links stay open, and may be started again.

        Called from inside the driver (`on_ready`, `entered()`), it does not wait: the loop ends behind that.
        """
        thread = self._thread
        if thread is None or not thread.is_alive():
            return
        self.driver.stop()
        if not self.is_current and not self.driver.inside:
            thread.join()
            self._thread = None

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *error: object) -> None:
        self.stop()
