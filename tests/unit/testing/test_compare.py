"""What is compared and what is not, layer by layer and option by option."""

import pytest
from scapy.layers.inet import ICMP, IP, TCP, UDP
from scapy.layers.l2 import Ether
from scapy.packet import Padding, Raw

from scapystack.testing.compare import rows_of_line, rows_of_packet, side_by_side, text_of

OPTIONS = [("NOP", None), ("NOP", None), ("Timestamp", (5, 6)), ("SAck", (1, 2))]


def actual(layers):
    """As it comes off a wire."""
    return Ether(bytes(Ether() / IP(src="10.0.0.1", dst="10.0.0.2") / layers))


def differing(wanted, there):
    return [row.name for row in rows_of_packet(wanted, there) if not row.same]


@pytest.mark.parametrize(
    ("wanted", "names"),
    [
        (TCP(), ["payload"]),
        (TCP() / Raw(), []),
        (TCP() / b"text", []),
        (TCP() / b"test", ["load"]),
        (TCP() / UDP(), ["payload"]),
        (TCP(flags="PA", seq=9) / Raw(), []),
        (TCP(flags="AP") / Raw(), []),
        (TCP(flags=0x18) / Raw(), []),
        (TCP(flags="A", seq=9, ack=1) / Raw(), ["ack", "flags"]),
        (IP(dst="10.0.0.2") / TCP(dport=80) / b"text", []),
        (IP(dst="10.0.0.3") / TCP(dport=81) / b"text", ["dst", "dport"]),
        (IP() / UDP(), ["payload"]),
        (IP(), ["payload"]),
        (Ether(type=0x800) / IP() / TCP() / Raw(), []),
        (UDP(), ["UDP"]),
        (TCP(options=OPTIONS) / Raw(), []),
        (TCP(options=OPTIONS[2:]) / Raw(), []),
        (TCP(options=[OPTIONS[0], *OPTIONS[2:]]) / Raw(), ["options"]),
        (TCP(options=OPTIONS[:1:-1]) / Raw(), ["options"]),
        (TCP(options=[("Timestamp", None), ("SAck", (1, None))]) / Raw(), []),
        (TCP(options=[("Timestamp", (None, 7)), ("SAck", None)]) / Raw(), ["options"]),
        (TCP(options=[("Timestamp", (5, 6))]) / Raw(), ["options"]),
        (TCP(options=[]) / Raw(), ["options"]),
    ],
    ids=lambda value: text_of(value) if hasattr(value, "fields") else "",
)
def test_packet_differs_in_what_was_given(wanted, names):
    there = actual(TCP(sport=7, dport=80, flags="PA", seq=9, ack=2, options=OPTIONS) / b"text")
    assert differing(wanted, there) == names


def test_payload_that_nobody_expects_differs_and_padding_does_not():
    assert differing(ICMP(), actual(ICMP() / b"x")) == ["payload"]
    assert differing(ICMP(), actual(ICMP()) / Padding(b"\0" * 18)) == []
    assert differing(ICMP() / b"x", actual(ICMP())) == ["payload"]


def test_line_names_flags_and_fields():
    fields = {"seq": 1, "ack": 0, "ts": True}
    assert all(row.same for row in rows_of_line("S seq=1 ts=True", "S", fields))
    rows = rows_of_line("SA seq=2 what=1", "S", fields)
    assert [(row.name, row.wanted, row.actual, row.same) for row in rows] == [
        ("flags", "SA", "S", False),
        ("seq", "2", "1", False),
        ("what", "1", "there is no such field", False),
    ]
    assert rows_of_line("", ".", fields)[0].same is False


def test_table_has_a_mark_where_something_differs():
    rows = rows_of_packet(TCP(flags="A", seq=10) / b"abc", actual(TCP(flags="A", seq=9) / (b"x" * 30)))
    assert side_by_side(rows) == [
        "       expected           actual",
        "seq    10                 9                                           <--",
        "flags  A                  A",
        "load   b'abc' (3 octets)  b'xxxxxxxxxxxxxxxxxxxxxxxx'... (30 octets)  <--",
    ]


def test_expected_packet_is_told_by_what_was_given():
    assert (
        text_of(IP(dst="10.0.0.1") / TCP(flags="SA") / b"x")
        == "IP(dst=10.0.0.1) / TCP(flags=SA) / Raw(load=b'x' (1 octets))"
    )
    assert text_of(TCP() / Raw()) == "TCP() / Raw()"
    assert "Timestamp" in text_of(TCP(options=[("Timestamp", (None, 1))]))
