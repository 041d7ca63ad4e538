"""Handles: what leaves by hand, what comes by hand, segment by segment."""

import pytest
from scapy.layers.inet import IP, TCP
from scapy.plist import PacketList

from scapystack.base.errors import ConfigError
from scapystack.repl import which
from scapystack.repl.fork import fork
from tests.unit.repl.world import World


@pytest.fixture
def world():
    return World()


def test_next_without_data_is_a_pure_ack_and_moves_nothing(world):
    c, _ = world.connect()
    before = c.info().of
    packet = c.next()
    assert (packet[IP].dst, packet[TCP].dport, str(packet[TCP].flags)) == ("10.0.0.2", 80, "A")
    assert (packet[TCP].seq, packet[TCP].ack) == (before.snd_nxt, before.rcv_nxt)
    assert None not in (packet[IP].len, packet[IP].chksum, packet[TCP].dataofs, packet[TCP].chksum)
    assert c.info().of == before


def test_next_with_data_is_what_leaves(world):
    c, _ = world.connect()
    packet = c.next(b"hello")
    world.run(50)
    sent = len(c.log)
    c.write(b"hello")
    left = c.log[sent][TCP]
    assert (left.seq, left.ack, bytes(left.payload), str(left.flags)) == (
        packet[TCP].seq, packet[TCP].ack, b"hello", str(packet[TCP].flags),
    )  # fmt: skip


def test_send_with_account_moves_the_connection_and_is_acknowledged(world):
    c, server = world.connect()
    packet = c.next(b"hello")
    packet[TCP].flags |= "U"
    packet[TCP].urgptr = 2
    sent = c.send(packet, account=True)
    assert sent[TCP].chksum != packet[TCP].chksum, "computed anew after the change"
    assert c.info().snd_nxt == packet[TCP].seq + 5
    assert c.info().due["rtx"] > 0
    world.run(100)
    assert c.info().snd_una == packet[TCP].seq + 5
    assert c.log[-1][TCP].ack == packet[TCP].seq + 5
    c.write(b" and more")
    world.run(100)
    assert server.recv(1) + server.recv(100) == b"h" + b"llo and more"


def test_send_without_account_moves_nothing_and_is_taken_by_the_peer(world):
    c, server = world.connect()
    packet = c.next(b"ghost")
    before = c.info()
    c.send(packet)
    assert (c.info().snd_nxt, c.info().snd_queue) == (before.snd_nxt, 0)
    assert server.recv(100) == b"ghost"


def test_account_of_lost_text_is_what_the_retransmission_carries(world):
    c, server = world.connect()
    c.connection.options.nodelay = True
    c.hold()
    c.write(b"what the application wrote")
    assert c.held[0][TCP].load == b"what the application wrote"
    c.drop()
    c.release()
    before = c.info().snd_nxt
    packet = c.next(b"AAAA")
    packet[TCP].payload.load = b"BBBB"
    c.hold()
    c.send(packet, account=True)
    assert c.info().snd_nxt == before + 4
    c.drop()
    c.release()
    world.run(10_000)
    assert server.recv(100) == b"what the application wroteBBBB"


def test_account_refuses_what_the_connection_cannot_have_sent(world):
    c, _ = world.connect()
    packet = c.next(b"x")
    packet[TCP].seq += 10
    with pytest.raises(ConfigError, match=r"\+10 octets from SND\.NXT"):
        c.send(packet, account=True)


def test_send_of_octets_and_of_tcp_alone_get_the_rest(world):
    c, server = world.connect()
    sent = c.send(b"raw", account=True)
    assert (sent[IP].src, sent[TCP].sport) == ("10.0.0.1", c.connection.local_port)
    c.send(TCP(flags="PA") / b"tcp", account=True)
    world.run(50)
    assert server.recv(100) == b"rawtcp"


def test_held_segments_go_one_by_one_and_a_lost_one_comes_again(world):
    c, server = world.connect()
    c.hold()
    c.write(b"first")
    lost = c.drop()
    assert bytes(lost[TCP].payload) == b"first"
    again = c.step(timeout=3)
    assert (again[TCP].seq, bytes(again[TCP].payload)) == (lost[TCP].seq, b"first")
    ack = c.step(timeout=1)
    assert (ack[IP].src, ack[TCP].ack) == ("10.0.0.2", lost[TCP].seq + 5)
    assert c.info().snd_una == ack[TCP].ack
    c.release()
    assert server.recv(10) == b"first"
    assert world.stack.net.counters["hooks.drop.rx"] == 0


