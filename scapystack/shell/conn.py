"""`conn`: list connections, pick one, look at all its variables, end it.

The numbers are the session's own and stay with a connection for as long as it lives.
"""

from __future__ import annotations

from typing import Any

import click

from scapystack.base.addr import endpoint_text
from scapystack.base.errors import ConfigError
from scapystack.layers.tcp.state import CLOSED, STATE_NAMES
from scapystack.layers.tcp.user import Connection
from scapystack.shell.session import Session
from scapystack.stack import NetStack

_VERBS = ("show", "close", "abort", "none")


@click.command("conn")
@click.argument("words", nargs=-1, metavar="[N|ADDR:PORT] [show|close|abort|none]")
@click.pass_obj
def conn_command(session: Session, words: tuple[str, ...]) -> None:
    """List connections, or pick one by its number or its peer, and look at it or end it.

    \b
      conn                      list them
      conn 2                    pick the second: the verbs mean it from now on
      conn show                 all its variables
      conn close, conn abort    a FIN behind what is queued; a RST
      conn none                 pick none
    """
    with session.net() as net:
        number_all(session, net)
        left = list(words)
        if left and left[0] not in _VERBS:
            session.picked = _find(session, left.pop(0))
            if not left:
                session.out.show(_facts(session, session.picked), [_line(session, session.picked)])
                return
        if len(left) > 1 or (left and left[0] not in _VERBS):
            raise click.UsageError(f"what is {left[-1]!r}? one of {', '.join(_VERBS)}")
        if not left:
            _list(session)
        elif left[0] == "none":
            session.picked = None
        else:
            _act(session, left[0])


def number_all(session: Session, net: NetStack) -> None:
    """Give a number to each connection that has none; those of connections that have ended are free."""
    numbers = session.numbers
    for number, c in list(numbers.items()):
        if c.state == CLOSED:
            del numbers[number]
    known = {id(c) for c in numbers.values()}
    number = 1
    for c in net.tcp.connections.values():
        if id(c) not in known:
            while number in numbers:
                number += 1
            numbers[number] = c
    if session.picked is not None and session.picked.state == CLOSED:
        session.picked = None


def _find(session: Session, text: str) -> Connection:
    """Raises ConfigError."""
    if text.isdecimal():
        found = [session.numbers[int(text)]] if int(text) in session.numbers else []
    else:
        found = [c for c in session.numbers.values() if endpoint_text(c.remote_addr, c.remote_port) == text]
    if len(found) != 1:
        raise ConfigError(f"{'several connections' if found else 'no connection'} {text}: conn lists them")
    return found[0]


def _number(session: Session, c: Connection) -> int:
    return next(number for number, each in session.numbers.items() if each is c)


def _facts(session: Session, c: Connection) -> dict[str, Any]:
    info = c.info()
    return {
        "No": _number(session, c),
        "State": STATE_NAMES[c.state],
        "Local": info.local,
        "Peer": info.remote,
        "RTT": f"{info.rtt / 1000:.3f}ms" if info.rtt else "-",
        "Cwnd": info.snd_cwnd,
        "Sent": info.bytes_acked,
        "Received": info.bytes_received,
        "Retrans": info.total_retrans,
    }


def _line(session: Session, c: Connection) -> str:
    facts = _facts(session, c)
    return (
        f"#{facts['No']} {facts['Local']} <-> {facts['Peer']} {facts['State']}, round trip {facts['RTT']}, "
        f"sent {facts['Sent']:,}, received {facts['Received']:,} octets"
    )


def _list(session: Session) -> None:
    found = [_facts(session, c) for _, c in sorted(session.numbers.items())]
    header = ("No", "State", "Local", "Peer", "RTT", "Cwnd", "Sent", "Received", "Retrans")
    session.out.table(header, [tuple(facts.values()) for facts in found], right=(0, 4, 5, 6, 7, 8))


def _act(session: Session, verb: str) -> None:
    c = session.picked
    if c is None:
        raise ConfigError("no connection is picked: conn lists them, conn N picks one")
    if verb == "close":
        if c.held:
            c.close()
        return
    if verb == "abort":
        c.abort()
        return
    info = c.info()
    values = {name: getattr(info, name) for name in info.__dataclass_fields__}
    width = max(map(len, values))
    session.out.show(values, (f"{name:<{width}}  {_text(value)}" for name, value in values.items()))


def _text(value: Any) -> str:
    if isinstance(value, dict):
        return ", ".join(f"{name} in {us / 1000:g} ms" for name, us in value.items()) or "none"
    return "-" if value is None else str(value)
