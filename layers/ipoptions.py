"""IP options (RFC 791 section 3.1, RFC 1122 section 3.2.1.8, RFC 1812 section 5.2.4), octet by octet.

`find` walks the options once with every length checked; the rest acts on what it found: record
route and timestamp are filled in, source routes followed or turned round. Unknown options are
passed over (MUST-50, 1122/3.2.1.8). An option that cannot be is an `OptionError` inside this room, which the
caller turns into a drop and, if that is allowed, an ICMP parameter problem.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from scapystack.base.types import Address, Buffer

END = 0
NO_OPERATION = 1
RECORD_ROUTE = 7
TIMESTAMP = 68
LOOSE_ROUTE = 131
STRICT_ROUTE = 137
COPIED = 0x80  # RFC 791: such an option is copied into every fragment

_ROUTES = (LOOSE_ROUTE, STRICT_ROUTE)
_NOT_UTC = 1 << 31  # RFC 791: set in a timestamp that is not milliseconds since midnight UT


class OptionError(Exception):
    """An option that cannot be; `at` is the octet of the options that is wrong."""

    def __init__(self, at: int) -> None:
        super().__init__(at)
        self.at = at


@dataclass(slots=True)
class Found:
    """Where the options that IP itself acts on start; -1 for those that are not there."""

    record_route: int = -1
    timestamp: int = -1
    source_route: int = -1


def walk(options: Buffer) -> Iterator[tuple[int, int, int]]:
    """Kind, offset and length of each option that has a length. Raises OptionError."""
    at = 0
    end = len(options)
    while at < end:
        kind = options[at]
        if kind == END:
            return
        if kind == NO_OPERATION:
            at += 1
            continue
        if at + 1 >= end:
            raise OptionError(at)
        length = options[at + 1]
        if length < 2 or at + length > end:  # lengths 0 and 1 would loop for ever
            raise OptionError(at + 1)
        yield kind, at, length
        at += length


def find(options: Buffer) -> Found:
    """Check all options and say where the known ones are. Raises OptionError.

    A pointer may stand behind the data ("full"), never before it or out of step (RFC 791).
    """
    found = Found()
    for kind, at, length in walk(options):
        if kind == RECORD_ROUTE:
            _once(found.record_route, at)
            _check_pointer(options, at, length, first=4, step=4)
            found.record_route = at
        elif kind in _ROUTES:
            _once(found.source_route, at)  # RFC 1122 section 3.2.1.8 (c): more than one is an error
            _check_pointer(options, at, length, first=4, step=4)
            found.source_route = at
        elif kind == TIMESTAMP:
            _once(found.timestamp, at)
            if length < 4 or options[at + 3] & 15 not in (0, 1, 3):
                raise OptionError(at + 3 if length >= 4 else at + 1)
            _check_pointer(options, at, length, first=5, step=4 if options[at + 3] & 15 == 0 else 8)
            found.timestamp = at
    return found


def _once(before: int, at: int) -> None:
    if before >= 0:
        raise OptionError(at)


def _check_pointer(options: Buffer, at: int, length: int, first: int, step: int) -> None:
    if length < 3:
        raise OptionError(at + 1)
    pointer = options[at + 2]
    if pointer < first or (pointer <= length and (pointer - first) % step):
        raise OptionError(at + 2)
    if pointer <= length and pointer + step - 1 > length:
        raise OptionError(at + 2)  # room for a part of an entry only


def record(options: bytes, found: Found, address: Address, now_ms: int) -> bytes:
    """The options with `address` and the time entered where record route and timestamp ask for it.

    A full record route is passed as it is; a full timestamp counts up its overflow (RFC 791).
    Raises OptionError when that counter is full too.
    """
    out = bytearray(options)
    at = found.record_route
    if at >= 0 and out[at + 2] <= out[at + 1]:
        slot = at + out[at + 2] - 1
        out[slot : slot + 4] = address
        out[at + 2] += 4
    if found.timestamp >= 0:
        _stamp(out, found.timestamp, address, now_ms)
    return bytes(out)


def _stamp(out: bytearray, at: int, address: Address, now_ms: int) -> None:
    pointer = out[at + 2]
    flag = out[at + 3] & 15
    slot = at + pointer - 1
    if pointer > out[at + 1]:
        if out[at + 3] >> 4 == 15:
            raise OptionError(at + 3)
        out[at + 3] += 16
        return
    if flag == 3 and bytes(out[slot : slot + 4]) != address:
        return  # prespecified, and meant for another
    if flag == 1:
        out[slot : slot + 4] = address
    if flag:
        slot += 4
    out[slot : slot + 4] = (now_ms % _NOT_UTC | _NOT_UTC).to_bytes(4, "big")
    out[at + 2] += 4 if flag == 0 else 8


def next_hop(options: bytes, found: Found) -> Address | None:
    """The next address of a source route that has not been followed to its end; None without one."""
    at = found.source_route
    if at < 0 or options[at + 2] > options[at + 1]:
        return None
    slot = at + options[at + 2] - 1
    return options[slot : slot + 4]


def followed(options: bytes, found: Found, address: Address) -> bytes:
    """The options after one hop of their source route: `address` is ours, recorded in its place."""
    out = bytearray(options)
    at = found.source_route
    slot = at + out[at + 2] - 1
    out[slot : slot + 4] = address
    out[at + 2] += 4
    return bytes(out)


def is_strict(options: bytes, found: Found) -> bool:
    """Whether the source route is a strict one."""
    return options[found.source_route] == STRICT_ROUTE


def return_route(options: bytes) -> bytes:
    """The source route that leads back along the one that was followed, as an option to send; b"" without.

    RFC 1122 section 3.2.1.8 (c), MUST-53: the recorded addresses in reverse. What is sent is a
    route of the hops between; `depart` puts the destination behind them.
    """
    try:
        found = find(options)
    except OptionError:
        return b""
    at = found.source_route
    if at < 0:
        return b""
    recorded = options[at + 3 : at + min(options[at + 2], options[at + 1] + 1) - 1]
    hops = [recorded[i : i + 4] for i in range(0, len(recorded) - 3, 4)]
    if not hops:
        return b""
    return padded(bytes((options[at], 3 + 4 * len(hops), 4)) + b"".join(reversed(hops)))


def depart(options: bytes, dst: Address) -> tuple[Address, bytes]:
    """Where a packet with these options goes first, and the options it leaves with.

    An application gives the hops between (MUST-51); on the wire the first hop is the header's
    destination, the others move up and the final destination stands last (RFC 791).
    """
    try:
        found = find(options)
    except OptionError:
        return dst, options
    at = found.source_route
    if at < 0 or options[at + 2] != 4 or options[at + 1] < 7:
        return dst, options
    end = at + options[at + 1]
    return options[at + 3 : at + 7], options[: at + 3] + options[at + 7 : end] + dst + options[end:]


def padded(options: bytes) -> bytes:
    """Options filled up with END to a multiple of four octets."""
    return options + bytes(-len(options) % 4)


def for_fragments(options: bytes) -> bytes:
    """Only those options that every fragment must carry (RFC 791 section 3.2, the copied flag)."""
    kept = b""
    try:
        for kind, at, length in walk(options):
            if kind & COPIED:
                kept += options[at : at + length]
    except OptionError:
        return b""
    return padded(kept)
