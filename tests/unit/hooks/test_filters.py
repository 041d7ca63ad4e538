"""How hooks choose packets: expressions, fields, packets and functions."""

import pytest
from scapy.layers.inet import ICMP, IP, TCP, UDP
from scapy.layers.l2 import ARP, Ether
from scapy.packet import Padding, Raw, bind_layers, split_layers

from scapystack.base.errors import ConfigError
from scapystack.base.frames import CSUM_PARTIAL, Frame
from scapystack.base.offload import split
from scapystack.hooks.bpf import Program
from scapystack.hooks.filters import matcher

SYN = Ether() / IP(src="10.0.0.1", dst="10.0.0.2") / TCP(dport=80, flags="S")
DATA = Ether() / IP(src="10.0.0.1", dst="10.0.0.2") / TCP(dport=443, flags="PA") / b"data"
PING = Ether() / IP(src="10.0.0.3", dst="10.0.0.2") / ICMP()
DNS = Ether() / IP() / UDP(dport=53)
WHO = Ether() / ARP(pdst="10.0.0.2")
ALL = {"SYN": SYN, "DATA": DATA, "PING": PING, "DNS": DNS, "WHO": WHO}


@pytest.fixture(autouse=True)
def no_layer_above_tcp(monkeypatch):
    """Another test of this process may have loaded Scapy's HTTP, which would stand in any text from port 80."""
    monkeypatch.setattr(TCP, "payload_guess", [])


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
        ({"flags": ("S", "DF")}, set()),  # the first such field is IP's, which has no S
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
        Program("tcp")


def test_filter_predicate_error_other_than_a_missing_layer_is_raised():
    match = matcher(lambda packet: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        match(Frame(bytes(SYN)))


def test_filter_takes_short_frames():
    match = Program("tcp port 80")
    assert not match(b"")
    assert not match(memoryview(bytes(SYN))[:20])


# -- super-segments, before they are cut


def super_segment(tos=0, **fields) -> Frame:
    """80 > 5000 from 10.0.0.1: three pieces, the last of which has the PSH and 200 octets."""
    tcp = TCP(**{"sport": 80, "dport": 5000, "flags": "PA", "seq": 7, **fields})
    head = bytes(Ether() / IP(src="10.0.0.1", dst="10.0.0.2", flags="DF", tos=tos) / tcp)
    return Frame(head, (b"GET " + bytes(2196),), None, CSUM_PARTIAL, 34, 16, 1_000)


RULED_OUT = [
    "udp",
    "arp or icmp",
    "tcp port 443",
    "not ip",
    "host 10.0.0.9",
    "dst net 192.168.0.0/16 and greater 100",
    "tcp src portrange 81-90",
    "tcp port 443 and tcp[13] & 8 != 0",
    "ip[8] < 64 and tcp",
    "ether src 02:00:00:00:00:99",
    "ip protochain 17 and port 443",  # a program with a loop
    {"UDP.dport": 5000},
    {"TCP.dport": (443, 80)},
    {"TCP.dport": 443, "TCP.flags": "PA"},
    {"dport": 443},
    {"IP.src": "10.0.0.9", "Raw.load": b"x"},
    {"ttl": 3},
    {"IP.flags": "MF"},
    UDP(),
    IP(dst="10.0.0.9") / TCP(),
    TCP(flags="A", dport=443),
    ARP(),
]
LEFT_OPEN = [
    "tcp",
    "port 80",
    "ip[8] == 64",
    "greater 1200",
    "less 300",
    "tcp[13] & 8 != 0",
    "tcp[4:4] > 1000",
    "ip[4:2] == 2",
    "tcp[((tcp[12] & 0xf0) >> 2):4] == 0x47455420",
    "host 10.0.0.1 and tcp[13] & 8 == 0",
    {"TCP.dport": 5000},
    {"sport": range(70, 90)},
    {"TCP.dport": [443]},
    {"TCP.flags": "A"},
    {"TCP.seq": 1007},
    {"len": 240},
    {"flags": "DF"},
    {"IP.id": 2},
    TCP(flags="PA"),
    IP(src="10.0.0.1") / TCP(dport=5000),
    Raw(),
    Padding(),
    pytest.param(lambda packet: False, id="a predicate"),
]


@pytest.mark.parametrize("filter", RULED_OUT, ids=repr)
def test_filter_that_a_flow_does_not_meet_rules_its_super_segments_out(filter):
    match, whole = matcher(filter), super_segment()
    assert match.rules_out(whole)
    assert not match(whole)
    assert not any(match(piece) for piece in split(whole))


@pytest.mark.parametrize("filter", LEFT_OPEN, ids=repr)
def test_filter_that_pieces_decide_rules_no_super_segment_out(filter):
    assert not matcher(filter).rules_out(super_segment())


@pytest.mark.parametrize("filter", [*RULED_OUT, *LEFT_OPEN], ids=repr)
def test_filter_takes_no_piece_of_what_it_rules_out(filter):
    match = matcher(filter)
    ports = [(sport, dport) for sport in (80, 443, 85) for dport in (5000, 443, 80)]
    for sport, dport in ports:
        whole = super_segment(sport=sport, dport=dport)
        assert not (match.rules_out(whole) and any(match._test(piece) for piece in split(whole)))


@pytest.mark.parametrize("number", range(3))
def test_filter_that_takes_a_piece_by_any_field_or_octets_rules_nothing_out(number):
    whole = super_segment(flags="CPFUA", tos=3)
    piece = split(whole)[number]
    packet, octets = piece.packet, piece.data[:60]
    filters: list[object] = []
    for layer in packet.layers():
        for name in packet[layer].default_fields:
            filters += [{f"{layer.__name__}.{name}": getattr(packet[layer], name)}, {name: getattr(packet, name)}]
    for size in (1, 2, 4):
        for at in range(len(octets) - size):
            value = int.from_bytes(octets[at : at + size])
            filters += [f"ether[{at}:{size}] = {value}", f"ether[{at}:{size}] <= {value}"]
    for filter in filters:
        match = matcher(filter)
        assert match(piece), filter
        assert not match.rules_out(whole), filter


def test_filter_of_a_layer_that_text_may_hold_rules_nothing_out():
    """With such a port bound, Scapy finds a UDP in the text of a TCP segment."""
    match = matcher({"UDP.dport": 53})
    assert match.rules_out(super_segment(dport=5000))
    bind_layers(TCP, IP, dport=5001)
    try:
        assert not match.rules_out(super_segment(dport=5001))
    finally:
        split_layers(TCP, IP, dport=5001)


@pytest.mark.parametrize(
    "frame",
    [Frame(b""), Frame(bytes(SYN)[:30]), Frame(bytes(DNS)), Frame(bytes(PING)), Frame(bytes(WHO))],
    ids=["empty", "short", "UDP", "ICMP", "ARP"],
)
def test_filter_rules_out_nothing_but_tcp(frame):
    assert not matcher({"TCP.dport": 443}).rules_out(frame)
    assert matcher({"TCP.dport": 443}).rules_out(Frame(bytes(SYN)))


def test_filter_remembers_a_bounded_number_of_flows(monkeypatch):
    monkeypatch.setattr("scapystack.hooks.filters._MAX_FLOWS", 3)
    match = matcher("tcp port 443")
    assert all(match.rules_out(super_segment(dport=port)) == (port != 443) for port in range(440, 450))
    assert len(match._flows) <= 3
