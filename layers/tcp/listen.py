"""A listening socket: its half-open children (the SYN queue) and those that wait for `accept`.

RFC 9293 section 3.10.1 and 3.10.7.2. Both queues are bounded (4987): `backlog` rules the accept queue, which
is first in, first out, and a SYN that would overflow either is dropped, so that the peer tries again.
"""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING

from scapystack.base.addr import endpoint_text
from scapystack.base.events import Endpoint
from scapystack.base.segment import ACK, RST, SYN, Segment
from scapystack.base.types import Address
from scapystack.layers.tcp import handshake
from scapystack.layers.tcp.state import SYN_RECEIVED
from scapystack.layers.tcp.tcb import Options

if TYPE_CHECKING:
    from scapystack.layers.tcp.demux import Tcp
    from scapystack.layers.tcp.tcb import Tcb
    from scapystack.layers.tcp.user import Connection


class Listener(Endpoint):
    """What `Tcp.listen` returns. `options` are inherited by the connections it accepts."""

    __slots__ = ("backlog", "half_open", "local_addr", "local_port", "open", "options", "queue", "reuse", "tcp")

    def __init__(self, tcp: Tcp, local: Address, port: int, backlog: int, reuse: bool = False) -> None:
        super().__init__()
        self.tcp = tcp
        self.local_addr = local
        self.local_port = port
        self.backlog = max(backlog, 1)
        self.reuse = reuse
        self.options = Options.of(tcp.config)
        self.half_open: dict[tuple[Address, int, Address, int], Tcb] = {}
        self.queue: deque[Connection] = deque()
        self.open = True

    # -- the application ---------------------------------------------------------------------------

    @property
    def readable(self) -> bool:
        """Whether `accept` would give a connection."""
        return bool(self.queue)

    def accept(self) -> Connection | None:
        """The connection that has waited longest, or None."""
        if not self.queue:
            return None
        connection = self.queue.popleft()
        connection.listener = None
        return connection

    def close(self) -> None:
        """Stop listening. What was not accepted is reset (as BSD and Linux do)."""
        if not self.open:
            return
        self.open = False
        self.tcp.unlisten(self)
        for child in [*self.half_open.values(), *self.queue]:
            child.listener = None
            self.tcp.reset(child, 0)
        self.half_open.clear()
        self.queue.clear()

    # -- segments ----------------------------------------------------------------------------------

    def segment_arrives(self, seg: Segment) -> None:
        """RFC 9293 section 3.10.7.2: a segment for the port, of no connection."""
        counters = self.tcp.core.counters
        flags = seg.flags
        if flags & RST:
            counters["tcp.drop.rst_listen"] += 1
        elif flags & ACK:
            self.tcp.send_rst_for(seg)
        elif flags & SYN and not flags & 1:
            self._open(seg)
        else:
            counters["tcp.drop.listen_flags"] += 1

    def _open(self, seg: Segment) -> None:
        tcp = self.tcp
        counters = tcp.core.counters
        if len(self.queue) >= self.backlog:
            counters["tcp.drop.accept_queue"] += 1
            return
        if len(self.half_open) >= tcp.config.max_syn_backlog:
            counters["tcp.drop.syn_queue"] += 1
            return
        child = tcp.child(self, seg)
        if child is None:
            return
        child.listener = self
        self.half_open[child.key] = child
        handshake.take_syn(child, seg)
        child.move(SYN_RECEIVED)
        child.syn_pending = True
        child.mark_dirty()

    def admit(self, child: Tcb) -> bool:
        """The child's handshake is complete: queue it. False if there is no room; the ACK is then ignored."""
        if len(self.queue) >= self.backlog:
            self.tcp.core.counters["tcp.drop.accept_queue"] += 1
            return False
        self.half_open.pop(child.key, None)
        self.queue.append(child)  # type: ignore[arg-type]  # a child is made as a Connection
        self.tcp.core.mark_ready(self)
        return True

    def forget(self, child: Tcb) -> None:
        """The child ended before it was accepted."""
        if self.half_open.pop(child.key, None) is None and child in self.queue:
            self.queue.remove(child)  # type: ignore[arg-type]

    def __repr__(self) -> str:
        where = endpoint_text(self.local_addr, self.local_port)
        return f"<Listener {where} queue={len(self.queue)}/{self.backlog} half-open={len(self.half_open)}>"
