"""2,000 SYNs a second from random sources, and a client of the kernel's that connects meanwhile (4987).

`benchmarks/syn_flood.py` does it in processes of its own, so that what the stack's has grown by is its own;
by itself it floods for 20 s and prints figures.
"""

import json
import subprocess
import sys
from pathlib import Path

import pytest

FLOOD = Path(__file__).parents[2] / "benchmarks" / "syn_flood.py"
MB = 1_000_000


@pytest.mark.parametrize("where", [[], ["--near"]], ids=["behind-a-gateway", "on-the-link"])
def test_syn_flood_clients_get_in_and_memory_stays(where):
    """4987: within 2 s at any time; the SYN queue is full after half a second, the rest are cookies."""
    command = [sys.executable, FLOOD, "--seconds", "3", "--json", *where]
    told = json.loads(subprocess.run(command, check=True, timeout=60, capture_output=True, text=True).stdout)
    assert told["syns"] >= 5_000
    assert told["half_open"] == 1_024
    assert told["counters"]["tcp.syncookies_sent"] > 3_000
    assert told["counters"]["tcp.syncookies_recv"] > 0
    assert told["failed"] == 0
    assert told["opened"] >= 3
    assert told["connect_ms"]["worst"] < 2_000
    assert told["stood_ms"]["worst"] < 2_000, "connections that stood before the flood"
    assert told["grown_mb"] < 20
    assert told["arp_entries"] <= 1_024
