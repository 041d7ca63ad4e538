"""What an observer keeps of each packet: the octets, and the connection before and after. Plain data."""

from __future__ import annotations

from dataclasses import dataclass, field

from scapystack.base.types import Nanoseconds
from scapystack.layers.tcp.info import TcpInfo
from scapystack.sockets.claims import Flow


@dataclass(slots=True, eq=False)
class Record:
    """One packet that came (`rx`) or left (`tx`), as it would look on a wire.

    `before` and `after` are the connection's variables around taking it, or around the output pass that sent it;
    `counted` is what was counted meanwhile. `causes` says why something was sent: timers that were due, packets that
    came. `answers` are the packets that left because of this one.
    """

    way: str
    at: Nanoseconds
    octets: bytes
    flow: Flow | None
    interface: str = ""
    mac: bytes = b""
    loopback: bool = False
    taken: bool = False
    """Whether the layers have seen it; else a hook has kept it."""
    before: TcpInfo | None = None
    after: TcpInfo | None = None
    listened: bool = False
    """Whether a listener was behind its port."""
    counted: dict[str, int] = field(default_factory=dict)
    causes: list[str] = field(default_factory=list)
    arrivals: list[Record] = field(default_factory=list)
    answers: list[Record] = field(default_factory=list)
    injected: bool = False

    @property
    def packet_octets(self) -> bytes:
        """Without the link's header."""
        return self.octets[14:]


@dataclass(slots=True, eq=False)
class Pass:
    """One look of the output pass, or of a timer, at a connection."""

    at: Nanoseconds
    before: TcpInfo
    after: TcpInfo
    causes: list[str]
    arrivals: list[Record]
    counted: dict[str, int]
    owed: int = field(init=False)
    """How many of the segments that it has sent have not been seen leaving."""

    def __post_init__(self) -> None:
        self.owed = self.after.segs_out - self.before.segs_out
