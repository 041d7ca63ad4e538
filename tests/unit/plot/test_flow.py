"""What follows from captures: every capture of ours is understood, and states are those that a side went through."""

from itertools import pairwise
from pathlib import Path

import pytest

from scapystack.layers.tcp.state import CLOSED, STATE_NAMES, TRANSITIONS
from scapystack.link.pcapread import CaptureReader
from scapystack.plot.analysis import AGAIN, NEW, Points, analysed, rates
from scapystack.plot.flow import of_conversation
from scapystack.plot.sources import flow_of
from scapystack.plot.states import path
from scapystack.replay.conversations import Splitter

PCAPS = Path(__file__).parents[3] / "pcaps"


def flows():
    for file in sorted(PCAPS.glob("*.pcap")):
        with CaptureReader(file) as reader:
            for conversation in list(Splitter(reader)):
                if conversation.tcp is not None:
                    yield file.name, conversation, of_conversation(conversation, reader)


def rising(points: Points) -> bool:
    return all(a <= b for a, b in pairwise(points))


def test_every_capture_is_understood():
    seen = 0
    for name, conversation, flow in flows():
        seen += 1
        assert len(flow.seen) == conversation.tcp.opener.packets + conversation.tcp.other.packets, name
        for side, facts in ((0, conversation.tcp.opener), (1, conversation.tcp.other)):
            found = analysed(flow, side)
            assert rising(found.acks), name
            assert all(octets >= 0 for _, octets in found.flight), name
            assert all(0 <= rtt <= flow.lasts for _, rtt in found.rtts), name
            new = sum(s.length for s in found.of(NEW))
            assert new <= facts.octets.size, name
            assert sum(new for _, new, _ in rates(flow, side)[1]) >= new, name
            state = CLOSED
            for move in path(flow, side):
                assert move.old == state, name
                assert move.new in TRANSITIONS[state], name
                state = move.new
    assert seen > 60


def names(flow, side):
    return [STATE_NAMES[move.new] for move in path(flow, side)]


@pytest.mark.parametrize(
    ("name", "client", "server"),
    [
        ("handshake-client", "FIN-WAIT-1 FIN-WAIT-2 TIME-WAIT", "CLOSE-WAIT LAST-ACK CLOSED"),
        ("server-closes", "CLOSE-WAIT LAST-ACK CLOSED", "FIN-WAIT-1 FIN-WAIT-2 TIME-WAIT"),
        ("simultaneous-close", "FIN-WAIT-1 CLOSING TIME-WAIT", "FIN-WAIT-1 CLOSING TIME-WAIT"),
        ("reset-linger", "CLOSED", "CLOSED"),
    ],
)
def test_path_of_a_capture_ends_as_its_scene_is_named(name, client, server):
    flow = flow_of(PCAPS / f"{name}.pcap")
    assert names(flow, 0) == ["SYN-SENT", "ESTABLISHED", *client.split()]
    assert names(flow, 1) == ["SYN-RECEIVED", "ESTABLISHED", *server.split()]


def test_path_of_a_simultaneous_open_goes_through_syn_received_on_both_sides():
    flow = flow_of(PCAPS / "simultaneous-open.pcap")
    for side in (0, 1):
        assert names(flow, side)[:3] == ["SYN-SENT", "SYN-RECEIVED", "ESTABLISHED"]


def test_path_of_a_capture_is_that_of_the_trace(recorded):
    told = flow_of(recorded.path)
    followed = flow_of(recorded.packets)
    assert told.traced == 0
    # the end of TIME-WAIT is on no wire
    assert names(told, 0) == [*names(followed, 0), "CLOSED"]


def test_analysed_retransmission_whose_timestamp_tells_gives_a_round_trip(recorded):
    found = analysed(flow_of(recorded.packets), 0)
    assert sum(seen.length for seen in found.of(AGAIN)) == recorded.info.bytes_retrans > 0
    assert all(0.039 < rtt < 0.1 for _, rtt in found.rtts)
