"""What an iperf3 client and server tell each other: cookies, states, parameters, results, datagrams.

Octets in, plain data out; nothing here touches a connection. A client that says what makes no sense is a
`BadClient`. Learned from the wire of iperf 3.1 to 3.16: there is no specification.

A test: the client connects and sends a cookie; each side says by one octet which `state` comes next, and in
PARAM_EXCHANGE and EXCHANGE_RESULTS a JSON object follows, with its length in 32 bits before it. Streams are
connections to the same port that begin with the same cookie.
"""

from __future__ import annotations

import json
import struct
from dataclasses import dataclass, field
from typing import Any

COOKIE = 37
"""36 letters and a zero."""

TEST_START, TEST_RUNNING, TEST_END = 1, 2, 4
PARAM_EXCHANGE, CREATE_STREAMS = 9, 10
CLIENT_TERMINATE, EXCHANGE_RESULTS, DISPLAY_RESULTS, IPERF_DONE = 12, 13, 14, 16
ACCESS_DENIED = 255

MAX_JSON = 65_536
MAX_PARALLEL = 128
MAX_BLOCK = 1 << 20
MAX_DATAGRAM = 65_507
_SECOND = 1_000_000_000
_LENGTH = struct.Struct("!I")
_STAMP, _STAMP_LONG = struct.Struct("!III"), struct.Struct("!IIQ")

HELLOS = {
    octets: struct.pack(order + "I", answer)
    for order in "<>"  # each machine sends its own order
    for number, answer in ((0x36373839, 0x39383736), (123_456_789, 987_654_321))
    for octets in (struct.pack(order + "I", number),)
}
"""By the datagram with which a UDP stream begins, the answer to it; the second pair is that of iperf before 3.13."""


class BadClient(Exception):
    """The client does not keep to the protocol; the message says where."""


def message(value: dict[str, Any]) -> bytes:
    """A JSON object as it is sent."""
    text = json.dumps(value).encode()
    return _LENGTH.pack(len(text)) + text


def parse_message(octets: bytes) -> tuple[dict[str, Any], int] | None:
    """The object that `octets` begins with, and its length; None while it is not whole. Raises BadClient."""
    if len(octets) < _LENGTH.size:
        return None
    (length,) = _LENGTH.unpack_from(octets)
    if length > MAX_JSON:
        raise BadClient("a message too long")
    end = _LENGTH.size + length
    if len(octets) < end:
        return None
    try:
        value = json.loads(octets[_LENGTH.size : end])
    except (ValueError, RecursionError):
        raise BadClient("no JSON") from None
    if not isinstance(value, dict):
        raise BadClient("no JSON object")
    return value, end


@dataclass(slots=True)
class Parameters:
    """What the client wants. `rate` is octets a second, 0 for all there is; `sends` and `receives` are the server's
    streams of each kind; times are seconds."""

    udp: bool
    sends: int
    receives: int
    block: int
    rate: float
    omit: int
    duration: int
    nodelay: bool
    window: int
    congestion: str
    long_count: bool

    @classmethod
    def of(cls, said: dict[str, Any]) -> Parameters:
        """From the client's object. Raises BadClient."""
        udp = said.get("udp") is True
        parallel = _number(said, "parallel", 1, MAX_PARALLEL, 1)
        both = said.get("bidirectional") in (True, 1)
        reverse = said.get("reverse") in (True, 1)
        largest, usual = (MAX_DATAGRAM, 1_448) if udp else (MAX_BLOCK, 131_072)
        smallest = _STAMP_LONG.size if udp else 1
        congestion = said.get("congestion", "")
        return cls(
            udp=udp,
            sends=parallel if both or reverse else 0,
            receives=parallel if both or not reverse else 0,
            block=_number(said, "len", smallest, largest, usual),
            rate=_number(said, "bandwidth", 0, 1 << 50, 0) / 8,
            omit=_number(said, "omit", 0, 600, 0),
            duration=_number(said, "time", 0, 86_400 * 7, 0),
            nodelay=said.get("nodelay") in (True, 1),
            window=_number(said, "window", 0, 1 << 30, 0),
            congestion=congestion if isinstance(congestion, str) else "",
            long_count=said.get("udp_counters_64bit") in (True, 1),
        )


def _number(said: dict[str, Any], name: str, least: int, most: int, usual: int) -> int:
    value = said.get(name, usual)
    if isinstance(value, float) and value == value // 1:
        value = int(value)
    if not isinstance(value, int) or isinstance(value, bool) or not least <= value <= most:
        raise BadClient(f"{name} is {value!r}")
    return value


def stamped(number: int, now: int, size: int, long_count: bool) -> bytes:
    """The `number`-th datagram of a stream, of so many octets, sent at `now` (ns)."""
    form = _STAMP_LONG if long_count else _STAMP
    seconds, rest = divmod(now, _SECOND)
    return form.pack(seconds & 0xFFFFFFFF, rest // 1_000, number & (2**64 - 1 if long_count else 2**32 - 1)).ljust(
        size, b"\0"
    )


@dataclass(slots=True)
class Losses:
    """What arrived of a UDP stream: datagrams lost, and jitter (seconds, RFC 1889 section 6.3.1)."""

    packets: int = 0
    """The highest number so far."""
    lost: int = 0
    out_of_order: int = 0
    jitter: float = 0.0
    _transit: float | None = field(default=None, repr=False)

    def arrived(self, datagram: bytes, now: int, long_count: bool) -> None:
        """Count a datagram that came at `now` (ns)."""
        form = _STAMP_LONG if long_count else _STAMP
        if len(datagram) < form.size:
            return
        seconds, micros, number = form.unpack_from(datagram)
        if number > self.packets:
            self.lost += number - self.packets - 1
            self.packets = number
        else:
            self.out_of_order += 1
            self.lost = max(self.lost - 1, 0)
        transit = now / 1e9 - seconds - micros / 1e6
        if self._transit is not None:
            self.jitter += (abs(transit - self._transit) - self.jitter) / 16
        self._transit = transit


@dataclass(slots=True)
class StreamResult:
    """What one stream did, as its end here counted it. What was omitted of a UDP stream is counted beside it."""

    number: int
    octets: int = 0
    retransmits: int = -1
    seconds: float = 0.0
    packets: int = 0
    errors: int = 0
    jitter: float = 0.0
    omitted_packets: int = 0
    omitted_errors: int = 0

    def said(self) -> dict[str, Any]:
        """As the client takes it."""
        return {
            "id": self.number,
            "bytes": self.octets,
            "retransmits": self.retransmits,
            "jitter": self.jitter,
            "errors": self.errors,
            "omitted_errors": self.omitted_errors,
            "packets": self.packets,
            "omitted_packets": self.omitted_packets,
            "start_time": 0,
            "end_time": self.seconds,
        }


def stream_number(index: int) -> int:
    """How iperf3 numbers its streams: 1, 3, 4, 5..."""
    return 1 if index == 0 else index + 2
