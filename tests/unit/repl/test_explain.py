"""`explain`: the rule, the variables, the timers."""

import pytest
from scapy.layers.inet import IP, TCP

from scapystack.base.counternames import MEANINGS
from scapystack.base.errors import ConfigError
from scapystack.repl import rules
from tests.unit.repl.world import World


@pytest.fixture
def world():
    return World()


def explained(world, packet):
    return world.stack.explain(packet)


def test_rst_a_byte_beside_draws_a_challenge(world):
    c, _ = world.connect()
    packet = c.from_peer(flags="R", seq=c.info().rcv_nxt + 1)
    what = explained(world, c.inject(packet))
    assert what.verdict == "taken"
    assert "RFC 5961 section 3.2" in what.rules[0]
    assert len(what.answers) == 1
    assert what.moved == {}
    assert c.state == "ESTABLISHED"


def test_rst_outside_the_window_is_dropped_without_a_word(world):
    c, _ = world.connect()
    i = c.info()
    what = explained(world, c.inject(c.from_peer(flags="R", seq=i.rcv_nxt + i.rcv_wnd)))
    assert (what.verdict, what.answers) == ("dropped", [])
    assert "tcp.drop.rst_outside_window" in what.rules[0]


def test_rst_at_rcv_nxt_ends_the_connection(world):
    c, _ = world.connect()
    what = explained(world, c.inject(c.from_peer(flags="R")))
    assert what.moved["state"] == ("ESTABLISHED", "CLOSED")
    assert any("tcp.resets_received" in rule for rule in what.rules)


def test_text_moves_rcv_nxt_and_sets_or_sends_an_ack(world):
    c, _ = world.connect()
    nxt = c.info().rcv_nxt
    what = explained(world, c.inject(c.from_peer(b"hello")))
    assert what.moved["RCV.NXT"] == (nxt, nxt + 5)
    assert any("seventh (text)" in rule for rule in what.rules)
    assert what.answers


def test_text_behind_a_gap_is_kept(world):
    c, _ = world.connect()
    what = explained(world, c.inject(c.from_peer(b"later", seq=c.info().rcv_nxt + 100)))
    assert any("a gap of 100 octets" in rule for rule in what.rules)
    assert what.moved["ooo_bytes"] == (0, 5)


def test_ack_moves_snd_una_and_ends_the_timer(world):
    c, _ = world.connect()
    c.write(b"data")
    world.run(100)
    ack = c.log[-1]
    what = explained(world, ack)
    assert any("4 octets are acknowledged" in rule for rule in what.rules)
    assert what.timers["rtx"] == "off"


def test_sent_text_says_why_and_sets_the_timer(world):
    c, _ = world.connect()
    c.write(b"data")
    what = explained(world, c.log[-1])
    assert what.verdict == "sent"
    assert "SND.NXT" in what.moved
    assert what.timers["rtx"].startswith("set: due in")


def test_retransmission_names_the_one_timer_that_sent_it(world):
    c, _ = world.connect()
    c.hold()
    c.write(b"data")
    c.drop()
    probe = explained(world, c.step(timeout=3))  # due when the RTO is, and in its place
    assert [rule for rule in probe.rules if "timer" in rule or "loss probe" in rule] == [rules.TIMERS["probe"]]
    assert any("a retransmission" in rule for rule in probe.rules)


def test_retransmission_after_the_probe_names_the_rto_and_leaves_no_probe_due(world):
    c, _ = world.connect()
    c.hold()
    c.write(b"data")
    c.drop()
    assert c.drop(timeout=3)
    again = c.step(timeout=3)
    what = explained(world, again)
    assert [rule for rule in what.rules if "timer" in rule or "loss probe" in rule] == [rules.TIMERS["rtx"]]
    assert list(c.info().due) == ["rtx"]


def test_a_stranger_s_segment_is_answered_with_rst(world):
    c, _ = world.connect()
    stranger = IP(bytes(IP(src="10.0.0.2", dst="10.0.0.1") / TCP(sport=9, dport=9, flags="S")))
    what = explained(world, c.inject(stranger))
    assert any("3.10.7.1 (CLOSED)" in rule for rule in what.rules)
    assert len(what.answers) == 1


def test_handshake_is_explained(world):
    c, _ = world.connect()
    syn, syn_ack, ack = c.log
    assert "SYN-SENT to ESTABLISHED" in str(explained(world, syn_ack))
    assert "new from SND.NXT" in str(explained(world, syn))
    assert "answers" in str(explained(world, ack))


def test_a_packet_that_was_never_seen_is_an_error(world):
    world.connect()
    with pytest.raises(ConfigError, match="has not seen"):
        explained(world, IP() / TCP())


def test_every_drop_has_its_source():
    for name in MEANINGS:
        assert rules.source(name)
    assert set(rules.SOURCES) <= set(MEANINGS)


def test_detached_observer_leaves_no_trace(world):
    net = world.stack.net
    world.stack.observe(False)
    assert not {"accept"} & set(vars(net))
    assert not {"flush", "expire"} & set(vars(net.tcp))
    assert net.taps == []
    assert net.config.tcp.coalesce
