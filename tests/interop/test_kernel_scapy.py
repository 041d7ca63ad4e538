"""Scapy's calls through the stack against the kernel, and beside a transfer that must not notice."""

import hashlib
import socket
import threading

import pytest
from scapy.config import conf
from scapy.layers.inet import ICMP, IP, TCP, UDP, IPerror
from scapy.layers.l2 import ARP, Ether
from scapy.sendrecv import send, sniff, sr1, srp

from tests.interop.netns import KERNEL, STACK

LIMIT_S = 20
BULK = 100_000_000


@pytest.fixture(scope="module")
def lan(shared_lan):
    return shared_lan


@pytest.fixture(autouse=True)
def quiet(monkeypatch):
    monkeypatch.setattr(conf, "verb", 0)


def ask(packet, **how):
    return sr1(packet, timeout=LIMIT_S, **how)


def test_kernel_answers_sr1_and_srp(lan):
    with lan.stack.scapy() as iface:
        reply = ask(IP(dst=KERNEL) / ICMP(id=5) / b"abc")
        answered, _ = srp(Ether(dst="ff:ff:ff:ff:ff:ff") / ARP(pdst=KERNEL), iface=iface, timeout=LIMIT_S)
    assert (reply[IP].src, reply[ICMP].id, bytes(reply[ICMP].payload)) == (KERNEL, 5, b"abc")
    assert answered[0][1][ARP].psrc == KERNEL


def test_kernel_reports_a_shut_udp_port_to_sr1(lan):
    with lan.stack.scapy():
        reply = ask(IP(dst=KERNEL) / UDP(sport=5000, dport=9) / b"x")
    assert (reply[ICMP].type, reply[ICMP].code, reply[IPerror].dst) == (3, 3, KERNEL)


def test_handshake_by_hand_with_the_kernel(lan):
    with lan.ns.socket() as server, lan.stack.scapy():
        server.bind((KERNEL, 0))
        server.listen()
        port = server.getsockname()[1]
        answer = ask(IP(dst=KERNEL) / TCP(sport=4000, dport=port, seq=100, flags="S"))
        assert answer[TCP].flags == "SA"
        ack = {"sport": 4000, "dport": port, "ack": answer[TCP].seq + 1}
        send(IP(dst=KERNEL) / TCP(seq=101, flags="PA", **ack) / b"by hand")
        theirs, peer = server.accept()
        with theirs:
            theirs.settimeout(LIMIT_S)
            assert peer == (STACK, 4000)
            assert theirs.recv(100) == b"by hand"
            send(IP(dst=KERNEL) / TCP(seq=108, flags="R", **ack))


class Transfer:
    """Of 100 MB, and more until `enough`, from the stack to the kernel, in two threads."""

    def __init__(self, lan):
        self.enough = threading.Event()
        self.gave, self.got = hashlib.sha256(), hashlib.sha256()
        self.sent = self.received = 0
        self._server = lan.ns.socket(socket.SOCK_STREAM)
        self._server.bind((KERNEL, 0))
        self._server.listen()
        self._client = lan.stack.create_connection(self._server.getsockname(), timeout=LIMIT_S)
        self._threads = [threading.Thread(target=each) for each in (self._give, self._take)]

    def _give(self):
        with self._client as client:
            while self.sent < BULK or not self.enough.is_set():
                data = self.sent.to_bytes(8, "big") * 131_072
                client.sendall(data)
                self.gave.update(data)
                self.sent += len(data)

    def _take(self):
        theirs, _ = self._server.accept()
        theirs.settimeout(LIMIT_S)
        with theirs:
            while piece := theirs.recv(1 << 20):
                self.got.update(piece)
                self.received += len(piece)

    def __enter__(self):
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *error):
        self.enough.set()
        for thread in self._threads:
            thread.join(LIMIT_S)
        self._server.close()


def test_sr1_and_sniff_beside_a_bulk_transfer_that_stays_whole(lan):
    """Issue 6: `sr1(IP(dst=...)/ICMP())` and `sniff` through it while a 100 MB transfer goes on undisturbed."""
    with Transfer(lan) as transfer, lan.stack.scapy() as iface:
        replies = [ask(IP(dst=KERNEL) / ICMP(seq=n)) for n in range(10)]
        seen = sniff(iface=iface, filter=f"tcp and dst host {KERNEL}", count=20, timeout=LIMIT_S)
    assert [reply[ICMP].seq for reply in replies] == list(range(10))
    assert len(seen) == 20
    assert transfer.received == transfer.sent >= BULK
    assert transfer.got.digest() == transfer.gave.digest()
