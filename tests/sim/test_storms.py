"""Two stacks that answer each other must come to rest: no state of a pair may make an endless exchange."""

from __future__ import annotations

import pytest

from scapystack.base.segment import ACK, PSH
from scapystack.layers.tcp.transmit import emit
from scapystack.layers.tcp.user import Connection
from tests.harness.net import Host, Net
from tests.harness.settings import config_of


def open_pair(net: Net, **settings: int) -> tuple[Host, Connection, Host, Connection]:
    a, b = (net.host(f"10.0.0.{n}/24", config=config_of(**settings), seed=n, keep=True) for n in (1, 2))
    listener = b.stack.tcp.listen(b.address, 7, 4)
    c = a.stack.tcp.connect(b.address, 7)
    assert net.run(until=lambda: listener.readable and c.connected)
    d = listener.accept()
    assert d is not None
    return a, c, b, d


def test_both_windows_closed_probes_only() -> None:
    """Each end's probe stands outside the other's window, and so would an ACK behind it."""
    net = Net()
    a, c, b, d = open_pair(net, tcp_rcvbuf=600)
    for host, connection in ((a, c), (b, d)):
        net.enter(host)
        connection.write(bytes(10_000))
    before = net.frames
    net.run(limit_ms=20_000)
    assert net.frames - before < 60
    assert c.available == d.available == 600
    while c.unsent or d.unsent:  # and it goes on where it stopped
        for host, connection in ((a, c), (b, d)):
            net.enter(host)
            connection.discard(10_000)
        net.run(limit_ms=200)
    assert net.frames - before < 500


@pytest.mark.parametrize("text", [b"x", b"x" * 500])
def test_text_injected_into_both_ends_acks_limited(text: bytes) -> None:
    """Who forges text for both ends makes each acknowledge what the other never sent; RFC 5961 section 7."""
    net = Net()
    a, c, b, d = open_pair(net)
    net.run(limit_ms=1000)
    for host, connection in ((a, c), (b, d)):
        net.enter(host)
        emit(connection, connection.snd_nxt, ACK | PSH, (text,), len(text))  # sent, and no word of it in the TCB
    before = net.frames
    net.run(limit_ms=10_000)
    assert net.frames - before < 250
    assert c.available == d.available == len(text)
