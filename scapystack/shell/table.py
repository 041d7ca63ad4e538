"""The table of commands: their names, where they live, what `help` says, and what completes their words.

A command is imported when it is called. `split` takes a line apart: words as in a POSIX shell (quotes, `\\`,
`#` comments), `;` and newlines between commands.
"""

from __future__ import annotations

import shlex
from dataclasses import dataclass
from importlib import import_module

import click

from scapystack.base.counternames import LAYERS
from scapystack.base.errors import ConfigError

LEVELS = ("dev", "l2", "arp", "ip", "icmp", "udp", "tcp", "tcpstate", "all")
IFACES, CONNECTIONS, LOCALS = "<iface>", "<connection>", "<local>"
SETTINGS, NAMES, STATES = "<setting>", "<command>", "<state>"
"""Words that stand for what there is on the stack just now, in the lists for completion."""


@dataclass(frozen=True, slots=True)
class Entry:
    """One command. `words` are those that may stand in it, beside options; `json`: it can say it as JSON."""

    name: str
    module: str
    group: str
    about: str
    words: str = ""
    json: bool = False

    def load(self) -> click.Command:
        """The command itself: the function of its name in its file."""
        command: click.Command = getattr(import_module(f"scapystack.shell.{self.module}"), f"{self.name}_command")
        return command


_IP = "addr link route neigh show add del flush replace get set dev via metric lladdr default up down mtu type tap"
_FILTER = "host net port src dst tcp udp icmp arp and or not"
_SS = "state src dst sport dport"
_CONN = "show close abort none"
_IMPAIR = "in out loss burst delay jitter reorder duplicate corrupt mark rate queue off"
_ENTRIES = (
    Entry("help", "basics", "the shell", "What commands there are, or how one is called.", NAMES),
    Entry("clear", "basics", "the shell", "Clear the screen."),
    Entry("exit", "basics", "the shell", "Leave (as Ctrl-D does)."),
    Entry("debug", "debug", "packets", "Show the flow of packets and changes of state.", " ".join(LEVELS)),
    Entry("tcpdump", "tcpdump", "packets", "Show packets, or write them to a file.", f"{_FILTER} {IFACES}"),
    Entry("ping", "ping", "asking", "Send echo requests."),
    Entry("ping2", "ping", "asking", "The same through a raw socket, each packet made and read by Scapy."),
    Entry("arping", "arping", "asking", "Ask for a hardware address, and time the answers.", IFACES),
    Entry("traceroute", "traceroute", "asking", "Which routers lead to a host."),
    Entry("arpcache", "tables", "tables", "The neighbours.", json=True),
    Entry("route", "tables", "tables", "The routing table.", json=True),
    Entry("ifconfig", "tables", "tables", "The interfaces; up and down switch one.", f"{IFACES} up down", json=True),
    Entry("stat", "tables", "tables", "What happened, and what was dropped and why.", " ".join(LAYERS), json=True),
    Entry("nstat", "tables", "tables", "The same since the last time, under full names.", json=True),
    Entry("ip", "ip", "tables", "Addresses, links, routes and neighbours.", f"{_IP} {IFACES}", json=True),
    Entry("ss", "ss", "connections", "Sockets: who talks, who listens.", f"{_SS} {STATES} {CONNECTIONS}", json=True),
    Entry(
        "conn",
        "conn",
        "connections",
        "List connections, pick one, look at it, end it.",
        f"{_CONN} {CONNECTIONS}",
        json=True,
    ),
    Entry("top", "top", "connections", "A live view of connections: rates, window, round trip.", json=True),
    Entry("nc", "nc", "talking", "Join this terminal to a connection, or to a UDP socket."),
    Entry("snc", "nc", "talking", "The same in tapip's words."),
    Entry("curl", "curl", "talking", "Fetch a page over HTTP or HTTPS.", "http:// https://"),
    Entry("set", "settings", "settings", "Show and change settings, live.", SETTINGS, json=True),
    Entry("sysctl", "settings", "settings", "The same in the words of sysctl(8).", SETTINGS, json=True),
    Entry(
        "impair",
        "impair",
        "settings",
        "Have a link lose, delay or reorder what passes.",
        f"{IFACES} {_IMPAIR}",
        json=True,
    ),
)

COMMANDS = {entry.name: entry for entry in _ENTRIES}
ALIASES = {"?": "help", "quit": "exit", "arp": "arpcache"}


def find(name: str) -> Entry:
    """The command of that name, or the only one that begins so. Raises ConfigError."""
    name = ALIASES.get(name, name)
    if name in COMMANDS:
        return COMMANDS[name]
    near = [known for known in COMMANDS if known.startswith(name)]
    if len(near) == 1:
        return COMMANDS[near[0]]
    if not near:
        from difflib import get_close_matches  # noqa: PLC0415 - for a mistake alone

        near = get_close_matches(name, COMMANDS)
    about = f"it could be {', '.join(near)}" if near else "help lists those there are"
    raise ConfigError(f"there is no such command; {about}")


def split(line: str) -> list[list[str]]:
    """The commands of a line, each as its words. Raises ConfigError for a quote that does not end."""
    commands: list[list[str]] = [[]]
    for text in line.splitlines():
        lexer = shlex.shlex(text, posix=True, punctuation_chars=";")
        lexer.whitespace_split = True
        try:
            words = list(lexer)
        except ValueError:
            raise ConfigError(f"a quote without its end: {text.strip()}") from None
        for word in words:
            if word.strip(";"):
                commands[-1].append(word)
            else:
                commands.append([])
        commands.append([])
    return [words for words in commands if words]
