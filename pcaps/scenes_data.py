"""The scenes of TCP: data, losses and windows. `make.py` runs them."""

from __future__ import annotations

import socket
import threading
import time

from pcaps.lab import Lab, damage, drop, late, twice
from pcaps.scene import scene
from pcaps.talk import close, download, exchange, plain, receive, text

NO_STAMPS = {"net.ipv4.tcp_timestamps": 0}
NO_SACK = {"net.ipv4.tcp_sack": 0}


# -- data --------------------------------------------------------------------------------------------------


@scene("Thirty small requests and answers.")
def ping_pong(lab: Lab) -> None:
    client, server = lab.pair(TCP_NODELAY=1)
    for n in range(30):
        exchange(client, server, 1 + n, 40 - n)
    close(client, server)


@scene("A download.")
def download_large(lab: Lab) -> None:
    download(lab, 60_000)


@scene("An upload, seen from the client.", at="client")
def upload(lab: Lab) -> None:
    client, server = lab.pair()
    reader = threading.Thread(target=receive, args=(server, 60_000))
    reader.start()
    client.sendall(text(60_000))
    reader.join()
    close(client, server)


@scene("Both sides send at the same time.")
def both_ways(lab: Lab) -> None:
    client, server = lab.pair()
    threads = []
    for sock in (client, server):
        threads += [threading.Thread(target=sock.sendall, args=(text(30_000),))]
        threads += [threading.Thread(target=receive, args=(sock, 30_000))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    close(client, server)


@scene("A card cuts segments and puts them together: super-segments of up to 64 KB both ways.", offload=True)
def super_segments(lab: Lab) -> None:
    client, server = lab.pair()
    client.sendall(text(60_000))
    receive(server, 60_000)
    server.sendall(text(60_000))
    receive(client, 60_000)
    close(client, server)


@scene("Small writes that Nagle's algorithm gathers.", at="client")
def nagle(lab: Lab) -> None:
    client, server = lab.pair()
    for n in range(12):
        client.sendall(text(30 + n))
        time.sleep(0.002)
    receive(server, sum(30 + n for n in range(12)))
    close(client, server)


@scene("Small writes without Nagle's algorithm.", at="client")
def nodelay(lab: Lab) -> None:
    client, server = lab.pair(TCP_NODELAY=1)
    for n in range(12):
        client.sendall(text(30 + n))
        time.sleep(0.002)
    receive(server, sum(30 + n for n in range(12)))
    close(client, server)


@scene("Urgent data, once in the middle and once at the end.", at="client")
def urgent(lab: Lab) -> None:
    client, server = lab.pair(TCP_NODELAY=1)
    server.setsockopt(socket.SOL_SOCKET, socket.SO_OOBINLINE, 1)
    client.sendall(b"before ")
    client.send(b"!", socket.MSG_OOB)
    client.sendall(b" behind ")
    time.sleep(0.1)
    client.send(b"and the last?", socket.MSG_OOB)
    receive(server, 29)
    close(client, server)


@scene("Two seconds of silence between two requests.")
def idle(lab: Lab) -> None:
    client, server = lab.pair()
    exchange(client, server)
    time.sleep(2)
    exchange(client, server)
    close(client, server)


# -- loss --------------------------------------------------------------------------------------------------


@scene("One segment is lost and sent again at once (SACK).", edits={("<", "data", 8): drop})
def lost_one(lab: Lab) -> None:
    download(lab)


@scene("One segment is lost on the way to the stack's part of the server.", at="client", edits={(">", "data", 8): drop})
def lost_upload(lab: Lab) -> None:
    upload(lab)


@scene("Three segments that do not lie together are lost.", edits={("<", "data", n): drop for n in (12, 14, 17)})
def lost_three(lab: Lab) -> None:
    download(lab, 60_000)


@scene("Six segments in a row are lost.", edits={("<", "data", n): drop for n in range(15, 21)})
def lost_burst(lab: Lab) -> None:
    download(lab, 60_000)


@scene("The last segment is lost: a loss probe finds it.", edits={("<", "data", 7): drop})
def lost_tail(lab: Lab) -> None:
    download(lab, 10_000)


@scene("All segments are lost until a timeout.", edits={("<", "data", n): drop for n in range(1, 9)})
def lost_all(lab: Lab) -> None:
    download(lab, 8_000)


@scene("A retransmission is lost too.", edits={("<", "data", 10): drop, ("<", "again", 1): drop})
def lost_again(lab: Lab) -> None:
    download(lab, 60_000)


@scene("A loss without SACK.", sysctls=NO_SACK, edits={("<", "data", 12): drop})
def lost_no_sack(lab: Lab) -> None:
    download(lab, 60_000)


@scene(
    "Two losses without SACK or timestamps.",
    sysctls={**NO_SACK, **NO_STAMPS},
    edits={("<", "data", n): drop for n in (12, 15)},
)
def lost_newreno(lab: Lab) -> None:
    download(lab, 60_000)


@scene("Half of the client's ACKs are lost.", edits={(">", "ack", n): drop for n in range(3, 30, 2)})
def lost_acks(lab: Lab) -> None:
    download(lab, 60_000)


@scene("A segment is overtaken by those behind it.", edits={("<", "data", 8): late(0.004)})
def reordered(lab: Lab) -> None:
    download(lab)


@scene(
    "Three segments come 30 ms late, after they were sent again.",
    edits={("<", "data", n): late(0.03) for n in (8, 9, 14)},
)
def reordered_far(lab: Lab) -> None:
    download(lab)


@scene("Reordering, seen from the receiver.", at="client", edits={("<", "data", n): late(0.003) for n in (5, 9, 10)})
def reordered_client(lab: Lab) -> None:
    download(lab)


@scene("Segments that come twice.", at="client", edits={("<", "data", n): twice for n in (3, 7, 8)})
def doubled(lab: Lab) -> None:
    download(lab, 20_000)


@scene("A segment that was damaged on its way: its checksum is wrong.", at="client", edits={("<", "data", 5): damage})
def damaged(lab: Lab) -> None:
    download(lab, 20_000)


@scene("The client's FIN is lost.", at="client", edits={(">", "fin", 1): drop})
def fin_lost(lab: Lab) -> None:
    plain(lab)
    time.sleep(0.5)


@scene("The last ACK is lost: the server sends its FIN again.", edits={(">", "ack", 4): drop, (">", "ack", 5): drop})
def last_ack_lost(lab: Lab) -> None:
    plain(lab)
    time.sleep(0.5)


# -- windows -----------------------------------------------------------------------------------------------


@scene("The client does not read for half a second: its window closes, and opens again.", at="client")
def zero_window(lab: Lab) -> None:
    client, server = lab.pair(SO_RCVBUF=4_096)
    writer = threading.Thread(target=server.sendall, args=(text(30_000),))
    writer.start()
    time.sleep(0.6)
    receive(client, 30_000)
    writer.join()
    close(server, client)


@scene("The window stays closed for three seconds of probes.")
def zero_window_probed(lab: Lab) -> None:
    client, server = lab.pair(SO_RCVBUF=4_096)
    writer = threading.Thread(target=server.sendall, args=(text(30_000),))
    writer.start()
    time.sleep(3)
    receive(client, 30_000)
    writer.join()
    close(server, client)


@scene("A reader that takes a little now and then.", at="client")
def slow_reader(lab: Lab) -> None:
    client, server = lab.pair(SO_RCVBUF=8_192)
    writer = threading.Thread(target=server.sendall, args=(text(40_000),))
    writer.start()
    for _ in range(20):
        receive(client, 2_000)
        time.sleep(0.02)
    writer.join()
    close(server, client)
