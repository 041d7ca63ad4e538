"""What an application's writes become: sizes, PSH, Nagle, cork, TTL and the like (sections 3.7.4 and 3.9.1)."""

from __future__ import annotations

import pytest

from scapystack.base.addr import ip
from scapystack.base.datagram import Neighbour
from scapystack.layers.tcp.tcb import Options
from scapystack.layers.tcp.user import Connection
from tests.harness.tcp import Peer, TcpWire


def test_writes_become_segments_of_the_largest_size() -> None:
    """SHLD-28, MAY-16: many writes, few segments."""
    wire = TcpWire()
    c = wire.established()
    for _ in range(30):
        c.write(b"x" * 100)
    wire.flush()
    wire.expect("A seq=1 len=1460", "A seq=1461 len=1460")
    wire.send(c, "A")
    wire.expect("PA seq=2921 len=80")


def test_push_stands_on_the_last_of_what_is_buffered() -> None:
    """MUST-61, SHLD-27: and only there."""
    wire = TcpWire(nodelay=True)
    c = wire.established()
    c.write(b"x" * 2000)
    c.write(b"x" * 2000)
    wire.flush()
    wire.expect("A len=1460", "A len=1460", "PA len=1080")


def test_super_segment_carries_the_push_of_its_last() -> None:
    """MUST-61: segments of many MSS leave whole where the interface takes them."""
    wire = TcpWire(gso_max=64_000)
    c = wire.established()
    c.write(b"x" * 14_600)
    wire.flush()
    wire.expect("PA seq=1 len=14600")
    assert wire.core.counters["tcp.retrans_segs"] == 0


def beside_a_kernel(**changes: object) -> tuple[TcpWire, Connection]:
    """A connection to the kernel at the other end of a TAP, with windows for 300,000 octets."""
    wire = TcpWire(gso_max=64_000, peer=Peer(wscale=7), sndbuf=1 << 20)
    c = wire.established(wnd=4_000)
    iface = c.route.iface
    iface.gso_kernel, iface.kernel_mac = 262_000, b"\2kernl"
    c.route.neighbour = Neighbour(iface.kernel_mac + iface.mac + b"\x08\0", 1 << 62)
    wire.core.watched = False
    c.cc.cwnd = 300_000
    for name, value in changes.items():
        where = {"watched": wire.core, "hop": c.route, "neighbour": c.route, "snd_up": c, "ip_options": c.options}
        setattr(where.get(name, iface), name, value)
    c.write(b"x" * 261_340)
    wire.flush()
    return wire, c


def test_to_the_kernel_beside_us_more_leaves_at_once_than_ipv4_has_a_number_for() -> None:
    wire, c = beside_a_kernel()
    wire.expect("PA seq=1 len=261340")
    wire.send(c, "A", wnd=4_000)
    wire.expect_nothing()
    assert c.info().data_segs_out == 179


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("watched", True), ("hop", ip("10.0.0.9")), ("kernel_mac", b"\2other"), ("neighbour", None), ("gso_kernel", 0),
    ],
)  # fmt: skip
def test_super_segment_that_somebody_sees_or_that_goes_further_is_of_the_usual_size(name: str, value: object) -> None:
    wire, _ = beside_a_kernel(**{name: value})
    wire.expect(*[f"A len={62_780}"] * 4, "PA len=10220")


def test_super_segment_with_ip_options_is_of_the_usual_size() -> None:
    wire, _ = beside_a_kernel(ip_options=b"\x01\x01\x01\0")
    assert max(len(seg.payload) for seg in wire.take()) == 62_780


def test_what_the_kernel_has_lost_goes_again_in_super_segments_of_the_usual_size() -> None:
    wire, c = beside_a_kernel()
    wire.clear()
    wire.after(ms=1_500)
    assert {len(seg.payload) for seg in wire.take()} == {1460}  # after a timeout the window is one segment
    c.cc.cwnd = c.cc.ssthresh = 300_000
    wire.send(c, "A", ack=1461, wnd=4_000)
    assert max(len(seg.payload) for seg in wire.take()) == 62_780


def test_nagle_holds_a_small_segment_while_something_is_in_flight() -> None:
    """SHLD-7."""
    wire = TcpWire()
    c = wire.established()
    c.write(b"a")
    wire.flush()
    wire.expect("PA seq=1 len=1")
    c.write(b"b")
    wire.flush()
    c.write(b"c")
    wire.flush()
    wire.expect_nothing()
    wire.send(c, "A")
    wire.expect("PA seq=2 len=2")


def test_nagle_sends_full_segments_at_once() -> None:
    """SHLD-7."""
    wire = TcpWire()
    c = wire.established()
    c.write(b"a")
    wire.flush()
    c.write(b"b" * 1461)
    wire.flush()
    wire.expect("PA seq=1 len=1", "A seq=2 len=1460")


