"""Opening: passive, active, simultaneous; what is agreed on, what is refused."""

from __future__ import annotations

import errno

import pytest

from scapystack.base.addr import ip
from scapystack.base.datagram import CAST_BROADCAST, CAST_MULTICAST, Route
from scapystack.layers.tcp.congestion import names
from scapystack.layers.tcp.state import CLOSED, ESTABLISHED, FIN_WAIT_1, SYN_RECEIVED, SYN_SENT
from scapystack.layers.tcp.tcb import Options
from tests.harness.tcp import MASK, OURS, PEER, PEER_ISS, PEER_PORT, PORT, Peer, TcpWire


def test_listen_syn_answered_and_accepted() -> None:
    wire = TcpWire()
    listener = wire.listen()
    wire.syn()
    wire.expect("SA seq=0 ack=1 len=0 mss=1460 ws=7 sackok=True")
    c = wire.connection()
    assert listener.accept() is None
    wire.send(c, "A")
    wire.expect_nothing()
    assert listener.accept() is c
    assert c.state == ESTABLISHED


def test_connect_syn_ack_completes() -> None:
    wire = TcpWire()
    c = wire.connect()
    wire.expect("S seq=0 ack=0 len=0 mss=1460 ws=7 sackok=True ts=False")
    assert c.state == SYN_SENT
    wire.send_syn_ack(c)
    wire.expect("A seq=1 ack=1 len=0")
    assert c.connected


@pytest.mark.parametrize("name", names())
def test_connect_congestion_control_chosen_before_the_answer_is_the_connections(name: str) -> None:
    """A socket that is connecting takes TCP_CONGESTION as one that is connected does."""
    wire = TcpWire()
    c = wire.connect()
    c.options.congestion = name
    c.options_changed()
    wire.send_syn_ack(c)
    assert c.connected
    assert c.info().congestion == name
    assert c.cc.cwnd == c.cc.initial_window == 10 * 1460


def test_connect_syn_crosses_syn_opens_simultaneously() -> None:
    """MUST-10."""
    wire = TcpWire()
    c = wire.connect()
    wire.expect("S")
    wire.syn(dport=c.local_port, sport=c.remote_port)
    wire.expect("SA seq=0 ack=1")
    assert c.state == SYN_RECEIVED
    wire.raw("SA", PEER_ISS, c.snd_nxt, sport=c.remote_port, dport=c.local_port)
    wire.flush()
    assert c.state == ESTABLISHED


def test_connect_rst_refused() -> None:
    wire = TcpWire()
    c = wire.connect()
    wire.clear()
    wire.raw("RA", 0, c.snd_nxt, sport=c.remote_port, dport=c.local_port)
    wire.flush()
    wire.expect_nothing()
    assert c.error == errno.ECONNREFUSED


def test_closed_port_syn_answered_with_rst() -> None:
    wire = TcpWire()
    wire.syn()
    (rst,) = wire.expect("RA len=0 wnd=0")
    assert (rst.seq, rst.ack) == (0, PEER_ISS + 1)


@pytest.mark.parametrize("scale", [None, 0, 7, 14, 200])
def test_listen_syn_window_scale_agreed(scale: int | None) -> None:
    wire = TcpWire(peer=Peer(wscale=scale))
    c = wire.established(wnd=10)
    assert c.snd_wscale == min(scale or 0, 14)
    assert c.snd_wnd == 10 << c.snd_wscale
    assert c.local_addr == OURS


# -- initial sequence numbers ------------------------------------------------------------------------------


def test_isn_grows_by_a_4_us_clock() -> None:
    """MUST-8, SHLD-1, 6528: the same four numbers again, a second later."""
    wire = TcpWire()
    first = wire.connect()
    iss = first.iss
    first.close()
    wire.after(ms=1000)
    assert (wire.connect().iss - iss) & MASK == 250_000


def test_isn_of_other_connections_and_other_secrets_is_unrelated() -> None:
    """MUST-9, 6528: one connection's number tells nothing of another's."""
    wire = TcpWire()
    numbers = {wire.tcp.connect(PEER, port, local_port=PEER_PORT).iss for port in (80, 81, 82)}
    numbers.add(TcpWire(seed=2).connect().iss)
    gaps = sorted((a - b) & MASK for a in numbers for b in numbers if a != b)
    assert len(numbers) == 4
    assert gaps[0] > 1000


# -- simultaneous open, and who began ------------------------------------------------------------------------


def test_simultaneous_open_refused_tells_the_user() -> None:
    """MUST-11: a connection that began as an active open is refused by a RST in SYN-RECEIVED."""
    wire = TcpWire()
    c = wire.connect()
    wire.syn(dport=c.local_port, sport=c.remote_port)
    wire.clear()
    wire.send(c, "R")
    wire.expect_nothing()
    assert (c.state, c.error) == (CLOSED, errno.ECONNREFUSED)


def test_passive_open_refused_tells_nobody_and_goes_on_listening() -> None:
    """MUST-11: back to LISTEN."""
    wire = TcpWire()
    listener = wire.listen()
    wire.syn()
    child = wire.connection()
    wire.clear()
    wire.send(child, "R")
    wire.expect_nothing()
    assert (child.state, child.error, len(listener.half_open)) == (CLOSED, 0, 0)
    wire.syn()
    wire.expect("SA")


