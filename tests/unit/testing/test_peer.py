"""The scripted peer: whole conversations in a few lines, exact times, and failures that say what happened."""

import pytest
from scapy.layers.inet import ICMP, IP, TCP, UDP
from scapy.layers.l2 import ARP, Ether
from scapy.packet import Raw

from scapystack.testing import Mismatch, Offer, ScriptedPeer


@pytest.fixture
def peer():
    with ScriptedPeer(seed=1) as made:
        yield made


# -- anything but TCP


def test_ping_is_answered_and_nothing_else_leaves(peer):
    peer.send(ICMP(id=7, seq=3) / b"abc")
    (frame,) = peer.expect(ICMP(type=0, id=7, seq=3) / b"abc")
    assert (frame.packet[IP].src, frame.packet[Ether].dst) == ("10.0.0.1", peer.mac)
    peer.expect()
    assert peer.time == 0


def test_missing_headers_are_put_in_front_and_given_ones_kept(peer):
    peer.send(IP(dst="10.0.0.1", src="10.0.0.99") / UDP(dport=9, sport=5) / b"x")
    peer.expect(ARP(op=1, pdst="10.0.0.99"))  # whose address nobody knows
    peer.send(ARP(op=2, psrc="10.0.0.99", hwsrc="02:00:00:00:00:99", pdst="10.0.0.1", hwdst=peer.stack_mac))
    peer.expect(IP(dst="10.0.0.99") / ICMP(type=3, code=3) / Raw())
    peer.send(bytes(Ether(dst=peer.stack_mac, src=peer.mac) / IP(src="10.0.0.2", dst="10.0.0.1") / ICMP()))
    peer.expect(Ether(dst=peer.mac) / IP() / ICMP(type=0))


def test_stack_has_blocking_calls_in_virtual_time(peer):
    with peer.stack.socket(type=2) as udp:
        udp.bind(("", 53))
        peer.send(UDP(sport=5, dport=53) / b"who?")
        data, address = udp.recvfrom(100)
        assert (data, address, peer.time) == (b"who?", ("10.0.0.2", 5), 0)
        udp.sendto(b"me", address)
        peer.expect(UDP(sport=53, dport=5) / b"me")
        udp.settimeout(3)
        with pytest.raises(TimeoutError):
            udp.recv(1)
        assert peer.time == 3


def test_arp_is_part_of_the_script_if_asked_for():
    with ScriptedPeer(arp=True) as peer, peer.stack.socket(type=2) as udp:
        udp.sendto(b"x", ("10.0.0.2", 9))
        peer.expect(Ether(dst="ff:ff:ff:ff:ff:ff") / ARP(op="who-has", psrc="10.0.0.1", pdst="10.0.0.2"))
        peer.expect(ARP(op=1), after=1.0)
        peer.send(ARP(op=2, psrc=peer.address, hwsrc=peer.mac, pdst="10.0.0.1", hwdst=peer.stack_mac))
        peer.expect(UDP(dport=9) / b"x")


# -- TCP


def test_whole_conversation_in_scapy_packets(peer):
    server = peer.listen(80)
    c = peer.tcp(80)
    c.send(TCP(flags="S", options=[("MSS", 536)]))
    c.expect(TCP(flags="SA", seq=0, ack=1, options=[("MSS", 1460)]))
    c.send(TCP(flags="A"))
    sock, _ = server.accept()
    c.send(TCP(flags="PA") / b"hello")
    c.expect(TCP(flags="A", seq=1, ack=6))
    sock.sendall(b"x" * 1000)
    c.expect(TCP(flags="A", seq=1, ack=6) / (b"x" * 536))
    c.send(TCP(flags="A", ack=537))
    c.expect(TCP(flags="PA", seq=537) / Raw())
    c.send(TCP(flags="A"))
    assert sock.recv(10) == b"hello"
    c.expect(TCP(flags="A"))  # the window is open again
    sock.close()
    c.expect(TCP(flags="FA", seq=1001, ack=6))
    c.send(TCP(flags="FA"))
    c.expect(TCP(flags="A", seq=1002, ack=7))
    c.expect(after=120)


