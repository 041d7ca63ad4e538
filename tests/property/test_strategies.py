"""What `scapystack.testing.strategies` promises, by properties that use it as anybody's tests would."""

import subprocess
import sys

from hypothesis import given, settings
from hypothesis import strategies as st
from scapy.layers.inet import ICMP, IP, TCP, UDP
from scapy.layers.l2 import Ether

from scapystack.sim import Network
from scapystack.testing import ScriptedPeer
from scapystack.testing import strategies as some

PATIENT = {"tcp.syn_retries": 50, "tcp.synack_retries": 50, "tcp.max_rto_ms": 4_000}


@settings(max_examples=50)
@given(some.impairments(), some.impairments(), st.binary(min_size=1, max_size=6_000))
def test_octets_arrive_in_spite_of_what_links_do(there, back, octets):
    with Network(seed=1) as network:
        a, b = network.host("a", PATIENT), network.host("b", PATIENT)
        network.link(a, b, arp=False, back={**dict.fromkeys(there, 0), **back}, **there)
        server = b.create_server(("", 80))
        client = a.create_connection((b.address, 80), timeout=None)
        accepted, _ = server.accept()
        client.sendall(octets)
        client.close()
        received = b""
        while part := accepted.recv(65_536):
            received += part
        assert received == octets


@settings(max_examples=60)
@given(some.packets(some.tcp(dport=80) | some.tcp(dport=80, flags="S") | some.udp() | some.icmp(), dst="10.0.0.1"))
def test_packet_of_any_kind_at_a_listener_is_survived_and_answers_are_sound(packet):
    with ScriptedPeer() as peer:
        server = peer.listen(80)
        peer.send(packet)
        for frame in peer.take():
            again = Ether(bytes(frame.packet))
            assert bytes(again) == frame.data
            for layer in (IP, TCP, UDP, ICMP):  # sums made anew are those that were there
                if layer in again:
                    before = again[layer].chksum
                    del again[layer].chksum
                    assert Ether(bytes(again))[layer].chksum == before
        assert server.fileno() != -1
        peer.connect(80).expect()  # and the next one is served


@given(some.frames(some.packets(some.tcp(b"text", dport=st.just(80), flags="PA"), ttl=9), dst="02:00:00:00:00:01"))
def test_fields_that_are_given_are_those_of_every_packet(octets):
    packet = Ether(octets)
    assert (packet.dst, packet[IP].ttl, packet[TCP].dport, str(packet[TCP].flags)) == ("02:00:00:00:00:01", 9, 80, "PA")
    assert bytes(packet[TCP].payload).startswith(b"text")
    assert len(packet) >= packet[IP].len + 14


def test_strategies_without_hypothesis_say_so_in_a_line():
    code = "import sys; sys.modules['hypothesis'] = None; import scapystack.testing.strategies"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False, timeout=60)
    assert (
        done.stderr.splitlines()[-1]
        == "ImportError: scapystack.testing.strategies needs hypothesis: pip install hypothesis"
    )
