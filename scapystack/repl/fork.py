"""`fork`: an independent copy of a connection on a stack of its own, in virtual time, the other end in your hand.

The copy has the state, the queues and the timers of the original as they stand, and nobody else: no application, no
peer. What it sends lies in `sent`; what one gives to `inject` comes from its peer. Read `live` first.
"""

from __future__ import annotations

import copy
from dataclasses import fields
from typing import TYPE_CHECKING, Any

from scapystack.base.addr import Prefix
from scapystack.base.config import StackConfig
from scapystack.base.errors import ConfigError
from scapystack.base.types import SECOND
from scapystack.layers.tcp.state import CLOSED
from scapystack.layers.tcp.tcb import NEVER
from scapystack.layers.tcp.user import Connection
from scapystack.link.memory import MemoryLink
from scapystack.repl.connection import Conn
from scapystack.repl.packets import ip_of
from scapystack.runtime.virtual import Simulation

if TYPE_CHECKING:
    from scapystack.repl.live import Stack

_PEER_MAC = b"\2\0\0\0\0\2"


class Fork(Conn):
    """A copy. Everything that `Conn` has; `inject` returns what the copy answers."""

    def __init__(self, original: Conn) -> None:
        """Not for applications: they call `fork`."""
        from scapystack.repl.live import Stack  # noqa: PLC0415 - it makes handles, this is one

        with original.stack.driver.entered() as net:
            source = original.connection
            now = net.core.now
            config = _config_of(net.config)
            config.tcp.coalesce = False
            simulation = Simulation(now)
            stack = Stack(config=config, seed=0, codec=net.core.codec, simulation=simulation, observe=False)
            here, there = MemoryLink.pair(("fork0", "peer0"))
            here.mtu = there.mtu = source.route.iface.mtu
            made = _copy(source, stack, here)
        super().__init__(stack, made)
        self._peer = there
        self._simulation = simulation

    def sent(self) -> list[Any]:
        """Take what the copy has sent since the last time: IP packets, in order."""
        self._peer.advance(self._simulation.now)
        packets = []
        while frames := self._peer.read():
            packets += [ip_of(frame.data, frame.at) for frame in frames]
        return packets

    def inject(self, packet: Any) -> list[Any]:
        """Have a packet come from the peer; what the copy sends at once, as IP packets.

        Raises ConfigError for what is no packet.
        """
        self.sent()
        super().inject(packet)
        return self.sent()

    def advance(self, seconds: float) -> list[Any]:
        """Let virtual time pass; what the copy's timers have it send."""
        self._simulation.run_for(round(seconds * SECOND))
        return self.sent()

    def to_next_timer(self) -> list[Any]:
        """Let time pass up to the connection's next deadline and through it; what it sends."""
        at = self.connection.next_at()
        return [] if at is None else self.advance(max(at - self._simulation.now, 0) / SECOND + 1e-9)

    def discard(self) -> None:
        """Let go of the stack that was made for it."""
        self._simulation.close()


def _config_of(config: StackConfig) -> StackConfig:
    """A copy: sections of plain values, so that a shallow copy of each is all."""
    return StackConfig(**{section.name: copy.copy(getattr(config, section.name)) for section in fields(config)})


def _copy(source: Connection, stack: Stack, link: MemoryLink) -> Connection:
    """`source` on another stack, whose interface is `link`'s."""
    old, new = source.tcp, stack.net.tcp
    net = stack.net
    iface = stack.attach(link)
    if not net.ipv4.is_local(source.local_addr):
        net.add_address(iface, (source.local_addr, 32))
    if not net.ipv4.is_local(source.remote_addr):
        net.add_route(Prefix(source.remote_addr, 32), iface=iface)
        net.arp.add_static(iface, source.remote_addr, _PEER_MAC)
    net.enter(old.core.now)
    memo: dict[int, Any] = {
        id(old): new, id(source.core): new.core, id(source.config): new.config, id(old.memory): new.memory,
        id(source.route): new.ip.route(source.remote_addr, source.local_addr),
    }  # fmt: skip
    for alone in (source.on_ready, source.listener):  # what stays behind
        if alone is not None:
            memo[id(alone)] = None
    made = copy.deepcopy(source, memo)
    made.ready_marked, made.held = False, True
    made.heap_at = None
    new.connections[made.key] = made
    new.ports[made.local_port] = 1
    if made.dirty:
        new.dirty.append(made)
    at = made.next_at()
    if at is not None and at != NEVER:
        made.arm(at)
    return made


def fork(c: Conn) -> Fork:
    """An independent copy of a connection, of a copy too. Raises ConfigError for one that has ended."""
    if not isinstance(c, Conn):
        raise ConfigError(f"fork(c) takes the handle of a connection, as conns() has them, not {type(c).__name__}")
    if c.connection.state == CLOSED:
        raise ConfigError("the connection has ended: there is nothing to go on with")
    return Fork(c)