def test_whole_conversation_in_lines(peer):
    server = peer.listen(80)
    c = peer.connect(80)
    sock, _ = server.accept()
    c.send("PA", b"hello")
    c.expect("A ack=6 len=0")
    sock.sendall(b"HELLO")
    c.expect("PA seq=1 ack=6 len=5")
    assert sock.recv(10) == b"hello"
    c.send("FA")
    c.expect("A ack=7")
    assert (c.sent, c.received) == (7, 6)
    sock.close()
    c.expect("FA seq=6")
    c.send("A")
    c.expect()


def test_stack_opens_and_the_peer_answers(peer):
    sock = peer.stack.socket()
    sock.setblocking(False)
    sock.connect_ex((peer.address, 8080))
    c = peer.accept(8080, offer=Offer(mss=700, sack=False, timestamps=True), rtt=0.1)
    assert (c.port, sock.getpeername(), peer.time) == (8080, ("10.0.0.2", 8080), 0.1)
    sock.send(bytes(1376))
    assert [len(p[TCP].payload) for p in c.expect("A seq=1", "PA seq=689")] == [688, 688]
    sock.close()


def test_program_that_speaks_at_once_is_accepted_and_what_it_says_is_left_to_expect(peer):
    def program(host):
        with host.create_connection((peer.address, 80)) as sock:
            sock.sendall(b"hello")
            return sock.recv(10)

    app = peer.stack.spawn(program)
    c = peer.accept(80)
    c.expect("PA seq=1 len=5")
    c.send("PA", b"yes")
    c.expect("A ack=4", "FA")
    assert app.result() == b"yes"


def test_times_are_exact(peer):
    server = peer.listen(80)
    c = peer.connect(80, rtt=0.05)
    sock, _ = server.accept()
    sock.send(b"x")
    c.expect("PA seq=1 len=1", after=0)
    with pytest.raises(Mismatch, match="nothing left"):
        c.expect("PA seq=1 len=1", after=0.249_999)
    c.expect("PA seq=1 len=1", after=0.000_001)  # the timeout: 200 ms and the round trip
    c.expect("PA seq=1 len=1", after=0.25)
    c.send("A", after=0.001)
    sock.close()


def test_what_came_too_early_is_told_with_its_time(peer):
    server = peer.listen(80)
    c = peer.connect(80, rtt=0.05)
    sock, _ = server.accept()
    sock.send(b"x")
    with pytest.raises(Mismatch, match=r"differs in time(.|\n)*0\.250000 s before  <--"):
        c.expect("PA seq=1", after=0.25)
    sock.close()


def test_timestamps_are_relative_and_echoed(peer):
    server = peer.listen(80)
    c = peer.connect(80, offer=Offer(timestamps=True), rtt=0.02)
    sock, _ = server.accept()
    c.send("PA", b"x", after=0.5)
    c.expect(TCP(flags="A", options=[("Timestamp", (520, 102))]))
    sock.send(b"y")
    (packet,) = c.expect("PA tsval=520 tsecr=102 ts=True")
    assert dict(packet[TCP].options)["Timestamp"] == (520, 102)
    c.send(TCP(flags="A", options=[("Timestamp", (103, 520))]))
    connection = next(iter(peer.stack.net.tcp.connections.values()))
    assert connection.flight == 0
    sock.close()


def test_blocks_of_sack_are_relative_both_ways(peer):
    server = peer.listen(80)
    c = peer.connect(80)
    sock, _ = server.accept()
    c.send("A", b"x" * 100, seq=101)
    c.expect("A ack=1 sack=101,201")
    c.send(TCP(flags="A", seq=301) / (b"x" * 50))
    c.expect(TCP(flags="A", ack=1, options=[("SAck", (301, 351, 101, 201))]))
    sock.send(bytes(4380))
    c.expect("A seq=1 len=1460", "A seq=1461 len=1460", "PA seq=2921 len=1460")
    c.send("A", ack=1, seq=1, sack=[(1461, 4381)])
    c.expect("A seq=1 len=1460")  # what is missing
    sock.close()