def test_nagle_is_switched_off_by_the_application() -> None:
    """MUST-17."""
    wire = TcpWire()
    c = wire.established()
    c.options.nodelay = True
    for _ in range(3):
        c.write(b"a")
        wire.flush()
    wire.expect("PA seq=1 len=1", "PA seq=2 len=1", "PA seq=3 len=1")


def test_nagle_switched_off_lets_what_waits_go() -> None:
    """MUST-17."""
    wire = TcpWire()
    c = wire.established()
    for _ in range(2):
        c.write(b"a")
        wire.flush()
    wire.clear()
    c.options.nodelay = True
    c.options_changed()
    wire.flush()
    wire.expect("PA seq=2 len=1")


def test_small_write_alone_leaves_at_once() -> None:
    """MUST-60: nothing is buffered without end."""
    wire = TcpWire()
    c = wire.established()
    c.write(b"a")
    wire.flush()
    wire.expect("PA len=1")


def test_cork_holds_a_part_of_a_segment_for_a_while_only() -> None:
    """MUST-60."""
    wire = TcpWire()
    c = wire.established()
    c.options.cork = True
    c.write(b"x" * 1500)
    wire.flush()
    wire.expect("A seq=1 len=1460")
    wire.send(c, "A")
    wire.expect_nothing()
    wire.after(ms=199)
    wire.expect_nothing()
    wire.after(ms=2)
    wire.expect("PA seq=1461 len=40")


def test_cork_does_not_hold_what_fills_the_buffer() -> None:
    """MUST-60: the application cannot add to it."""
    wire = TcpWire(sndbuf=600)
    c = wire.established()
    c.options.cork = True
    assert c.write(b"x" * 1000) == 600
    wire.flush()
    wire.expect("PA seq=1 len=600")


def test_cork_pulled_sends_the_rest() -> None:
    wire = TcpWire()
    c = wire.established()
    c.options.cork = True
    c.write(b"head")
    wire.flush()
    c.write(b"body")
    wire.flush()
    wire.expect_nothing()
    c.options.cork = False
    c.options_changed()
    wire.flush()
    wire.expect("PA seq=1 len=8")
    wire.send(c, "A")
    assert wire.deadline_ms() is None


def test_fin_pushes_what_nagle_and_cork_hold() -> None:
    wire = TcpWire()
    c = wire.established()
    c.options.cork = True
    c.write(b"a")
    wire.flush()
    wire.expect_nothing()
    c.shutdown_write()
    wire.flush()
    wire.expect("FPA seq=1 len=1")


def test_write_takes_no_more_than_the_buffer_and_wakes_when_there_is_room() -> None:
    wire = TcpWire(sndbuf=3000)
    c = wire.established()
    c.on_ready = lambda: None
    assert c.write(b"x" * 5000) == 3000
    assert c.write(b"x") == 0
    assert not c.writable
    wire.flush()
    wire.send(c, "A", ack=1461)
    assert c.writable
    assert c.write_space == 1460
    assert c in wire.core.ready


def test_writable_means_that_a_write_would_not_be_for_nothing() -> None:
    """Room, or an error to be told."""
    wire = TcpWire()
    c = wire.connect()
    assert not c.writable
    wire.send_syn_ack(c)
    assert c.writable
    c.options.sndbuf = 100
    c.write(b"x" * 100)
    assert not c.writable
    c.shutdown_write()
    assert c.writable
    c.abort()
    assert c.writable


def test_ttl_and_differentiated_services_are_the_applications() -> None:
    """MUST-48, MUST-49, SHLD-21, SHLD-22: on SYN, text and ACK, changed whenever it likes; 1122/3.2.1.6-7."""
    wire = TcpWire()
    options = Options.of(wire.config.tcp)
    options.ttl, options.tos = 3, 0xB8
    c = wire.connect(options)
    wire.send_syn_ack(c)
    c.write(b"hello")
    wire.flush()
    c.options.ttl, c.options.tos = 99, 0x04
    c.abort()
    assert [(how["ttl"], how["tos"]) for how in wire.ip.kept] == [(3, 0xB8)] * 3 + [(99, 0x04)]


def test_ttl_by_default_is_the_stacks() -> None:
    """MUST-49."""
    wire = TcpWire()
    wire.connect()
    assert wire.ip.kept[0]["ttl"] == 0  # IP puts its own


def test_segments_ask_not_to_be_fragmented() -> None:
    """1191: and so may all carry the same IP id (MAY-4, 6864)."""
    wire = TcpWire()
    c = wire.established()
    c.write(b"hello")
    wire.flush()
    wire.after(ms=300)
    wire.expect("PA", "PA")
    assert all(how["df"] for how in wire.ip.kept)


