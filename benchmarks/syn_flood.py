"""A flood of SYNs from random sources against a stack on a TAP: who still gets in, and what does it cost?

    .venv/bin/python -m benchmarks.syn_flood [--rate 2000] [--seconds 20] [--near] [--cookies on|off|always]
                                             [--listeners N] [--json]                                (as root)

Three processes: this one runs the stack and its echo service; one in a namespace of its own writes SYNs
into the kernel's end of the TAP; and one there connects ten times a second with the kernel's TCP, and sends
a word over each connection and over one that stood before the flood. The answers to the flood go to
the gateway, which drops them; with `--near` its sources are on the link, so that each has to be asked for
by ARP. Prints the times to connect (with the echo), and the memory and the processor time of this process.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import resource
import socket
import statistics
import struct
import subprocess
import sys
import time
from pathlib import Path

from scapystack.base.addr import ip
from scapystack.base.checksum import checksum, finish, partial_sum, pseudo_sum
from scapystack.base.config import StackConfig
from scapystack.layers.tcp.options import encode_syn
from scapystack.link import netns
from scapystack.link.netlink import Netlink
from scapystack.link.tap import TapLink
from scapystack.sockets.facade import Stack
from scapystack.sockets.services import start_services

US, THEM = "10.0.0.1", "10.0.0.2"
PORT = 7
_SETTLE_S = 0.5


def write_syns(rate: float, seconds: float, near: bool, mac: str, ports: list[int]) -> None:
    """Inside the namespace: SYNs as Linux makes them, from anywhere; prints how many."""
    link = socket.socket(socket.AF_PACKET, socket.SOCK_RAW)
    link.bind(("tap0", 0))
    ethernet = bytes.fromhex(mac) + link.getsockname()[4] + b"\x08\0"
    options = encode_syn(1460, 7, True, (1, 0))
    us = ip(US)
    draw = random.Random(1)

    def syn() -> bytes:
        src = (b"\x0a" if near else b"\xac\x10") + bytes(draw.randrange(1, 255) for _ in range(3 if near else 2))
        ports_and_numbers = (draw.randrange(1_024, 65_536), draw.choice(ports), draw.getrandbits(32), 0)
        head = struct.pack("!BBHHHBBH4s4s", 0x45, 0, 40 + len(options), 0, 0x4000, 64, 6, 0, src, us)
        head = head[:10] + checksum(head).to_bytes(2, "big") + head[12:]
        tcp = struct.pack("!HHIIBBHHH", *ports_and_numbers, 0xA0, 2, 64_240, 0, 0) + options
        total = finish(pseudo_sum(src, us, 6, len(tcp)) + partial_sum(tcp))
        return ethernet + head + tcp[:16] + total.to_bytes(2, "big") + tcp[18:]

    start, sent = time.monotonic(), 0
    while (spent := time.monotonic() - start) < seconds:
        while sent < spent * rate:
            link.send(syn())
            sent += 1
        time.sleep(0.002)
    print(sent)


def connect_again_and_again(seconds: float) -> None:
    """Inside the namespace: an old connection and one new one after the other; prints how long each took."""

    def echo(sock: socket.socket) -> float:
        start = time.monotonic()
        sock.sendall(b"still there?")
        left = 12
        while left:
            left -= len(sock.recv(left)) or sys.exit("the stack has closed a connection")
        return time.monotonic() - start

    old = socket.create_connection((US, PORT), timeout=10)
    echo(old)
    print("ready", flush=True)
    sys.stdin.readline()
    opened, stood, failed = [], [], 0
    start = time.monotonic()
    while (begin := time.monotonic()) - start < seconds:
        try:
            with socket.create_connection((US, PORT), timeout=10) as sock:
                echo(sock)
            opened.append(time.monotonic() - begin)
        except OSError:
            failed += 1
        stood.append(echo(old))
        time.sleep(0.1)
    print(json.dumps({"opened": opened, "stood": stood, "failed": failed}))


def resident() -> int:
    """Octets of memory that this process has now."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * resource.getpagesize()


