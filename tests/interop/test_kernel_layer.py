"""A layer of a user's own in the stack, asked by the kernel's sockets."""

import socket

from scapy.fields import ShortField
from scapy.packet import Packet

from tests.interop.netns import STACK

LIMIT_S = 20


class Hello(Packet):
    fields_desc = [ShortField("number", 0)]  # noqa: RUF012 - as Scapy has it


def answer(packet, via):
    via.reply(Hello(number=packet.number + 1))


def test_kernel_asks_a_layer_on_a_udp_port_and_an_ip_protocol(lan):
    by_port, by_protocol = lan.stack.layer(Hello, udp=4000)(answer), lan.stack.layer(Hello, proto=253)(answer)
    with lan.ns.socket(socket.SOCK_DGRAM) as udp, lan.ns.socket(socket.SOCK_RAW, proto=253) as raw:
        udp.sendto(bytes(Hello(number=6)), (STACK, 4000))
        assert Hello(udp.recv(100)).number == 7
        raw.sendto(bytes(Hello(number=8)), (STACK, 0))
        assert Hello(raw.recv(100)[20:]).number == 9
    by_port.close()
    by_protocol.close()


def test_kernel_asks_a_layer_behind_an_ethertype(lan):
    lan.stack.layer(Hello, ethertype=0x88B5)(answer)
    mac = lan.link.mac
    with lan.ns.packet_socket("tap0") as wire:
        ours = wire.getsockname()[4]
        wire.send(mac + ours + b"\x88\xb5" + bytes(Hello(number=1)))
        frame = b""
        while frame[:6] != ours or frame[12:14] != b"\x88\xb5":
            frame = wire.recv(2_000)
    assert Hello(frame[14:]).number == 2