def test_simultaneous_open_completes_with_a_plain_ack_too() -> None:
    """MUST-10."""
    wire = TcpWire()
    c = wire.connect()
    wire.syn(dport=c.local_port, sport=c.remote_port)
    wire.clear()
    wire.send(c, "A", payload=b"hello")
    assert c.state == ESTABLISHED
    assert c.read(10) == b"hello"


def test_simultaneous_open_takes_the_text_of_the_syn_ack() -> None:
    """MUST-10: it begins behind the SYN."""
    wire = TcpWire()
    c = wire.connect()
    wire.syn(dport=c.local_port, sport=c.remote_port)
    wire.raw("SA", PEER_ISS, c.snd_nxt, payload=b"hello", sport=c.remote_port, dport=c.local_port)
    assert c.state == ESTABLISHED
    assert c.read(10) == b"hello"


def test_close_in_syn_received_sends_fin_once_the_syn_is_acked() -> None:
    """RFC 9293 section 3.10.4."""
    wire = TcpWire()
    c = wire.connect()
    wire.syn(dport=c.local_port, sport=c.remote_port)
    wire.clear()
    c.shutdown_write()
    wire.flush()
    wire.expect_nothing()
    wire.send(c, "A")
    wire.expect("FA seq=1 ack=1")
    assert c.state == FIN_WAIT_1


# -- OPEN ----------------------------------------------------------------------------------------------------


def test_listen_beside_a_connection_that_opens_from_the_same_port() -> None:
    """MUST-41, MUST-42: a passive OPEN disturbs no connection, and the port may have one in SYN-SENT."""
    wire = TcpWire()
    c = wire.tcp.connect(PEER, 80, local_port=7)
    wire.flush()
    wire.listen(7)
    wire.clear()
    wire.syn(dport=7, sport=50_000)
    wire.expect("SA")
    wire.send_syn_ack(c)
    assert c.state == ESTABLISHED


def test_listen_on_a_local_address_takes_only_what_is_sent_there() -> None:
    """MUST-43."""
    wire = TcpWire()
    other = ip("10.0.0.9")
    wire.ip.is_local = lambda address: address in (OURS, other)  # type: ignore[method-assign]
    wire.tcp.listen(other, PORT, 1)
    wire.syn()
    wire.expect("RA")
    wire.syn(dst=other)
    wire.expect("SA")
    with pytest.raises(OSError, match="assign"):
        wire.tcp.listen(ip("10.0.0.77"), PORT, 1)


def test_connect_asks_ip_for_the_source_and_keeps_it() -> None:
    """MUST-44, MUST-45."""
    wire = TcpWire()
    c = wire.connect()
    assert c.local_addr == OURS
    wire.send_syn_ack(c)
    wire.ip.route = lambda dst, src=None: Route(dst, src or ip("10.0.0.99"), wire.ip.iface, dst, 1500)  # type: ignore[method-assign]
    wire.ip.fresh = lambda route: False  # type: ignore[method-assign]
    wire.clear()
    c.write(b"hello")
    wire.flush()
    (seg,) = wire.expect("PA len=5")
    assert seg.src == OURS


def test_connect_takes_the_address_that_ip_chooses() -> None:
    """MUST-44: before the first SYN."""
    wire = TcpWire()
    asked = []

    def route(dst: bytes, src: bytes | None = None) -> Route:
        asked.append(src)
        return Route(dst, src or ip("10.0.0.9"), wire.ip.iface, dst, 1500)

    wire.ip.route = route  # type: ignore[method-assign]
    c = wire.connect()
    (syn,) = wire.expect("S")
    assert (asked[0], c.local_addr, syn.src) == (None, ip("10.0.0.9"), ip("10.0.0.9"))


def test_connect_from_a_given_address() -> None:
    """MUST-43."""
    wire = TcpWire()
    c = wire.tcp.connect(PEER, 80, local=ip("10.0.0.9"))
    assert c.local_addr == ip("10.0.0.9")


@pytest.mark.parametrize("remote", ["255.255.255.255", "224.0.0.1", "239.255.0.1", "0.0.0.0"])
def test_connect_to_an_address_of_nobody_is_refused(remote: str) -> None:
    """MUST-46."""
    wire = TcpWire()
    with pytest.raises(OSError, match="unreachable"):
        wire.tcp.connect(ip(remote), 80)
    assert not wire.tcp.connections


def test_connect_to_a_directed_broadcast_is_refused() -> None:
    """MUST-46."""
    wire = TcpWire()
    wire.ip.route = lambda dst, src=None: Route(dst, OURS, wire.ip.iface, dst, 1500, CAST_BROADCAST)  # type: ignore[method-assign]
    with pytest.raises(OSError, match="unreachable"):
        wire.tcp.connect(ip("10.0.0.255"), 80)


def test_connect_twice_from_the_same_port_is_refused() -> None:
    wire = TcpWire()
    wire.connect()
    with pytest.raises(OSError, match="in use"):
        wire.connect()


