"""Scapy's own calls through a stack: sockets for frames and packets, interfaces by name, flows made by hand."""

import gc
import os
import threading
from contextlib import suppress

import pytest
from scapy.config import conf
from scapy.layers.inet import ICMP, IP, TCP, UDP, TCP_client
from scapy.layers.l2 import ARP, ARP_am, Ether
from scapy.packet import Raw
from scapy.sendrecv import AsyncSniffer, bridge_and_sniff, send, sendp, sniff, sr, sr1, srp1

from scapystack import Stack
from scapystack.base.errors import ConfigError
from scapystack.link.memory import MemoryLink
from scapystack.runtime.virtual import Simulation
from scapystack.sockets import claims, scapynames, supersocket

LIMIT_S = 10


@pytest.fixture(autouse=True)
def quiet(monkeypatch):
    monkeypatch.setattr(conf, "verb", 0)


@pytest.fixture
def stacks():
    a, b = MemoryLink.pair()
    with Stack("10.99.0.1/24", link=a, seed=1) as one, Stack("10.99.0.2/24", link=b, seed=2) as two:
        yield one, two


class Sniffing(AsyncSniffer):
    """One that runs by the time it is made."""

    def __init__(self, **how):
        begun = threading.Event()
        super().__init__(started_callback=begun.set, **how)
        self.start()
        assert begun.wait(LIMIT_S)

    def seen(self):
        self.join(LIMIT_S)
        return self.results


def ask(packet, **how):
    return sr1(packet, timeout=LIMIT_S, **how)


# -- asking


def test_sr1_takes_the_stacks_way_inside_of_scapy(stacks):
    one, _ = stacks
    with one.scapy():
        reply = ask(IP(dst="10.99.0.2") / ICMP(id=7, seq=9) / b"abc")
    assert (reply[IP].src, reply[IP].dst) == ("10.99.0.2", "10.99.0.1")
    assert (reply[ICMP].type, reply[ICMP].id, reply[ICMP].seq, bytes(reply[ICMP].payload)) == (0, 7, 9, b"abc")


@pytest.mark.parametrize("by", ["object", "name"])
def test_sr1_takes_the_interface_by_object_and_name(stacks, by):
    with stacks[0].scapy() as iface:
        reply = ask(IP(dst="10.99.0.2") / ICMP(), iface=iface if by == "object" else iface.name)
    assert reply[IP].src == "10.99.0.2"


def test_sr1_takes_a_socket_of_its_own(stacks):
    with stacks[0].l3socket() as sock:
        assert sock.sr1(IP(dst="10.99.0.2") / ICMP(), timeout=LIMIT_S)[ICMP].type == 0


def test_sr_of_many_answers_all(stacks):
    with stacks[0].scapy():
        answered, unanswered = sr(IP(dst="10.99.0.2") / ICMP(seq=range(40)), timeout=LIMIT_S)
    assert sorted(reply[ICMP].seq for _, reply in answered) == list(range(40))
    assert not unanswered


def test_srp1_resolves_the_link_address_through_the_stack(stacks):
    with stacks[0].scapy() as iface:
        conf.netcache.arp_cache.flush()
        reply = srp1(Ether() / IP(dst="10.99.0.2") / ICMP(), iface=iface, timeout=LIMIT_S)
    assert (reply[Ether].src, reply[Ether].dst) == ("02:00:00:00:00:02", "02:00:00:00:00:01")


def test_sr1_port_that_is_shut_answers_with_a_rst(stacks):
    with stacks[0].scapy():
        assert ask(IP(dst="10.99.0.2") / TCP(dport=81, flags="S"))[TCP].flags == "RA"


def test_sr1_of_a_broadcast_leaves(stacks):
    with stacks[0].l3socket() as sock:
        sniffer = Sniffing(opened_socket=stacks[1].l2socket(listen=True), count=1)
        sock.send(IP(src="10.99.0.1", dst="10.99.0.255") / UDP(dport=9))
        assert sniffer.seen()[0].dst == "ff:ff:ff:ff:ff:ff"


# -- no packet is lost, and nobody is disturbed


def test_socket_keeps_what_comes_between_two_calls(stacks):
    one, _ = stacks
    with one.l3socket(filter="icmp") as sock:
        for n in range(50):
            sock.send(IP(src="10.99.0.1", dst="10.99.0.2") / ICMP(seq=n))
        assert [packet[ICMP].seq for packet in sniff(opened_socket=sock, count=30, timeout=LIMIT_S)] == [*range(30)]
        assert [packet[ICMP].seq for packet in sniff(opened_socket=sock, count=20, timeout=LIMIT_S)] == [*range(30, 50)]
        assert sock.dropped == 0


