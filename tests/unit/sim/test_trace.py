"""Traces: lines and ladders of what was sent, with what became of it."""

import pytest

from scapystack.sim import Network, delay, duplicate, tcp
from scapystack.sim.ladder import Arrow, draw


@pytest.fixture
def traced():
    """A connection through a router, one SYN lost, one ACK doubled."""
    with Network(seed=1) as net:
        a, r, b = net.host("a"), net.router("r"), net.host("b")
        net.link(a, r, delay_ms=1, arp=False)
        far = net.link(r, b, delay_ms=10, arp=False)
        far.way(r).lose(1)
        far.way(b).rule(duplicate, tcp("SA"))
        trace = net.trace()
        server = b.create_server(("", 80))
        client = a.create_connection((b.address, 80))
        net.run(0.1)
        yield net, trace
        client.close()
        server.close()


def test_lines_say_when_who_what_and_its_fate(traced):
    _, trace = traced
    lines = [line.replace(trace.lines()[0].split(".")[5].split(" ")[0], "PORT") for line in trace.lines()]
    assert [line.split(", options")[0].split(", seq")[0] for line in lines] == [
        "0.000000 a: IP 10.0.1.1.PORT > 10.0.2.2.80: Flags [S]",
        "0.001000 r: IP 10.0.1.1.PORT > 10.0.2.2.80: Flags [S]",
        "1.000000 a: IP 10.0.1.1.PORT > 10.0.2.2.80: Flags [S]",
        "1.001000 r: IP 10.0.1.1.PORT > 10.0.2.2.80: Flags [S]",
        "1.011000 b: IP 10.0.2.2.80 > 10.0.1.1.PORT: Flags [S.]",
        "1.021000 r: IP 10.0.2.2.80 > 10.0.1.1.PORT: Flags [S.]",
        "1.021000 r: IP 10.0.2.2.80 > 10.0.1.1.PORT: Flags [S.]",
        "1.022000 a: IP 10.0.1.1.PORT > 10.0.2.2.80: Flags [.], ack 1, win 32768",
        "1.023000 r: IP 10.0.1.1.PORT > 10.0.2.2.80: Flags [.], ack 1, win 32768",
    ]
    assert [line.rpartition("length 0")[2] for line in lines] == ["", " [lost]", "", "", " [2 times]", "", "", "", ""]


def test_ladder_has_a_column_for_each_member_and_a_time_for_each_arrival(traced):
    _, trace = traced
    head, *rows = trace.ladder(width=40).splitlines()
    assert head.split() == ["ms", "a", "r", "b"]
    assert [head.index(f" {name}") + 1 for name in "arb"] == [14, 54, 94]
    assert rows[0].startswith("       0.000  |-- Flags [S], seq ")
    assert rows[0].rstrip().endswith("|                                       |  1.000")
    assert " X " in rows[1]
    assert rows[1].endswith("|")  # it never arrives
    assert rows[4].endswith("|  1021.000, 1021.000")
    assert rows[4][54:57] == "|<-"
    assert str(trace) == trace.ladder()


def test_ladder_is_the_same_when_the_network_is_closed(traced):
    net, trace = traced
    before, lines = trace.ladder(), trace.lines()
    trace.stop()
    net.close()
    assert (trace.ladder(), trace.lines()) == (before, lines)


def test_trace_keeps_the_latest_and_stops():
    with Network() as net:
        a, b = net.host("a"), net.host("b")
        link = net.link(a, b, arp=False)
        trace = net.trace(link, limit=3)
        for _ in range(4):
            a.ping(b.address)
        assert [line.split("ICMP ")[1][:4] for line in trace.lines()] == ["echo"] * 3
        trace.stop()
        a.ping(b.address)
        assert len(trace.entries) == 3
        assert [sent.end.owner.name for sent in trace.entries] == ["b", "a", "b"]


def test_what_breaks_down_with_its_link_is_lost_in_the_trace():
    with Network() as net:
        a, b = net.host("a"), net.host("b")
        link = net.link(a, b, delay_ms=10, arp=False)
        trace = net.trace()
        link.way(b).rule(delay(5), lambda frame: True)
        link.down(at=0.012)
        with pytest.raises(TimeoutError):
            a.ping(b.address)
        assert [line.endswith("[lost]") for line in trace.lines()] == [False, True]


def test_changed_frame_is_said_to_be():
    with Network() as net:
        a, b = net.host("a"), net.host("b")
        net.link(a, b, corrupt=1.0, arp=False)
        trace = net.trace()
        with pytest.raises(TimeoutError):
            a.ping(b.address)
        assert trace.lines()[0].endswith("[changed]")


def test_arrow_that_is_too_long_for_its_column_is_cut():
    lines = draw(["a", "b"], [Arrow(0, "a", "b", "x" * 80, [1]), Arrow(0, "b", "a", "short", [])], 40)
    head, long, lost = lines.splitlines()
    assert len(head) == 14 + 41
    assert long == "       0.000  |-- " + "x" * 28 + "... --->|  1000.000"
    assert lost.index("X") > lost.index("|")
    assert lost.endswith("short --|")
