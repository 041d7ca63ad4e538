"""Opening: passive, active, simultaneous; what is agreed on, what is refused."""

from __future__ import annotations

import errno

import pytest

from scapystack.layers.tcp.state import ESTABLISHED, SYN_RECEIVED, SYN_SENT
from tests.harness.tcp import OURS, PEER_ISS, Peer, TcpWire


def test_listen_syn_answered_and_accepted() -> None:
    wire = TcpWire()
    listener = wire.listen()
    wire.syn()
    wire.expect("SA seq=0 ack=1 len=0 mss=1460 ws=6 sackok=True")
    c = wire.connection()
    assert listener.accept() is None
    wire.send(c, "A")
    wire.expect_nothing()
    assert listener.accept() is c
    assert c.state == ESTABLISHED


def test_connect_syn_ack_completes() -> None:
    wire = TcpWire()
    c = wire.connect()
    wire.expect("S seq=0 ack=0 len=0 mss=1460 ws=6 sackok=True ts=False")
    assert c.state == SYN_SENT
    wire.send_syn_ack(c)
    wire.expect("A seq=1 ack=1 len=0")
    assert c.connected


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