def program(name: str, *words: object) -> subprocess.Popen[str]:
    """This file again, in another role, inside the namespace."""
    command = [sys.executable, __file__, *map(str, words)]
    return netns.in_namespace(
        name, lambda: subprocess.Popen(command, text=True, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    )


def finished(child: subprocess.Popen[str]) -> str:
    """What a program printed last; raises if it failed."""
    out, _ = child.communicate("go\n")
    if child.returncode:
        raise SystemExit(f"a program ended with {child.returncode}")
    return out.splitlines()[-1]


def flood(stack: Stack, name: str, mac: bytes, words: argparse.Namespace) -> dict[str, object]:
    """Run the flood and the client beside it; everything that was measured."""
    ports = [PORT + n for n in range(words.listeners)]
    start_services(stack, ",".join(f"echo:{port}" for port in ports))
    client = program(name, "connect", words.seconds)
    assert client.stdout is not None
    client.stdout.readline()
    time.sleep(_SETTLE_S)
    counters = dict(stack.net.counters)
    memory, spent, start = resident(), time.process_time(), time.monotonic()
    flooding = program(name, "flood", words.rate, words.seconds, int(words.near), mac.hex(), *ports)
    told = json.loads(finished(client))
    sent = int(finished(flooding))
    took = time.monotonic() - start
    spent = time.process_time() - spent
    return {
        "syns": sent,
        "syns_per_s": round(sent / took),
        "opened": len(told["opened"]),
        "failed": told["failed"],
        "connect_ms": {
            "median": round(statistics.median(told["opened"]) * 1e3, 2),
            "worst": round(max(told["opened"]) * 1e3, 2),
        },
        "stood_ms": {
            "median": round(statistics.median(told["stood"]) * 1e3, 2),
            "worst": round(max(told["stood"]) * 1e3, 2),
        },
        "grown_mb": round((resident() - memory) / 1e6, 2),
        "cpu_share": round(spent / took, 3),
        "half_open": stack.net.tcp.half_open,
        "arp_entries": len(stack.net.arp.table),
        "counters": {
            key: value - counters.get(key, 0)
            for key, value in sorted(stack.net.counters.items())
            if value != counters.get(key, 0) and key.startswith(("tcp.", "arp."))
        },
    }


def main() -> None:
    parser = argparse.ArgumentParser(description="Flood a stack on a TAP with SYNs and connect to it meanwhile.")
    parser.add_argument("--rate", type=int, default=2_000, help="SYNs a second")
    parser.add_argument("--seconds", type=float, default=20.0)
    parser.add_argument("--near", action="store_true", help="sources on the link, not behind a gateway")
    parser.add_argument("--cookies", choices=("on", "off", "always"), default="on")
    parser.add_argument("--listeners", type=int, default=1, help="how many ports are flooded")
    parser.add_argument("--json", action="store_true", help="print one line of JSON")
    words = parser.parse_args()
    name = f"ssflood-{os.getpid()}"
    netns.create(name)
    try:
        net = Netlink(name)
        tap = TapLink("tap0", netns=name, offload=True)
        net.set_up("tap0")
        net.add_address("tap0", f"{THEM}/8")
        config = StackConfig()
        config.set("tcp.syn_cookies", words.cookies)
        with Stack(f"{US}/8", link=tap, gateway=THEM, config=config) as stack:
            result = flood(stack, name, stack.net.interfaces[1].mac, words)
    finally:
        netns.remove(name)
    if words.json:
        print(json.dumps(result))
    else:
        for key, value in result.items():
            print(f"{key:12} {value}")


if __name__ == "__main__":
    match sys.argv[1:]:
        case ["flood", rate, seconds, near, mac, *ports]:
            write_syns(float(rate), float(seconds), near == "1", mac, [int(port) for port in ports])
        case ["connect", seconds]:
            connect_again_and_again(float(seconds))
        case _:
            main()
