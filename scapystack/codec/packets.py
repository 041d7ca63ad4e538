"""Frames as Scapy packets and back: what `frame.packet`, hooks, captures and the REPL go through.

Scapy is imported by the first call, and no further than Ethernet, ARP, IPv4 and IPv6 need; more of
its layers (DNS, ...) take part as soon as the program imports them. Read `scapystack.base.frames`
first.
"""

from __future__ import annotations

from functools import cache
from typing import Any

from scapystack.base.frames import Frame
from scapystack.base.offload import finished
from scapystack.base.types import Buffer

ETHER_LEN = 14


@cache
def scapy_classes() -> tuple[Any, Any]:
    """Scapy's `Ether` and `Raw`, with the layers that Ethernet carries here bound to it."""
    import scapy.layers.inet  # noqa: PLC0415 - binds IP, ICMP, UDP and TCP
    import scapy.layers.inet6  # noqa: F401, PLC0415 - binds IPv6
    from scapy.layers.l2 import Ether  # noqa: PLC0415
    from scapy.packet import Raw  # noqa: PLC0415

    return Ether, Raw


def dissect(data: Buffer) -> Any:
    """A Scapy `Ether` dissection of a frame's octets (`Dot3` where they are IEEE 802.3).

    Never raises on bad bytes: a layer that Scapy cannot read comes out as `Raw`, and so does the
    whole where there is no Ethernet header.
    """
    ether, raw = scapy_classes()
    octets = bytes(data)
    if len(octets) < ETHER_LEN:
        return raw(octets)
    try:
        return ether(octets)
    except Exception:  # conf.debug_dissector raises whatever a layer tripped over
        return raw(octets)


def dissect_frame(frame: Frame) -> Any:
    """The dissection of a frame with its checksums finished; a super-segment stays whole."""
    return dissect(finished(frame))


def frame_of(packet: Any, like: Frame | None = None) -> Frame:
    """A frame of a Scapy packet, built (lengths and checksums that are None are computed).

    `like`, a frame that it replaces, lends its interface and time. The new frame's checksums are
    taken as they stand, and it is not cut into segments. Raises what Scapy raises for a field
    value that it cannot build.
    """
    frame = Frame(bytes(packet), (), like.iface if like else None)
    if like is not None:
        frame.at = like.at
    return frame
