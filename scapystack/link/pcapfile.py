"""Capture files: a writer for pcap and pcapng. `pcapread` reads them.

pcap after draft-ietf-opsawg-pcap (its nanosecond variant), pcapng after draft-ietf-opsawg-pcapng,
with what Wireshark shows of it: a section that names us, interfaces with names, packets with their
direction and a comment. Every record is written out whole, at once: a process that is killed leaves
a file that opens. Times are nanoseconds since 1970.
"""

from __future__ import annotations

import errno
import logging
import sys
from pathlib import Path
from struct import Struct
from typing import BinaryIO

from scapystack.base.errors import LinkError
from scapystack.base.types import Buffer, Nanoseconds
from scapystack.link.pcapread import (
    BYTE_ORDER,
    EPB,
    EPB_FLAGS,
    IDB,
    IF_NAME,
    IF_TSRESOL,
    LINKTYPE_ETHERNET,
    OPT_COMMENT,
    OPT_END,
    PCAP_NANO,
    SHB,
)

log = logging.getLogger("scapystack")

SNAPLEN = 262_144
"""What Wireshark and tcpdump take at most; a super-segment has about 65,600."""

INBOUND = 1
OUTBOUND = 2

_SHB_USERAPPL = 4
_IF_DESCRIPTION = 3
_IF_MACADDR = 6

_PCAP_HEADER = Struct("<IHHiIII")
_PCAP_RECORD = Struct("<IIII")
_EPB_HEADER = Struct("<IIIIIII")
_OPTION = Struct("<HH")


def _padded(octets: Buffer) -> bytes:
    return bytes(octets) + bytes(-len(octets) % 4)


def _option(code: int, value: bytes) -> bytes:
    return _OPTION.pack(code, len(value)) + _padded(value)


def _block(kind: int, body: bytes) -> bytes:
    length = (len(body) + 12).to_bytes(4, "little")
    return kind.to_bytes(4, "little") + length + body + length


class CaptureFile:
    """An open capture. `format` is `pcap` or `pcapng`; None takes it from the file's name.

    `target` is a path, `-` for standard output, or a binary file that somebody else closes. Raises
    LinkError if it cannot be opened. A write that fails (a full disk) ends the capture, is noted
    in `error` and logged; it harms nobody else.
    """

    def __init__(self, target: str | Path | BinaryIO, format: str | None = None) -> None:
        self.error = ""
        self.packets = 0
        self._ours = False
        self.name = target if isinstance(target, str) else str(getattr(target, "name", target))
        self.format = format or ("pcap" if self.name.endswith((".pcap", ".cap", ".dmp")) else "pcapng")
        if self.format not in ("pcap", "pcapng"):
            raise LinkError(f"no capture format named {self.format!r}: pcap or pcapng")
        self._interfaces = 0
        self._file: BinaryIO | None = self._open(target)
        self._put(self._header())

    def _open(self, target: str | Path | BinaryIO) -> BinaryIO:
        if not isinstance(target, str | Path):
            return target
        if str(target) == "-":
            return sys.stdout.buffer
        try:
            file = open(target, "wb", buffering=0)  # noqa: SIM115 - closed by close()
        except OSError as error:
            raise LinkError(f"cannot write {target}: {error.strerror}") from None
        self._ours = True
        return file

    def _header(self) -> bytes:
        if self.format == "pcap":
            return _PCAP_HEADER.pack(PCAP_NANO, 2, 4, 0, 0, SNAPLEN, LINKTYPE_ETHERNET)
        body = Struct("<IHHq").pack(BYTE_ORDER, 1, 0, -1)
        return _block(SHB, body + _option(_SHB_USERAPPL, b"scapystack") + _option(OPT_END, b""))

    def interface(self, name: str, description: str = "", mac: bytes = b"") -> int:
        """Describe an interface; its number, for `packet`. (A pcap file knows none: 0.)"""
        if self.format == "pcap":
            return 0
        options = _option(IF_NAME, name.encode())
        if description:
            options += _option(_IF_DESCRIPTION, description.encode())
        if len(mac) == 6:
            options += _option(_IF_MACADDR, mac)
        options += _option(IF_TSRESOL, b"\x09") + _option(OPT_END, b"")
        self._put(_block(IDB, Struct("<HHI").pack(LINKTYPE_ETHERNET, 0, SNAPLEN) + options))
        self._interfaces += 1
        return self._interfaces - 1

    def packet(
        self, octets: Buffer, at: Nanoseconds, interface: int = 0, direction: int = 0, comment: str = ""
    ) -> None:
        """Write one packet: `direction` is `INBOUND`, `OUTBOUND` or 0. A pcap file keeps no comments."""
        self.write(self.record(octets, at, interface, direction, comment))

    def record(
        self, octets: Buffer, at: Nanoseconds, interface: int = 0, direction: int = 0, comment: str = ""
    ) -> bytes:
        """The record of one packet, for a `write` of several together."""
        size = len(octets)
        kept = octets if size <= SNAPLEN else octets[:SNAPLEN]
        if self.format == "pcap":
            seconds, nanoseconds = divmod(at, 1_000_000_000)
            return _PCAP_RECORD.pack(seconds & 0xFFFFFFFF, nanoseconds, len(kept), size) + kept
        options = b""
        if direction:
            options += _option(EPB_FLAGS, direction.to_bytes(4, "little"))
        if comment:
            options += _option(OPT_COMMENT, comment.encode()[:65_535])
        if options:
            options += _option(OPT_END, b"")
        padding = -len(kept) % 4
        length = 32 + len(kept) + padding + len(options)
        high, low = at >> 32 & 0xFFFFFFFF, at & 0xFFFFFFFF
        head = _EPB_HEADER.pack(EPB, length, interface, high, low, len(kept), size)
        return b"".join((head, kept, bytes(padding), options, length.to_bytes(4, "little")))

    def write(self, *records: bytes) -> None:
        """Write records, all at once."""
        self.packets += len(records)
        self._put(b"".join(records))

    def _put(self, octets: bytes) -> None:
        file = self._file
        if file is None:
            return
        try:
            view = memoryview(octets)
            while view:  # a pipe may take less than all
                taken = file.write(view)
                if not taken:
                    raise BlockingIOError(errno.EAGAIN, "it takes no more")
                view = view[taken:]
            if not self._ours:
                file.flush()
        except (OSError, ValueError) as error:
            self.error = f"cannot write {self.name}: {getattr(error, 'strerror', None) or error}"
            log.warning("%s; the capture ends here", self.error)
            self.close()

    def close(self) -> None:
        """Close the file, if it is ours. Harmless when repeated."""
        file, self._file = self._file, None
        if file is not None and self._ours:
            file.close()
