"""Reading capture files, pcap and pcapng, plain or gzip, one packet at a time.

pcap after draft-ietf-opsawg-pcap, pcapng after draft-ietf-opsawg-pcapng, in either byte order. Memory does
not grow with the file: `CaptureReader` gives packets as it meets them, each with the place of its record,
by which `packet_at` gives it again. A gzip file is unpacked to a temporary file first, since nothing in it
has a place. `pcapfile` writes such files.
"""

from __future__ import annotations

import gzip
import tempfile
import zlib
from bisect import bisect_right
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from struct import Struct
from typing import IO, Any, Self

from scapystack.base.errors import LinkError
from scapystack.base.types import Nanoseconds

LINKTYPE_ETHERNET = 1

PCAP_NANO = 0xA1B23C4D
PCAP_MICRO = 0xA1B2C3D4
SHB = 0x0A0D0D0A
IDB = 1
SPB = 3
EPB = 6
BYTE_ORDER = 0x1A2B3C4D

OPT_END = 0
OPT_COMMENT = 1
IF_NAME = 2
IF_TSRESOL = 9
IF_TSOFFSET = 14
EPB_FLAGS = 2

_PCAP_HEADER_LEN = 24
_LARGEST = 1 << 26
"""Octets of a record that can be no packet's: the file is broken there."""
_BUFFER = 1 << 18
_GZIP = b"\x1f\x8b"


@dataclass(slots=True)
class CapturedPacket:
    """One packet of a capture file. `size` is its length on the wire (`data` may have been cut).

    `offset` is where its record begins in the file; `linktype` one of https://www.tcpdump.org/linktypes.html.
    """

    data: bytes
    at: Nanoseconds
    size: int
    interface: str = ""
    direction: int = 0
    comment: str = ""
    linktype: int = LINKTYPE_ETHERNET
    offset: int = 0


@dataclass(slots=True)
class _Interface:
    """What a pcapng file says of an interface; a pcap file has one, without a name."""

    name: str
    linktype: int
    ticks: int  # of the clock in a second
    offset_s: int
    snaplen: int


@dataclass(slots=True)
class _Section:
    """A part of the file with one byte order and its own interfaces; a pcap file is one section."""

    start: int
    order: str
    interfaces: list[_Interface] = field(default_factory=list)


