"""Layers of a user's own: each binding, the way back, bad octets, numbers that are taken; the page's examples."""

import re
import socket
from pathlib import Path

import pytest
from scapy.fields import ShortField
from scapy.packet import Packet

from scapystack import Stack
from scapystack.base.errors import ConfigError
from tests.harness.duo import Duo

DOC = Path(__file__).parents[3] / "docs" / "own-layer.md"
BLOCKS = re.findall(r"```python\n(.*?)```", DOC.read_text(), re.DOTALL)
MAC = "02:00:00:00:00:02"


class Hello(Packet):
    fields_desc = [ShortField("number", 0)]  # noqa: RUF012 - as Scapy has it


@pytest.fixture
def duo():
    with Duo() as made:
        yield made


def answering(packet, via):
    via.reply(Hello(number=packet.number + 1))


@pytest.mark.parametrize(
    ("by", "to", "src"),
    [
        ({"ethertype": 0x88B5}, MAC, MAC),
        ({"proto": 253}, "10.0.0.2", "10.0.0.2"),
        ({"udp": 4000}, ("10.0.0.2", 4000), "10.0.0.2"),
    ],
)
def test_layer_asks_and_answers_by_each_binding(duo, by, to, src):
    heard = []
    duo.two.layer(Hello, **by)(answering)
    mine = duo.one.layer(Hello, **by)(lambda packet, via: heard.append((packet.number, via.src, via.sport)))
    mine.send(Hello(number=41), to=to)
    duo.simulation.run_for(1_000_000_000)
    assert heard == [(42, src, by.get("udp", 0))]
    mine.close()
    again = duo.one.layer(Hello, **by)(answering)
    again.close()


def lines(stack):
    scope = {"stack": stack}
    exec(compile(BLOCKS[1], str(DOC), "exec"), scope)
    return scope["upper"]


def test_layer_on_a_stream_takes_packets_as_they_end(duo):
    lines(duo.two)
    with duo.one.create_connection(("10.0.0.2", 4000)) as client:
        for piece in (b"\0", b"\5hel", b"lo\0\2yo\0", b"\3you"):
            client.send(piece)
            duo.simulation.run_for(50_000_000)
        assert client.recv(100) == b"\0\5HELLO\0\2YO\0\3YOU"
        client.shutdown(socket.SHUT_WR)
        assert client.recv(100) == b""


def test_layer_on_a_stream_holds_its_peer_back_while_answers_wait(duo):
    lines(duo.two)
    count, line = 40, b"\xff\xf0" + b"a" * 0xFFF0
    with duo.one.create_connection(("10.0.0.2", 4000)) as client:
        duo.simulation.start(lambda: client.sendall(line * count), "writer")
        duo.simulation.run_for(5_000_000_000)
        got = b""
        while len(got) < count * len(line) and (piece := client.recv(1 << 20)):
            got += piece
        assert got == line.upper() * count


def test_layer_drops_and_counts_what_it_cannot_dissect(duo):
    class Broken(Packet):
        fields_desc = [ShortField("number", 0)]  # noqa: RUF012

        def do_dissect(self, s):
            raise ValueError("no")

    layer = duo.two.layer(Broken, udp=4000)(answering)
    with duo.one.socket(type=socket.SOCK_DGRAM) as udp:
        udp.sendto(b"ab", ("10.0.0.2", 4000))
        duo.simulation.run_for(1_000_000_000)
    assert duo.two.net.counters["layer.drop.dissect"] == 1
    layer.close()


def test_layer_on_a_stream_ends_a_connection_whose_packet_never_ends(duo, monkeypatch):
    monkeypatch.setattr("scapystack.sockets.own.MAX_PACKET", 1_000)
    lines(duo.two)
    with duo.one.create_connection(("10.0.0.2", 4000)) as client:
        client.send(b"\xff\xff" + bytes(2_000))
        assert client.recv(100) == b""
    assert duo.two.net.counters["layer.drop.too_long"] == 1


@pytest.mark.parametrize(
    ("kind", "by", "words"),
    [
        (Hello, {}, "bound by one of"),
        (Hello, {"udp": 1, "proto": 253}, "bound by one of"),
        (Hello, {"port": 1}, "bound by one of"),
        (int, {"udp": 1}, "is not a Packet class"),
        (Hello, {"ethertype": 0x0800}, "has a layer already"),
        (Hello, {"ethertype": 5}, "from 0x0600"),
        (Hello, {"proto": 6}, "has a layer already"),
        (Hello, {"proto": 300}, "from 0 to 255"),
        (Hello, {"udp": 7}, "cannot bind a layer to UDP port 7"),
        (Hello, {"tcp": 4000}, "needs Scapy's tcp_reassemble"),
    ],
)
def test_layer_that_cannot_be_bound_is_one_clear_line(duo, kind, by, words):
    with duo.one.socket(type=socket.SOCK_DGRAM) as taken:
        taken.bind(("", 7))
        with pytest.raises(ConfigError, match=words) as caught:
            duo.one.layer(kind, **by)(answering)
    assert "\n" not in str(caught.value)


def test_layer_on_tcp_port_that_is_taken_says_so(duo):
    lines(duo.two)
    with pytest.raises(ConfigError, match="cannot serve the layer Line on port 4000"):
        lines(duo.two)


def test_the_pages_example_runs(capsys):
    exec(compile(BLOCKS[0], str(DOC), "exec"), {})
    assert capsys.readouterr().out == f"[('{MAC}', 42)]\n"


def test_layer_without_a_link_sends_nowhere_and_says_so():
    with Stack() as stack:
        mine = stack.layer(Hello, ethertype=0x88B5)(answering)
        with pytest.raises(ConfigError, match="no link to send by"):
            mine.send(Hello(), to=MAC)
