"""The scenes of TCP: how connections are opened. `make.py` runs them."""

from __future__ import annotations

import socket
import struct
import threading
import time

from pcaps.lab import CLIENT, SERVER, Lab, drop, mark, twice
from pcaps.scene import scene
from pcaps.talk import close, download, exchange, plain, receive, text

FAST = {"net.ipv4.tcp_fastopen": 3}
NO_STAMPS = {"net.ipv4.tcp_timestamps": 0}
NO_SACK = {"net.ipv4.tcp_sack": 0}
NO_SCALE = {"net.ipv4.tcp_window_scaling": 0}


# -- opening -----------------------------------------------------------------------------------------------


@scene("A connection as most are: handshake, request, answer, the client closes.")
def handshake(lab: Lab) -> None:
    plain(lab)


@scene("The same, seen from the client.", at="client")
def handshake_client(lab: Lab) -> None:
    plain(lab)


@scene("No timestamps.", client_sysctls=NO_STAMPS)
def no_timestamps(lab: Lab) -> None:
    plain(lab)


@scene("No SACK.", sysctls=NO_SACK)
def no_sack(lab: Lab) -> None:
    plain(lab)


@scene("No window scaling.", sysctls=NO_SCALE)
def no_scaling(lab: Lab) -> None:
    plain(lab)


@scene("MSS, and no other option.", sysctls={**NO_STAMPS, **NO_SACK, **NO_SCALE})
def no_options(lab: Lab) -> None:
    plain(lab)


@scene("A client whose MSS is 300.")
def small_mss(lab: Lab) -> None:
    client, server = lab.pair(TCP_MAXSEG=300)
    exchange(client, server, 700, 3_000)
    close(client, server)


@scene("The server speaks first, as mail servers do.")
def server_speaks_first(lab: Lab) -> None:
    client, server = lab.pair()
    server.sendall(b"220 mail.example ready\r\n")
    receive(client, 24)
    exchange(client, server, 30, 60)
    close(client, server)


@scene("The ACK that ends the handshake carries the request.", sysctls={})
def ack_with_data(lab: Lab) -> None:
    listener = lab.listener(TCP_DEFER_ACCEPT=2)
    client = lab.socket(lab.client, port=40_000, TCP_QUICKACK=0)
    client.connect((SERVER, 80))
    client.sendall(text(200, "request"))
    server, _ = listener.accept()
    receive(server, 200)
    server.sendall(text(500, "answer"))
    receive(client, 500)
    close(client, server, listener)


@scene("The first SYN is lost.", at="client", edits={(">", "syn", 1): drop})
def syn_lost(lab: Lab) -> None:
    plain(lab)


@scene("The first SYN and ACK is lost.", edits={("<", "synack", 1): drop})
def syn_ack_lost(lab: Lab) -> None:
    plain(lab)


@scene("The ACK that ends the handshake is lost, and data comes in its place.", edits={(">", "ack", 1): drop})
def handshake_ack_lost(lab: Lab) -> None:
    plain(lab)


@scene("The SYN comes twice.", edits={(">", "syn", 1): twice})
def syn_twice(lab: Lab) -> None:
    plain(lab)


@scene("Both sides connect at the same time.", delay_s=0.1)
def simultaneous_open(lab: Lab) -> None:
    a = lab.socket(lab.client, port=40_000)
    b = lab.socket(lab.server, port=40_001)
    thread = threading.Thread(target=a.connect, args=((SERVER, 40_001),))
    thread.start()
    b.connect((CLIENT, 40_000))
    thread.join()
    exchange(a, b, 100, 100)
    time.sleep(0.3)
    close(a, b)
    time.sleep(0.5)


@scene("Nobody listens: the SYN is answered with a RST.", at="client")
def refused(lab: Lab) -> None:
    client = lab.socket(lab.client, port=40_000)
    assert client.connect_ex((SERVER, 80))
    client.close()


@scene("Nobody answers the SYN, nor those after it.", at="client", edits={(">", "syn", 0): drop})
def unanswered(lab: Lab) -> None:
    client = lab.socket(lab.client, port=40_000, TCP_SYNCNT=2)
    client.settimeout(4)
    assert client.connect_ex((SERVER, 80))
    client.close()


@scene(
    "Fast Open (RFC 7413): a first connection asks for a cookie, the second sends its request in the SYN.", sysctls=FAST
)
def fast_open(lab: Lab) -> None:
    listener = lab.listener(TCP_FASTOPEN=4)
    for port in (40_000, 40_001):
        client = lab.socket(lab.client, port=port)
        client.settimeout(None)
        client.sendto(text(200, "request"), socket.MSG_FASTOPEN, (SERVER, 80))
        server, _ = listener.accept()
        receive(server, 200)
        server.sendall(text(300, "answer"))
        receive(client, 300)
        close(client, server)
    listener.close()


@scene(
    "Fast Open, and the second connection's SYN is lost with its data.",
    sysctls=FAST,
    edits={(">", "syn", 2): drop},
    at="client",
)
def fast_open_lost(lab: Lab) -> None:
    fast_open(lab)


@scene("ECN is agreed on (RFC 3168).", sysctls={"net.ipv4.tcp_ecn": 1})
def ecn(lab: Lab) -> None:
    download(lab)


@scene("ECN, and a segment that met congestion.", sysctls={"net.ipv4.tcp_ecn": 1}, edits={("<", "data", 12): mark})
def ecn_marked(lab: Lab) -> None:
    download(lab)


@scene("Two connections one after the other between the same ports.")
def ports_again(lab: Lab) -> None:
    listener = lab.listener()
    for _ in range(2):
        client, server = lab.pair(listener=listener)
        exchange(client, server, 100, 100)
        client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        close(client, server)
    listener.close()
