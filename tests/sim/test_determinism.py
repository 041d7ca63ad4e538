"""Same seed, same inputs, same times: the same octets out. Another seed: others."""

from __future__ import annotations

import errno
import os
import subprocess
import sys
from pathlib import Path

import pytest
from scapy.utils import RawPcapNgReader

from scapystack.link.pcapread import read_capture
from tests.sim.scenario import Scenario, digest

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def first() -> tuple[Scenario, list[bytes]]:
    scenario = Scenario(7)
    return scenario, scenario.run()


def test_same_seed_twice_captures_identical(first: tuple[Scenario, list[bytes]]) -> None:
    assert Scenario(7).run() == first[1]


def test_other_seed_captures_differ(first: tuple[Scenario, list[bytes]]) -> None:
    other = Scenario(8).run()
    assert other[0] != first[1][0]
    assert other[1] != first[1][1]


def test_same_seed_in_other_process_captures_identical(first: tuple[Scenario, list[bytes]]) -> None:
    """Nothing may hang on the order of a set, an address in memory or the time of day."""
    env = {**os.environ, "PYTHONHASHSEED": "12345", "PYTHONPATH": str(ROOT), "TZ": "Asia/Tokyo"}
    command = [sys.executable, "-m", "tests.sim.scenario", "7"]
    done = subprocess.run(command, env=env, cwd=ROOT, capture_output=True, text=True, check=True, timeout=60)
    assert done.stdout.strip() == digest(first[1])


def test_same_seed_by_scapy_captures_identical() -> None:
    """The codec's modes differ in how they come by the octets, and in nothing else."""
    assert Scenario(9, codec="paranoid", scale=1_800).run() == Scenario(9, scale=1_800).run()


def test_same_seed_with_super_segments_captures_identical() -> None:
    captures = Scenario(7, whole=True).run()
    assert captures == Scenario(7, whole=True).run()


def test_scenario_meets_every_fault_and_everything_arrives(first: tuple[Scenario, list[bytes]]) -> None:
    """The captures would be the same if nothing had happened in them, too."""
    scenario = first[0]
    assert len(scenario.streams) == 4
    assert all(stream.sent == len(stream.text) for stream in scenario.streams)
    received = sorted(stream.received for stream in scenario.streams)
    assert received == sorted(2 * scenario.texts)
    assert len(scenario.echoed) >= 5
    assert max(scenario.echoed) > 1_500
    assert len(scenario.replies) >= 5
    assert max(len(reply.data) for reply in scenario.replies) > 1_500
    assert scenario.refused is not None
    assert scenario.refused.error == errno.ECONNREFUSED
    assert all(impairment.lost > 5 for impairment in scenario.impairments)
    counters = [driver.stack.counters for driver in scenario.drivers]
    for name in ("tcp.drop.checksum", "tcp.out_of_order", "tcp.retrans_segs", "tcp.drop.old", "ip.fragments_out"):
        assert sum(each[name] for each in counters) > 0, name


def test_captures_of_the_scenario_readable_by_scapy(first: tuple[Scenario, list[bytes]], tmp_path: Path) -> None:
    for number, octets in enumerate(first[1]):
        path = tmp_path / f"{number}.pcapng"
        path.write_bytes(octets)
        packets = read_capture(path)
        assert len(packets) > 200
        times = [packet.at for packet in packets]
        assert times == sorted(times)
        with RawPcapNgReader(str(path)) as reader:
            assert [bytes(data) for data, _ in reader] == [packet.data for packet in packets]
