"""TCP Fast Open (RFC 7413) as the client: cookies asked for and used, and paths that do not bear it."""

from __future__ import annotations

import errno
from typing import Any

import pytest

from scapystack.layers.tcp.options import encode_syn
from scapystack.layers.tcp.state import CLOSED, ESTABLISHED, SYN_SENT
from scapystack.layers.tcp.user import Connection
from tests.harness.tcp import MASK, OURS, PEER, PEER_ISS, PEER_PORT, PORT, Peer, TcpWire
from tests.harness.tcp_invariants import check

SECOND = 1000
CLIENT, SERVER = 1, 2
COOKIE = b"biscuits"


def syn_with(cookie: bytes | None, mss: int = 1460) -> bytes:
    return encode_syn(mss, 7, True, None, cookie)


def client(*, known: bool = True, mss: int = 1460, **config: Any) -> TcpWire:
    """A stack that may use Fast Open, and does or does not have the peer's cookie."""
    wire = TcpWire(fastopen=CLIENT, **config)
    if known:
        wire.tcp.fastopen_cache.learn(OURS, PEER, COOKIE, mss)
    return wire


def opening(wire: TcpWire, data: bytes = b"question") -> Connection:
    """An active open with Fast Open, and what the application wants to say."""
    c = wire.tcp.connect(PEER, PORT, local_port=PEER_PORT, fastopen=True)
    if data:
        assert c.write(data) == len(data)
    wire.flush()
    return c


def answer(wire: TcpWire, c: Connection, ack: int, cookie: bytes | None = None, **more: Any) -> None:
    """The peer's SYN-ACK."""
    more.setdefault("options", syn_with(cookie))
    wire.raw("SA", PEER_ISS, (c.iss + ack) & MASK, sport=c.remote_port, dport=c.local_port, **more)
    wire.flush()


def test_connect_without_a_cookie_asks_for_one_and_keeps_it() -> None:
    """RFC 7413 section 4.2.1: no data in that SYN."""
    wire = client(known=False)
    c = opening(wire)
    (syn,) = wire.expect("S seq=0 len=0")
    assert syn.fastopen == b""
    answer(wire, c, 1, COOKIE, options=syn_with(COOKIE, mss=1400))
    wire.expect("PA seq=1 ack=1 len=8")
    assert wire.tcp.fastopen_cache.find(OURS, PEER) == (COOKIE, 1400)
    check(wire.tcp)


def test_connect_with_a_cookie_sends_the_data_in_the_syn() -> None:
    """RFC 7413 section 4.2.2."""
    wire = client()
    c = opening(wire)
    (syn,) = wire.expect("S seq=0 ack=0 len=8 mss=1460 ws=7 sackok=True")
    assert (syn.fastopen, syn.payload) == (COOKIE, b"question")
    check(wire.tcp)
    answer(wire, c, 9)
    wire.expect("A seq=9 ack=1 len=0")
    assert (c.state, c.unsent, c.flight) == (ESTABLISHED, 0, 0)
    assert wire.core.counters["tcp.fastopen_active"] == 1
    assert c.info().options & 32
    c.write(b"more")
    wire.flush()
    wire.expect("PA seq=9 len=4")
    check(wire.tcp)


def test_connect_with_a_cookie_waits_for_the_data() -> None:
    wire = client()
    c = opening(wire, b"")
    wire.expect_nothing()
    assert (c.state, c.writable, c.readable, c.connected) == (SYN_SENT, True, False, False)
    assert wire.deadline_ms() is None
    check(wire.tcp)
    wire.after(ms=5000)
    c.write(b"question")
    assert not c.writable
    wire.flush()
    wire.expect("S len=8")
    check(wire.tcp)
    wire.after(ms=SECOND)
    wire.expect("S len=0")


def test_connect_with_a_cookie_and_nothing_to_say() -> None:
    wire = client()
    c = opening(wire, b"")
    assert c.write(b"") == 0
    wire.flush()
    (syn,) = wire.expect("S len=0")
    assert syn.fastopen == COOKIE
    answer(wire, c, 1)
    assert wire.tcp.fastopen_cache.allowed(OURS, PEER, PORT, wire.core.now)


