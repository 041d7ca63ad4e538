"""A listener whose SYN queue is full: SYN cookies (4987), what they carry and when they are taken."""

from __future__ import annotations

import random

import pytest

from scapystack.base.segment import ACK, CWR, ECE, SYN
from scapystack.base.types import MILLISECOND
from scapystack.layers.tcp.cookies import LIFETIME, unstamp
from scapystack.layers.tcp.listen import Listener
from scapystack.layers.tcp.state import CLOSE_WAIT, ESTABLISHED, TIME_WAIT
from scapystack.layers.tcp.user import Connection
from tests.harness.tcp import MASK, OURS, PEER, PEER_ISS, PORT, Peer, TcpWire
from tests.harness.tcp_invariants import check

S, SEC, SA, SAE = SYN, SYN | ECE | CWR, SYN | ACK, SYN | ACK | ECE
LIFETIME_MS = LIFETIME // MILLISECOND


def flooded(**config: object) -> tuple[TcpWire, Listener]:
    """A listener that has no room for half-open connections; the peer does timestamps."""
    peer = config.pop("peer", None) or Peer(timestamps=True)
    assert isinstance(peer, Peer)
    wire = TcpWire(peer=peer, **{"timestamps": True, "max_syn_backlog": 0, **config})
    return wire, wire.listen()


class Client:
    """A peer that answers a cookie as any TCP would."""

    def __init__(self, wire: TcpWire, sport: int = 2, seq: int = PEER_ISS, asks: int = S, **more: int) -> None:
        self.wire = wire
        self.sport = sport
        self.seq = seq
        wire.raw("SEC" if asks == SEC else "S", seq, 0, options=wire.syn_options(), sport=sport, **more)
        wire.flush()
        (self.marks,) = [how["tos"] & 3 for how in wire.ip.kept]
        (self.syn_ack,) = wire.take()
        assert (OURS, PORT, PEER, sport) not in wire.tcp.connections

    def answer(
        self, flags: str = "A", *, seq: int = 1, ack: int = 1, payload: bytes = b"", wnd: int = 1_000, tsecr: int = -1
    ) -> None:
        """The ACK of the SYN and ACK (relative numbers), or what else is to come instead."""
        options = b""
        if self.syn_ack.tsval is not None:
            self.wire.peer_ts += 1
            echo = self.syn_ack.tsval if tsecr < 0 else tsecr
            options = b"\1\1\x08\x0a" + self.wire.peer_ts.to_bytes(4, "big") + echo.to_bytes(4, "big")
        number = (self.syn_ack.seq + ack) & MASK
        self.wire.raw(flags, self.seq + seq, number, sport=self.sport, payload=payload, options=options, wnd=wnd)
        self.wire.flush()

    @property
    def connection(self) -> Connection:
        return self.wire.connection(self.sport)


def test_cookie_is_sent_when_the_syn_queue_is_full_and_nothing_is_kept() -> None:
    """4987."""
    wire, listener = flooded(max_syn_backlog=1)
    for sport in range(1, 100):
        wire.syn(sport=sport)
    sent = wire.take()
    assert len(sent) == 99
    assert len(listener.half_open) == len(wire.tcp.connections) == 1
    assert wire.core.counters["tcp.syncookies_sent"] == 98
    assert len({seg.seq >> 24 for seg in sent}) > 20, "the numbers of connections tell nothing of each other"
    wire.after(ms=600_000)
    assert all(seg.dport == 1 for seg in wire.take()), "and is never sent again"


def test_cookie_offers_and_brings_back_mss_scale_and_sack() -> None:
    """4987, MUST-14, SHLD-5: options as in any SYN and ACK; those beyond MSS come back in the timestamp."""
    wire, listener = flooded(peer=Peer(mss=1400, wscale=3, timestamps=True))
    client = Client(wire)
    seg = client.syn_ack
    assert (seg.ack, seg.mss, seg.wscale, seg.sack_permitted, seg.tsecr) == (PEER_ISS + 1, 1460, 7, True, wire.peer_ts)
    assert unstamp(seg.tsval or 0) == (3, True, False)
    client.answer(wnd=1_000)
    wire.expect_nothing()
    c = listener.accept()
    assert c is not None
    assert c is client.connection
    assert (c.state, c.irs, c.iss, c.snd_wnd) == (ESTABLISHED, PEER_ISS, seg.seq, 8_000)
    assert (c.peer_mss, c.snd_wscale, c.rcv_wscale, c.sack_ok, c.ts_ok) == (1360, 3, 7, True, True)
    assert wire.core.counters["tcp.syncookies_recv"] == wire.core.counters["tcp.passive_opens"] == 1
    check(wire.tcp)


