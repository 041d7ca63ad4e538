"""When an ACK leaves: delayed, at once, and one for all of a burst (section 3.8.6.3 and 3.10.7.4, RFC 5681)."""

from __future__ import annotations

from tests.harness.tcp import Peer, TcpWire

NO_SACK = Peer(sack=False)


def test_ack_of_one_segment_is_delayed() -> None:
    """SHLD-18, MUST-40: by 40 ms."""
    wire = TcpWire()
    c = wire.established()
    wire.send(c, "PA", payload=b"hello")
    wire.after(ms=39.9)
    wire.expect_nothing()
    wire.after(ms=0.2)
    wire.expect("A seq=1 ack=6 len=0")
    assert wire.deadline_ms() is None


def test_ack_delay_counts_from_the_first_segment() -> None:
    """MUST-40: less than 0.5 s, however often something comes."""
    wire = TcpWire()
    c = wire.established()
    for _ in range(4):
        wire.send(c, "PA", payload=b"x")
        wire.after(ms=10)
    wire.expect("A ack=5")


def test_ack_default_delay_is_within_the_limit() -> None:
    """MUST-40."""
    assert TcpWire().config.tcp.delayed_ack_ms < 500


def test_ack_for_every_second_full_segment() -> None:
    """SHLD-19."""
    wire = TcpWire()
    c = wire.established()
    for _ in range(6):
        wire.send(c, "A", payload=b"x" * 1460)
    wire.expect("A ack=2921", "A ack=5841", "A ack=8761")


def test_ack_for_every_second_segment_of_a_peer_with_small_ones() -> None:
    """SHLD-19: RMSS is what the peer can send."""
    wire = TcpWire(mtu=128)
    c = wire.established()
    for _ in range(4):
        wire.send(c, "A", payload=b"x" * 88)
    wire.expect("A ack=177", "A ack=353")


def test_ack_for_a_peer_that_sends_more_than_it_was_told() -> None:
    """SHLD-19: its segments do not count for more than our MSS."""
    wire = TcpWire()
    c = wire.established()
    wire.send(c, "A", payload=b"x" * 9000)
    wire.clear()
    wire.send(c, "A", payload=b"x" * 1460)
    wire.send(c, "A", payload=b"x" * 1460)
    wire.expect("A ack=11921")


def test_ack_for_a_super_segment_leaves_at_once() -> None:
    """SHLD-19: it is many."""
    wire = TcpWire()
    c = wire.established()
    wire.send(c, "PA", payload=b"x" * 14_600, gso_size=1460)
    wire.expect("A ack=14601")


def test_ack_rides_on_text() -> None:
    """MUST-58."""
    wire = TcpWire()
    c = wire.established()
    wire.send(c, "PA", payload=b"hello")
    c.write(b"world")
    wire.flush()
    wire.expect("PA seq=1 ack=6 len=5")
    wire.after(ms=100)
    wire.expect_nothing()


def test_ack_of_a_burst_is_one() -> None:
    """MUST-58, MUST-59: all that has come is processed before anything is acknowledged."""
    wire = TcpWire()
    c = wire.established()
    for _ in range(20):
        wire.send(c, "PA", payload=b"x" * 1460, flush=False)
    wire.expect_nothing()
    wire.flush()
    wire.expect("A seq=1 ack=29201")


def test_ack_at_the_start_is_quick() -> None:
    """As Linux: a peer in slow start need not wait."""
    wire = TcpWire(quick_acks=2)
    c = wire.established()
    wire.send(c, "PA", payload=b"x")
    wire.expect("A ack=2")
    wire.send(c, "PA", payload=b"x")
    wire.expect("A ack=3")
    wire.send(c, "PA", payload=b"x")
    wire.expect_nothing()


def test_gap_is_acknowledged_at_once_and_again_for_each_segment() -> None:
    """5681/3.2-a, MAY-13, SHLD-31."""
    wire = TcpWire(peer=NO_SACK)
    c = wire.established()
    for seq in (101, 201, 301):
        wire.send(c, "A", seq=seq, payload=b"x" * 100)
        wire.expect("A seq=1 ack=1 len=0")
    wire.send(c, "A", seq=1, payload=b"x" * 100)
    wire.expect("A ack=401")
    assert c.available == 400