def test_connect_with_a_cookie_has_no_place_for_urgent_data() -> None:
    wire = client()
    c = opening(wire, b"")
    with pytest.raises(OSError, match="not connected"):
        c.write_urgent(b"!")
    wire.flush()
    wire.expect_nothing()


def test_connect_that_waits_for_data_is_closed_without_a_word() -> None:
    wire = client()
    c = opening(wire, b"")
    c.close()
    wire.flush()
    wire.expect_nothing()
    assert not wire.tcp.connections
    assert wire.tcp.fastopen_cache.allowed(OURS, PEER, PORT, wire.core.now)


def test_connect_without_asking_never_uses_fast_open() -> None:
    """RFC 7413 section 2: only if the application says so."""
    wire = client()
    wire.connect()
    (syn,) = wire.expect("S len=0")
    assert syn.fastopen is None


def test_connect_is_plain_where_the_stack_forbids_it() -> None:
    wire = client()
    wire.config.tcp.fastopen = SERVER
    c = opening(wire)
    (syn,) = wire.expect("S len=0")
    assert syn.fastopen is None
    answer(wire, c, 1)
    wire.expect("PA seq=1 len=8")


def test_data_that_the_syn_ack_does_not_cover_leaves_in_the_first_ack() -> None:
    """RFC 7413 section 4.2.2, "Client: Receiving SYN-ACK": with a new cookie it was ours that was too old."""
    wire = client()
    c = opening(wire)
    wire.clear()
    answer(wire, c, 1, b"freshone")
    wire.expect("PA seq=1 ack=1 len=8")
    assert wire.tcp.fastopen_cache.find(OURS, PEER) == (b"freshone", 1460)
    assert wire.tcp.fastopen_cache.allowed(OURS, PEER, PORT, wire.core.now)
    assert wire.core.counters["tcp.fastopen_active_fail"] == 1
    wire.send(c, "A", ack=9)
    assert c.unsent == 0
    check(wire.tcp)


def test_data_of_which_the_syn_ack_covers_a_part() -> None:
    wire = client()
    c = opening(wire)
    wire.clear()
    answer(wire, c, 4)
    wire.expect("PA seq=4 ack=1 len=5")
    assert wire.tcp.fastopen_cache.allowed(OURS, PEER, PORT, wire.core.now)


def test_server_that_takes_no_data_and_gives_no_cookie_is_left_alone_for_a_minute() -> None:
    """RFC 7413 section 4.1.3.1, a negative response; another port of it may do better."""
    wire = client()
    c = opening(wire)
    wire.clear()
    answer(wire, c, 1)
    wire.expect("PA seq=1 ack=1 len=8")
    c.abort()
    wire.clear()
    c = opening(wire)
    (syn,) = wire.expect("S len=0")
    assert syn.fastopen is None
    wire.tcp.connect(PEER, PORT + 1, fastopen=True).write(b"x")
    c.close()
    wire.clear()
    wire.flush()
    wire.expect("S len=1")
    wire.after(ms=60 * SECOND)
    wire.clear()
    opening(wire)
    wire.expect("S len=8")


def test_server_that_answers_no_request_is_not_asked_for_a_minute() -> None:
    """RFC 7413 section 4.2.1."""
    wire = client(known=False)
    c = opening(wire)
    answer(wire, c, 1)
    c.abort()
    wire.clear()
    opening(wire)
    (syn,) = wire.expect("S len=0")
    assert syn.fastopen is None


def test_syn_that_nobody_answers_is_sent_again_without_data_and_option() -> None:
    """RFC 7413 section 4.2.2; SYN-ACK without either: the path swallows such SYNs."""
    wire = client()
    c = opening(wire)
    wire.clear()
    wire.after(ms=SECOND)
    (again,) = wire.expect("S seq=0 len=0")
    assert again.fastopen is None
    check(wire.tcp)
    answer(wire, c, 1)
    wire.expect("PA seq=1 ack=1 len=8")
    assert not wire.tcp.fastopen_cache.allowed(OURS, PEER, PORT, wire.core.now)


def test_request_that_nobody_answers_is_repeated_without_option() -> None:
    """RFC 7413 section 4.2.1."""
    wire = client(known=False)
    c = opening(wire)
    wire.clear()
    wire.after(ms=SECOND)
    (again,) = wire.expect("S len=0")
    assert again.fastopen is None
    answer(wire, c, 1)
    assert not wire.tcp.fastopen_cache.allowed(OURS, PEER, PORT, wire.core.now)


