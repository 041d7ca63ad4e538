"""Compiled codec beside Scapy, in one run: what one TCP segment costs to dissect and to build.

    .venv/bin/python -m benchmarks.codec [--json FILE] [--rounds N] [--check]

The segment is Ethernet, IPv4 and TCP with timestamps and 1,448 octets of payload. Both sides do the
same work: dissect every field and option and verify both checksums; put a segment together from its
values and build it, both checksums computed. The two sides take turns, CPU time is what counts, and
the best of all rounds, so that a busy machine slows neither alone. `--check` exits 1 below the goals.
"""

from __future__ import annotations

import argparse
import gc
import json
import platform
import struct
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import scapy
from rich.console import Console
from rich.table import Table
from scapy.layers.inet import IP, TCP
from scapy.layers.l2 import Ether
from scapy.utils import checksum as scapy_checksum

from scapystack.codec import TcpCodec, compile_layers

PAYLOAD = bytes(i * 31 & 255 for i in range(1448))
MACS = {"dst": "02:00:00:00:00:02", "src": "02:00:00:00:00:01"}
OPTIONS = [("NOP", None), ("NOP", None), ("Timestamp", (123_456, 654_321))]
DISSECT_GOAL, BUILD_GOAL = 15, 80

CODEC = TcpCodec()
FUSED = compile_layers(Ether, IP, TCP)
MAC1, MAC2, SRC, DST = b"\2\0\0\0\0\1", b"\2\0\0\0\0\2", b"\x0a\0\0\1", b"\x0a\0\0\2"


def scapy_compose() -> Any:
    """The segment as a Scapy user writes it."""
    return (
        Ether(**MACS)
        / IP(src="10.0.0.1", dst="10.0.0.2")
        / TCP(sport=5000, dport=80, seq=1, ack=2, flags="PA", window=500, options=OPTIONS)
        / PAYLOAD
    )


def scapy_build() -> bytes:
    return bytes(scapy_compose())


def compiled_build() -> bytes:
    return CODEC.build(
        MAC2, MAC1, ip_src=SRC, ip_dst=DST, tcp_sport=5000, tcp_dport=80, tcp_seq=1, tcp_ack=2, tcp_flags=0x18,
        tcp_window=500, tcp_options=OPTIONS, payload=PAYLOAD,
    )  # fmt: skip


DATA = scapy_build()
PACKET = scapy_compose()
FRAME = CODEC.dissect(DATA)
HEADERS = FUSED.decode(DATA)
PSEUDO = SRC + DST + struct.pack("!HH", 6, len(DATA) - 34)


def scapy_dissect() -> Any:
    """Every layer and option, then both checksums with Scapy's own function, the cheapest way there is."""
    packet = Ether(DATA)
    assert scapy_checksum(DATA[14:34]) == 0
    assert scapy_checksum(PSEUDO + DATA[34:]) == 0
    return packet


ROWS: list[tuple[str, Callable[[], Any], Callable[[], Any], int]] = [
    ("dissect, both checksums verified", scapy_dissect, lambda: CODEC.dissect(DATA), DISSECT_GOAL),
    ("compose and build, both checksums", scapy_build, compiled_build, BUILD_GOAL),
    ("dissect (compiled still verifies)", lambda: Ether(DATA), lambda: CODEC.dissect(DATA), 0),
    ("build one composed before", lambda: bytes(PACKET), lambda: CODEC.build(*FRAME), 0),
    ("dissect its 54 octets of headers", lambda: Ether(DATA[:54]), lambda: FUSED.decode(DATA), 0),
    (
        "values as Scapy's (decode_dict)",
        lambda: Ether(DATA[:54]),
        lambda: FUSED.decode_dict(DATA),
        0,
    ),
]


def best(function: Callable[[], Any], seconds: float) -> float:
    """Microseconds a call over one round of about `seconds`."""
    clock = time.thread_time  # not the time that other programs took
    count, spent = 0, 0.0
    block = 1
    while spent < seconds:
        start = clock()
        for _ in range(block):
            function()
        took = clock() - start
        count += block
        spent += took
        if took < seconds / 20:
            block *= 2
    return spent / count * 1e6


def measure(rounds: int, seconds: float = 0.03) -> list[dict[str, Any]]:
    """One dict a row: microseconds of each side, and how many times faster the compiled one is."""
    results = []
    gc.disable()
    try:
        for name, by_scapy, by_compiled, goal in ROWS:
            pairs = [(best(by_scapy, seconds), best(by_compiled, seconds)) for _ in range(rounds)]
            ours, theirs = min(p[1] for p in pairs), min(p[0] for p in pairs)
            row = {"what": name, "scapy_us": round(theirs, 2), "compiled_us": round(ours, 2)}
            results.append(row | {"times": round(theirs / ours, 1), "goal": goal})
            gc.collect()
    finally:
        gc.enable()
    return results


def show(results: list[dict[str, Any]]) -> None:
    """The rows side by side."""
    table = Table(
        title=f"A {len(DATA):,}-octet TCP segment: Scapy {scapy.VERSION} and compiled,"
        f" {platform.python_implementation()} {platform.python_version()}"
    )
    table.add_column("what")
    for heading in ("Scapy", "compiled", "times", "goal"):
        table.add_column(heading, justify="right")
    for row in results:
        goal = f"{row['goal']} {'reached' if row['times'] >= row['goal'] else 'MISSED'}" if row["goal"] else ""
        table.add_row(
            row["what"], f"{row['scapy_us']:,.1f} us", f"{row['compiled_us']:,.2f} us", f"{row['times']:,.0f}", goal
        )
    Console().print(table)


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description="Compiled codec beside Scapy.")
    parser.add_argument("--json", metavar="FILE", help="write the figures there too")
    parser.add_argument("--rounds", type=int, default=20, help="turns of each side (20)")
    parser.add_argument("--check", action="store_true", help="exit 1 if a goal is missed")
    options = parser.parse_args(argv)
    if options.rounds < 1:
        parser.error("--rounds is at least 1")
    assert compiled_build() == DATA, "both sides build the same octets"
    assert CODEC.dissect(DATA).tcp_options == Ether(DATA)[TCP].options
    results = measure(options.rounds)
    show(results)
    if options.json:
        figures = {"python": platform.python_version(), "scapy": scapy.VERSION, "rows": results}
        try:
            Path(options.json).write_text(json.dumps(figures, indent=1) + "\n")
        except OSError as error:
            print(f"benchmarks.codec: {error}", file=sys.stderr)
            return 2
    missed = any(row["times"] < row["goal"] for row in results)
    return 1 if options.check and missed else 0


if __name__ == "__main__":
    sys.exit(main())
