"""docs/counters.md: every counter, drawn from `scapystack/base/counternames.py`."""

from __future__ import annotations

from pathlib import Path

from scapystack.base.counternames import LAYERS, LINUX, MEANINGS

DOCUMENT = Path(__file__).parents[2] / "docs" / "counters.md"

HEAD = """\
# Counters

Written by `python -m tests.docs` from `scapystack/base/counternames.py`: do not edit.

Every event and every reason to drop something is counted by name; what was never counted reads 0:

```python
from scapystack import Stack

with Stack("10.0.0.1/24") as stack:
    print(stack.net.counters["ip.drop.checksum"])  # one
    print(stack.net.counters.drops())  # every reason to drop that there was
    print(stack.net.counters)  # everything that happened
```

A drop (`<layer>.drop.<reason>`) is a packet that went no further, or was not sent. The column Linux names the
counter of `nstat` that counts the same on Linux, from /proc/net/snmp (the names of RFC 1213, RFC 4022, RFC 4113
and RFC 4293) and /proc/net/netstat. Several of ours may be one of Linux's; where there is none, Linux does not
count it by itself.
"""


def render() -> str:
    """The whole document."""
    parts = [HEAD]
    for layer, title in LAYERS.items():
        rows = [("counter", "counts", "Linux"), ("---",) * 3]
        for name, meaning in MEANINGS.items():
            if name.partition(".")[0] == layer:
                rows.append((f"`{name}`", meaning, f"`{LINUX[name]}`" if name in LINUX else ""))
        parts.append(f"## {title}\n")
        parts.append("\n".join(f"| {' | '.join(cells)} |" for cells in rows) + "\n")
    return "\n".join(parts)
