"""TCP Fast Open (RFC 7413) as the server, off unless asked for: a SYN's data, delivered before the handshake ends."""

from __future__ import annotations

from typing import Any

import pytest

from scapystack.layers.tcp.fastopen import HOLD_NS
from scapystack.layers.tcp.listen import Listener
from scapystack.layers.tcp.options import encode_syn
from scapystack.layers.tcp.state import CLOSED, ESTABLISHED, FIN_WAIT_1, FIN_WAIT_2, SYN_RECEIVED
from scapystack.layers.tcp.user import Connection
from tests.harness.tcp import OURS, PEER, PEER_ISS, PEER_PORT, PORT, TcpWire
from tests.harness.tcp_invariants import check

SECOND = 1000
CLIENT, SERVER = 1, 2


def syn_with(cookie: bytes | None, mss: int = 1460) -> bytes:
    return encode_syn(mss, 7, True, None, cookie)


def serving(limit: int = 8, backlog: int = 8, **config: Any) -> tuple[TcpWire, Listener]:
    wire = TcpWire(fastopen=SERVER, **config)
    listener = wire.listen(backlog=backlog)
    listener.options.fastopen = limit
    return wire, listener


def cookie_of(wire: TcpWire, *, src: bytes = PEER) -> bytes:
    """The cookie that the server gives this address on request."""
    wire.syn(options=syn_with(b""), sport=1, src=src)
    (answer,) = wire.take()
    c = wire.tcp.connections[(OURS, PORT, src, 1)]
    wire.raw("R", c.rcv_nxt, 0, sport=1, src=src)
    assert answer.fastopen
    return answer.fastopen


def early(wire: TcpWire, payload: bytes = b"early", *, sport: int = PEER_PORT) -> Connection:
    """A SYN with a good cookie and data; the connection, its SYN-ACK not looked at."""
    cookie = cookie_of(wire)
    wire.syn(options=syn_with(cookie), payload=payload, sport=sport)
    return wire.connection(sport)


def test_listen_request_is_answered_with_a_cookie_and_opens_as_ever() -> None:
    """RFC 7413 section 4.2.1: data beside a request is not kept."""
    wire, listener = serving()
    wire.syn(options=syn_with(b""), payload=b"early")
    (answer,) = wire.expect("SA seq=0 ack=1 len=0 mss=1460 ws=7 sackok=True")
    assert len(answer.fastopen or b"") == 8
    c = wire.connection()
    assert listener.accept() is None
    assert c.available == 0
    wire.send(c, "A")
    assert listener.accept() is c
    assert wire.core.counters["tcp.fastopen_cookie_reqd"] == 1
    check(wire.tcp)


@pytest.mark.parametrize(("config", "limit"), [(0, 8), (CLIENT, 8), (SERVER, 0)])
def test_listen_without_fast_open_ignores_the_option(config: int, limit: int) -> None:
    """RFC 7413 section 4.2: FastOpenEnabled is off unless the application and the stack both say so."""
    wire, listener = serving(limit=8)
    cookie = cookie_of(wire)
    wire.config.tcp.fastopen = config
    listener.options.fastopen = limit
    wire.syn(options=syn_with(b""), sport=2)
    wire.syn(options=syn_with(cookie), payload=b"early")
    for answer in wire.expect("SA ack=1", "SA ack=1"):
        assert answer.fastopen is None
    assert listener.accept() is None


def test_syn_with_cookie_and_data_is_delivered_before_the_handshake_ends() -> None:
    """RFC 7413 section 4.2.2: the SYN-ACK covers the data, accept() gives the connection, read() the data."""
    wire, listener = serving()
    c = early(wire)
    (answer,) = wire.expect("SA seq=0 ack=6 len=0 mss=1460 ws=7 sackok=True")
    assert answer.fastopen is None  # it has a good one
    assert answer.wnd == 44 * 1460 - 5
    assert listener.accept() is c
    assert (c.state, c.connected, c.readable) == (SYN_RECEIVED, True, True)
    assert c.read(100) == b"early"
    check(wire.tcp)
    wire.send(c, "A")
    wire.expect_nothing()
    assert c.state == ESTABLISHED
    wire.send(c, "A", payload=b"more")
    assert c.read(100) == b"more"
    assert wire.core.counters["tcp.fastopen_passive"] == 1
    assert wire.core.counters["tcp.passive_opens"] == 1
    wire.flush()
    check(wire.tcp)


