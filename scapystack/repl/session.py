"""The names of a session that are no class: `conns`, `explain`, `ls`, `lsc`. `which` knows the stack that they ask."""

from __future__ import annotations

from typing import Any

from scapy.packet import ls as scapy_ls

from scapystack.base.errors import ConfigError
from scapystack.repl.connection import Conn
from scapystack.repl.explanation import Explanation
from scapystack.repl.table import Connections
from scapystack.repl.which import which

_HELP = {
    "use(stack)": "have conns() and explain() ask this stack",
    "conns()": "handles of every connection, as a table",
    "explain(packet)": "what became of a packet, and by which rule",
    "fork(c)": "an independent copy of a connection in virtual time: f.inject(packet), f.advance(seconds)",
    "tb()": "the whole traceback of the last error, of which the console shows a line",
    "ls(c)": "every variable of a connection",
    "stack.connect((host, port))": "open a connection; its handle",
    "stack.listen(port)": "listen; .accept() gives a handle",
    "stack.hook(way, level)": "see, change, drop packets (docs/hooks.md)",
    "c.show(), c.info()": "its variables, in groups or as a table",
    "c.next()": "the segment that would leave now",
    "c.send(packet, account=False)": "send a packet; account=True moves the state as if it had been ours",
    "c.inject(packet)": "as if it had come from the peer; c.from_peer() makes one",
    "c.hold(), c.step(), c.drop(), c.release()": "go segment by segment; c.held is what waits",
    "c.pause_timers()": "stop its clocks; (False) lets them go on",
    "c.rst(), c.fin(), c.keepalive(), c.probe()": "have the stack send one",
    "c.forget()": "drop it without a word on the wire",
    "c.write(data), c.recv(), c.sr1(data)": "the stream; sr1 returns the segment that answers",
    "c.log": "its packets as a PacketList",
    "c.plot(kind)": "a picture: .show() in a window, .save('picture.png')",
}


def conns() -> Connections:
    """Handles of every connection of the stack."""
    return which.stack.conns()


def explain(packet: Any = None) -> Explanation:
    """What became of a packet that the stack has seen. Raises ConfigError."""
    if packet is None:  # nothing given, or a step() in which nothing was sent
        raise ConfigError("explain takes a packet: explain(c.log[-1]), say")
    return which.stack.explain(packet)


def ls(obj: Any = None, *args: Any, **how: Any) -> None:
    """Scapy's `ls`, which knows connections, too."""
    if isinstance(obj, Conn):
        obj.ls()
    else:
        scapy_ls(obj, *args, **how)


def lsc() -> None:
    """Scapy's commands, and ours."""
    from scapy.config import conf  # noqa: PLC0415 - filled by then

    names = {**{command.__name__: _first_line(command) for command in conf.commands}, **_HELP}
    width = max(map(len, names))
    for name, what in names.items():
        print(f"{name:{width}} : {what}")


def _first_line(command: Any) -> str:
    return (command.__doc__ or "").strip().partition("\n")[0]
