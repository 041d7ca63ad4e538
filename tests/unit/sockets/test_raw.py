"""Raw sockets: whole packets in, our IP header or the application's out."""

import errno
import socket
import struct

import pytest
from scapy.layers.inet import ICMP, IP

from tests.unit.sockets.helpers import errno_of

LO = "127.0.0.1"


def raw(still, proto):
    sock = still.stack.socket(socket.AF_INET, socket.SOCK_RAW, proto)
    sock.setblocking(False)
    return sock


def drain(sock):
    packets = []
    while True:
        try:
            packets.append(sock.recvfrom(65_535))
        except BlockingIOError:
            return packets


def test_raw_icmp_sees_whole_packets_of_its_protocol_only(still):
    sock = raw(still, socket.IPPROTO_ICMP)
    still.udp().sendto(b"x", (LO, 4999))  # answered by a port unreachable
    still.stack.socket().connect_ex((LO, 4999))
    ((packet, sender),) = drain(sock)
    assert sender == (LO, 0)
    seen = IP(packet)
    assert (seen.src, seen.proto, seen[ICMP].type, seen[ICMP].code) == (LO, 1, 3, 3)


def test_raw_send_gets_our_header_with_ttl_and_tos(still):
    sender, receiver = raw(still, 99), raw(still, 99)
    sender.setsockopt(socket.IPPROTO_IP, socket.IP_TTL, 7)
    sender.setsockopt(socket.IPPROTO_IP, socket.IP_TOS, 0x20)
    assert sender.sendto(b"payload", (LO, 0)) == 7
    ((packet, _),) = drain(receiver)
    seen = IP(packet)
    assert (seen.ttl, seen.tos, seen.proto, bytes(seen.payload)) == (7, 0x20, 99, b"payload")


def test_raw_every_socket_of_the_protocol_gets_a_copy(still):
    sockets = [raw(still, 99) for _ in range(3)]
    sockets[0].sendto(b"all", (LO, 0))
    assert [len(drain(sock)) for sock in sockets] == [1, 1, 1]


def test_raw_hdrincl_sends_the_header_as_given(still):
    sender, receiver = raw(still, socket.IPPROTO_RAW), raw(still, 200)
    assert sender.getsockopt(socket.IPPROTO_IP, socket.IP_HDRINCL) == 1
    packet = bytes(IP(src="127.0.0.9", dst=LO, ttl=3, id=77, proto=200) / b"mine")
    assert sender.sendto(packet, (LO, 0)) == len(packet)
    ((got, source),) = drain(receiver)
    seen = IP(got)
    assert source == ("127.0.0.9", 0)
    assert (seen.src, seen.ttl, seen.id, bytes(seen.payload)) == ("127.0.0.9", 3, 77, b"mine")


def test_raw_hdrincl_option_switches_at_run_time(still):
    sender, receiver = raw(still, 99), raw(still, 99)
    packet = bytes(IP(src=LO, dst=LO, ttl=5, proto=99) / b"x")
    sender.setsockopt(socket.IPPROTO_IP, socket.IP_HDRINCL, 1)
    sender.sendto(packet, (LO, 0))
    sender.setsockopt(socket.IPPROTO_IP, socket.IP_HDRINCL, 0)
    sender.sendto(packet, (LO, 0))
    first, second = (IP(got) for got, _ in drain(receiver))
    assert (first.ttl, bytes(first.payload)) == (5, b"x")
    assert second.ttl == 64
    assert bytes(second.payload) == packet


def test_raw_connect_sends_there_and_hears_nobody_else(still):
    still.net.add_address(still.net.interfaces[0], "127.0.0.2/32")
    sock, other = raw(still, 99), raw(still, 99)
    sock.connect(("127.0.0.2", 0))
    assert sock.getpeername() == ("127.0.0.2", 0)
    other.sendto(b"from 127.0.0.1", (LO, 0))
    assert drain(sock) == []
    drain(other)
    sock.send(b"there")
    ((packet, _),) = drain(other)
    assert IP(packet).dst == "127.0.0.2"


def test_raw_bind_takes_only_packets_to_that_address(still):
    sock, sender = raw(still, 99), raw(still, 99)
    sock.bind(("127.0.0.5", 0))
    assert sock.getsockname() == ("127.0.0.5", 99)
    sender.sendto(b"other", (LO, 0))
    sender.sendto(b"mine", ("127.0.0.5", 0))
    assert [bytes(IP(packet).payload) for packet, _ in drain(sock)] == [b"mine"]
    with pytest.raises(OSError, match="assign") as caught:
        sock.bind(("192.0.2.1", 0))
    assert caught.value.errno == errno.EADDRNOTAVAIL


def test_raw_send_without_destination_is_edestaddrreq(still):
    with pytest.raises(OSError, match="address required") as caught:
        raw(still, 99).send(b"x")
    assert caught.value.errno == errno.EDESTADDRREQ


def test_raw_ping_by_hand_is_answered(still):
    sock = raw(still, socket.IPPROTO_ICMP)
    sock.connect((LO, 0))
    sock.send(bytes(ICMP(type=8, id=5, seq=6) / b"data"))
    kinds = [IP(packet)[ICMP].type for packet, _ in drain(sock)]
    assert kinds == [8, 0]  # our own request comes by on the loopback, then the answer


def test_raw_close_stops_the_copies(still):
    first, second = raw(still, 99), raw(still, 99)
    first.close()
    second.sendto(struct.pack("!I", 1), (LO, 0))
    assert len(drain(second)) == 1
    assert len(still.net.raw.endpoints[99]) == 1


def test_raw_connect_without_a_way_is_enetunreach_and_the_unspecified_address_is_this_host(still):
    sock = still.stack.socket(socket.AF_INET, socket.SOCK_RAW, 200)
    assert errno_of(sock.connect, ("10.9.9.9", 0)) == errno.ENETUNREACH
    sock.connect(("", 0))
    assert sock.getpeername() == ("127.0.0.1", 0)
    sock.sendto(b"x", ("0.0.0.0", 0))
    assert sock.recv(100)[20:] == b"x"
    sock.close()
    assert errno_of(sock.connect, ("127.0.0.1", 0)) == errno.EBADF