def test_early_connection_answers_behind_the_syn_ack() -> None:
    """RFC 7413 section 3: the server may respond before the handshake finishes."""
    wire, listener = serving()
    cookie = cookie_of(wire)
    wire.raw("S", PEER_ISS, 0, options=syn_with(cookie), payload=b"question")
    c = listener.accept()
    assert c is not None
    assert c.writable
    assert c.write(c.read(100).upper()) == 8
    wire.flush()
    wire.expect("SA seq=0 ack=9 len=0", "PA seq=1 ack=9 len=8")
    wire.send(c, "A", ack=1)
    assert c.state == ESTABLISHED
    assert c.flight == 8
    assert wire.deadline_ms() is not None, "the answer's timer is armed"
    wire.send(c, "A", ack=9)
    assert c.unsent == 0
    wire.expect_nothing()
    check(wire.tcp)


def test_early_connection_sends_no_more_than_the_initial_window() -> None:
    """RFC 7413 section 4.2.2, 6."""
    wire, listener = serving(initial_cwnd_segments=4)
    c = early(wire)
    wire.clear()
    c.write(bytes(100_000))
    wire.flush()
    wire.expect(*[f"A seq={1 + i * 1460} ack=6 len=1460" for i in range(4)])
    wire.send(c, "A", ack=1 + 1460)
    assert c.state == ESTABLISHED
    assert len(wire.take()) == 2  # slow start
    assert listener.accept() is c


def test_early_connection_closes_before_the_handshake_ends() -> None:
    """RFC 9293 section 3.10.4 in SYN-RECEIVED; the FIN goes behind the answer."""
    wire, listener = serving()
    c = early(wire)
    assert listener.accept() is c
    wire.clear()
    c.read(100)
    c.write(b"answer")
    c.close()
    wire.flush()
    wire.expect("FPA seq=1 ack=6 len=6")
    assert c.state == SYN_RECEIVED
    check(wire.tcp)
    wire.send(c, "A", ack=1)
    assert c.state == FIN_WAIT_1
    wire.send(c, "A", ack=8)
    assert c.state == FIN_WAIT_2
    check(wire.tcp)


def test_early_connection_is_shut_down_and_ends_with_the_handshake() -> None:
    wire, listener = serving()
    c = early(wire)
    assert listener.accept() is c
    wire.clear()
    c.shutdown_write()
    assert c.writable  # to a write that raises
    with pytest.raises(BrokenPipeError):
        c.write(b"late")
    wire.flush()
    wire.expect("FA seq=1 ack=6")
    wire.send(c, "A", ack=2)
    assert c.state == FIN_WAIT_2


def test_early_connection_sends_urgent_data() -> None:
    """MUST-30: the pointer stands where it should, though the SYN is yet to be answered."""
    wire, listener = serving()
    cookie = cookie_of(wire)
    wire.raw("S", PEER_ISS, 0, options=syn_with(cookie), payload=b"early")
    c = listener.accept()
    assert c is not None
    c.write(b"urgent")
    c.write_urgent(b"!")
    wire.flush()
    wire.expect("SA up=0", "PAU seq=1 len=7 up=7")


def test_syn_with_cookie_and_no_data_is_accepted_early() -> None:
    wire, listener = serving()
    c = early(wire, b"")
    wire.expect("SA ack=1")
    assert listener.accept() is c
    assert not c.readable