class CaptureReader:
    """The packets of a capture file, in the file's order, and by their place. A context manager.

    Raises LinkError for what is no capture file, at once, or breaks off being one, while it is read; OSError
    if it cannot be read. `torn` says what is wrong with the end of a file whose last record is incomplete.
    Pickled, and read in another process, it knows the places that were met so far and nothing else.
    """

    def __init__(self, path: str | Path) -> None:
        self.name = str(path)
        self.torn = ""
        self.position = 0
        """How far the file was read, of `octets`."""
        self._file: IO[bytes] = open(path, "rb", buffering=_BUFFER)  # noqa: SIM115 - closed by close()
        self._again: IO[bytes] | None = None
        self.source = self.name
        """The file that the places are in: `name`, or an unpacked one that lives as long as this."""
        try:
            if self._file.read(2) == _GZIP:
                self._unpack()
            self.octets = self._file.seek(0, 2)
            self._sections: list[_Section] = []
            self._pcapng = False
            self._begin()
        except BaseException:
            self.close()
            raise

    def _unpack(self) -> None:
        """Go on with the unpacked content; of a file that is cut or damaged with what came before."""
        self._file.seek(0)
        packed, self._file = self._file, tempfile.NamedTemporaryFile(buffering=_BUFFER)  # noqa: SIM115
        with packed, gzip.GzipFile(fileobj=packed) as unpacked:
            try:
                while part := unpacked.read(_BUFFER):
                    self._file.write(part)
            except (EOFError, zlib.error, gzip.BadGzipFile) as error:
                self.torn = f"the gzip file is damaged ({error})"
        self._file.flush()
        self.source = self._file.name

    def pause(self) -> None:
        """Let go of what `packet_at` can open again: for many captures at once that wait for their turn."""
        if self.source == self.name:
            self._file.close()
        if self._again is not None:
            self._again.close()
            self._again = None

    def close(self) -> None:
        """Close the file."""
        if self._file is not None:
            self._file.close()
        if self._again is not None:
            self._again.close()

    def __getstate__(self) -> dict[str, Any]:
        keeps = ("name", "torn", "position", "octets", "source", "_sections", "_pcapng")
        return {name: getattr(self, name) for name in keeps} | {"_file": None, "_again": None}

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    def _begin(self) -> None:
        file = self._file
        file.seek(0)
        header = file.read(_PCAP_HEADER_LEN)
        if header[:4] == SHB.to_bytes(4, "little"):
            self._pcapng = True
            return
        for order in "<>":
            for number, ticks in ((PCAP_NANO, 1_000_000_000), (PCAP_MICRO, 1_000_000)):
                if header[:4] == Struct(order + "I").pack(number) and len(header) == _PCAP_HEADER_LEN:
                    snaplen, linktype = Struct(order + "II").unpack_from(header, 16)
                    # the upper bits tell of frame check sequences
                    interface = _Interface("", linktype & 0x0FFFFFFF, ticks, 0, snaplen)
                    self._sections.append(_Section(0, order, [interface]))
                    return
        raise LinkError(f"{self.name} is neither a pcap nor a pcapng file")

    # -- in order --------------------------------------------------------------------------------------

    def __iter__(self) -> Iterator[CapturedPacket]:
        """Every packet, from the first."""
        file = self._file
        if self._pcapng:
            self._sections.clear()
        at = file.seek(0 if self._pcapng else _PCAP_HEADER_LEN)
        read = self._read_block if self._pcapng else self._read_record
        while True:
            self.position = at
            packet, length = read(file, at)
            if not length:
                return
            if packet is not None:
                yield packet
                if file.tell() != at + length:
                    file.seek(at + length)  # somebody has moved us
            at += length

    def packet_at(self, offset: int) -> CapturedPacket:
        """The packet whose record is at `offset`, met before by `__iter__`."""
        file = self._again
        if file is None:
            file = self._again = open(self.source, "rb", buffering=_BUFFER)  # noqa: SIM115
        file.seek(offset)
        packet, _ = (self._read_block if self._pcapng else self._read_record)(file, offset)
        if packet is None:
            raise LinkError(f"{self.name} has changed while it was read")
        return packet

    def _end(self, at: int, what: str) -> tuple[None, int]:
        """Nothing more follows; `what` says why that is no proper end."""
        if what and not self.torn:
            self.torn = f"{what} at octet {at}"
        return None, 0

    def _read_record(self, file: IO[bytes], at: int) -> tuple[CapturedPacket | None, int]:
        """A record of a pcap file and its length; 0 at the end."""
        section = self._sections[0]
        interface = section.interfaces[0]
        header = file.read(16)
        if len(header) < 16:
            return self._end(at, "a record header is cut" if header else "")
        seconds, fraction, kept, size = Struct(section.order + "IIII").unpack(header)
        if kept > _LARGEST:
            raise LinkError(f"{self.name} is broken at octet {at}: no packet has {kept} octets")
        data = file.read(kept)
        if len(data) < kept:
            return self._end(at, "the last packet is cut")
        time = seconds * 1_000_000_000 + fraction * 1_000_000_000 // interface.ticks
        return CapturedPacket(data, time, size, linktype=interface.linktype, offset=at), 16 + kept

    # -- pcapng ----------------------------------------------------------------------------------------

    def _read_block(self, file: IO[bytes], at: int) -> tuple[CapturedPacket | None, int]:
        """A block of a pcapng file and its length; 0 at the end."""
        header = file.read(12)
        if len(header) < 12:
            return self._end(at, "a block header is cut" if header else "")
        if header[:4] == SHB.to_bytes(4, "little"):
            order = "<" if header[8:] == BYTE_ORDER.to_bytes(4, "little") else ">"
            if order == ">" and header[8:] != BYTE_ORDER.to_bytes(4, "big"):
                raise LinkError(f"{self.name} is broken at octet {at}: a section without a byte order")
            if not self._sections or at > self._sections[-1].start:
                self._sections.append(_Section(at, order))
        section = self._sections[bisect_right(self._sections, at, key=lambda s: s.start) - 1]
        order = section.order
        kind, length = Struct(order + "II").unpack_from(header)
        if length < 12 or length > _LARGEST or length & 3:
            raise LinkError(f"{self.name} is broken at octet {at}: no block has {length} octets")
        body = header[8:] + file.read(length - 12)
        if len(body) < length - 8:
            return self._end(at, "the last block is cut")
        body = body[:-4]
        if kind == IDB and len(body) >= 8:
            section.interfaces.append(_interface(body, order))
        elif kind == EPB and len(body) >= 20:
            return self._enhanced(body, section, at), length
        elif kind == SPB and len(body) >= 4 and section.interfaces:
            return self._simple(body, section, at), length
        return None, length

    def _enhanced(self, body: bytes, section: _Section, at: int) -> CapturedPacket:
        order = section.order
        number, high, low, kept, size = Struct(order + "IIIII").unpack_from(body)
        if number >= len(section.interfaces) or kept > len(body) - 20:
            raise LinkError(f"{self.name} is broken at octet {at}: a packet that fits no interface or no block")
        interface = section.interfaces[number]
        time = (high << 32 | low) * 1_000_000_000 // interface.ticks + interface.offset_s * 1_000_000_000
        options = dict(_options(body[20 + kept + -kept % 4 :], order))
        flags = int.from_bytes(options.get(EPB_FLAGS, b""), "little" if order == "<" else "big")
        comment = options.get(OPT_COMMENT, b"").decode(errors="replace")
        data = body[20 : 20 + kept]
        return CapturedPacket(data, time, size, interface.name, flags & 3, comment, interface.linktype, at)

    def _simple(self, body: bytes, section: _Section, at: int) -> CapturedPacket:
        interface = section.interfaces[0]
        (size,) = Struct(section.order + "I").unpack_from(body)
        kept = min(size, interface.snaplen or size, len(body) - 4)
        return CapturedPacket(body[4 : 4 + kept], 0, size, interface.name, linktype=interface.linktype, offset=at)


def _interface(body: bytes, order: str) -> _Interface:
    linktype, _, snaplen = Struct(order + "HHI").unpack_from(body)
    options = dict(_options(body[8:], order))
    resolution = (options.get(IF_TSRESOL) or b"\x06")[0]
    # if_tsresol: a negative power of 2 with the top bit, else of 10
    ticks = 1 << (resolution & 127) if resolution & 128 else 10**resolution
    offset = int.from_bytes(options.get(IF_TSOFFSET, b""), "little" if order == "<" else "big", signed=True)
    return _Interface(options.get(IF_NAME, b"").decode(errors="replace"), linktype, ticks, offset, snaplen)


def _options(octets: bytes, order: str) -> Iterator[tuple[int, bytes]]:
    at = 0
    while at + 4 <= len(octets):
        code, length = Struct(order + "HH").unpack_from(octets, at)
        if code == OPT_END:
            return
        yield code, octets[at + 4 : at + 4 + length]
        at += 4 + length + -length % 4


def read_capture(path: str | Path) -> list[CapturedPacket]:
    """All packets of a pcap or pcapng file; a torn last record is left out.

    Raises LinkError for what is neither, and OSError if it cannot be read.
    """
    with CaptureReader(path) as reader:
        return list(reader)
