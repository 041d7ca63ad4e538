"""Joining what a link gave in one read: TCP segments that follow each other become one super-segment.

What `offload.split` does on the way out, the other way round (Linux's generic receive offload does
the same). A walk through the layers costs as much for 1,448 octets as for 64 KB, so a burst of
full-sized frames, as a path with losses or a link without offload delivers them, costs a fifth.
Read `offload` first.
"""

from __future__ import annotations

from collections.abc import Sequence
from struct import Struct

from scapystack.base.checksum import finish, pseudo_sum
from scapystack.base.frames import CSUM_NONE, CSUM_PARTIAL, CSUM_VALID, Frame
from scapystack.base.guard import tcp_header
from scapystack.base.iface import Interface
from scapystack.base.types import Buffer

_HEADERS = Struct("!16sHH4sH12sI8s2x14s").unpack_from
"""MAC addresses, type, version and service; length; id; fragment bits, TTL and protocol; checksum; addresses and ports;
sequence number; ACK, data offset, flags and window; urgent pointer and 12 octets, options as a rule."""
_IPV4 = b"\x08\0\x45"
_PROTO_TCP = 6
_TCP = 34
_BARE = 54
_STAMPED = 66
_ACK = 0x10
_PSH = 0x08
_MAX_IP = 0xFFFF
_WORTH = 254
"""Frames below this are left alone: there is little to gain."""
_from_bytes = int.from_bytes

Run = tuple[int, int, int]
"""Of a list of frames: the first, the one behind the last, and where the text of each begins (0 for a single frame)."""


def coalesce(frames: list[Frame]) -> list[Frame]:
    """The same frames in the same order, runs of TCP segments joined; those that stay alone are the same objects.

    Joined are neighbours of one IPv4 flow with text, no flag but ACK and PSH, the same options (none, or timestamps),
    ACK number, window, TTL and service, each but the last as long as the first. IP's checksum is verified, and TCP's
    where the link has not: a frame with a wrong one stays alone, for the guard to drop. The result has an open
    checksum, and as `gso_size` the length of its segments. What the frames were is counted on their interface.
    """
    if max(map(len, frames)) < _WORTH:
        return frames
    iface = frames[0].iface
    buffers = [memoryview(frame.head) for frame in frames]
    ends = list(map(len, buffers))
    kinds = [frame.csum if not (frame.gso_size or frame.payload) and frame.iface is iface else -1 for frame in frames]
    return [joined(buffers, 0, ends, run, iface) if run[2] else frames[run[0]] for run in runs(buffers, 0, ends, kinds)]


def runs(
    buffers: Sequence[memoryview], at: int, ends: Sequence[int], kinds: Sequence[int], even: bool = True
) -> list[Run]:
    """Which of these frames can be joined. A frame lies in its buffer from `at` to its end; `kinds` are `CSUM_*`, or
    anything else for a frame that must stay alone. With `even` each but the last is as long as the first, and all of
    them together no longer than an IP packet. 0.4 us a frame that is joined (benchmarks/layers.py)."""
    out: list[Run] = []
    count = len(ends)
    behind = 0
    while behind < count:
        first = behind
        behind += 1
        size = ends[first] - at
        kind = kinds[first]
        if behind == count or size < _WORTH or not CSUM_NONE <= kind <= CSUM_VALID:
            out.append((first, behind, 0))
            continue
        link, total, ident, middle, csum, flow, seq, ack, rest = _HEADERS(buffers[first], at)
        start = _TCP + (ack[4] >> 4 << 2)
        if (
            link[12:15] != _IPV4 or middle[3] != _PROTO_TCP or middle[0] & 0xBF or middle[1]  # a fragment
            or ack[5] & ~_PSH != _ACK or rest[0] or rest[1] or start not in (_BARE, _STAMPED) or size != 14 + total
            or not _sound(buffers[first], at, kind, size)
        ):  # fmt: skip
            out.append((first, behind, 0))
            continue
        stamped = start == _STAMPED
        text = size - start
        room = _MAX_IP - total
        # two headers that differ in nothing else have right checksums both, or wrong ones both
        balance = (ident + csum + total) % 0xFFFF
        while behind < count:
            seq = (seq + text) & 0xFFFFFFFF
            room -= text
            size = ends[behind] - at
            if size < _WORTH or (even and room < 0) or kinds[behind] != kind:
                break
            its_link, its_total, ident, its_middle, csum, its_flow, its_seq, its_ack, its_rest = _HEADERS(
                buffers[behind], at
            )
            if (
                its_seq != seq or its_flow != flow or its_middle != middle or (even and its_total > total)
                or its_link != link
                or (its_ack != ack and (its_ack[5] & ~_PSH != _ACK or its_ack[:5] != ack[:5] or its_ack[6:] != ack[6:]))
                or size != 14 + its_total or (ident + csum + its_total) % 0xFFFF != balance
                or (its_rest != rest and (stamped or its_rest[0] or its_rest[1]))
                or not (kind or _sound(buffers[behind], at, CSUM_NONE, size))
            ):  # fmt: skip
                break
            behind += 1
            if even and its_total != total:
                break
            text = size - start
        out.append((first, behind, start if behind - first > 1 else 0))
    return out


def _sound(buffer: memoryview, at: int, kind: int, size: int) -> bool:
    """Whether the checksums are right, so that what follows can be joined to it."""
    data = buffer[at : at + size]
    if _from_bytes(data[14:34], "big") % 0xFFFF:
        return False
    return kind != CSUM_NONE or not tcp_header(data[_TCP:], bytes(data[26:30]), bytes(data[30:34]))


def joined(buffers: Sequence[memoryview], at: int, ends: Sequence[int], run: Run, iface: Interface | None) -> Frame:
    """One frame, a copy, of a run's headers and text."""
    first, behind, start = run
    text_at = at + start
    head = bytearray(buffers[first][at:text_at])
    text: list[Buffer] = [head]
    text += [buffer[text_at:end] for buffer, end in zip(buffers[first:behind], ends[first:behind], strict=True)]
    more = behind - first - 1
    total = sum(ends[first:behind]) - (more + 1) * text_at + start - 14
    head[16:18] = total.to_bytes(2, "big")
    head[24:26] = b"\0\0"
    head[24:26] = finish(_from_bytes(head[14:34], "big")).to_bytes(2, "big")
    head[47] |= buffers[behind - 1][at + 47]  # PSH
    head[50:52] = pseudo_sum(bytes(head[26:30]), bytes(head[30:34]), _PROTO_TCP, total - 20).to_bytes(2, "big")
    if iface is not None:
        iface.rx_frames += more
        iface.rx_bytes += more * start
    return Frame(b"".join(text), (), iface, CSUM_PARTIAL, _TCP, 16, ends[first] - text_at)