@pytest.mark.parametrize(("ecn", "asks", "tos", "timestamps", "answer"), [
    ("accept-only", SEC, 0, True, SAE), ("on", SEC, 0, True, SAE), ("off", SEC, 0, True, SA), ("on", S, 0, True, SA),
    ("on", SEC, 2, True, SA), ("on", SEC, 0, False, SA),
])  # fmt: skip
def test_cookie_agrees_to_ecn_and_remembers_it_in_the_timestamp(
    ecn: str, asks: int, tos: int, timestamps: bool, answer: int
) -> None:
    """3168/6.1, RFC 3168 section 6.1.1: as any SYN and ACK, but not where no timestamp can bring it back."""
    wire, listener = flooded(peer=Peer(timestamps=timestamps), ecn=ecn)
    client = Client(wire, asks=asks, tos=tos)
    assert client.syn_ack.flags == answer
    assert client.marks == 0, "no SYN and ACK is marked"
    client.answer()
    c = listener.accept()
    assert c is not None
    assert (c.ecn is not None) == (answer == SAE)
    c.write(b"x")
    wire.flush()
    assert wire.ip.kept[-1]["tos"] == (2 if answer == SAE else 0), "text is"


def test_cookie_that_claims_ecn_opens_without_where_it_is_off() -> None:
    """The bit is the peer's to set: it only ever asks."""
    wire, listener = flooded(ecn="off")
    client = Client(wire)
    client.answer(tsecr=client.syn_ack.tsval | 0x20)  # type: ignore[operator]
    c = listener.accept()
    assert c is not None
    assert c.ecn is None


def test_cookie_connection_passes_text_both_ways() -> None:
    wire, listener = flooded()
    Client(wire).answer()
    c = listener.accept()
    assert c is not None
    wire.known[(PORT, 2)] = c
    wire.send(c, "PA", payload=b"hello")
    assert c.read(10) == b"hello"
    wire.clear()
    c.write(b"x" * 3000)
    wire.flush()
    wire.expect("A seq=1 ack=6 len=1448", "A seq=1449 ack=6 len=1448")
    wire.send(c, "A")
    wire.expect("PA seq=2897 ack=6 len=104")
    wire.send(c, "FA")
    assert c.state == CLOSE_WAIT
    wire.flush()
    check(wire.tcp)


@pytest.mark.parametrize("peer", [Peer(mss=536), Peer(mss=None), Peer(mss=9000, wscale=None, sack=False)])
def test_cookie_without_timestamps_carries_the_mss_alone(peer: Peer) -> None:
    """MUST-15: and so nothing is offered that could not be remembered."""
    wire, listener = flooded(peer=peer)
    client = Client(wire)
    seg = client.syn_ack
    assert (seg.mss, seg.wscale, seg.sack_permitted, seg.tsval) == (1460, None, False, None)
    client.answer(wnd=1_000)
    c = listener.accept()
    assert c is not None
    assert (c.snd_wnd, c.snd_wscale, c.rcv_wscale, c.sack_ok, c.ts_ok) == (1_000, 0, 0, False, False)
    assert c.peer_mss == {536: 536, None: 536, 9000: 8960}[peer.mss]


