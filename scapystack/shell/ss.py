"""`ss`: sockets, with the columns and the words of iproute2's; `-K` ends those that are chosen."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import click

from scapystack.base.addr import ANY4, ip
from scapystack.base.errors import ConfigError
from scapystack.layers.tcp.info import ECN, ECN_SEEN, SACK, TS, UNLIMITED, WSCALE, TcpInfo
from scapystack.layers.tcp.listen import Listener
from scapystack.layers.tcp.state import STATE_NAMES, TIME_WAIT
from scapystack.layers.tcp.user import Connection
from scapystack.shell.facts import duration
from scapystack.shell.params import port as parse_port
from scapystack.shell.session import Session
from scapystack.stack import NetStack

_NAMES = {"ESTABLISHED": "ESTAB", "SYN-RECEIVED": "SYN-RECV"}
_SYNCHRONIZED = {"ESTAB", "FIN-WAIT-1", "FIN-WAIT-2", "TIME-WAIT", "CLOSE-WAIT", "LAST-ACK", "CLOSING"}
_GROUPS = {
    "all": None,
    "connected": _SYNCHRONIZED | {"SYN-SENT", "SYN-RECV"},
    "synchronized": _SYNCHRONIZED,
    "listening": {"LISTEN", "UNCONN"},
}
_TIMERS = (("rtx", "on"), ("persist", "persist"), ("wait", "timewait"), ("keepalive", "keepalive"))
End = tuple[bytes, int]


@dataclass(slots=True)
class Row:
    """One socket. `recv_q` and `send_q` as ss has them: of a listener those that wait, and the backlog."""

    netid: str
    state: str
    recv_q: int
    send_q: int
    local: End
    peer: End
    endpoint: Any
    info: TcpInfo | None = None
    user: str = ""
    memory: dict[str, int] = field(default_factory=dict)


class Shown(NamedTuple):
    """What was asked to be shown of each."""

    processes: bool
    info: bool
    extended: bool
    options: bool
    memory: bool
    oneline: bool
    bare: bool


@click.command("ss", context_settings={"ignore_unknown_options": False})
@click.option("-t", "--tcp", is_flag=True, help="TCP.")
@click.option("-u", "--udp", is_flag=True, help="UDP.")
@click.option("-w", "--raw", is_flag=True, help="Raw IP, and who pings.")
@click.option("-a", "--all", "every", is_flag=True, help="Also those that listen, and TIME-WAIT.")
@click.option("-l", "--listening", is_flag=True, help="Only those that listen.")
@click.option("-n", "--numeric", is_flag=True, help="Numbers instead of names (always so).")
@click.option("-p", "--processes", is_flag=True, help="Who holds it: a service, a socket of the program, the shell.")
@click.option("-i", "--info", is_flag=True, help="What TCP knows of the connection.")
@click.option("-e", "--extended", is_flag=True, help="The variables of RFC 9293.")
@click.option("-o", "--options", is_flag=True, help="Timers.")
@click.option("-m", "--memory", is_flag=True, help="What waits, and what may.")
@click.option("-O", "--oneline", is_flag=True, help="All of a socket on one line.")
@click.option("-H", "--no-header", "bare", is_flag=True, help="No heading.")
@click.option("-s", "--summary", is_flag=True, help="Only how many there are.")
@click.option("-4", "--ipv4", is_flag=True, help="IPv4 (all there is so far).")
@click.option("-6", "--ipv6", is_flag=True, help="IPv6 (none so far).")
@click.option("-x", "--unix", is_flag=True, help="UNIX sockets (a stack has none).")
@click.option("-K", "--kill", is_flag=True, help="End those that the filter chooses, with a RST.")
@click.argument(
    "words", nargs=-1, metavar="[state STATE] [src|dst ADDR[:PORT]] [sport|dport = :PORT] [and|or|not] [( )]"
)
@click.pass_obj
def ss_command(
    session: Session, tcp: bool, udp: bool, raw: bool, every: bool, listening: bool, numeric: bool, processes: bool,
    info: bool, extended: bool, options: bool, memory: bool, oneline: bool, bare: bool, summary: bool, ipv4: bool,
    ipv6: bool, unix: bool, kill: bool, words: tuple[str, ...],
) -> int:  # fmt: skip
    """Show sockets. Without -a those that are connected; all kinds unless some are named.

    \b
      ss -tan                          ss -tiop dst 10.0.0.2
      ss -t state established          ss -K dst 10.0.0.2 dport = :80
    """
    states, tests = _filter(words)
    shown = Shown(processes, info, extended, options, memory, oneline, bare)
    kinds = {kind for kind, asked in (("tcp", tcp), ("udp", udp), ("raw", raw)) if asked}
    if not kinds and not unix and (ipv4 or not ipv6):
        kinds = {"tcp", "udp", "raw"}
    if ipv6 and not ipv4:
        kinds.clear()
    if kill and not (tests or states):
        raise click.UsageError("-K needs a filter: which of them (dst ADDR, state STATE, ...)")
    if states is None and not every:
        states = _GROUPS["listening"] if listening else _GROUPS["connected"]
        if not listening and states:
            states = states - {"TIME-WAIT", "SYN-RECV"}
    with session.net() as net:
        if summary:
            _summary(session, net)
            return 0
        rows = [
            row
            for row in _rows(net, kinds)
            if (states is None or row.state in states) and all(test(row) for test in tests)
        ]
        for row in rows:
            _fill(row, shown)
        if kill:
            _kill(net, rows)
    if kill and not rows:
        return 1
    _print(session, rows, kinds, shown)
    return 0


# -- which ---------------------------------------------------------------------------------------------


def _rows(net: NetStack, kinds: set[str]) -> Iterator[Row]:
    if "raw" in kinds:
        for endpoints in net.raw.endpoints.values():
            for raw in endpoints:
                yield Row("raw", "UNCONN", raw.waiting, 0, (raw.local_addr, raw.proto), (ANY4, 0), raw)
        for ident, pinger in net.icmp.endpoints.items():
            yield Row("icmp", "UNCONN", 0, 0, (ANY4, ident), (ANY4, 0), pinger)
    if "udp" in kinds:
        for end in sorted(net.udp.endpoints, key=lambda e: (e.local_port, e.local_addr)):
            state = "UNCONN" if end.remote_addr is None else "ESTAB"
            peer = (end.remote_addr or ANY4, end.remote_port)
            yield Row("udp", state, end.waiting, 0, (end.local_addr, end.local_port), peer, end)
    if "tcp" in kinds:
        for listener in sorted(net.tcp.listeners.values(), key=lambda e: (e.local_port, e.local_addr)):
            local = (listener.local_addr, listener.local_port)
            yield Row("tcp", "LISTEN", len(listener.queue), listener.backlog, local, (ANY4, 0), listener)
        for c in net.tcp.connections.values():
            name = STATE_NAMES[c.state]
            local, peer = (c.local_addr, c.local_port), (c.remote_addr, c.remote_port)
            yield Row("tcp", _NAMES.get(name, name), c.available, c.unsent, local, peer, c)


Test = Callable[[Row], bool]


def _filter(words: Sequence[str]) -> tuple[set[str] | None, list[Test]]:
    """The states, and a test for the rest. Raises UsageError, ConfigError."""
    states: set[str] | None = None
    given = iter(" ".join(words).replace("(", " ( ").replace(")", " ) ").split())  # quoted or not
    left = deque[str]()
    for word in given:
        if word != "state":
            left.append(word)
            continue
        name = next(given, None)
        if name is None:
            raise click.UsageError("'state' lacks what should follow it")
        more = _states(name)
        states = more if states is None else states | (more or set())
    if not left:
        return states, []
    test = _either(left)
    if left:
        raise click.UsageError(f"what is {left[0]!r}? It does not belong to the filter")
    return states, [test]


def _either(left: deque[str]) -> Test:
    test = _both(left)
    while left and left[0] in ("or", "||", "|"):
        left.popleft()
        one, other = test, _both(left)
        test = lambda row, one=one, other=other: one(row) or other(row)  # type: ignore[misc] # noqa: E731
    return test


def _both(left: deque[str]) -> Test:
    test = _one(left)
    while left and left[0] not in ("or", "||", "|", ")"):
        if left[0] in ("and", "&&", "&"):
            left.popleft()
        one, other = test, _one(left)
        test = lambda row, one=one, other=other: one(row) and other(row)  # type: ignore[misc] # noqa: E731
    return test


def _one(left: deque[str]) -> Test:
    word = left.popleft() if left else ""
    if word in ("not", "!"):
        test = _one(left)
        return lambda row: not test(row)
    if word == "(":
        test = _either(left)
        if not left or left.popleft() != ")":
            raise click.UsageError("a '(' lacks its ')'")
        return test
    if word not in ("src", "dst", "sport", "dport"):
        raise click.UsageError(f"what is {word!r}? state, src, dst, sport or dport was expected")
    differs = bool(left) and left[0] in ("!=", "neq", "ne")
    if left and (differs or left[0] in ("=", "==", "eq")):
        left.popleft()
    if not left:
        raise click.UsageError(f"{word!r} lacks what should follow it")
    value = left.popleft()
    which, text = ("src" if word[0] == "s" else "dst"), value if word in ("src", "dst") else f":{value.lstrip(':')}"
    test = _end_test(which, text)
    return (lambda row: not test(row)) if differs else test


def _states(name: str) -> set[str] | None:
    name = name.lower()
    if name in _GROUPS:
        group = _GROUPS[name]
        return None if group is None else set(group)
    known = {"established": "ESTAB", "listening": "LISTEN", "closed": "UNCONN"} | {
        each.lower(): each for group in _GROUPS.values() if group for each in group
    }
    if name not in known:
        raise ConfigError(f"no state {name!r}; one of: {', '.join(sorted({*known, *_GROUPS}))}")
    return {known[name]}


def _end_test(which: str, text: str) -> Test:
    """`ADDR`, `ADDR:PORT` or `:PORT` of the local (`src`) or the other end."""
    host, colon, number = text.rpartition(":") if ":" in text else (text, "", "")
    address = None if host in ("", "*") else ip(host)
    port = parse_port(number) if colon and number not in ("", "*") else None

    def test(row: Row) -> bool:
        end = row.local if which == "src" else row.peer
        return (address is None or end[0] == address) and (port is None or end[1] == port)

    return test


def _fill(row: Row, shown: Shown) -> None:
    """What needs the lock."""
    end = row.endpoint
    row.user = holder(end)
    if isinstance(end, Connection) and (shown.info or shown.extended or shown.options):
        row.info = end.info()
    if not shown.memory:
        return
    if isinstance(end, Connection):
        row.memory = {"r": len(end.recvq) + end.ooo.size, "rb": end.options.rcvbuf}
        row.memory |= {"t": end.flight, "tb": end.options.sndbuf, "w": len(end.sendbuf)}
    elif isinstance(end, Listener):
        row.memory = {"r": 0, "rb": end.options.rcvbuf, "t": 0, "tb": end.options.sndbuf, "w": 0}
    else:
        row.memory = {"r": row.recv_q, "rb": end.rcvbuf} if hasattr(end, "rcvbuf") else {"r": row.recv_q}


def holder(endpoint: Any) -> str:
    """Who is told when it is ready: a service by its name, a socket, the shell; empty for nobody any more."""
    owner = getattr(endpoint.on_ready, "__self__", None)
    if owner is None:
        return ""
    service = getattr(owner, "service", owner)
    name = getattr(service, "name", "")
    kind = type(owner).__name__
    return str(name) or {"Channel": "socket", "Session": "shell"}.get(kind, kind.lower())


def _kill(net: NetStack, rows: list[Row]) -> None:
    for row in rows:
        if isinstance(row.endpoint, Connection):
            if row.endpoint.state == TIME_WAIT:
                net.tcp.close(row.endpoint, 0)
            else:
                row.endpoint.abort()
        elif isinstance(row.endpoint, Listener):
            row.endpoint.close()
            net.core.mark_ready(row.endpoint)
        else:
            row.endpoint.close()
            net.core.mark_ready(row.endpoint)


# -- how it looks ----------------------------------------------------------------------------------------


def _print(session: Session, rows: list[Row], kinds: set[str], shown: Shown) -> None:
    if session.out.json:
        session.out.show([_facts(row, shown) for row in rows], ())
        return
    header = ["State", "Recv-Q", "Send-Q", "Local Address:Port", "Peer Address:Port", ""]
    table = []
    for row in rows:
        words = []
        if shown.processes and row.user:
            words.append(f'users:(("{row.user}"))')
        timer = _timer(row) if shown.options else None
        if timer:
            words.append("timer:(" + ",".join(str(part) for part in timer) + ")")
        table.append([row.state, row.recv_q, row.send_q, _end(row.local), _end(row.peer), " ".join(words)])
    if len(kinds) > 1:
        header.insert(0, "Netid")
        for row, cells in zip(rows, table, strict=True):
            cells.insert(0, row.netid)
    from scapystack.shell.output import columns  # noqa: PLC0415 - beside `session.out.table`, for lines in between

    first, *lines = columns(header, table)
    if not shown.bare:
        session.out.line(first, "bold")
    for row, line in zip(rows, lines, strict=True):
        more = [_words(_extended(row))] if shown.extended else []
        if row.memory:
            more.append("skmem:(" + ",".join(f"{name}{value}" for name, value in row.memory.items()) + ")")
        if shown.info and row.info is not None:
            more.append(_info(row.info))
        session.out.line((" " if shown.oneline else "\n\t ").join([line, *more]))


def _end(end: End) -> str:
    address, port = end
    host = "0.0.0.0" if not any(address) else ".".join(map(str, address))
    return f"{host}:{port or '*'}"


def _timer(row: Row) -> tuple[str, str, int] | None:
    """The timer that runs, how long it has to go, and how often it was due in vain."""
    info = row.info
    if info is None:
        return None
    for name, word in _TIMERS:
        if name in info.due:
            tries = info.retransmits if name == "rtx" else info.probes if name in ("persist", "keepalive") else 0
            return word, duration(info.due[name] * 1_000), tries
    return None


def _extended(row: Row) -> dict[str, Any]:
    info = row.info
    facts: dict[str, Any] = {"sk": f"{id(row.endpoint) & 0xFFFFFF:x}"}
    if info is not None:
        names = ("iss", "irs", "snd_una", "snd_nxt", "snd_wnd", "snd_wl1", "snd_wl2", "rcv_nxt", "rcv_wnd", "ca_state")
        facts |= {name: getattr(info, name) for name in names}
    return facts


def _words(facts: dict[str, Any]) -> str:
    return " ".join(f"{name}:{value}" for name, value in facts.items())


def _rate(octets: float) -> str:
    bits = octets * 8
    for unit, size in (("G", 1e9), ("M", 1e6), ("K", 1e3)):
        if bits >= size:
            return f"{bits / size:.1f}{unit}bps"
    return f"{bits:.0f}bps"


def _info(i: TcpInfo) -> str:
    """The line of `ss -i`."""
    flags = ((TS, "ts"), (SACK, "sack"), (ECN, "ecn"), (ECN_SEEN, "ecnseen"))
    words = [word for bit, word in flags if i.options & bit]
    words.append(i.congestion)
    if i.options & WSCALE:
        words.append(f"wscale:{i.snd_wscale},{i.rcv_wscale}")
    words.append(f"rto:{i.rto / 1000:g}")
    if i.rtt:
        words.append(f"rtt:{i.rtt / 1000:g}/{i.rttvar / 1000:g}")
    words += [f"{name}:{value}" for name, value in _numbers(i) if value]
    if i.rtt:
        words.append(f"send {_rate(i.snd_cwnd * i.snd_mss * 1e6 / i.rtt)}")
    words += [f"lastsnd:{i.last_data_sent}", f"lastrcv:{i.last_data_recv}", f"lastack:{i.last_ack_recv}"]
    if i.pacing_rate != UNLIMITED:
        words.append(f"pacing_rate {_rate(i.pacing_rate)}")
    if i.delivery_rate:
        words.append(f"delivery_rate {_rate(i.delivery_rate)}")
    words.append(f"delivered:{i.delivered}")
    if i.delivery_rate_app_limited:
        words.append("app_limited")
    if i.busy_time:
        words.append(f"busy:{i.busy_time // 1000}ms")
    if i.retrans or i.total_retrans:
        words.append(f"retrans:{i.retrans}/{i.total_retrans}")
    tail = ("unacked", "lost", "sacked", "dsack_dups", "reord_seen", "rcv_rtt", "rcv_space", "rcv_ssthresh", "notsent")
    for name in tail:
        value = i.notsent_bytes if name == "notsent" else getattr(i, name)
        if value:
            words.append(f"{name}:{value / 1000:g}" if name == "rcv_rtt" else f"{name}:{value}")
    if i.min_rtt:
        words.append(f"minrtt:{i.min_rtt / 1000:g}")
    words.append(f"snd_wnd:{i.snd_wnd}")
    return " ".join(words)


def _numbers(i: TcpInfo) -> Iterator[tuple[str, int]]:
    yield "backoff", i.backoff
    yield "ato", i.ato // 1000
    yield "mss", i.snd_mss
    yield "pmtu", i.pmtu
    yield "rcvmss", i.rcv_mss
    yield "advmss", i.advmss
    yield "cwnd", i.snd_cwnd
    yield "ssthresh", i.snd_ssthresh if i.snd_ssthresh < 0x7FFFFFFF else 0
    for name in ("bytes_sent", "bytes_retrans", "bytes_acked", "bytes_received", "segs_out", "segs_in"):
        yield name, getattr(i, name)
    yield "data_segs_out", i.data_segs_out
    yield "data_segs_in", i.data_segs_in


def _facts(row: Row, shown: Shown) -> dict[str, Any]:
    """One row for a program."""
    facts: dict[str, Any] = {
        "netid": row.netid, "state": row.state, "recv_q": row.recv_q, "send_q": row.send_q,
        "local": _end(row.local), "peer": _end(row.peer), "user": row.user,
    }  # fmt: skip
    timer = _timer(row) if shown.options else None
    if timer:
        facts["timer"] = dict(zip(("name", "in", "tries"), timer, strict=True))
    if row.memory:
        facts["skmem"] = row.memory
    if row.info is not None and (shown.info or shown.extended):
        facts["info"] = {name: getattr(row.info, name) for name in row.info.__dataclass_fields__}
    return facts


def _summary(session: Session, net: NetStack) -> None:
    states: dict[str, int] = {}
    for c in net.tcp.connections.values():
        name = STATE_NAMES[c.state]
        states[_NAMES.get(name, name)] = states.get(_NAMES.get(name, name), 0) + 1
    raw = sum(len(each) for each in net.raw.endpoints.values())
    facts = {
        "tcp": sum(states.values()), "states": states, "listening": len(net.tcp.listeners),
        "orphans": len(net.tcp.orphans), "udp": len(net.udp.endpoints), "raw": raw,
    }  # fmt: skip
    told = ", ".join(f"{name.lower()} {n}" for name, n in sorted(states.items())) or "none"
    session.out.show(
        facts,
        (
            f"TCP:   {facts['tcp']} ({told}; orphaned {facts['orphans']}), listening {facts['listening']}",
            f"UDP:   {facts['udp']}",
            f"RAW:   {raw}",
        ),
    )
