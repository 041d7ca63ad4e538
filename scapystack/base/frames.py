"""`Frame`: one Ethernet frame, as it comes from a link or goes to one.

A frame that comes in is one buffer (`head`) with nothing behind it. A frame that goes out is its
headers, encoded once (`head`), and views of the payload behind them, so that the link can gather
them with one `writev` and nobody copies the payload.

Two pieces of work may still be open on a frame, both described by numbers a Linux `virtio_net_hdr`
has too, so that a TAP with offload hands them to the kernel and any other link does them at its
edge (`scapystack.base.offload`):

- the transport checksum: with `csum == CSUM_PARTIAL` its field holds only the pseudo-header's sum,
  and stands `csum_offset` octets behind `csum_start`;
- segmentation: with `gso_size > 0` the frame is a TCP super-segment, to be cut into segments of
  `gso_size` payload octets each.

A link may put behind a super-segment that came in the text of those that follow it and differ in nothing
else (`more`): layers see one frame, and TCP one text after the other.

`frame.packet` is the frame as a Scapy packet. Base knows no Scapy: the dissector is one stateless
function, named to `Frame` by the package itself (`scapystack/__init__.py`), which imports Scapy when
somebody looks at a packet for the first time. A frame that nobody looks at pays nothing, not even
the store of a None: its slot stays empty.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, ClassVar

from scapystack.base.types import Buffer, Nanoseconds

if TYPE_CHECKING:
    from scapystack.base.iface import Interface

CSUM_NONE = 0
"""The checksum on the frame is the real one: a receiver must verify it."""
CSUM_PARTIAL = 1
"""The field holds the pseudo-header's sum; the bytes never crossed a wire, a receiver trusts them."""
CSUM_VALID = 2
"""The link has verified the checksum already."""


class Frame:
    """One Ethernet frame. `data` is its octets in one piece; `len(frame)` their number.

    `iface` is the interface it came in by or leaves by; `at` the time (ns) when the stack received
    or emitted it.
    """

    __slots__ = (
        "_data",
        "_packet",
        "at",
        "csum",
        "csum_offset",
        "csum_start",
        "gso_size",
        "head",
        "iface",
        "more",
        "payload",
    )

    dissector: ClassVar[Callable[[Frame], Any] | None] = None
    """A frame's Scapy packet: the same pure function for every stack (`scapystack.codec.packets`)."""

    def __init__(
        self,
        head: Buffer,
        payload: Sequence[Buffer] = (),
        iface: Interface | None = None,
        csum: int = CSUM_NONE,
        csum_start: int = 0,
        csum_offset: int = 0,
        gso_size: int = 0,
    ) -> None:
        self.head = head
        self.payload = payload
        self.iface = iface
        self.csum = csum
        self.csum_start = csum_start
        self.csum_offset = csum_offset
        self.gso_size = gso_size
        self.more: tuple[Buffer, ...] = ()
        self.at: Nanoseconds = 0
        self._data: bytes | None = None

    @property
    def data(self) -> bytes:
        """The octets as they stand now, in one piece (an open checksum stays open)."""
        data = self._data
        if data is None:
            head = self.head
            if self.payload:
                data = b"".join((head, *self.payload))
            else:
                data = head if type(head) is bytes else bytes(head)
            self._data = data
        return data

    @property
    def packet(self) -> Any:
        """The frame as a Scapy packet (`Ether`), checksums finished; made on first use and kept.

        Never raises on bad bytes: what no Ethernet header fits is a `Raw`. A look, not a handle:
        changing it changes nothing that is sent (`scapystack.codec.frame_of` makes a new frame).
        """
        try:
            return self._packet
        except AttributeError:
            pass
        dissector = Frame.dissector
        if dissector is None:
            raise RuntimeError("no dissector: import scapystack before scapystack.base")
        self._packet: Any = dissector(self)
        return self._packet

    def __len__(self) -> int:
        return len(self.head) + sum(map(len, self.payload))

    def __repr__(self) -> str:
        where = self.iface.name if self.iface else "-"
        extra = f" gso={self.gso_size}" if self.gso_size else ""
        return f"<Frame {len(self)} octets on {where}{extra}>"
