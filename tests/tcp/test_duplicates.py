"""Which ACKs count as duplicates when the peer's window moves as it goes (RFC 5681 section 2, RFC 6675 section 2)."""

from __future__ import annotations

from scapystack.layers.tcp.state import OPEN, RECOVERY
from scapystack.layers.tcp.user import Connection
from tests.harness.tcp import Peer, TcpWire

MSS = 1460


def eight_in_flight() -> tuple[TcpWire, Connection]:
    wire = TcpWire()
    c = wire.established(rtt_ms=20)
    c.write(b"x" * 8 * MSS)
    wire.flush()
    wire.after(ms=20)
    assert len(wire.take()) == 8
    return wire, c


def sacked(wire: TcpWire, c: Connection, count: int, wnd: int) -> None:
    """The first segment is missing, `count` behind it have come; the window is `wnd`."""
    wire.send(c, "A", ack=1, wnd=wnd, sack=((1 + MSS, 1 + (1 + count) * MSS),))


def test_duplicate_acks_that_open_the_window_start_fast_retransmit() -> None:
    wire, c = eight_in_flight()
    for count in (1, 2):
        sacked(wire, c, count, 65_000 + count)
        wire.expect_nothing()
    sacked(wire, c, 3, 65_003)
    wire.expect(f"A seq=1 len={MSS}")
    assert c.ca_state == RECOVERY
    assert c.snd_wnd == 65_003 << c.snd_wscale


def test_window_updates_with_the_same_sack_are_no_duplicates() -> None:
    wire, c = eight_in_flight()
    for more in range(6):
        sacked(wire, c, 1, 65_000 + more)
    assert c.ca_state == OPEN
    wire.expect_nothing()


def test_window_updates_with_a_dsack_alone_are_no_duplicates() -> None:
    """RFC 2883: a block below the cumulative ACK tells of what came twice."""
    wire, c = eight_in_flight()
    wire.send(c, "A", ack=1 + 4 * MSS)
    for more in range(4):
        wire.send(c, "A", ack=1 + 4 * MSS, wnd=65_000 + more, sack=((1 + more * MSS, 1 + (more + 1) * MSS),))
    assert c.ca_state == OPEN
    wire.expect_nothing()


def test_window_updates_without_sack_are_no_duplicates() -> None:
    wire, c = eight_in_flight()
    for more in range(6):
        wire.send(c, "A", ack=1, wnd=65_000 + more)
    assert c.ca_state == OPEN
    wire.expect_nothing()


def test_duplicate_acks_to_a_peer_without_sack_are_one_for_each_segment_of_a_super_segment() -> None:
    """RFC 5681 section 3.2: three of them let the peer send again at once; one would leave it to its timer."""
    wire = TcpWire(peer=Peer(sack=False))
    c = wire.established()
    wire.send(c, "A", seq=1 + MSS, payload=bytes(4 * MSS + 7), gso_size=MSS)
    wire.expect(*["A ack=1"] * 5)