@pytest.mark.parametrize("off", ["window_scaling", "sack", "timestamps"])
def test_cookie_offers_no_option_that_the_stack_does_not_do(off: str) -> None:
    wire, listener = flooded(**{off: False})
    client = Client(wire)
    scaling, sack, stamps = (off != name for name in ("window_scaling", "sack", "timestamps"))
    seg = client.syn_ack
    assert (seg.wscale is not None, seg.sack_permitted, seg.tsval is not None) == (
        scaling and stamps, sack and stamps, stamps,
    )  # fmt: skip
    client.answer()
    c = listener.accept()
    assert c is not None
    assert (c.ws_ok, c.sack_ok, c.ts_ok) == (scaling and stamps, sack and stamps, stamps)


def test_cookie_ack_with_text_and_fin_is_processed_at_once() -> None:
    """The ACK alone may be lost; whatever comes first at this place brings the cookie."""
    wire, listener = flooded()
    client = Client(wire)
    client.answer("FPA", payload=b"hello")
    c = listener.accept()
    assert c is not None
    assert (c.state, c.read(10), c.eof) == (CLOSE_WAIT, b"hello", True)
    (seg,) = wire.take()
    assert seg.ack == PEER_ISS + 7


def test_cookie_ack_times_no_round_trip() -> None:
    """MUST-18: its TSecr tells of options, and may be 63 ms off."""
    wire, listener = flooded()
    client = Client(wire)
    wire.after(ms=30)
    client.answer()
    c = listener.accept()
    assert c is not None
    assert c.rtt.srtt == 0
    wire.known[(PORT, 2)] = c
    c.write(b"x")
    wire.flush()
    wire.after(ms=30)
    wire.send(c, "A")
    assert c.rtt.srtt == 30 * MILLISECOND


def test_cookie_timestamps_never_run_backwards() -> None:
    """RFC 7323 section 5: the peer's PAWS would drop what follows."""
    wire, listener = flooded()
    client = Client(wire)
    client.answer(payload=b"hello")
    wire.after(ms=40)
    (ack,) = wire.take()
    assert (ack.tsval or 0) >= (client.syn_ack.tsval or 0)
    wire.after(ms=1)
    again = Client(wire, sport=3)
    assert abs((again.syn_ack.tsval or 0) - (ack.tsval or 0)) < 64, "one clock for both"
    assert listener.readable