def test_errors_quote_a_segment_of_the_conversation(peer):
    server = peer.listen(80)
    c = peer.connect(80, rtt=0.01)
    sock, _ = server.accept()
    sock.send(bytes(1460))
    c.expect("PA seq=1 len=1460")
    peer.send(ICMP(type=3, code=4, nexthopmtu=600) / c.quote())
    c.expect("A seq=1 len=560", "A seq=561 len=560", "PA seq=1121 len=340")
    sock.close()


def test_several_conversations_keep_apart(peer):
    peer.listen(80)
    one, two = peer.connect(80), peer.connect(80, sport=40_001)
    one.send("A", b"1" * 10)
    two.send("A", b"2" * 20)
    one.expect("A ack=11")
    two.expect("A ack=21")
    peer.expect()


def test_segment_of_no_conversation_is_the_peers_own(peer):
    peer.send(TCP(sport=1, dport=2, flags="S", seq=77))
    peer.expect(TCP(sport=2, dport=1, flags="RA", seq=0, ack=78))


# -- failures


def test_failure_shows_the_transcript_and_both_packets_side_by_side(peer):
    peer.listen(80)
    c = peer.connect(80)
    c.send("PA", b"hello", after=1.5)
    with pytest.raises(Mismatch) as caught:
        c.expect(TCP(flags="PA", seq=1, ack=5), TCP(flags="F"))
    assert str(caught.value).splitlines() == [
        "number 1 of 2 differs in ack, flags; 1 left",
        "transcript:",
        "     0.000000  peer   IP 10.0.0.2.40000 > 10.0.0.1.80: Flags [S], seq 0, win 65535, options [mss 1460,"
        "sackOK,nop,wscale 7,eol], length 0",
        "     0.000000  stack  IP 10.0.0.1.80 > 10.0.0.2.40000: Flags [S.], seq 0, ack 1, win 64240, options "
        "[mss 1460,nop,nop,sackOK,nop,wscale 7], length 0",
        "     0.000000  peer   IP 10.0.0.2.40000 > 10.0.0.1.80: Flags [.], ack 1, win 65535, length 0",
        "     1.500000  peer   IP 10.0.0.2.40000 > 10.0.0.1.80: Flags [P.], seq 1:6, ack 1, win 65535, length 5",
        "     1.500000  stack  IP 10.0.0.1.80 > 10.0.0.2.40000: Flags [.], ack 6, win 32767, length 0",
        "1. expected  TCP(seq=1, ack=5, flags=PA)",
        "   actual    IP 10.0.0.1.80 > 10.0.0.2.40000: Flags [.], ack 6, win 32767, length 0",
        "            expected  actual",
        "     seq    1         1",
        "     ack    5         6       <--",
        "     flags  PA        A       <--",
        "2. expected  TCP(flags=F)",
        "   actual    nothing",
    ]


def test_failure_of_a_line_and_of_nothing(peer):
    peer.listen(80)
    c = peer.tcp(80)
    c.send("S")
    with pytest.raises(Mismatch, match=r"differs in ack, speed; 1 left(.|\n)*speed +1 +there is no such field +<--"):
        c.expect("SA ack=2 speed=1")
    c.send("A")
    with pytest.raises(Mismatch, match=r"^1 expected, nothing left\n(.|\n)*   actual    nothing$"):
        c.expect("A")
    c.send("FA")
    with pytest.raises(
        Mismatch, match=r"^nothing expected, 1 left\n(.|\n)*1. expected  nothing more\n   actual    IP "
    ):
        c.expect()


def test_no_syn_to_accept_is_a_mismatch(peer):
    with pytest.raises(Mismatch, match=r"no SYN to port 80 has left\ntranscript:\n  nothing happened"):
        peer.accept(80)


def test_long_transcript_is_cut_to_its_end(peer):
    for n in range(60):
        peer.send(ICMP(id=n))
    with pytest.raises(Mismatch) as caught:
        peer.expect()
    text = str(caught.value)
    assert "  (80 lines before)\n" in text
    assert text.count("echo request, id") == 20
    assert len(peer.transcript) == 120
    assert len(str(peer.transcript).splitlines()) == 120