def test_socket_full_counts_what_it_drops(stacks, monkeypatch):
    monkeypatch.setattr(supersocket, "MAX_FRAMES", 3)
    with stacks[0].l3socket(filter="icmp") as sock:
        stacks[0].ping("10.99.0.2", timeout=LIMIT_S)
        for _ in range(5):
            stacks[0].ping("10.99.0.2", timeout=LIMIT_S)
        assert sock.dropped == 3
        assert len(sniff(opened_socket=sock, count=3, timeout=LIMIT_S)) == 3


@pytest.fixture
def connection(stacks):
    """Of the first stack to port 80 of the second: the socket of either."""
    one, two = stacks
    with two.create_server(("", 80)) as server:
        client = one.create_connection(("10.99.0.2", 80), timeout=LIMIT_S)
        accepted, _ = server.accept()
    with client, accepted:
        yield client, accepted


def test_socket_for_asking_passes_by_the_stacks_own_connections(stacks, connection):
    client, accepted = connection
    with stacks[0].l3socket() as sock:
        accepted.sendall(bytes(100_000))
        got = 0
        while got < 100_000:
            got += len(client.recv(65_536))
        assert sock.sr1(IP(src="10.99.0.1", dst="10.99.0.2") / ICMP(), timeout=LIMIT_S)[ICMP].type == 0
        assert not sock._inbox.frames


def test_socket_that_sends_into_a_connection_sees_the_answer(stacks, connection):
    me, port = connection[0].getsockname()
    with stacks[0].l3socket() as sock:
        sock.send(IP(src=me, dst="10.99.0.2") / TCP(sport=port, dport=80, flags="S"))  # RFC 5961 section 4: challenged
        answer = sniff(opened_socket=sock, count=1, timeout=LIMIT_S)[0]
    assert (answer[TCP].flags, answer[TCP].dport) == ("A", port)


def test_handshake_by_hand_needs_no_firewall(stacks):
    one, two = stacks
    with two.create_server(("", 80)) as server, one.scapy():
        server.settimeout(LIMIT_S)
        syn = IP(dst="10.99.0.2") / TCP(sport=4000, dport=80, seq=100, flags="S")
        answer = ask(syn)
        assert answer[TCP].flags == "SA"
        send(IP(dst="10.99.0.2") / TCP(sport=4000, dport=80, seq=101, ack=answer[TCP].seq + 1, flags="PA") / b"by hand")
        accepted, peer = server.accept()
        with accepted:
            accepted.settimeout(LIMIT_S)
            assert peer == ("10.99.0.1", 4000)
            assert accepted.recv(100) == b"by hand"
    assert one.net.counters["tcp.no_port"] == 0


def test_claimed_flow_ends_in_time_and_the_hook_with_it(stacks, monkeypatch):
    one, _ = stacks
    with one.scapy():
        ask(IP(dst="10.99.0.2") / TCP(sport=4000, dport=81, flags="S"))
    assert len(one.net.hooks.rx) == 1
    monkeypatch.setattr(claims, "KEPT_S", -1)
    one.claims._until[next(iter(one.claims._until))] = 0
    one.ping("10.99.0.2", timeout=LIMIT_S)
    assert one.net.hooks.rx == []


def test_claims_leave_the_stacks_own_ports_alone(stacks):
    one, _ = stacks
    with one.create_server(("", 4000)), one.scapy():
        send(IP(dst="10.99.0.2") / TCP(sport=4000, dport=80, flags="S"))
        send(IP(src="1.2.3.4", dst="10.99.0.2") / TCP(sport=4001, dport=80, flags="S"))
    assert one.net.hooks.rx == []


# -- looking


def test_sniff_sees_both_ways_with_a_filter(stacks):
    one, two = stacks
    with one.scapy() as iface:
        sniffer = Sniffing(iface=iface, filter="icmp", count=4)
        one.ping("10.99.0.2", timeout=LIMIT_S)
        two.ping("10.99.0.1", timeout=LIMIT_S)
        seen = sniffer.seen()
    assert [(packet[IP].src[-1], packet[ICMP].type) for packet in seen] == [("1", 8), ("2", 0), ("2", 8), ("1", 0)]
    assert seen[0].sniffed_on == iface


