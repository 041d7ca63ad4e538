"""A capture that says of every packet what became of it: `explain`'s text as the packet's comment (pcapng).

Read `observer` first.
"""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

from scapystack.base.errors import ConfigError
from scapystack.base.seq import seq_sub
from scapystack.link.pcapfile import INBOUND, OUTBOUND, CaptureFile
from scapystack.repl.explanation import explained
from scapystack.repl.observer import Observer
from scapystack.repl.records import Record

if TYPE_CHECKING:
    from scapystack.runtime.driver import Driver


class AnnotatedFile:
    """A pcapng file of records, each with its comment; times move by `since` nanoseconds."""

    def __init__(self, target: str | Path | BinaryIO, since: int = 0) -> None:
        """Raises ConfigError for a format without comments (.pcap), LinkError where the file cannot be opened."""
        self.file = CaptureFile(target)
        if self.file.format != "pcapng":
            self.file.close()
            raise ConfigError(f"{self.file.name}: a pcap file keeps no comments: name it .pcapng")
        self._since = since
        self._interfaces: dict[str, int] = {}

    def write(self, record: Record) -> None:
        """Write one packet, as far as it is known now what became of it."""
        name = record.interface
        number = self._interfaces.get(name)
        if number is None:
            number = self._interfaces[name] = self.file.interface(name, f"scapystack {name}", record.mac)
        direction = INBOUND if record.way == "rx" else OUTBOUND
        self.file.packet(record.octets, record.at + self._since, number, direction, comment(record))


def comment(record: Record) -> str:
    """What `explain` says of a packet, and how the connection stands behind it."""
    first, *others = str(explained(record)).splitlines()
    c = record.after
    if c is None:
        return "\n".join([first, *others])
    state = (
        f"  state    {c.state}, {c.ca_state}: {seq_sub(c.snd_nxt, c.snd_una)} octets in flight, "
        f"cwnd {c.snd_cwnd_bytes}, SND.WND {c.snd_wnd}, RCV.WND {c.rcv_wnd}, RTO {c.rto / 1000:g} ms"
    )
    return "\n".join([first, state, *others])


class AnnotatedCapture:
    """Writes what passes the interfaces of a stack from now on, until `close`. A packet that comes is written when it
    was taken, before its answers; so the file is in the order of cause and effect. What its answers are is known when
    the next packet passes: the last ones wait for it, or for `close`.
    """

    def __init__(self, driver: Driver, target: str | Path | BinaryIO) -> None:
        """Raises ConfigError for a format without comments (.pcap), LinkError where the file cannot be opened."""
        self._to = AnnotatedFile(target, time.time_ns() - driver.clock())
        self.file = self._to.file
        self._driver = driver
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
            self._to.write(record)
        self._waiting.clear()

    def close(self) -> None:
        """End the capture, and the observing."""
        with self._driver.entered():
            self._observer.detach()
            self._write_waiting()
        self.file.close()