def test_source_route_of_the_application_goes_with_every_segment() -> None:
    """MUST-51: given at the active open."""
    wire = TcpWire()
    options = Options.of(wire.config.tcp)
    options.ip_options = ROUTE
    c = wire.connect(options)
    wire.send_syn_ack(c)
    assert [how["options"] for how in wire.ip.kept] == [ROUTE, ROUTE]


ROUTE = b"\x83\x07\x04\x0a\x01\x01\x01\x00"
CAME = b"\x83\x0b\x0c\x0a\x01\x01\x01\x0a\x02\x02\x02\x00"
BACK = b"\x83\x0b\x04\x0a\x02\x02\x02\x0a\x01\x01\x01\x00"
OTHER = b"\x83\x07\x08\x0a\x03\x03\x03\x00"
OTHER_BACK = b"\x83\x07\x04\x0a\x03\x03\x03\x00"


def ip_options_of(wire: TcpWire) -> list[bytes]:
    wire.flush()
    kept = [how["options"] for how in wire.ip.kept]
    wire.clear()
    return kept


def test_source_route_received_is_the_way_back_and_the_last_one_counts() -> None:
    """MUST-53, SHLD-24."""
    wire = TcpWire(quick_acks=100)
    wire.listen()
    syn(wire, CAME)
    c = wire.connection()
    assert ip_options_of(wire) == [BACK]
    wire.send(c, "A")
    wire.send(c, "PA", payload=b"hello")
    assert ip_options_of(wire) == [BACK]
    assert c.snd_mss == 536 - 12  # MUST-16
    arrive(wire, "PA", c.rcv_nxt, c.snd_nxt, OTHER)
    assert ip_options_of(wire) == [OTHER_BACK]


def test_source_route_of_a_segment_that_is_not_acceptable_is_ignored() -> None:
    """SHLD-24: a stranger must not turn the traffic."""
    wire = TcpWire(quick_acks=100)
    wire.listen()
    syn(wire, CAME)
    c = wire.connection()
    wire.send(c, "A")
    wire.after(ms=10)
    wire.clear()
    arrive(wire, "PA", c.rcv_nxt - 1000, c.snd_nxt, OTHER)
    arrive(wire, "PA", c.rcv_nxt + (1 << 30), c.snd_nxt, OTHER)
    assert set(ip_options_of(wire)) == {BACK}


def test_source_route_of_the_application_goes_before_a_received_one() -> None:
    """MUST-52."""
    wire = TcpWire(quick_acks=100)
    options = Options.of(wire.config.tcp)
    options.ip_options = ROUTE
    c = wire.connect(options)
    wire.send_syn_ack(c)
    wire.clear()
    arrive(wire, "PA", c.rcv_nxt, c.snd_nxt, OTHER, sport=c.remote_port, dport=c.local_port)
    assert ip_options_of(wire) == [ROUTE]


def test_ip_options_that_tcp_does_not_know_are_ignored() -> None:
    """MUST-50, 1122/3.2.1.8: timestamp, record route, garbage."""
    wire = TcpWire(quick_acks=100)
    wire.listen()
    for sport, options in enumerate((b"\x44\x04\x05\x00", b"\x07\x03\x04\x00", b"\x99\x00\x00\x00"), 1):
        syn(wire, options, sport)
        assert ip_options_of(wire) == [b""]


def syn(wire: TcpWire, ip_options: bytes, sport: int = 40_000) -> None:
    arrive(wire, "S", 5000, 0, ip_options, sport=sport, payload=b"")


def arrive(
    wire: TcpWire, flags: str, seq: int, ack: int, ip_options: bytes, *, payload: bytes = b"x", **ports: int
) -> None:
    wire.raw(flags, seq, ack, payload=payload, ip_options=ip_options, **ports)


@pytest.mark.parametrize("kind", [bytes, bytearray, memoryview])
def test_write_of_any_buffer_sends_what_it_held_then(kind: type) -> None:
    wire = TcpWire()
    c = wire.established()
    data = bytearray(b"hello")
    c.write(kind(data))
    data[:] = b"XXXXX"
    wire.flush()
    (seg,) = wire.expect("PA len=5")
    assert bytes(seg.payload) == b"hello"


def test_record_route_and_timestamp_options_may_be_sent() -> None:
    """MAY-10, MAY-11: IP options of any kind, in every packet of the connection."""
    wire = TcpWire()
    options = Options.of(wire.config.tcp)
    options.ip_options = b"\x07\x07\x04" + bytes(5) + b"\x44\x08\x05\x00" + bytes(4)
    wire.connect(options)
    assert ip_options_of(wire) == [options.ip_options]