def test_paused_timers_go_on_with_what_they_had_left(world):
    c, _ = world.connect()
    c.hold()
    c.write(b"x")
    c.drop()
    left = c.info().due
    c.pause_timers()
    world.run(60_000)
    assert not c.held
    assert "paused" in repr(c)
    c.pause_timers(False)
    assert c.info().due == left
    assert bytes(c.step(timeout=3)[TCP].payload) == b"x"


def test_sr1_returns_the_segment_that_answers_and_recv_the_text(world):
    c, server = world.connect()
    world.simulation.start(lambda: server.sendall(server.recv(100).upper()), "server")
    answer = c.sr1(b"shout")
    assert bytes(answer[TCP].payload) == b"SHOUT"
    assert c.recv() == b"SHOUT"
    assert c.sr1(b"again", timeout=0.05) is None


def test_fin_rst_keepalive_probe_forget(world):
    c, server = world.connect()
    c.keepalive()
    assert c.log[-1][TCP].seq == c.info().snd_nxt - 1
    with pytest.raises(ConfigError, match="write something first"):
        c.probe()
    c.hold()
    c.write(b"xyz")
    c.probe()
    assert [bytes(p[TCP].payload) for p in c.held] == [b"xyz", b"xyz"]
    c.release()
    c.fin()
    assert c.wait("FIN-WAIT-2")
    with pytest.raises(ConfigError, match="there is no state 'FIN_WAIT_2'; the states are CLOSED, "):
        c.wait("FIN_WAIT_2")
    assert server.recv(10) == b"xyz"
    c.rst()
    assert str(c.log[-1][TCP].flags) == "RA"
    other, server = world.connect(81)
    seen = len(other.log)
    other.forget()
    world.run(1_000)
    assert (other.state, len(other.log)) == ("CLOSED", seen)
    with pytest.raises(ConfigError, match="CLOSED"):
        other.next()


def test_connections_show_themselves(world, capsys):
    c, _ = world.connect()
    assert "ESTABLISHED" in repr(c)
    assert "\n" not in repr(c)
    c.show()
    assert f"snd_nxt            {c.info().snd_nxt}" in capsys.readouterr().out
    assert "snd_nxt" in repr(c.info())
    assert world.stack.conns() == [c]
    assert "10.0.0.2:80" in repr(world.stack.conns())
    assert isinstance(c.log, PacketList)
    assert [str(p[TCP].flags) for p in c.log] == ["S", "SA", "A"]


def test_listen_gives_handles(world):
    listener = world.stack.listen(7)
    world.simulation.start(lambda: world.peer.create_connection(("10.0.0.1", 7)).sendall(b"hi"), "client")
    c = listener.accept(5)
    assert c.recv() == b"hi"
    assert "*:7 half-open=0" in repr(listener)


@pytest.mark.parametrize(
    "line",
    [
        "c.next(5)", "c.write(5)", "c.sr1(None)", "c.from_peer(5)", "c.from_peer(nosuch=1)", "c.from_peer(flags='QQ')",
        "fork(5)", "fork(ended)", "use(5)", "ended.next()",
    ],
)  # fmt: skip
def test_conn_misused_is_a_line_and_no_traceback(world, line):
    ended, _ = world.connect(81)
    ended.rst()
    c, _ = world.connect()
    with pytest.raises(ConfigError):
        eval(line, {"c": c, "ended": ended, "fork": fork, "use": which.use})


@pytest.mark.parametrize(
    "call", ["connect('10.0.0.2')", "connect(('10.0.0.2', 'http'))", "connect(80)", "listen(65536)", "listen('80')"]
)
def test_stack_asked_for_no_address_or_port_is_a_line(world, call):
    with pytest.raises(ConfigError, match="takes"):
        eval(f"stack.{call}", {"stack": world.stack})


def test_conn_takes_text_wherever_it_takes_octets(world):
    c, _ = world.connect()
    assert bytes(c.next("text")[TCP].payload) == bytes(c.from_peer("text")[TCP].payload) == b"text"
    assert c.write("text") == 4
