"""Hooks from the shelf: peers and paths that lie. Functions of a packet, for `Stack.hook`.

On the `rx` side of the stack under test they are what its peer did; on the `tx` side of a stack it becomes such a peer.
`docs/hostile.md` says what ours does about each. Read `ready` first.
"""

from __future__ import annotations

from typing import Any

from scapystack.base.seq import seq_ge, seq_gt
from scapystack.hooks.packets import DROP
from scapystack.hooks.ready import PacketFunction, lowest, text_of, with_text

_MASK = 0xFFFFFFFF
_SYN, _RST, _ACK = 0x02, 0x04, 0x10
_ICMP_ERRORS = frozenset((3, 4, 5, 11, 12))
_ICMPV6_ERRORS = frozenset((1, 2, 3, 4))


def rst_injector(after: int = 10, *, beside: int = 0) -> PacketFunction:
    """Put a RST of the sender's behind its `after`th segment with text, `beside` octets off the exact number.

    With 0 it is one that must be believed; any other number is a guess (RFC 5961 section 3). Level segment.
    """
    met = 0

    def rst_injector(segment: Any) -> Any:
        nonlocal met
        text = text_of(segment)
        met += bool(text)
        if not text or met != after:
            return None
        rst = with_text(segment, b"")
        rst.seq = (segment.seq + len(text) + beside) & _MASK
        rst.flags = _RST
        rst.options = []
        met += 1
        return [segment, rst]

    return rst_injector


def optimistic_ack(ahead: int = 10_000) -> PacketFunction:
    """Behind each ACK one for `ahead` octets more, which may not even have been sent. Level segment."""

    def optimistic_ack(segment: Any) -> Any:
        if not _is_ack(segment):
            return None
        forged = with_text(segment, b"")
        forged.ack = (segment.ack + ahead) & _MASK
        return [segment, forged]

    return optimistic_ack


def ack_division(pieces: int = 10) -> PacketFunction:
    """Say each ACK in so many steps, to have the sender's window grow with their number. Level segment."""
    before: int | None = None

    def ack_division(segment: Any) -> Any:
        nonlocal before
        if not _is_ack(segment):
            return None
        last, before = before, segment.ack
        if last is None or not seq_gt(segment.ack, last):
            return None
        step = (segment.ack - last & _MASK) // pieces
        acks = []
        for n in range(1, pieces if step else 1):
            part = with_text(segment, b"")
            part.ack = (last + n * step) & _MASK
            acks.append(part)
        return [*acks, segment]

    return ack_division


def window_shrink(after: int = 10, *, to: int = 1, times: int = 5) -> PacketFunction:
    """From the `after`th ACK on, `times` ACKs offer a window of `to` (unscaled): its edge moves back. Level segment.

    RFC 9293 section 3.8.6 discourages it, and a sender must live with it.
    """
    met = 0

    def window_shrink(segment: Any) -> Any:
        nonlocal met
        if not _is_ack(segment):
            return None
        met += 1
        if not after <= met < after + times:
            return None
        segment.window = min(segment.window, to)
        return segment

    return window_shrink


def zero_window_stall(ms: float, *, after: int = 10) -> PacketFunction:
    """From the `after`th ACK on, offer no window at all for `ms`. Level segment."""
    met = 0
    until = 0.0

    def zero_window_stall(segment: Any) -> Any:
        nonlocal met, until
        if not _is_ack(segment):
            return None
        now = _time_of(segment)
        met += 1
        if met == after:
            until = now + ms / 1e3
        if met < after or now >= until:
            return None
        segment.window = 0
        return segment

    return zero_window_stall


class SackReneging:
    """A receiver that forgets what it has SACKed, as RFC 2018 section 8 allows it. Level segment, both ways.

        reneging = SackReneging()
        stack.hook("tx", "segment")(reneging.acks)      # of the receiver
        stack.hook("rx", "segment")(reneging.data)

    After the first SACK it acknowledges no more than up to that block, without SACK, until it has got it again.
    """

    def __init__(self) -> None:
        self.block: tuple[int, int] | None = None
        """What was SACKed and is forgotten."""
        self.came_again = False

    def acks(self, segment: Any) -> Any:
        """What the receiver says."""
        if not _is_ack(segment) or self.came_again:
            return None
        if self.block is None:
            edges = next((value for name, value in segment.options if name == "SAck"), None)
            if edges:
                self.block = edges[0], edges[1]
            return None
        if seq_gt(segment.ack, self.block[0]):
            segment.ack = self.block[0]
        segment.options = [option for option in segment.options if option[0] not in ("SAck", "NOP")]
        return segment

    def data(self, segment: Any) -> None:
        """What it is sent: the block again ends the lie."""
        if self.block is None:
            return
        behind = segment.seq + len(text_of(segment)) & _MASK
        if seq_ge(self.block[0], segment.seq) and seq_gt(behind, self.block[0]):
            self.came_again = True


def icmp_black_hole(mtu: int = 0) -> PacketFunction:
    """Swallow ICMP errors; with `mtu`, larger packets as well, as a narrow link behind such a router does. Level ip."""

    def icmp_black_hole(packet: Any) -> Any:
        if packet.name == "IP":
            size, errors, layer = packet.len, _ICMP_ERRORS, packet.payload
            is_error = packet.proto == 1 and getattr(layer, "type", None) in errors
        else:
            size, errors, layer = packet.plen + 40, _ICMPV6_ERRORS, packet.payload
            is_error = packet.nh == 58 and getattr(layer, "type", None) in errors
        return DROP if is_error or (mtu and size > mtu) else None

    return icmp_black_hole


def _is_ack(segment: Any) -> bool:
    """Whether it says something of data: an ACK of a synchronized connection."""
    flags = int(segment.flags)
    return bool(flags & _ACK) and not flags & (_SYN | _RST)


def _time_of(segment: Any) -> float:
    """When it passes, by the stack's clock (s)."""
    return float(lowest(segment).time)