def test_syn_ack_that_was_lost_covers_the_data_of_the_first_syn() -> None:
    """The second SYN had none, yet the server has it from the first: nothing is sent twice, nothing has failed."""
    wire = client()
    c = opening(wire)
    wire.after(ms=SECOND)
    wire.clear()
    answer(wire, c, 9)
    wire.expect("A seq=9 ack=1 len=0")
    assert c.unsent == 0
    assert wire.tcp.fastopen_cache.allowed(OURS, PEER, PORT, wire.core.now)


def test_server_that_never_answers_is_a_failure_of_the_path() -> None:
    """RFC 7413 section 4.1.3.1: no response at all."""
    wire = client(syn_retries=1)
    c = opening(wire)
    wire.after(ms=10 * SECOND)
    assert (c.state, c.error) == (CLOSED, errno.ETIMEDOUT)
    assert not wire.tcp.fastopen_cache.allowed(OURS, PEER, PORT, wire.core.now)


def test_icmp_error_is_a_failure_of_the_path_and_a_refusal_is_not() -> None:
    """RFC 7413 section 4.1.3.1."""
    wire = client()
    c = opening(wire)
    wire.raw("RA", 0, c.snd_nxt, sport=c.remote_port, dport=c.local_port)
    assert c.error == errno.ECONNREFUSED
    assert wire.tcp.fastopen_cache.allowed(OURS, PEER, PORT, wire.core.now)
    c = opening(wire)
    wire.icmp(c, 3, 10, errno.EHOSTUNREACH, hard=True)
    assert c.error == errno.EHOSTUNREACH
    assert not wire.tcp.fastopen_cache.allowed(OURS, PEER, PORT, wire.core.now)


@pytest.mark.parametrize(
    ("mss", "mtu", "room"), [(536, 1500, 536), (1460, 1500, 1460), (1460, 576, 536), (8960, 9000, 1460)]
)
def test_syn_data_fits_the_cached_mss_and_the_path(mss: int, mtu: int, room: int) -> None:
    """RFC 7413 section 4.1.3: with the options beside it."""
    wire = client(mss=mss, mtu=mtu, gso_max=65_536)
    c = opening(wire, bytes(range(256)) * 20)
    assert wire.ip.kept[0]["gso_size"] == 0
    (syn,) = wire.take()
    assert len(syn.payload) == room - 24
    answer(wire, c, 1 + len(syn.payload))
    wire.send(c, "A")  # the last one is small and waits for it
    rest = b"".join(s.payload for s in wire.take())
    assert syn.payload + rest == bytes(range(256)) * 20
    check(wire.tcp)


def test_syn_ack_of_data_that_was_not_sent_draws_a_rst() -> None:
    wire = client()
    c = opening(wire)
    wire.clear()
    answer(wire, c, 10)
    wire.expect("R")
    assert c.state == SYN_SENT


def test_simultaneous_open_with_data_in_the_syn() -> None:
    """MUST-10, RFC 7413 section 4.2.2: a SYN crosses ours; the ACK says how much of the data was taken."""
    for taken in (0, 8):
        wire = client()
        c = opening(wire)
        wire.clear()
        wire.syn(dport=c.local_port, sport=c.remote_port)
        (reply,) = wire.expect("SA seq=0 ack=1 len=0")
        assert reply.fastopen is None
        check(wire.tcp)
        answer(wire, c, 1 + taken)
        assert c.state == ESTABLISHED
        wire.expect(*([] if taken else ["PA seq=1 ack=1 len=8"]))
        assert c.unsent == 8 - taken
        check(wire.tcp)


def test_option_size_leaves_room_for_every_other_option() -> None:
    """Timestamps, SACK, window scale and 16 octets of cookie: 40 octets, and the segment is whole."""
    wire = TcpWire(fastopen=CLIENT, timestamps=True, peer=Peer(timestamps=True))
    wire.tcp.fastopen_cache.learn(OURS, PEER, bytes(16), 1460)
    opening(wire, bytes(3000))
    head = wire.ip.kept[0]["head"]
    (syn,) = wire.expect("S len=1420 mss=1460 ws=7 sackok=True ts=True")
    assert (len(head), syn.fastopen) == (60, bytes(16))
