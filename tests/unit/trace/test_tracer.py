"""A trace tells of every segment, timer and change of state, and leaves nothing behind."""

import json
from dataclasses import fields

import pytest

from scapystack.base.errors import LinkError
from scapystack.hooks.packets import DROP
from scapystack.layers.tcp.info import TcpInfo
from scapystack.layers.tcp.state import STATE_NAMES, TRANSITIONS
from scapystack.trace import TraceFile, Tracer, read_trace
from tests.harness.duo import Duo


@pytest.fixture
def duo():
    with Duo() as duo:
        yield duo


def traced(duo):
    events = []
    with duo.one.driver.entered() as net:
        return Tracer(net, events.append, clock=lambda: net.core.now), events


def drop_once(duo, number):
    seen = []

    @duo.one.hook("tx", "segment", filter=lambda p: len(p.payload.payload.payload) > 0)
    def drop(packet):
        seen.append(packet)
        return DROP if len(seen) == number else None


def test_tracer_transfer_tells_of_every_segment_with_every_variable(duo):
    _, events = traced(duo)
    duo.send(50_000)
    duo.simulation.run_for(100_000_000)
    client = duo.one.net.tcp.connections[next(iter(duo.one.net.tcp.connections))].info()
    names = {field.name for field in fields(TcpInfo)}
    assert all(names <= set(event) for event in events)
    assert {event["connection"] for event in events} == {1}
    ours = [event for event in events if event["event"] == "out"]
    # a super-segment is one event, and counts as the segments that it is cut to
    assert sum(-(-event["segment"]["len"] // client.snd_mss) or 1 for event in ours) == client.segs_out
    assert sum(event["segment"]["len"] for event in ours) == 50_000
    came = [event for event in events if event["event"] == "in"]
    assert came[-1]["snd_una"] == came[-1]["segment"]["ack"]
    assert came[-1]["bytes_acked"] == 50_000
    assert [event["at"] for event in events] == sorted(event["at"] for event in events)


def test_tracer_open_and_close_tell_of_the_states_behind_what_caused_them(duo):
    _, events = traced(duo)
    duo.send(10)
    duo.client.close()
    duo.simulation.run_for(50_000_000)
    duo.server.close()
    duo.simulation.run(lambda: not duo.one.net.tcp.connections)
    moves = [(event["from"], event["to"]) for event in events if event["event"] == "state"]
    assert moves == [
        ("CLOSED", "SYN-SENT"), ("SYN-SENT", "ESTABLISHED"), ("ESTABLISHED", "FIN-WAIT-1"),
        ("FIN-WAIT-1", "FIN-WAIT-2"), ("FIN-WAIT-2", "TIME-WAIT"), ("TIME-WAIT", "CLOSED"),
    ]  # fmt: skip
    assert all(STATE_NAMES.index(to) in TRANSITIONS[STATE_NAMES.index(old)] for old, to in moves)
    at = next(n for n, event in enumerate(events) if event.get("to") == "ESTABLISHED")
    assert events[at - 1]["segment"]["flags"] == "SA"
    assert events[-2]["timers"] == ["wait"]


def test_tracer_lost_tail_tells_of_the_timer_and_the_retransmission(duo):
    _, events = traced(duo)
    drop_once(duo, 1)
    duo.send(1_000)
    timers = [name for event in events if event["event"] == "timer" for name in event["timers"]]
    assert timers[0] == "rtx"
    text = [event["segment"] for event in events if event["event"] == "out" and event["segment"]["len"]]
    assert [segment["seq"] for segment in text] == [text[0]["seq"]] * 2
    assert events[-1]["total_retrans"] == 1


def test_tracer_two_connections_between_the_same_ports_have_numbers_of_their_own(duo):
    _, events = traced(duo)
    for _ in range(2):
        with duo.two.create_server(("", 80)) as listener:
            client = duo.one.create_connection(("10.0.0.2", 80), source_address=("10.0.0.1", 4000))
            server, _ = listener.accept()
        client.close()
        server.close()
        duo.simulation.run(lambda: not duo.one.net.tcp.connections)
    assert {event["connection"] for event in events} == {1, 2}
    assert {event["local"] for event in events} == {"10.0.0.1:4000"}


def test_tracer_detached_leaves_the_stack_as_it_was(duo):
    net = duo.one.net
    before = (net.tcp.ip, net.ipv4.transports[6], list(net.tcp.observers), dict(vars(net.tcp)))
    tracer, events = traced(duo)
    with duo.one.driver.entered():
        tracer.detach()
    assert (net.tcp.ip, net.ipv4.transports[6], net.tcp.observers, vars(net.tcp)) == before
    duo.send(1_000)
    assert events == []


def test_tracer_damaged_segment_is_not_told_of(duo):
    duo.send(10)
    _, events = traced(duo)

    @duo.one.hook("rx", "segment")
    def damage(packet):
        packet["TCP"].chksum = 1
        return packet

    duo.server.send(b"x")
    duo.simulation.run_for(15_000_000)
    assert duo.one.net.counters["tcp.drop.checksum"] > 0
    assert events == []


def test_tracefile_lines_are_what_read_trace_gives(duo, tmp_path):
    path = tmp_path / "run.jsonl"
    with duo.one.driver.entered() as net, TraceFile(net, path, clock=lambda: net.core.now):
        pass
    with duo.one.driver.entered() as net:
        trace = TraceFile(net, path, clock=lambda: net.core.now)
    duo.send(3_000)
    trace.close()
    trace.close()
    lines = path.read_text().splitlines()
    assert [json.loads(line) for line in lines] == list(read_trace(path))
    path.write_text(path.read_text()[:-5])
    assert len(list(read_trace(path))) == len(lines) - 1  # the last is cut


@pytest.mark.parametrize("text", ["no json\n", "[]\n", '{"at": 1}\n', "\x00\xff\n"])
def test_read_trace_of_another_file_says_what_is_wrong(tmp_path, text):
    path = tmp_path / "other"
    path.write_text(text)
    with pytest.raises(LinkError, match="no trace of ours: line 1"):
        list(read_trace(path))


def test_tracefile_full_disk_ends_the_trace_and_not_the_stack(duo, caplog):
    with duo.one.driver.entered() as net:
        trace = TraceFile(net, "/dev/full")
    duo.send(1_000)
    assert "No space left" in trace.error
    assert caplog.text.count("the trace ends here") == 1
    trace.close()
