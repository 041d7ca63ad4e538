"""The scenes of TCP: how connections end, the path, and other captures. `make.py` runs them."""

from __future__ import annotations

import socket
import struct
import subprocess
import time

from scapy.layers.inet import IP, TCP
from scapy.layers.l2 import Ether

from pcaps.lab import CLIENT, SERVER, Lab, drop, inject
from pcaps.scene import scene
from pcaps.talk import close, download, ended, exchange, plain, receive, text
from scapystack.link import netns

# -- closing -----------------------------------------------------------------------------------------------


@scene("The client closes its half and still receives.")
def half_close_client(lab: Lab) -> None:
    client, server = lab.pair()
    client.sendall(text(3_000, "request"))
    client.shutdown(socket.SHUT_WR)
    ended(server)
    server.sendall(text(20_000, "answer"))
    close(server)
    ended(client)
    close(client)


@scene("The server closes its half and still receives.")
def half_close_server(lab: Lab) -> None:
    client, server = lab.pair()
    server.sendall(text(3_000))
    server.shutdown(socket.SHUT_WR)
    ended(client)
    client.sendall(text(20_000))
    close(client)
    ended(server)
    close(server)


@scene("Both sides close at the same time.", delay_s=0.05)
def simultaneous_close(lab: Lab) -> None:
    client, server = lab.pair()
    exchange(client, server, 100, 100)
    time.sleep(0.2)
    client.close()
    server.close()
    time.sleep(0.4)


@scene("The server closes first, at once behind its text.")
def server_closes(lab: Lab) -> None:
    client, server = lab.pair()
    server.sendall(text(5_000))
    close(server)
    ended(client)
    close(client)


@scene("A connection that is only opened and closed.")
def nothing_said(lab: Lab) -> None:
    close(*lab.pair())


# -- resets ------------------------------------------------------------------------------------------------


@scene("The client resets (SO_LINGER of zero).")
def reset_linger(lab: Lab) -> None:
    client, server = lab.pair()
    exchange(client, server)
    client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    close(client, server)


@scene("The client closes with data that it has not read: a RST.")
def reset_unread(lab: Lab) -> None:
    client, server = lab.pair()
    client.sendall(b"hello")
    receive(server, 5)
    server.sendall(text(4_000))
    time.sleep(0.1)
    close(client, server)


@scene("The client has closed, and the server goes on: a RST answers its data.")
def reset_after_close(lab: Lab) -> None:
    client, server = lab.pair()
    client.sendall(b"hello")
    receive(server, 5)
    close(client)
    server.sendall(text(1_000))
    time.sleep(0.1)
    close(server)


@scene("The server resets in the middle of an upload.", at="client")
def reset_upload(lab: Lab) -> None:
    client, server = lab.pair()
    client.setblocking(False)
    client.send(text(60_000))
    receive(server, 10_000)
    server.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    close(server)
    time.sleep(0.1)
    close(client)


def _blind(flags: str, ahead: int):
    """A segment that looks like the client's, `ahead` of its numbers."""

    def make(frame: Ether) -> Ether:
        seen = frame[TCP]
        tcp = TCP(sport=seen.sport, dport=seen.dport, seq=seen.seq + ahead, ack=seen.ack, flags=flags, window=500)
        return Ether(src=frame.src, dst=frame.dst) / IP(src=CLIENT, dst=SERVER, id=1, flags="DF") / tcp

    return make


blind_rst = inject(_blind("R", 5_000))
blind_rst.__doc__ = "behind it a RST that nobody has sent, inside the window"
blind_syn = inject(_blind("S", 5_000))
blind_syn.__doc__ = "behind it a SYN that nobody has sent"


@scene("A stranger's RST inside the window draws a challenge ACK (RFC 5961).", edits={(">", "data", 1): blind_rst})
def blind_reset(lab: Lab) -> None:
    client, server = lab.pair()
    exchange(client, server)
    time.sleep(0.2)
    exchange(client, server)
    close(client, server)


@scene("A stranger's SYN in a connection draws a challenge ACK (RFC 5961).", edits={(">", "data", 1): blind_syn})
def blind_syn_challenged(lab: Lab) -> None:
    client, server = lab.pair()
    exchange(client, server)
    time.sleep(0.2)
    exchange(client, server)
    close(client, server)


# -- keep-alive --------------------------------------------------------------------------------------------


@scene("Keep-alive probes of an idle client, answered.", at="client")
def keepalive(lab: Lab) -> None:
    client, server = lab.pair(SO_KEEPALIVE=1, TCP_KEEPIDLE=1, TCP_KEEPINTVL=1, TCP_KEEPCNT=3)
    exchange(client, server, 50, 50)
    time.sleep(3.5)
    exchange(client, server, 50, 50)
    close(client, server)


@scene(
    "Keep-alive probes that nobody answers: the server gives up.",
    edits={(">", "ack", n): drop for n in range(3, 20)},
)
def keepalive_dead(lab: Lab) -> None:
    client, server = lab.pair()
    for option, value in (("TCP_KEEPIDLE", 1), ("TCP_KEEPINTVL", 1), ("TCP_KEEPCNT", 3)):
        server.setsockopt(socket.IPPROTO_TCP, getattr(socket, option), value)
    server.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    exchange(client, server, 50, 50)
    time.sleep(5.5)
    server.close()
    client.close()


# -- the path ----------------------------------------------------------------------------------------------


@scene("A router with an MTU of 1000 says so, and the server sends smaller segments (RFC 1191).", router=True)
def pmtu(lab: Lab) -> None:
    download(lab, 20_000)


@scene(
    "TCP segments in fragments: the server does not set DF, and a router cuts them.",
    at="client",
    router=True,
    sysctls={"net.ipv4.ip_no_pmtu_disc": 1},
)
def tcp_fragments(lab: Lab) -> None:
    download(lab, 10_000)


# -- other captures ----------------------------------------------------------------------------------------


@scene("A capture of all interfaces: Linux cooked, version 2.", interface="any", words="port 80")
def cooked(lab: Lab) -> None:
    plain(lab)


@scene("Linux cooked, version 1.", interface="any", words="-y LINUX_SLL port 80")
def cooked_1(lab: Lab) -> None:
    plain(lab)


@scene("Both ends on one host, over the loopback.", interface="lo")
def loopback(lab: Lab) -> None:
    listener = lab.listener(8_080)
    client = lab.socket(lab.server, port=40_000)
    client.connect(("127.0.0.1", 8_080))
    server, _ = listener.accept()
    listener.close()
    exchange(client, server, 200, 30_000)
    close(client, server)


@scene("The loopback in a capture of all interfaces, where every packet shows twice.", interface="any")
def loopback_any(lab: Lab) -> None:
    loopback(lab)


@scene("curl fetches a page from Python's web server.", offload=True)
def http(lab: Lab) -> None:
    def serve() -> subprocess.Popen[bytes]:
        words = ["python3", "-m", "http.server", "80", "--directory", "/proc/sys/net/ipv4/neigh"]
        return subprocess.Popen(words, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)

    with netns.in_namespace(lab.server, serve) as child:
        time.sleep(1.0)
        lab.run(lab.client, f"curl -s http://{SERVER}/")
        child.terminate()
