"""What RFC 9293 asks of applications, of those that we are ourselves: the services and the clients."""

import ast
import contextlib
import socket
from pathlib import Path

import pytest
from scapy.layers.inet import IP, TCP

from scapystack.sockets.services import start_services

ROOT = Path(__file__).parents[3]
OURS = [*(ROOT / "scapystack" / "sockets" / "services").glob("*.py"), *(ROOT / "scapystack" / "cli").glob("*.py")]
URGENT = {"MSG_OOB", "SO_OOBINLINE", "write_urgent", "read_urgent", "urgent_left", "sockatmark"}
DS_FIELD = {"IP_TOS", "tos"}


@pytest.mark.parametrize("service", ["echo", "discard", "source", "daytime", "http", "iperf3"])
def test_service_sends_no_urgent_data_and_keeps_its_ds_field(still, service, tmp_path):
    """SHLD-13, SHLD-23: from SYN to FIN, both ends."""
    (tmp_path / "index.html").write_text("hello")
    (served,) = start_services(still.stack, service, tmp_path)
    seen = []
    still.net.taps.append(lambda way, frame: seen.append(frame.packet) if way == "tx" else None)
    sock = still.stack.create_connection(("127.0.0.1", served.local_port))
    sock.setblocking(False)
    with contextlib.suppress(OSError):  # some have ended it before we can say a word
        sock.send(b"GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
        sock.recv(1 << 16)
        sock.shutdown(socket.SHUT_WR)
    still.pass_time(1)
    sock.close()
    served.close()
    still.pass_time(1)
    segments = [packet for packet in seen if TCP in packet]
    assert len(segments) > 5
    assert not [packet for packet in segments if packet[TCP].flags.U or packet[TCP].urgptr]
    assert {packet[IP].tos >> 2 for packet in segments} == {0}  # the two bits below are ECN


def words(path):
    """Every name, attribute and text of a source."""
    for node in ast.walk(ast.parse(path.read_text())):
        yield getattr(node, "id", None) or getattr(node, "attr", None) or getattr(node, "value", None)


def test_no_application_of_ours_speaks_of_urgent_data_or_the_ds_field():
    """SHLD-13, SHLD-23: also on the ways that no test walks."""
    assert len(OURS) > 15
    assert {path.name for path in OURS if {w for w in words(path) if isinstance(w, str)} & (URGENT | DS_FIELD)} == set()
