"""How hooks choose packets: expressions, fields, packets and functions."""

import pytest
from scapy.layers.inet import ICMP, IP, TCP, UDP
from scapy.layers.l2 import ARP, Ether

from scapystack.base.errors import ConfigError
from scapystack.base.frames import Frame
from scapystack.hooks.filters import bpf, matcher

SYN = Ether() / IP(src="10.0.0.1", dst="10.0.0.2") / TCP(dport=80, flags="S")
DATA = Ether() / IP(src="10.0.0.1", dst="10.0.0.2") / TCP(dport=443, flags="PA") / b"data"
PING = Ether() / IP(src="10.0.0.3", dst="10.0.0.2") / ICMP()
DNS = Ether() / IP() / UDP(dport=53)
WHO = Ether() / ARP(pdst="10.0.0.2")
ALL = {"SYN": SYN, "DATA": DATA, "PING": PING, "DNS": DNS, "WHO": WHO}


def met(filter) -> set[str]:
    match = matcher(filter)
    return {name for name, packet in ALL.items() if match(Frame(bytes(packet)))}


@pytest.mark.parametrize(
    ("filter", "expected"),
    [
        ("tcp", {"SYN", "DATA"}),
        ("tcp port 80", {"SYN"}),
        ("tcp[13] & 2 != 0", {"SYN"}),
        ("src host 10.0.0.3", {"PING"}),
        ("arp or icmp", {"WHO", "PING"}),
        ({"TCP.flags": "S"}, {"SYN"}),
        ({"dport": (80, 53)}, {"SYN", "DNS"}),
        ({"IP.src": "10.0.0.1", "dport": 443}, {"DATA"}),
        ({"ARP.pdst": "10.0.0.2"}, {"WHO"}),
        ({"TCP.nothing": 1}, set()),
        (TCP(flags="S"), {"SYN"}),
        (IP(dst="10.0.0.2") / ICMP(), {"PING"}),
        (TCP(), {"SYN", "DATA"}),
        (lambda packet: packet[TCP].dport > 100, {"DATA"}),
        (lambda packet: packet[IP].src == "10.0.0.3", {"PING"}),
        (lambda packet: packet.dport == 53, {"DNS"}),
    ],
)
def test_filter_picks(filter, expected):
    assert met(filter) == expected


@pytest.mark.parametrize("filter", [None, ""])
def test_filter_of_nothing_tests_nothing(filter):
    assert matcher(filter) is None


@pytest.mark.parametrize(
    ("filter", "words"), [("tcp prt 80", "is no filter"), (7, "a filter is a function"), ({"TCP.": 1}, "is no field")]
)
def test_filter_that_cannot_be_is_one_clear_line(filter, words):
    with pytest.raises(ConfigError, match=words) as caught:
        matcher(filter)
    assert "\n" not in str(caught.value)


def test_filter_expression_without_libpcap_says_what_to_do(monkeypatch):
    def missing(*words, **how):
        raise ImportError("libpcap is not available")

    monkeypatch.setattr("scapy.arch.common.compile_filter", missing)
    with pytest.raises(ConfigError, match="apt install libpcap"):
        bpf("tcp")


def test_filter_predicate_error_other_than_a_missing_layer_is_raised():
    match = matcher(lambda packet: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        match(Frame(bytes(SYN)))


def test_filter_takes_short_frames():
    match = bpf("tcp port 80")
    assert not match(b"")
    assert not match(memoryview(bytes(SYN))[:20])
