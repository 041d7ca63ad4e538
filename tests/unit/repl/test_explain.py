"""`explain`: the rule, the variables, the timers."""

import random
import socket

import pytest
from scapy.layers.inet import IP, TCP

from scapystack.base.counternames import MEANINGS
from scapystack.base.errors import ConfigError
from scapystack.base.frames import Frame
from scapystack.repl import explanation, rules
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
    with pytest.raises(ConfigError, match="explain takes a packet"):
        world.stack.explain(3)


def test_arp_and_icmp_name_their_rfcs_and_what_they_answer(world):
    assert world.peer.ping("10.0.0.1")
    world.run(50)
    asked, answer, echo, reply = map(explanation.explained, world.stack.observer.records)
    assert "ARP, Request who-has 10.0.0.1" in asked.packet
    assert "RFC 826" in asked.rules[0]
    assert asked.answers == [answer.packet]
    assert "arp.out.reply" in " ".join(asked.rules)
    assert "RFC 792" in echo.rules[0]
    assert echo.answers == [reply.packet]
    assert reply.rules == [f"answers {echo.packet}"]
    assert world.stack.ping("10.0.0.2")
    assert explanation.explained(world.stack.observer.records[-1]).rules[0].startswith("RFC 792")


def test_udp_in_fragments_says_what_is_kept_and_what_is_whole(world):
    ours = world.stack.socket(type=socket.SOCK_DGRAM)
    ours.bind(("10.0.0.1", 5000))
    theirs = world.peer.socket(type=socket.SOCK_DGRAM)
    theirs.sendto(b"x" * 3_000, ("10.0.0.1", 5000))
    _, peer = ours.recvfrom(4_000)
    first, second, last = [explanation.explained(each) for each in world.stack.observer.records][-3:]
    assert "ip.reassembly.started" in first.rules[0]
    assert [each.rules[-1].partition(": ")[2] for each in (first, second)] == [
        "kept until the rest of the datagram is here"
    ] * 2
    assert "ip.reassembly.ok" in last.rules[0]
    assert len(last.rules) == 1
    ours.sendto(b"y" * 3_000, peer)
    sent = explanation.explained(world.stack.observer.records[-1])
    assert "too large for the way" in sent.rules[0]
    theirs.sendto(b"short", ("10.0.0.1", 5000))
    world.run(50)
    assert explanation.explained(world.stack.observer.records[-1]).rules == [
        "RFC 768, RFC 1122 section 4.1: taken, and nothing is counted for it"
    ]
    theirs.sendto(b"to nobody", ("10.0.0.1", 5001))
    world.run(50)
    dropped, unreachable = [explanation.explained(each) for each in world.stack.observer.records][-2:]
    assert (dropped.verdict, dropped.answers) == ("dropped", [unreachable.packet])
    assert "udp.drop.no_port" in dropped.rules[0]


def test_octets_that_are_no_packet_are_explained_without_an_error(world):
    c, _ = world.connect()
    c.inject(c.from_peer(b"text"))
    assert world.peer.ping("10.0.0.1")
    whole = {each.octets for each in world.stack.observer.records if each.way == "rx"}
    chance = random.Random(1)
    iface = world.stack.net.interfaces[1]
    with world.stack.driver.entered() as net:
        for octets in sorted(whole):
            for length in range(len(octets) + 1):
                changed = bytearray(octets[:length])
                for _ in range(chance.randrange(3) if length > 12 else 0):
                    changed[chance.randrange(12, length)] = chance.randrange(256)
                net.receive(Frame(bytes(changed), (), iface), net.core.now)
                assert str(explanation.explained(world.stack.observer.records[-1]))


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