def test_connect_ports_are_drawn_at_random_within_the_range() -> None:
    """6056."""
    wire = TcpWire(ephemeral_low=40_000, ephemeral_high=40_099)
    ports = [wire.tcp.connect(PEER, 80).local_port for _ in range(100)]
    assert sorted(ports) == list(range(40_000, 40_100))
    assert ports != sorted(ports)
    with pytest.raises(OSError, match="in use"):
        wire.tcp.connect(PEER, 80)
    wire.tcp.connect(PEER, 81)


# -- whom nobody answers ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("cast", [CAST_BROADCAST, CAST_MULTICAST])
def test_syn_to_a_broadcast_or_multicast_address_is_dropped_in_silence(cast: int) -> None:
    """MUST-57."""
    wire = TcpWire()
    wire.listen()
    wire.syn(cast=cast)
    wire.syn(cast=cast, dport=81)
    wire.expect_nothing()


@pytest.mark.parametrize("src", ["255.255.255.255", "224.0.0.5", "0.0.0.0"])
def test_syn_from_an_address_of_nobody_is_dropped_in_silence(src: str) -> None:
    """MUST-63."""
    wire = TcpWire()
    wire.listen()
    wire.syn(src=ip(src))
    wire.syn(src=ip(src), dport=81)
    wire.expect_nothing()


# -- what a SYN brings besides -----------------------------------------------------------------------------------


def test_syn_with_text_is_acknowledged_for_the_syn_alone() -> None:
    """Nothing is delivered before ESTABLISHED; the ACK covers what is kept, and the peer sends the rest again."""
    wire = TcpWire()
    listener = wire.listen()
    wire.syn(payload=b"early")
    wire.expect("SA ack=1")
    c = wire.connection()
    wire.send(c, "A")
    assert listener.accept() is c
    assert c.available == 0
    wire.send(c, "PA", payload=b"early")
    assert c.read(10) == b"early"


def test_syn_ack_with_text_and_fin_opens_and_acknowledges_the_syn_alone() -> None:
    wire = TcpWire()
    c = wire.connect()
    wire.clear()
    wire.raw("SFA", PEER_ISS, c.snd_nxt, payload=b"early", sport=c.remote_port, dport=c.local_port)
    wire.flush()
    wire.expect("A seq=1 ack=1")
    assert (c.state, c.available) == (ESTABLISHED, 0)


def test_ack_of_the_handshake_may_bring_text_and_fin() -> None:
    wire = TcpWire()
    listener = wire.listen()
    wire.syn()
    wire.clear()
    wire.send(wire.connection(), "FPA", payload=b"all of it")
    wire.expect("A ack=11")
    c = listener.accept()
    assert c is not None
    assert c.read(100) == b"all of it"
    assert c.eof


def test_syn_ack_lost_is_sent_again_for_the_syn() -> None:
    wire = TcpWire()
    wire.listen()
    wire.syn()
    wire.syn()
    wire.expect("SA seq=0 ack=1", "SA seq=0 ack=1")
    assert len(wire.tcp.connections) == 1


def test_connect_writes_only_once_connected() -> None:
    wire = TcpWire()
    c = wire.connect(Options.of(wire.config.tcp))
    with pytest.raises(OSError, match="not connected"):
        c.write(b"early")
    wire.send_syn_ack(c)
    assert c.write(b"now") == 3


def test_connect_stack_without_a_way_back_drops_the_syn() -> None:
    wire = TcpWire()
    wire.listen()
    wire.ip.error = errno.ENETUNREACH
    wire.syn()
    wire.syn(dport=81)
    wire.expect_nothing()
    assert not wire.tcp.connections


def test_syn_received_syn_again_and_ack_in_one_burst_leaves_no_syn_behind_the_handshake() -> None:
    """What the SYN asked for is settled by the ACK: the text is acknowledged, and no SYN leaves in ESTABLISHED."""
    wire = TcpWire()
    c = wire.reach(SYN_RECEIVED)
    wire.raw("S", PEER_ISS, 0, options=wire.syn_options())
    wire.send(c, "A", flush=False)
    wire.send(c, "PA", payload=b"x" * 1460, flush=False)
    wire.send(c, "PA", payload=b"x" * 1460)
    wire.expect("A ack=2921")
    assert c.state == ESTABLISHED


def test_simultaneous_open_syn_and_its_ack_in_one_burst_is_acknowledged_and_text_leaves() -> None:
    """MUST-10: our SYN and ACK was due, and is not any more; what waits for the handshake may go."""
    wire = TcpWire(fastopen=1)
    c = wire.tcp.connect(PEER, PORT, local_port=PEER_PORT, fastopen=True)
    c.write(b"hello")
    wire.flush()
    wire.clear()
    options = wire.syn_options()
    wire.raw("S", PEER_ISS, 0, options=options, sport=PORT, dport=PEER_PORT)
    wire.raw("SA", PEER_ISS, c.snd_nxt, options=options, sport=PORT, dport=PEER_PORT)
    wire.flush()
    wire.expect("PA seq=1 ack=1 len=5")
    assert c.state == ESTABLISHED
