"""TCP options, between octets and the fields of a `Segment` (RFC 9293 section 3.2, 7323, 2018, 7413).

Parsing never raises and never refuses a segment: what cannot be understood is left out. Of an
option that stands twice the last one counts, as in Linux. Read `scapystack.base.segment` first.
"""

from __future__ import annotations

from collections.abc import Sequence
from struct import Struct

from scapystack.base.segment import SYN, Segment
from scapystack.base.types import Buffer

EOL = 0
NOP = 1
MSS = 2
WSCALE = 3
SACK_PERMITTED = 4
SACK = 5
TIMESTAMPS = 8
FASTOPEN = 34

MAX_LENGTH = 40
MAX_WSCALE = 14

_NOP_NOP_TS = 0x0101080A
_TS_FLAT = Struct("!III")
_pack_ts = _TS_FLAT.pack
_unpack_ts = _TS_FLAT.unpack_from
_unpack_pair = Struct("!II").unpack_from
_SACKS = tuple(Struct("!%dI" % (2 * n)) for n in range(5))


def parse_options(data: Buffer, seg: Segment) -> None:
    """Set the option fields of `seg` from the options' octets (at most 40, none is fine); MUST-4.

    Nearly every segment of a connection carries NOP, NOP, timestamps and nothing else: that shape is
    one struct call (0.15 us; 0.4 us through the loop).
    """
    if len(data) == 12:
        head, tsval, tsecr = _unpack_ts(data)
        if head == _NOP_NOP_TS:
            seg.tsval = tsval
            seg.tsecr = tsecr
            return
    _parse(data, seg)


def _parse(data: Buffer, seg: Segment) -> None:
    end = len(data)
    at = 0
    while at < end:
        kind = data[at]
        if kind == NOP:  # MUST-64: an option may begin at any octet
            at += 1
            continue
        # MUST-68: all other kinds but EOL have a length. MUST-7: one that is missing, below 2 or past
        # the header ends the parsing; the segment stands with what was read
        if kind == EOL or at + 1 >= end:
            return
        length = data[at + 1]
        if length < 2 or at + length > end:
            return
        _option(kind, data, at, length, seg)
        at += length


def _option(kind: int, data: Buffer, at: int, length: int, seg: Segment) -> None:
    """Take one option; unknown kinds (MUST-6) and known ones of a wrong length (MUST-7) are skipped."""
    if kind == TIMESTAMPS:
        if length == 10:
            seg.tsval, seg.tsecr = _unpack_pair(data, at + 2)
    elif kind == SACK:
        count, odd = divmod(length - 2, 8)
        if 0 < count < 5 and not odd:
            edges = _SACKS[count].unpack_from(data, at + 2)
            seg.sack = tuple(zip(edges[::2], edges[1::2], strict=True))
    elif not seg.flags & SYN:
        return  # the rest may stand in a SYN only (MUST-65, 7323/2.2, RFC 2018 section 2)
    elif kind == MSS:
        if length == 4:
            # an MSS of zero says nothing; taken at its word it would stop all sending
            seg.mss = (data[at + 2] << 8 | data[at + 3]) or seg.mss
    elif kind == WSCALE:
        if length == 3:
            seg.wscale = min(data[at + 2], MAX_WSCALE)  # RFC 7323 section 2.3
    elif kind == SACK_PERMITTED:
        if length == 2:
            seg.sack_permitted = True
    elif kind == FASTOPEN and (length == 2 or 6 <= length <= 18) and not length & 1:
        seg.fastopen = bytes(data[at + 2 : at + length])  # RFC 7413 section 4.1.1: other lengths are ignored


def encode_syn(
    mss: int,
    wscale: int | None,
    sack_permitted: bool,
    timestamps: tuple[int, int] | None,
    fastopen: bytes | None = None,
) -> bytes:
    """The options of a SYN or SYN-ACK, in Linux's order, padded to whole words with NOP (so MUST-69 is met).

    `timestamps` is TSval and TSecr; None leaves that option, `wscale` or `fastopen` out. `fastopen` is a
    cookie, or empty to ask for one; with all the others beside it 16 octets of cookie just fit.
    """
    parts = [bytes((MSS, 4, mss >> 8, mss & 0xFF))]
    if timestamps is not None:
        parts.append(b"\x04\x02" if sack_permitted else b"\x01\x01")
        parts.append(b"\x08\x0a%b%b" % (timestamps[0].to_bytes(4, "big"), timestamps[1].to_bytes(4, "big")))
    elif sack_permitted:
        parts.append(b"\x01\x01\x04\x02")
    if wscale is not None:
        parts.append(bytes((NOP, WSCALE, 3, wscale)))
    if fastopen is not None:
        parts.append(bytes((FASTOPEN, 2 + len(fastopen))) + fastopen + b"\x01" * (-(2 + len(fastopen)) % 4))
    return b"".join(parts)


def encode_timestamps(tsval: int, tsecr: int) -> bytes:
    """NOP, NOP and the timestamps option (RFC 7323 appendix A): 12 octets. Both are 32-bit numbers."""
    return _pack_ts(_NOP_NOP_TS, tsval, tsecr)


def encode(timestamps: tuple[int, int] | None, sack_blocks: Sequence[tuple[int, int]]) -> bytes:
    """The options of a segment that is no SYN: timestamps, then as many SACK blocks as there is room.

    40 octets hold four blocks, or three beside timestamps (RFC 2018 section 3).
    """
    head = b"" if timestamps is None else _pack_ts(_NOP_NOP_TS, *timestamps)
    if not sack_blocks:
        return head
    blocks = sack_blocks[: (MAX_LENGTH - len(head) - 4) // 8]
    edges = _SACKS[len(blocks)].pack(*[edge for block in blocks for edge in block])
    return b"%b\x01\x01\x05%c%b" % (head, 2 + len(edges), edges)
