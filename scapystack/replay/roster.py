"""Who is called in a recorded stack: layers and endpoints under numbers that a rerun gives them again.

Endpoints get their numbers as they come into being, so the same order of events gives the same numbers. What an
application may call is a method of `CALLS`, or the setting of an attribute; whatever else the layers do follows from
that. A recorded object is one of a class made for it here, so that a stack nobody records pays nothing.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from typing import Any

from scapystack.base.iface import Interface
from scapystack.layers.arp import Arp
from scapystack.layers.icmp import Icmp, PingEndpoint
from scapystack.layers.raw import RawEndpoint, RawIp
from scapystack.layers.routing import RouteEntry, RoutingTable
from scapystack.layers.tcp.demux import Tcp
from scapystack.layers.tcp.listen import Listener
from scapystack.layers.tcp.tcb import Options
from scapystack.layers.tcp.user import Connection
from scapystack.layers.udp import Udp, UdpEndpoint
from scapystack.stack import NetStack

CALLS: dict[type, tuple[str, ...]] = {
    NetStack: (
        "add_interface", "remove_interface", "set_up", "add_address", "remove_address", "join_group", "leave_group",
        "add_route", "remove_route",
    ),
    Tcp: ("reserve", "unreserve", "listen", "connect"),
    Udp: ("bind",),
    Icmp: ("open", "ping"),
    RawIp: ("open",),
    RoutingTable: ("add", "remove", "touch"),
    Arp: ("add_static", "remove", "flush", "request", "announce", "probe"),
    Connection: (
        "write", "write_urgent", "read", "read_into", "views", "discard", "peek", "read_urgent", "shutdown_write",
        "shutdown_read", "close", "abort", "take_error_as_exception", "options_changed",
    ),
    Listener: ("accept", "close"),
    UdpEndpoint: ("connect", "send", "recv", "recv_message", "peek", "close"),
    RawEndpoint: ("recv", "send", "close"),
    PingEndpoint: ("send", "recv", "close"),
}  # fmt: skip
"""What applications and programs call from outside, by class."""
ENDPOINTS = (Connection, Listener, UdpEndpoint, RawEndpoint, PingEndpoint)
NUMBERED = (*ENDPOINTS, Interface)
"""What gets a number when a call gives it."""
_NOT_OURS = frozenset(("on_ready", "ready_marked", "__class__", "rx_frames", "rx_bytes", "tx_frames", "tx_bytes"))
"""Attributes that drivers and links set, and that change nothing of what the stack does."""

Call = Callable[[Any, str, Callable[..., Any], tuple[Any, ...], dict[str, Any]], Any]
"""(object, name, the plain method, its arguments): the call that was made, to be done and noted."""
Set = Callable[[Any, str, Any], None]
"""(object, attribute, value): an attribute is about to be set."""


class Roster:
    """The numbers of all objects of one stack that are called from outside.

    Layers have the lowest numbers; a connection has one from its SYN on. `called` and `setting` hear of what comes
    from outside of the layers, if they are given.
    """

    def __init__(self, stack: NetStack, called: Call | None = None, setting: Set | None = None) -> None:
        self.depth = 0
        """Above 0 the layers are at work: what they call and set themselves is nobody's business."""
        self._called = called
        self._setting = setting
        self._next = 0
        self._numbers: dict[int, int] = {}  # by id()
        self.objects: dict[int, Any] = {}
        self.gone: list[int] = []
        """Numbers of endpoints that nobody holds any more, for the owner to take note of."""
        self._owners: dict[int, int] = {}  # of Options, by id()
        self._classes = {kind: self._class(kind) for kind in (*CALLS, Options, Interface)}
        layers = (stack, stack.tcp, stack.udp, stack.icmp, stack.raw, stack.arp, stack.routes)
        for thing in (*layers, *stack.interfaces):
            self.add(thing)

    def add(self, thing: Any) -> int:
        """Give an object its number."""
        number = self._next
        self._next += 1
        self._numbers[id(thing)] = number
        if not isinstance(thing, ENDPOINTS) or self._called is None:
            self.objects[number] = thing  # a recorder does not keep endpoints alive
        thing.__class__ = self._classes[type(thing)]
        if isinstance(thing, Connection | Listener):
            self.own(thing.options, number)
        return number

    def number(self, thing: Any) -> int | None:
        """The number of an object; None if it has none."""
        return self._numbers.get(id(thing))

    def own(self, options: Options, owner: int) -> None:
        """These are the options of that endpoint."""
        self._owners[id(options)] = owner
        options.__class__ = self._classes[Options]

    def owner(self, options: Options) -> int | None:
        """The endpoint whose options these are."""
        return self._owners.get(id(options))

    def forget(self, number: int) -> None:
        """Nobody calls this object any more."""
        self.objects.pop(number, None)

    # -- classes ---------------------------------------------------------------------------------------

    def _class(self, kind: type) -> type:
        names: dict[str, Any] = {"__slots__": ()} if "__slots__" in kind.__dict__ else {}
        for name in CALLS.get(kind, ()):
            names[name] = self._method(getattr(kind, name))
        if kind is Tcp:
            names["child"] = self._child(Tcp.child)
        if kind is RoutingTable:
            names["remove_where"] = _remove_where
        if kind in NUMBERED or kind is Options:
            if self._setting is not None:
                names["__setattr__"] = self._setter(kind)
            names["__del__"] = self._finalizer(self._owners if kind is Options else self._numbers)
        return type(f"Recorded{kind.__name__}", (kind,), names)

    def _method(self, plain: Callable[..., Any]) -> Callable[..., Any]:
        roster = self
        name = plain.__name__

        @wraps(plain)
        def call(self: Any, *args: Any, **named: Any) -> Any:
            if roster.depth or id(self) not in roster._numbers:  # none: a copy of a connection (`repl.fork`)
                return plain(self, *args, **named)
            roster.depth += 1
            try:
                if roster._called is not None:
                    return roster._called(self, name, plain, args, named)
                return plain(self, *args, **named)
            finally:
                roster.depth -= 1

        return call

    def _child(self, plain: Callable[..., Any]) -> Callable[..., Any]:
        def child(tcp: Any, *args: Any) -> Any:
            made = plain(tcp, *args)
            if made is not None:
                self.add(made)
            return made

        return child

    def _setter(self, kind: type) -> Callable[[Any, str, Any], None]:
        plain: Any = kind.__setattr__
        known = self._owners if kind is Options else self._numbers

        def set_(thing: Any, name: str, value: Any) -> None:
            if not self.depth and name not in _NOT_OURS and id(thing) in known and self._setting:
                self._setting(thing, name, value)
            plain(thing, name, value)

        return set_

    def _finalizer(self, numbers: dict[int, int]) -> Callable[[Any], None]:
        def finish(thing: Any) -> None:
            number = numbers.pop(id(thing), None)
            if number is not None and numbers is self._numbers:
                self.gone.append(number)

        return finish


def _remove_where(routes: RoutingTable, condition: Callable[[RouteEntry], bool]) -> int:
    """`RoutingTable.remove_where` by calls that can be written down, which a condition cannot."""
    doomed = [entry for entry in routes if condition(entry)]
    for entry in doomed:
        routes.remove(entry.prefix, entry.via, entry.iface, entry.metric)
    return len(doomed)
