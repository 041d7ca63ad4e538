"""docs/trace.md: every field of a trace, drawn from `layers/tcp/info.py` and the comments in it."""

from __future__ import annotations

import io
import re
import tokenize
from dataclasses import fields
from pathlib import Path

from scapystack.layers.tcp import info
from scapystack.layers.tcp.info import TcpInfo

SOURCE = Path(info.__file__)
DOCUMENT = Path(__file__).parents[2] / "docs" / "trace.md"

HEAD = """\
# Traces

Written by `python -m tests.docs` from `layers/tcp/info.py`: do not edit.

`scapystack run --trace run.jsonl` writes a line of JSON for every event of every TCP connection, with all its
variables. In Python:

```python
from scapystack import Stack
from scapystack.trace import TraceFile, read_trace

with Stack("10.0.0.1/24") as stack:
    with stack.driver.entered() as net:
        trace = TraceFile(net, "run.jsonl")
    with stack.create_server(("", 80)) as server, stack.create_connection(("127.0.0.1", 80)) as client:
        client.sendall(b"hello")
    with stack.driver.entered():
        trace.close()

for event in read_trace("run.jsonl"):
    print(event["at"], event["connection"], event["event"], event["state"], event["snd_cwnd"])
```

`scapystack plot run.jsonl` draws it ([pictures.md](pictures.md)), `jq -c '[.at, .snd_cwnd]' run.jsonl` takes it
apart. A stack that is not traced pays nothing; a traced one less than 0.1 ms an event.

## What happened

| field | meaning |
| --- | --- |
| `at` | when, in nanoseconds since 1970, as in captures |
| `connection` | its number, from 1: each connection has one of its own, also between ports that were used before |
| `event` | `in`, a segment came; `out`, one left; `timer`, a timer was due; `icmp`, an ICMP error came; `state`, the \
connection changed its state |
| `segment` | of `in` and `out`: `flags` in Scapy's letters, `seq`, `ack`, `len` (octets of text), `wnd` as it stands \
in the header, and where they are there `up`, `mss`, `wscale`, `sack` (pairs of edges), `tsval`, `tsecr` |
| `timers` | of `timer`: which (see `due` below) |
| `icmp` | of `icmp`: `type`, `code`, `mtu`, `from` |
| `from`, `to` | of `state`: the states' names as RFC 9293 has them |

A segment is told of once it was processed, with the variables as they stand then; a change of state, with those of
its moment, comes behind the segment or the timer that brought it about. A segment that leaves is told of as it leaves.
What came in one read, in order, is one segment here as it is for TCP. `rtx`, `pace`, `probe`, `reorder`, `delack`,
`persist`, `keepalive` and `wait` are the timers: retransmission, pacing, loss probe, RACK's reordering, delayed ACK,
window probe, keep-alive, and TIME-WAIT or FIN-WAIT-2.

## The variables

Also what `connection.info()` answers. """


def comments() -> dict[str, str]:
    """What stands beside each field."""
    fields_at = {n: m[1] for n, line in enumerate(_lines(), 1) if (m := re.match(r"    (\w+): ", line))}
    tokens = tokenize.generate_tokens(io.StringIO(SOURCE.read_text()).readline)
    return {
        fields_at[t.start[0]]: t.string.lstrip("# ")
        for t in tokens
        if t.type == tokenize.COMMENT and t.start[0] in fields_at
    }


def _lines() -> list[str]:
    return SOURCE.read_text().splitlines()


def render() -> str:
    """The whole document."""
    said = comments()
    rows = [("field", "meaning"), ("---", "---"), *((f"`{f.name}`", said.get(f.name, "")) for f in fields(TcpInfo))]
    title = (TcpInfo.__doc__ or "").strip()
    return f"{HEAD}{title}\n\n" + "\n".join(f"| {' | '.join(cells)} |" for cells in rows) + "\n"
