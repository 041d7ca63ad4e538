"""A capture that says of every packet what became of it: `explain`'s text as the packet's comment (pcapng).

Read `observer` first.
"""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

from scapystack.base.errors import ConfigError
from scapystack.link.pcapfile import INBOUND, OUTBOUND, CaptureFile
from scapystack.repl.explanation import explained
from scapystack.repl.observer import Observer
from scapystack.repl.records import Record

if TYPE_CHECKING:
    from scapystack.runtime.driver import Driver


class AnnotatedCapture:
    """Writes what passes the interfaces of a stack from now on, until `close`. A packet that comes is written when it
    was taken, before its answers; so the file is in the order of cause and effect. What its answers are is known when
    the next packet passes: the last ones wait for it, or for `close`.
    """

    def __init__(self, driver: Driver, target: str | Path | BinaryIO) -> None:
        """Raises ConfigError for a format without comments (.pcap), LinkError where the file cannot be opened."""
        self.file = CaptureFile(target)
        if self.file.format != "pcapng":
            self.file.close()
            raise ConfigError(f"{self.file.name}: a pcap file keeps no comments: name it .pcapng")
        self._driver = driver
        self._since = time.time_ns() - driver.clock()
        self._interfaces: dict[str, int] = {}
        self._observer = Observer(driver.stack)
        self._round = 0
        self._waiting: list[Record] = []
        with driver.entered():
            self._observer.sinks.append(self._take)
            self._observer.attach()

    def _take(self, record: Record) -> None:
        if self._round != self._observer.rounds:
            self._round = self._observer.rounds
            self._write_waiting()
        self._waiting.append(record)

    def _write_waiting(self) -> None:
        for record in self._waiting:
            self._write(record)
        self._waiting.clear()

    def _write(self, record: Record) -> None:
        name = record.interface
        number = self._interfaces.get(name)
        if number is None:
            number = self._interfaces[name] = self.file.interface(name, f"scapystack {name}", record.mac)
        direction = INBOUND if record.way == "rx" else OUTBOUND
        self.file.packet(record.octets, record.at + self._since, number, direction, str(explained(record)))

    def close(self) -> None:
        """End the capture, and the observing."""
        with self._driver.entered():
            self._observer.detach()
            self._write_waiting()
        self.file.close()
