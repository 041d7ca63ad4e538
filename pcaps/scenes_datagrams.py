"""The scenes of UDP and ICMP; `make.py` runs them."""

from __future__ import annotations

import socket
import time

from scapy.layers.inet import IP
from scapy.layers.l2 import Ether

from pcaps.lab import SERVER, Edit, Lab, drop, late
from pcaps.scene import scene
from pcaps.talk import text

IP_MTU_DISCOVER, PMTUDISC_DO = 10, 2


def _pair(lab: Lab, port: int = 53, source: int = 40_000) -> tuple[socket.socket, socket.socket]:
    client = lab.socket(lab.client, socket.SOCK_DGRAM, source)
    server = lab.socket(lab.server, socket.SOCK_DGRAM, port)
    client.connect((SERVER, port))
    return client, server


def _ask(client: socket.socket, server: socket.socket, question: bytes, answer: bytes) -> None:
    client.send(question)
    got, source = server.recvfrom(65_535)
    assert got == question
    server.sendto(answer, source)
    assert client.recv(65_535) == answer


@scene("Pings as ping(8) sends them.")
def ping(lab: Lab) -> None:
    lab.run(lab.client, f"ping -c 3 -i 0.2 {SERVER}")


@scene("Pings of 4,000 octets: fragments both ways.")
def ping_large(lab: Lab) -> None:
    lab.run(lab.client, f"ping -c 2 -i 0.2 -s 4000 {SERVER}")


@scene("A ping without data, and one with an odd octet.", at="client")
def ping_small(lab: Lab) -> None:
    lab.run(lab.client, f"ping -c 1 -s 0 {SERVER}")
    lab.run(lab.client, f"ping -c 1 -s 1 {SERVER}")


@scene("The answer to the second of three pings is lost.", at="client", edits={("<", "ip", 2): drop})
def ping_lost(lab: Lab) -> None:
    lab.try_run(lab.client, f"ping -c 3 -i 0.2 -W 1 {SERVER}")


@scene("A ping with DF that a narrow link does not carry: fragmentation needed.", router=True)
def ping_too_large(lab: Lab) -> None:
    lab.try_run(lab.server, f"ping -M do -c 2 -i 0.2 -W 1 -s 1200 {lab.client_address}")


@scene("Questions and answers over UDP.")
def udp(lab: Lab) -> None:
    client, server = _pair(lab)
    for n in range(5):
        _ask(client, server, text(20 + n, "question"), text(100 * n, "answer"))
    client.close()
    server.close()


@scene("Datagrams of 9,000 octets, in fragments.")
def udp_fragments(lab: Lab) -> None:
    client, server = _pair(lab)
    _ask(client, server, text(9_000, "question"), text(5_000, "answer"))
    client.close()
    server.close()


def _first_is_late() -> Edit:
    def edit(frame: Ether) -> list[tuple[float, Ether]]:
        return [(0.0 if frame[IP].frag else 0.005, frame)]

    edit.__doc__ = "first fragments are late"
    return edit


@scene("Fragments that come in another order.", edits={(">", "ip", 0): _first_is_late()})
def udp_fragments_reordered(lab: Lab) -> None:
    udp_fragments(lab)


@scene("Nobody has the port: ICMP port unreachable.")
def udp_refused(lab: Lab) -> None:
    client = lab.socket(lab.client, socket.SOCK_DGRAM, 40_000)
    client.connect((SERVER, 53))
    client.send(b"anybody there?")
    time.sleep(0.1)
    client.close()


@scene("Log messages over UDP that nobody answers.")
def udp_one_way(lab: Lab) -> None:
    client, server = _pair(lab, 514)
    for n in range(4):
        client.send(f"<13>message {n}".encode())
        server.recv(100)
    client.close()
    server.close()


@scene("Both sides send when they like.", edits={(">", "ip", 2): late(0.03)})
def udp_both_ways(lab: Lab) -> None:
    client, server = _pair(lab, 5_000)
    client.send(b"here I am")
    _, source = server.recvfrom(100)
    for n in range(6):
        client.send(text(160 + n))
        server.sendto(text(160 - n), source)
        time.sleep(0.02)
    time.sleep(0.1)
    client.close()
    server.close()


@scene("A datagram with DF that a narrow link does not carry, then smaller ones.", router=True)
def udp_pmtu(lab: Lab) -> None:
    server = lab.socket(lab.server, socket.SOCK_DGRAM, 5_000)
    client = lab.socket(lab.client, socket.SOCK_DGRAM, 40_000)
    server.setsockopt(socket.IPPROTO_IP, IP_MTU_DISCOVER, PMTUDISC_DO)
    server.connect((lab.client_address, 40_000))
    server.send(text(1_300))
    time.sleep(0.1)
    for _ in range(2):
        try:
            server.send(text(900))
        except OSError:  # the error of the datagram before
            server.send(text(900))
        client.recv(2_000)
    client.close()
    server.close()