def test_cookie_is_taken_for_two_minutes_and_then_reset() -> None:
    wire, listener = flooded()
    client = Client(wire)
    wire.after(ms=LIFETIME_MS // 2 - 1)
    wire.clear()
    client.answer()
    assert listener.accept() is client.connection
    late = Client(wire, sport=3)
    wire.after(ms=LIFETIME_MS)
    wire.clear()
    late.answer()
    wire.expect("R")
    assert not listener.readable


def test_cookie_of_an_old_period_fails_during_a_flood() -> None:
    wire, listener = flooded()
    client = Client(wire)
    wire.after(ms=LIFETIME_MS - 1)
    Client(wire, sport=3)
    wire.after(ms=LIFETIME_MS)
    Client(wire, sport=4)
    wire.clear()
    client.answer()
    wire.expect("R")
    assert not listener.readable
    assert wire.core.counters["tcp.syncookies_failed"] == 1


def test_cookie_is_taken_by_no_listener_that_sent_none_of_late() -> None:
    """As Linux: in quiet times nobody opens connections by guessing; a second listener is not the first."""
    wire, listener = flooded()
    client = Client(wire)
    other = wire.listen(81)
    number = wire.tcp.cookies.make(wire.core.now, OURS + PEER + bytes.fromhex("00510002"), PEER_ISS, 1460)
    wire.raw("A", PEER_ISS + 1, number + 1, sport=2, dport=81)
    wire.flush()
    wire.expect("R")
    assert not other.readable
    client.answer()
    assert listener.readable


def test_cookie_guesses_are_reset_and_open_nothing() -> None:
    """RFC 9293 section 3.10.7.2: any other ACK at a listener draws a RST."""
    wire, _ = flooded()
    client = Client(wire)
    r = random.Random(1)
    for n in range(500):
        client.answer(ack=1 + r.randrange(1, 1 << 32), tsecr=r.getrandbits(32))
        client.answer(seq=1 + r.randrange(1, 1 << 32))
        if n == 0:
            wire.expect("R", "R")
    assert not wire.tcp.connections
    assert wire.core.counters["tcp.syncookies_failed"] == 1_000
    wire.after(ms=2_000)
    wire.clear()
    client.answer("SA")
    wire.expect("R")


def test_text_behind_a_cookie_that_was_lost_is_dropped_and_not_reset() -> None:
    """The peer believes that it is connected: the first segment will come again, and be taken."""
    wire, listener = flooded()
    client = Client(wire)
    client.answer("A", seq=1449, payload=b"second")
    client.answer("FA", seq=1455)
    wire.expect_nothing()
    assert not listener.readable
    client.answer("A", payload=b"1" * 1448)
    client.answer("A", seq=1449, payload=b"second")
    c = listener.accept()
    assert c is not None
    assert c.available == 1454


def test_cookie_waits_for_room_in_the_accept_queue() -> None:
    """4987: the ACK is dropped without a RST, and the text that follows is tried again."""
    wire = TcpWire(max_syn_backlog=0)
    listener = wire.listen(backlog=1)
    first, second = Client(wire, sport=2), Client(wire, sport=3)
    first.answer()
    second.answer()
    second.answer("PA", payload=b"hello")
    second.answer("PA", seq=6, payload=b"world")
    wire.expect_nothing()
    assert wire.core.counters["tcp.drop.accept_queue"] == 2
    assert listener.accept() is first.connection
    second.answer("PA", payload=b"hello")
    c = listener.accept()
    assert c is second.connection
    assert c.read(10) == b"hello"
    wire.flush()
    check(wire.tcp)


def test_cookie_for_a_syn_that_reopens_time_wait_is_not_used() -> None:
    """MAY-2: the new connection's numbers must lie behind the old one's, which a cookie cannot promise."""
    wire = TcpWire()
    c = wire.reach(TIME_WAIT)
    listener = wire.tcp.listeners[(OURS, PORT)]
    wire.config.tcp.max_syn_backlog = 1
    wire.syn(sport=1)
    wire.clear()
    wire.syn(seq=c.rcv_nxt + 1000)
    again = wire.connection()
    assert again is not c
    assert (again.iss - c.snd_nxt) & MASK < 1 << 31
    assert list(listener.half_open.values()) == [again]
    assert wire.core.counters["tcp.half_open_recycled"] == 1
    wire.expect("SA")


def test_cookie_of_a_connection_that_stands_disturbs_nothing() -> None:
    """The ACK twice: the second belongs to the connection. Its SYN again: a challenge (5961/4)."""
    wire, listener = flooded()
    client = Client(wire)
    client.answer()
    client.answer()
    wire.expect_nothing()
    wire.syn(sport=2)
    (seg,) = wire.take()
    assert seg.flags == 0x10
    assert listener.accept() is client.connection
    assert not listener.readable


def test_cookies_always_are_sent_for_every_syn() -> None:
    wire = TcpWire(syn_cookies="always")
    listener = wire.listen()
    Client(wire).answer("PA", payload=b"hello")
    c = listener.accept()
    assert c is not None
    assert c.read(10) == b"hello"
    assert wire.core.counters["tcp.syncookies_sent"] == 1


def test_cookie_uses_the_listeners_type_of_service_and_ttl() -> None:
    """MUST-48: as for any segment of its connections."""
    wire, listener = flooded()
    listener.options.tos, listener.options.ttl = 0x20, 3
    wire.syn(sport=2)
    (kept,) = wire.ip.kept
    assert (kept["tos"], kept["ttl"]) == (0x20, 3)


def test_cookie_without_a_way_back_is_dropped() -> None:
    wire, _ = flooded()
    wire.ip.error = 101
    wire.syn(sport=2)
    wire.expect_nothing()
    assert wire.core.counters["tcp.drop.no_route"] == 1


def test_same_seed_gives_the_same_cookies() -> None:
    def numbers(seed: int) -> list[int]:
        wire = TcpWire(seed=seed, syn_cookies="always")
        wire.listen()
        for sport in range(1, 10):
            wire.syn(sport=sport)
        return [seg.seq for seg in wire.take()]

    assert numbers(1) == numbers(1) != numbers(2)
