"""`Port`: a place on a link that a program holds in its own hands, with no stack behind it.

Frames that arrive there are kept, or given to `on_frame`; `send` puts one on the link. It is how a test plays a
peer, and how a capture is played back. Read `link` first.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from scapystack.base.frames import Frame
from scapystack.base.types import Buffer
from scapystack.codec.packets import frame_of

if TYPE_CHECKING:
    from scapystack.runtime.virtual import Event
    from scapystack.sim.link import End
    from scapystack.sim.network import Network

_ALL = 1 << 30


class Port:
    """Made by `Network.port`, put on a link by `Network.link`; it has an address only in the books of the network."""

    router = False

    def __init__(self, network: Network, name: str) -> None:
        self.network = network
        self.name = name
        self.ends: list[End] = []
        self.received: list[Frame] = []
        """What has arrived; `frame.at` is when, `frame.packet` its Scapy packet."""
        self.on_frame: Callable[[Frame], None] = self.received.append
        self._next: Event | None = None

    def join(self, end: End, address: str | None) -> None:
        """Meet a link there. (`Network.link` calls it.) Raises ValueError for a second one."""
        if self.ends:
            raise ValueError(f"{self.name} is on {self.ends[0].link.name} already")
        self.ends.append(end)
        end.on_input = self._expect

    def send(self, packet: Frame | Buffer | Any) -> None:
        """Put a frame on the link, given as a `Frame`, as octets or as a Scapy packet, exactly as it stands."""
        end = self.ends[0]
        if not isinstance(packet, Frame):
            packet = frame_of(packet)
        end.advance(self.network.simulation.now)
        end.write([packet])

    def _expect(self) -> None:
        """Be there when the next frame arrives."""
        at = self.ends[0].next_at()
        if self._next is not None:
            self._next.cancel()
        self._next = None if at is None else self.network.simulation.at(at, self._arrive)

    def _arrive(self) -> None:
        end = self.ends[0]
        now = self.network.simulation.now
        end.advance(now)
        for frame in end.read(_ALL):
            frame.at = now
            self.on_frame(frame)
        self._expect()

    def __repr__(self) -> str:
        return f"<Port {self.name}>"
