"""A sender with a flight on the wire, for tests of loss recovery: segments counted from 0, as `at` numbers them.

    wire, c = flight(10, more=5)            # ten segments under way, five wait for the congestion window
    sack(wire, c, 2)                        # the peer has the third, and still waits for the first
    wire.expect(seg(10))                    # limited transmit

No time passes but by `wire.after`, and an ACK in no time would tell RACK of a path without a round trip.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from scapystack.layers.tcp.user import Connection
from tests.harness.tcp import Peer, TcpWire

MSS = 1460
RTT = 40
"""Milliseconds: RACK waits a quarter of it for what was overtaken."""


def at(segment: int) -> int:
    """The relative sequence number of the n-th segment, from 0."""
    return 1 + segment * MSS


def flight(
    segments: int, *, more: int = 0, octets: int = 0, rtt_ms: float = RTT, peer: Peer | None = None, gso_max: int = 0,
    **config: Any,
) -> tuple[TcpWire, Connection]:  # fmt: skip
    """So many segments and `octets` sent at once, a round trip ago; `more` segments wait for the window."""
    window = segments + bool(octets)
    stamps = 12 * config.get("timestamps", False)  # larger packets, so that a segment is one of MSS all the same
    peer = replace(peer or Peer(), mss=MSS + stamps, timestamps=stamps > 0)
    wire = TcpWire(peer=peer, mtu=1500 + stamps, gso_max=gso_max, initial_cwnd_segments=window, **config)
    c = wire.established(rtt_ms=rtt_ms, wnd=60_000)
    c.cc.initial_window = c.cc.cwnd = window * MSS  # RFC 6928 would have it 14,600 octets at most
    c.write(b"x" * (MSS * (segments + more) + octets))
    wire.flush()
    assert sum(len(s.payload) for s in wire.take()) == segments * MSS + octets
    wire.after(ms=rtt_ms)
    return wire, c


def sack(wire: TcpWire, c: Connection, *parts: int | tuple[int, int], ack: int = 0, **more: Any) -> None:
    """An ACK up to segment `ack` with blocks: of one segment, or from one up to another, as given."""
    blocks = [(p, p + 1) if isinstance(p, int) else p for p in parts]
    more.setdefault("wnd", 60_000)
    wire.send(c, "A", ack=at(ack), sack=tuple((at(a), at(b)) for a, b in blocks), **more)


def seg(n: int, count: int = 1) -> str:
    """A line of `expect`: the n-th segment, or so many from there in one."""
    return f"A seq={at(n)} len={count * MSS}"
