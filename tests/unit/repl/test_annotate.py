"""Captures that say what became of each packet."""

import pytest

from scapystack.base.errors import ConfigError
from scapystack.link.pcapread import read_capture
from scapystack.repl.annotate import AnnotatedCapture
from scapystack.repl.explanation import explained
from tests.unit.repl.world import World


def test_every_packet_has_its_explanation_and_causes_come_first(tmp_path):
    world = World()
    world.stack.observe(False)
    capture = AnnotatedCapture(world.stack.driver, tmp_path / "a.pcapng")
    c, _ = world.connect()
    c.inject(c.from_peer(flags="R", seq=c.info().rcv_nxt + 1))
    capture.close()
    packets = read_capture(tmp_path / "a.pcapng")
    notes = [packet.comment for packet in packets]
    assert all(notes)
    assert [note.partition(":")[0] for note in notes[-2:]] == ["taken", "sent"]
    assert "RFC 5961 section 3.2" in notes[-2]
    assert "answers IP 10.0.0.2.80" in notes[-1]
    lines = [note.splitlines() for note in notes[-2:]]
    assert all(each.pop(1).startswith("  state    ESTABLISHED, Open: 0 octets in flight, cwnd ") for each in lines)
    assert lines == [str(explained(record)).splitlines() for record in list(capture._observer.records)[-2:]]


def test_a_pcap_file_is_refused(tmp_path):
    with pytest.raises(ConfigError, match="keeps no comments"):
        AnnotatedCapture(World().stack.driver, tmp_path / "a.pcap")
