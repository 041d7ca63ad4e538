"""Which ICMP errors about the size of a segment are believed, and when (RFC 1191 section 6.4, RFC 5927 section 7.2)."""

from __future__ import annotations

import errno

import pytest

from scapystack.layers.tcp.user import Connection
from tests.harness.tcp import Peer, TcpWire

MS = 1_000_000


def too_big(wire: TcpWire, c: Connection, mtu: int, seq: int | None = None) -> None:
    wire.icmp(c, 3, 4, errno.EMSGSIZE, mtu=mtu, seq=seq)


def proven(**config: object) -> tuple[TcpWire, Connection]:
    """A connection whose peer has acknowledged segments of full size, and one more that is under way."""
    wire = TcpWire(**config)
    c = wire.established()
    c.write(b"x" * 14_600)
    wire.flush()
    wire.send(c, "A")
    c.write(b"y" * 1460)
    wire.flush()
    wire.clear()
    return wire, c


@pytest.mark.parametrize(("mtu", "mss", "believed"), [(1040, 1000, False), (1039, 1000, True), (1500, 1460, False)])
def test_claim_of_more_than_was_sent_is_dropped(mtu: int, mss: int, believed: bool) -> None:
    """5927, section 7.2: it cannot be about a segment of ours, and lowers nothing for other connections either."""
    wire = TcpWire(peer=Peer(mss=mss))
    c = wire.established()
    c.write(b"x" * mss)
    wire.flush()
    too_big(wire, c, mtu)
    assert wire.ip.mtu == (mtu if believed else 1500)
    assert wire.core.counters["tcp.drop.icmp_mtu"] == (not believed)


def test_size_counts_the_options() -> None:
    """With timestamps a segment of 1,448 octets makes a packet of 1,500."""
    wire = TcpWire(timestamps=True, peer=Peer(timestamps=True))
    c = wire.established()
    c.write(b"x" * 1448)
    wire.flush()
    too_big(wire, c, 1499)
    assert c.snd_mss == 1447


def test_burst_of_errors_resends_once() -> None:
    """RFC 1191 section 6.4: every segment of a flight draws one, and only the first lowers anything."""
    wire = TcpWire()
    c = wire.established()
    c.write(b"x" * 4380)
    wire.flush()
    wire.clear()
    for seq in (1, 1461, 2921):
        too_big(wire, c, 1040, seq)
    assert [len(s.payload) for s in wire.take()] == [1000] * 4 + [380]


def test_path_of_two_narrow_links_is_found_in_two_steps() -> None:
    """1191/6-8201/4."""
    wire = TcpWire()
    c = wire.established()
    c.write(b"x" * 1460)
    wire.flush()
    too_big(wire, c, 1440)
    too_big(wire, c, 1040)
    assert c.snd_mss == 1000
    assert wire.core.counters["tcp.pmtu_reductions"] == 2


def test_claim_against_sizes_that_arrived_waits_for_a_timeout() -> None:
    """5927, section 7.3.2: then the path has changed, and the segment goes again in the new size."""
    wire, c = proven()
    too_big(wire, c, 1040)
    wire.expect_nothing()
    assert (c.snd_mss, wire.ip.mtu) == (1460, 1500)
    wire.after(ms=c.rtt.rto / MS)
    wire.expect("A len=1000")
    assert (c.snd_mss, wire.ip.mtu) == (1000, 1040)


def test_claim_is_forgotten_when_the_segment_is_acknowledged() -> None:
    """5927, section 7.2: progress shows that it was false."""
    wire, c = proven()
    too_big(wire, c, 1040)
    wire.send(c, "A")
    c.write(b"z" * 1460)
    wire.flush()
    wire.clear()
    wire.after(ms=c.rtt.rto / MS)
    wire.expect("PA len=1460")
    assert (c.snd_mss, wire.ip.mtu) == (1460, 1500)


def test_claim_in_the_middle_of_timeouts_is_believed() -> None:
    """5927: the segment has timed out already."""
    wire, c = proven()
    wire.after(ms=c.rtt.rto / MS)
    wire.clear()
    too_big(wire, c, 1040)
    wire.expect("A len=1000", "PA len=460")


@pytest.mark.parametrize("timeouts", [0, 1, 2, 3])
def test_number_of_timeouts_can_be_set(timeouts: int) -> None:
    """5927, MAXSEGRTO."""
    wire, c = proven(pmtu_timeouts=timeouts)
    too_big(wire, c, 1040)
    seen = 0
    while c.snd_mss != 1000:
        wire.after(ms=wire.deadline_ms() or 0)
        seen += 1
    assert seen == timeouts


def test_sizes_above_those_that_arrived_are_another_matter() -> None:
    """5927, section 7.2: the path is being discovered, so errors are believed at once."""
    wire = TcpWire()
    wire.ip.mtu = 1040
    c = wire.established()
    c.write(b"x" * 5000)
    wire.flush()
    wire.send(c, "A")
    assert c.mss_acked == 1000
    wire.ip.mtu = 1500
    wire.ip.fresh = lambda route: route.mtu == 1500  # type: ignore[method-assign]
    c.write(b"y" * 3000)
    wire.flush()
    wire.clear()
    wire.ip.fresh = lambda route: True  # type: ignore[method-assign]
    too_big(wire, c, 1300)
    assert wire.take()
    assert c.snd_mss == 1260


def test_ack_of_what_left_before_the_size_grew_proves_nothing() -> None:
    """5927: the many small segments that one ACK covers are no large one."""
    wire = TcpWire()
    wire.ip.mtu = 1040
    c = wire.established()
    c.write(b"x" * 5000)
    wire.flush()
    wire.ip.mtu = 1500
    wire.ip.fresh = lambda route: route.mtu == 1500  # type: ignore[method-assign]
    c.write(b"y" * 3000)
    wire.flush()
    assert c.snd_mss == 1460
    wire.send(c, "A", ack=6001)  # the first of the new ones was cut before the route was asked for again
    assert c.mss_acked == 0
    wire.send(c, "A", ack=6001 + 1460)
    assert c.mss_acked == 1460


def test_idle_connection_believes_nobody() -> None:
    """5927, section 7.3.3: nothing is in flight."""
    wire, c = proven()
    wire.send(c, "A")
    for seq in (14_601, 16_060, 16_061, 16_062):
        too_big(wire, c, 68, seq)
    assert (c.snd_mss, wire.ip.mtu) == (1460, 1500)
    assert wire.core.counters["tcp.drop.icmp_sequence"] == 4