def test_gap_partly_filled_is_acknowledged_at_once() -> None:
    """5681/3.2-a."""
    wire = TcpWire()
    c = wire.established()
    wire.send(c, "A", seq=101, payload=b"x")
    wire.send(c, "A", seq=201, payload=b"x")
    wire.clear()
    wire.send(c, "A", seq=1, payload=b"x" * 100)
    wire.expect("A ack=102")


def test_gap_behind_a_burst_gives_a_peer_without_sack_one_duplicate_each() -> None:
    """5681/3.2-a: it has to count three."""
    wire = TcpWire(peer=NO_SACK)
    c = wire.established()
    for seq in (101, 201, 301):
        wire.send(c, "A", seq=seq, payload=b"x" * 100, flush=False)
    wire.flush()
    wire.expect(*["A seq=1 ack=1 len=0"] * 3)


def test_gaps_in_one_burst_are_told_of_in_an_ack_each() -> None:
    """2018/3, RFC 2018 section 4: one ACK names four ranges; what none names, the peer would take for lost."""
    wire = TcpWire()
    c = wire.established()
    for number in range(1, 7):
        wire.send(c, "A", seq=1 + 2000 * number, payload=bytes(1000), flush=False)
    wire.flush()
    acks = wire.expect(*["A seq=1 ack=1 len=0"] * 6)
    ranges = [((c.irs + 1 + 2000 * n) & 0xFFFFFFFF, (c.irs + 1001 + 2000 * n) & 0xFFFFFFFF) for n in range(1, 7)]
    assert [ack.sack[0] for ack in acks] == ranges
    for one in ranges[:4]:
        assert sum(one in ack.sack for ack in acks) >= 3  # the other two again with the next burst


def test_gap_is_acknowledged_beside_text_and_not_by_it() -> None:
    """5681/3.2-a: an ACK with text is no duplicate to the peer."""
    wire = TcpWire(peer=NO_SACK)
    c = wire.established()
    c.write(b"hello")
    wire.send(c, "A", seq=101, payload=b"x")
    wire.expect("PA seq=1 ack=1 len=5", "A seq=6 ack=1 len=0")


def test_fin_is_acknowledged_at_once() -> None:
    wire = TcpWire()
    c = wire.established()
    wire.send(c, "FA")
    wire.expect("A ack=2")


def test_duplicate_text_is_acknowledged_at_once() -> None:
    """RFC 9293 section 3.10.7.4, first."""
    wire = TcpWire()
    c = wire.established()
    wire.send(c, "PA", payload=b"hello")
    wire.send(c, "PA", seq=1, payload=b"hello")
    wire.expect("A ack=6")


def test_bare_ack_is_never_acknowledged() -> None:
    wire = TcpWire()
    c = wire.established()
    c.write(b"hello")
    wire.flush()
    wire.clear()
    for ack in (3, 6, 6, 6, 2):
        wire.send(c, "A", ack=ack)
    wire.after(ms=500)
    wire.expect_nothing()


def test_ack_of_a_flight_leaves_twice_for_a_while_after_a_gap() -> None:
    """Where segments are lost, ACKs are: the only one of a whole flight would cost the peer its probe timer."""
    wire = TcpWire(quick_acks=2)
    c = wire.established()
    c.quick = 0
    flight = b"x" * (4 * 1460)
    wire.send(c, "A", payload=flight, gso_size=1460)
    wire.expect("A ack=5841")  # nothing was lost here yet
    wire.send(c, "A", seq=5842, payload=b"y")
    wire.send(c, "A", seq=5841, payload=b"x")
    wire.clear()
    wire.send(c, "A", seq=5843, payload=flight, gso_size=1460)
    wire.expect("A ack=11683", "A ack=11683")
    wire.send(c, "A", seq=11683, payload=b"x" * 1460)
    wire.expect("A ack=13143")  # little would be lost with it
    wire.send(c, "A", seq=13143, payload=flight, gso_size=1460)
    wire.expect("A ack=18983")  # and that was a while ago


def test_ack_with_more_to_be_read_leaves_once() -> None:
    """What waits to be read will be acknowledged in a moment: that ACK makes up for the loss of this one."""
    wire = TcpWire()
    c = wire.established()
    c.core.more = True
    wire.send(c, "A", seq=5841, payload=b"x" * 1460, flush=False)
    wire.send(c, "A", seq=7301, payload=b"x" * 1460, flush=False)
    wire.flush()
    wire.expect("A ack=1")
    wire.send(c, "A", seq=1, payload=b"x" * 5840, gso_size=1460)
    wire.expect("A ack=8761")
    wire.expect_nothing()