def test_syn_ack_of_early_connection_is_sent_again_without_data_and_option() -> None:
    """RFC 7413 section 4.2.2: if the SYN-ACK timer fires; what was sent behind it is sent again once established."""
    wire, listener = serving(fastopen_key_ms=SECOND)
    cookie = cookie_of(wire)
    wire.after(ms=SECOND)
    wire.raw("S", PEER_ISS, 0, options=syn_with(cookie), payload=b"early")
    c = listener.accept()
    assert c is not None
    c.write(b"answer")
    wire.flush()
    first, _ = wire.expect("SA seq=0 ack=6 len=0", "PA seq=1 ack=6 len=6")
    assert first.fastopen not in (None, cookie), "the cookie of an old key is exchanged"
    wire.after(ms=SECOND)
    (again,) = wire.expect("SA seq=0 ack=6 len=0")
    assert again.fastopen is None
    wire.after(ms=2 * SECOND)
    wire.expect("SA seq=0 ack=6 len=0")
    check(wire.tcp)
    wire.send(c, "A", ack=1)
    wire.expect_nothing()
    wire.after(ms=10 * SECOND)
    assert wire.take()[0].payload == b"answer"
    wire.send(c, "A", ack=7)
    assert (c.state, c.unsent) == (ESTABLISHED, 0)


def test_early_connections_answer_is_not_probed_for_before_the_handshake_ends() -> None:
    """RFC 7413 section 4.2.2: only the SYN-ACK is sent again; a probe (RFC 8985 section 7) would put its timer off."""
    wire, listener = serving(loss_probes=True)
    c = early(wire)
    assert listener.accept() is c
    c.write(b"answer")
    wire.flush()
    wire.clear()
    wire.after(ms=SECOND)
    wire.expect("SA seq=0 ack=6 len=0")
    wire.send(c, "A", ack=1)
    wire.after(ms=3 * SECOND)
    assert {s.payload for s in wire.take()} == {b"answer"}


def test_syn_again_draws_the_same_syn_ack() -> None:
    """The peer has timed out and sends its SYN without data and option: RFC 7413 section 4.2.2."""
    wire, listener = serving()
    c = early(wire)
    wire.clear()
    wire.syn()
    wire.expect("SA seq=0 ack=6")
    assert listener.accept() is c
    assert c.read(100) == b"early"
    wire.send(c, "A")
    assert c.state == ESTABLISHED


def test_early_connection_that_nobody_completes_times_out() -> None:
    wire, listener = serving(synack_retries=2)
    c = early(wire)
    assert listener.accept() is c
    c.read(100)
    wire.after(ms=10 * SECOND)
    assert wire.take()[-1].flags == 0x12
    assert (c.state, c.connected) == (CLOSED, False)
    with pytest.raises(TimeoutError):
        c.read(1)
    check(wire.tcp)


def test_early_connection_that_was_accepted_is_reset() -> None:
    wire, listener = serving()
    c = early(wire)
    assert listener.accept() is c
    wire.send(c, "R")
    assert c.read(100) == b"early"
    with pytest.raises(ConnectionResetError):
        c.read(1)


def test_early_connection_that_waits_for_accept_is_reset_and_gone() -> None:
    wire, listener = serving()
    c = early(wire)
    wire.send(c, "R")
    assert (c.state, listener.accept()) == (CLOSED, None)
    check(wire.tcp)


def test_early_connection_is_not_ended_by_a_syn_in_its_window() -> None:
    """An application has it: a stranger's SYN draws a challenge ACK and nothing more."""
    wire, listener = serving()
    c = early(wire)
    wire.clear()
    wire.syn(seq=PEER_ISS + 100)
    wire.expect("A seq=1 ack=6")
    assert listener.accept() is c


def test_early_connections_wrong_ack_draws_a_rst_and_changes_nothing() -> None:
    wire, _ = serving()
    c = early(wire)
    for ack in (0, c.snd_nxt - c.iss + 1):
        wire.clear()
        wire.send(c, "A", ack=ack)
        wire.expect("R")
    assert c.state == SYN_RECEIVED


def test_listener_closed_resets_early_connections_that_nobody_took() -> None:
    wire, listener = serving()
    c = early(wire)
    wire.clear()
    listener.close()
    wire.expect("RA seq=1")
    assert c.state == CLOSED
    check(wire.tcp)


def test_listener_closed_leaves_an_early_connection_that_was_accepted() -> None:
    wire, listener = serving()
    c = early(wire)
    assert listener.accept() is c
    listener.close()
    wire.send(c, "A")
    assert c.state == ESTABLISHED