def test_sniff_ends_when_the_stack_is_closed(stacks):
    sniffer = Sniffing(opened_socket=stacks[0].l2socket(listen=True))
    stacks[0].close()
    assert sniffer.seen() is not None
    assert not sniffer.thread.is_alive()


@pytest.mark.parametrize("call", ["recv", "sniff"])
def test_socket_closed_by_another_thread_lets_go_of_one_that_waits(stacks, monkeypatch, call):
    sock = stacks[0].l2socket()
    asleep, ended = threading.Event(), []
    select = supersocket.select.select
    monkeypatch.setattr(supersocket.select, "select", lambda *args: asleep.set() or select(*args))

    def wait():
        with suppress(EOFError):
            sock.recv() if call == "recv" else sniff(opened_socket=sock)
        ended.append(call)

    thread = threading.Thread(target=wait, daemon=True)
    thread.start()
    if call == "recv":
        assert asleep.wait(LIMIT_S)
    sock.close()
    thread.join(LIMIT_S)
    assert ended == [call]


def test_select_of_a_closed_socket_has_it_say_that_it_has_ended(stacks):
    sock = stacks[0].l2socket()
    sock.close()
    assert sock.select([sock], 0) == [sock]
    with pytest.raises(EOFError):
        sock.recv()


def test_answering_machine_answers_beside_the_stack(stacks):
    one, two = stacks
    with one.scapy(), one.l2socket() as sock, two.scapy() as theirs:
        machine = sock.am(ARP_am, IP_addr="10.99.0.77", ARP_addr="02:00:00:00:00:77", count=1, verbose=False)
        thread = threading.Thread(target=machine)
        thread.start()
        request = Ether(dst="ff:ff:ff:ff:ff:ff") / ARP(pdst="10.99.0.77")
        reply = srp1(request, iface=theirs, timeout=LIMIT_S)
        thread.join(LIMIT_S)
    assert (reply[ARP].psrc, reply[ARP].hwsrc) == ("10.99.0.77", "02:00:00:00:00:77")


def test_scapys_tcp_automaton_talks_to_a_connection_of_another_stack(stacks):
    """Scapy's own TCP, by packets: its handshake needs no firewall, and what it does is sniffed both ways."""
    one, two = stacks
    server = two.create_server(("", 80))
    with one.scapy() as iface:
        client = TCP_client.tcplink(Raw, "10.99.0.2", 80, ll=iface.l3, recvsock=iface.listen)
        accepted, _ = server.accept()
        client.send(Raw(b"by an automaton"))
        assert accepted.recv(100) == b"by an automaton"
        accepted.sendall(b"by a stack")
        assert client.recv().load == b"by a stack"
        client.close()
        assert accepted.recv(100) == b""


def test_calls_that_name_no_interface_take_the_stacks_inside_of_scapy(stacks):
    before = conf.iface
    with stacks[1].scapy() as theirs, stacks[0].scapy() as iface:
        assert conf.iface is iface
        reply = srp1(Ether(dst=theirs.mac) / IP(src="10.99.0.1", dst="10.99.0.2") / ICMP(), timeout=LIMIT_S)
        assert reply[Ether].src == theirs.mac
        sniffer = Sniffing(count=2)
        stacks[0].ping("10.99.0.2", timeout=LIMIT_S)
        assert len(sniffer.seen()) == 2
    assert conf.iface is before


def test_bridge_and_sniff_joins_two_links():
    left, left_end = MemoryLink.pair(names=("a", "left"), macs=(b"\2\0\0\0\0\1", b"\2\0\0\0\0\x0a"))
    right, right_end = MemoryLink.pair(names=("b", "right"), macs=(b"\2\0\0\0\0\2", b"\2\0\0\0\0\x0b"))
    middle = Stack()
    middle.attach(left_end)
    middle.attach(right_end)
    with middle, Stack("10.99.0.1/24", link=left) as one, Stack("10.99.0.2/24", link=right), middle.scapy():
        names = [each.name for each in middle.scapy_names.interfaces]
        begun, seen = threading.Event(), []
        bridge = threading.Thread(
            target=lambda: seen.extend(bridge_and_sniff(*names, count=4, started_callback=begun.set, timeout=LIMIT_S))
        )
        bridge.start()
        assert begun.wait(LIMIT_S)
        assert one.ping("10.99.0.2", timeout=LIMIT_S).rtt_ms > 0
        bridge.join(LIMIT_S)
    assert names == ["left@stack", "right@stack"]
    assert [ARP in packet for packet in seen] == [True, True, False, False]


