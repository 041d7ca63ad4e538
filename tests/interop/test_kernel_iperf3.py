"""The iperf3 service, and the program that everybody measures with."""

import json

import pytest

from scapystack.sockets.services import start_services
from tests.interop.netns import STACK, needs
from tests.interop.peers import until

pytestmark = needs("iperf3")
TEN_MB = 10 << 20


@pytest.fixture
def iperf3(shared_lan):
    """Runs the client; what it tells, as JSON."""
    services = start_services(shared_lan.stack, "iperf3")

    def run(*words):
        told = json.loads(shared_lan.ns.run("iperf3", "-c", STACK, "-J", *words, limit=20))
        assert "error" not in told
        return told["end"]

    yield run
    until(lambda: services[0].test is None)
    for service in services:
        service.close()


def octets(end, what="sum_received"):
    return end[what]["bytes"]


@pytest.mark.parametrize("streams", [1, 4])
def test_iperf3_sends_to_the_stack_which_counts_it(iperf3, streams):
    end = iperf3("-n", "10M", "-P", str(streams))
    assert octets(end, "sum_sent") >= TEN_MB
    assert len(end["streams"]) == streams
    # a server stops counting when it is told of the end: what is in the client's buffers then does not count
    assert 0 < octets(end) <= octets(end, "sum_sent")
    assert end["receiver_tcp_congestion"] == "cubic"


@pytest.mark.parametrize("words", [(), ("-P", "4"), ("-C", "reno")], ids=["one", "four", "reno"])
def test_iperf3_receives_from_the_stack(iperf3, words):
    end = iperf3("-R", "-n", "10M", *words)
    assert octets(end) >= TEN_MB
    assert end["sender_tcp_congestion"] == ("reno" if "reno" in words else "cubic")
    assert "retransmits" in end["sum_sent"]


def test_iperf3_both_directions(iperf3):
    end = iperf3("--bidir", "-t", "1")
    assert octets(end) > 0
    assert octets(end, "sum_received_bidir_reverse") > 0


@pytest.mark.parametrize("words", [(), ("-R",)], ids=["in", "out"])
def test_iperf3_udp_at_a_rate_loses_nothing(iperf3, words):
    end = iperf3("-u", "-b", "20M", "-t", "1", *words)
    assert end["sum"]["lost_packets"] == 0
    assert end["sum"]["packets"] * 1448 * 8 == pytest.approx(20e6, rel=0.1)


def test_iperf3_second_client_is_refused_and_the_first_goes_on(shared_lan, iperf3):
    with shared_lan.ns.connect(5201) as held:
        held.sendall(b"x" * 37)
        assert held.recv(1) == b"\x09"
        told = json.loads(shared_lan.ns.run("iperf3", "-c", STACK, "-J", check=False))
        assert "busy" in told["error"]
    assert octets(iperf3("-n", "1M"), "sum_sent") >= 1 << 20
