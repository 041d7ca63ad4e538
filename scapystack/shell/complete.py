"""What completes a line: commands, their options and words, and what there is on the stack just now."""

from __future__ import annotations

import click

from scapystack.base.addr import endpoint_text
from scapystack.base.errors import ConfigError
from scapystack.shell.session import JSON, Session
from scapystack.shell.table import COMMANDS, CONNECTIONS, IFACES, LOCALS, NAMES, SETTINGS, STATES, Entry, find

_AFTER = {
    "dev": IFACES,
    "state": STATES,
    "src": LOCALS,
    "dst": CONNECTIONS,
    "dport": "=",
    "sport": "=",
    "via": "",
    "lladdr": "",
}
"""What follows a word, whatever else there is."""
_IP = ("addr link neigh route", "add del flush get replace set show")
"""The first two words behind `ip`; keywords follow."""
_STATES = ("all", "connected", "established", "listening", "syn-sent", "time-wait", "close-wait", "fin-wait-1")


def complete(session: Session, line: str) -> list[str]:
    """The words that may stand where the line ends, in place of the last one that was begun."""
    command = line.rpartition(";")[2].lstrip()
    words = command.split()
    begun = "" if not command or command[-1].isspace() else words.pop()
    if not words:
        return _fit(begun, COMMANDS)
    try:
        entry = find(words[0])
    except ConfigError:
        return []
    if begun.startswith("-"):
        return _fit(begun, _options(entry))
    return _fit(begun, _words(session, _expected(entry, words)))


def _expected(entry: Entry, words: list[str]) -> str:
    """What may follow these words: words, and those that stand for what there is."""
    last = words[-1]
    for param in entry.load().params:
        if isinstance(param, click.Option) and last in param.opts and not param.is_flag:
            return IFACES if param.metavar == "IFACE" else ""
    if entry.name in ("ip", "ss") and last in _AFTER:
        return _AFTER[last]
    if entry.name == "ip":
        given = sum(not word.startswith("-") for word in words[1:])
        if given < len(_IP):
            return _IP[given]
    return entry.words


def _fit(begun: str, words: object) -> list[str]:
    assert hasattr(words, "__iter__")
    return sorted({word for word in words if word.startswith(begun)})


def _options(entry: Entry) -> list[str]:
    found = [name for param in entry.load().params if isinstance(param, click.Option) for name in param.opts]
    return [*found, JSON[0]] if entry.json else found


def _words(session: Session, expected: str) -> list[str]:
    found: list[str] = []
    for word in expected.split():
        if word == NAMES:
            found += COMMANDS
        elif word == SETTINGS:
            found += session.driver.stack.config.names()
        elif word == STATES:
            found += _STATES
        elif word == IFACES:
            with session.net() as net:
                found += [iface.name for iface in net.interfaces]
        elif word == CONNECTIONS:
            with session.net() as net:
                found += [endpoint_text(c.remote_addr, c.remote_port) for c in net.tcp.connections.values()]
        elif word == LOCALS:
            with session.net() as net:
                found += [endpoint_text(c.local_addr, c.local_port) for c in net.tcp.connections.values()]
        else:
            found.append(word)
    return found