# -- coming and going


def test_scapys_tables_are_as_before_when_all_is_closed(stacks):
    interfaces, routes = dict(conf.ifaces.data), list(conf.route.routes)
    with stacks[0].scapy() as one, stacks[1].scapy() as two, stacks[0].l3socket():
        assert {one.name, two.name} == {"mem0@stack", "mem0@stack2"}
        conf.ifaces.reload()
        assert one.name in conf.ifaces.data
        assert conf.route.route("10.99.0.9")[0] == two.name, "the last one comes first"
    assert list(conf.ifaces.data) == list(interfaces)
    assert conf.route.routes == routes


def test_socket_that_is_forgotten_is_closed(stacks):
    one, _ = stacks
    one.l3socket()
    gc.collect()
    one.ping("10.99.0.2", timeout=LIMIT_S)
    assert one.inboxes == set()
    assert one.net.taps == []


def test_socket_that_is_forgotten_is_closed_while_another_stack_names_its_interfaces(stacks, monkeypatch):
    one, two = stacks
    sock = two.l2socket()
    sock.itself = sock
    del sock
    free = scapynames._free
    monkeypatch.setattr(scapynames, "_free", lambda name: gc.collect() and free(name))
    named = threading.Event()

    def name():
        with one.scapy():
            named.set()

    threading.Thread(target=name, daemon=True).start()
    assert named.wait(LIMIT_S)
    assert not two.scapy_names.interfaces


def test_names_are_made_under_the_drivers_lock_first(stacks, monkeypatch):
    """A thread that has it may collect a socket, which leaves: nobody who lets that wait may wait for the driver."""
    held = []

    class Lock:
        def __enter__(self):
            held.append(stacks[0].driver.inside)

        def __exit__(self, *error):
            pass

    monkeypatch.setattr(scapynames.ScapyNames, "_lock", Lock())
    with stacks[0].scapy():
        assert held == [True]


def test_closed_socket_has_no_descriptor(stacks):
    sock = stacks[0].l2socket()
    assert sock.fileno() >= 0
    fd = sock.fileno()
    sock.close()
    sock.close()
    assert sock.fileno() == -1
    stacks[0].ping("10.99.0.2", timeout=LIMIT_S)  # a round lets go of it
    del sock
    gc.collect()
    with pytest.raises(OSError, match="Bad file descriptor"):
        os.fstat(fd)


def test_sendp_puts_any_frame_on_the_link(stacks):
    one, two = stacks
    with one.scapy() as iface:
        sniffer = Sniffing(opened_socket=two.l2socket(listen=True), count=1)
        sendp(Ether(dst="02:00:00:00:00:99", type=0x9000) / b"anything", iface=iface)
        assert sniffer.seen()[0].type == 0x9000


def test_packet_too_large_says_so(stacks):
    with stacks[0].l3socket() as sock, pytest.raises(OSError, match="too long"):
        sock.send(IP(src="10.99.0.1", dst="10.99.0.2") / UDP() / bytes(3_000))


def test_bad_filter_leaves_nothing_behind(stacks):
    with pytest.raises(ConfigError, match="is no filter"):
        stacks[0].l3socket(filter="tcp prt")
    assert stacks[0].inboxes == set()
    assert stacks[0].scapy_names.interfaces == []


def test_loopback_alone_has_nothing_for_scapy():
    with Stack() as stack, pytest.raises(ConfigError, match="loopback"), stack.scapy():
        pass


def test_simulated_stack_says_why_scapy_cannot_wait_for_it():
    stack = Stack(simulation=Simulation())
    with pytest.raises(ConfigError, match="real time"):
        stack.l3socket()
    stack.close()


def test_l2socket_of_an_interface_that_was_taken_away_sends_nowhere(stacks):
    one, _ = stacks
    link, other = MemoryLink.pair(("mem1", "mem1"))
    one.attach(link, "10.98.0.1/24")
    with one.l2socket(one.net.interfaces[1]) as sock:
        one.driver.detach(one.driver.links[one.net.interfaces[1].index])
        with pytest.raises(OSError, match="No such device"):
            sock.send(Ether() / ARP())
    assert not other.read()