@pytest.mark.parametrize("forged", [b"1234", b"12345678", bytes(16)])
def test_syn_with_a_bad_cookie_is_acknowledged_alone_and_given_a_good_one(forged: bytes) -> None:
    """RFC 7413 section 4.2.2, 3."""
    wire, listener = serving()
    good = cookie_of(wire)
    wire.syn(options=syn_with(forged), payload=b"early")
    (answer,) = wire.expect("SA ack=1")
    assert answer.fastopen == good
    assert listener.accept() is None
    c = wire.connection()
    wire.send(c, "PA", payload=b"early")
    assert listener.accept() is c
    assert c.read(100) == b"early"
    assert wire.core.counters["tcp.fastopen_passive_fail"] == 1


def test_syn_with_another_hosts_cookie_is_refused() -> None:
    """RFC 7413 section 4.1.2, 1."""
    wire, listener = serving()
    stolen = cookie_of(wire, src=b"\x0a\0\0\x09")
    wire.syn(options=syn_with(stolen), payload=b"early")
    wire.expect("SA ack=1")
    assert listener.accept() is None


def test_cookie_expires() -> None:
    """RFC 7413 section 4.1.2, 5."""
    wire, listener = serving(fastopen_key_ms=SECOND)
    cookie = cookie_of(wire)
    wire.after(ms=2 * SECOND)
    wire.clear()
    wire.syn(options=syn_with(cookie), payload=b"early")
    (answer,) = wire.expect("SA ack=1")
    assert answer.fastopen not in (None, cookie)
    assert listener.accept() is None


def test_pending_requests_over_the_limit_open_as_ever_until_one_completes() -> None:
    """RFC 7413 sections 4.2 and 5.1: neither data nor a cookie while the limit is reached."""
    wire, listener = serving(limit=2)
    cookie = cookie_of(wire)
    for sport in (2, 3):
        wire.syn(options=syn_with(cookie), payload=b"early", sport=sport)
    assert listener.accept() is wire.connection(2)  # accepted ones count, too
    wire.clear()
    wire.syn(options=syn_with(cookie), payload=b"early", sport=4)
    wire.syn(options=syn_with(b""), sport=5)
    for answer in wire.expect("SA ack=1", "SA ack=1"):
        assert answer.fastopen is None
    assert wire.core.counters["tcp.fastopen_listen_overflow"] == 2
    wire.send(wire.connection(2), "A")
    wire.clear()
    wire.syn(options=syn_with(cookie), payload=b"early", sport=6)
    wire.expect("SA ack=6")
    check(wire.tcp)


def test_pending_requests_that_are_reset_count_for_a_minute() -> None:
    """RFC 7413 section 5.1: the resets of spoofed hosts make no room for more."""
    wire, _ = serving(limit=1)
    c = early(wire)
    cookie = wire.tcp.fastopen_cookies.cookie(PEER, OURS, wire.core.now)
    wire.send(c, "R")
    wire.clear()
    wire.syn(options=syn_with(cookie), payload=b"early", sport=2)
    wire.expect("SA ack=1")
    wire.after(ms=HOLD_NS / 1e6)
    wire.clear()
    wire.syn(options=syn_with(cookie), payload=b"early", sport=3)
    wire.expect("SA ack=6")


def test_early_connections_are_bounded_by_the_backlog() -> None:
    """4987: the accept queue is full, and the SYN is dropped as any other."""
    wire, _ = serving(backlog=1)
    early(wire, sport=2)
    cookie = wire.tcp.fastopen_cookies.cookie(PEER, OURS, wire.core.now)
    wire.clear()
    wire.syn(options=syn_with(cookie), payload=b"early", sport=3)
    wire.expect_nothing()
    assert wire.core.counters["tcp.drop.accept_queue"] == 1


def test_syn_data_past_the_receive_buffer_is_not_taken() -> None:
    wire, listener = serving()
    listener.options.rcvbuf = 3000
    c = early(wire, bytes(4000))
    wire.expect("SA ack=3001 wnd=0")
    assert len(c.read(10_000)) == 3000
