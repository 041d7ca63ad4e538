"""What the fuzzer has found, each as a test of its own."""

from __future__ import annotations

import pytest

from scapystack.base.addr import ip
from scapystack.base.frames import CSUM_NONE, CSUM_PARTIAL, CSUM_VALID, Frame
from scapystack.base.guard import ipv4_header
from scapystack.base.iface import Interface
from scapystack.base.offload import split
from scapystack.stack import NetStack
from tests.fuzz.octets import ICMP, L3, TCP, UDP, ip_packet, tcp_segment, udp_datagram
from tests.harness.settings import config_of

HOST, FAR = ip("10.0.0.2"), ip("10.0.1.9")
MAC, HOST_MAC, FAR_MAC = b"\2\0\0\0\0\1", b"\2\0\0\0\0\2", b"\2\0\0\0\1\x09"


def router(mtu: int = 1500, gso_max: int = 0) -> tuple[NetStack, Interface]:
    """A stack that forwards from 10.0.0.0/24 to 10.0.1.0/24, whose link has the given MTU."""
    stack = NetStack(config_of(ip_forward=True))
    iface = stack.add_interface("eth0", MAC, gso_max=gso_max)
    stack.add_address(iface, "10.0.0.1/24")
    far = stack.add_interface("eth1", "02:00:00:00:01:01", mtu, gso_max)
    stack.add_address(far, "10.0.1.1/24")
    stack.arp.add_static(iface, HOST, HOST_MAC)
    stack.arp.add_static(far, FAR, FAR_MAC)
    return stack, iface


def forwarded(stack: NetStack, frame: Frame) -> list[bytes]:
    stack.receive(frame, 1)
    stack.poll(1)
    return [wire.data for sent in stack.take_frames() for wire in split(sent)]


@pytest.mark.parametrize("offset", [8_100, 8_150, 8_191])
def test_forward_fragment_beyond_any_datagram_dropped_instead_of_cut(offset: int) -> None:
    """The offsets of its pieces ran over 13 bits, into the flags."""
    stack, iface = router(mtu=576)
    packet = ip_packet(HOST, FAR, ICMP, bytes(1_400), offset=offset)
    sent = forwarded(stack, Frame(MAC + HOST_MAC + b"\x08\0" + packet, (), iface))
    for data in sent:
        assert ipv4_header(data, L3, len(data) - L3) == ""
    fits = offset * 8 + 1_400 <= 65_535
    assert bool(sent) == fits
    assert stack.counters["ip.drop.fragment_too_long"] == (not fits)


@pytest.mark.parametrize("csum", [CSUM_NONE, CSUM_PARTIAL, CSUM_VALID])
@pytest.mark.parametrize("start", [0, 34, 1_000])
@pytest.mark.parametrize(
    ("proto", "payload"),
    [
        (ICMP, bytes(500)), (UDP, udp_datagram(HOST, FAR, 1, 2, bytes(500))), (TCP, bytes(500)), (TCP, bytes(10)),
        (TCP, b"\0" * 12 + b"\xf0" + bytes(30)), (99, bytes(500)),
    ],
)  # fmt: skip
@pytest.mark.parametrize("mtu", [1500, 296])
def test_forward_cutting_asked_for_where_it_cannot_be_dropped(
    proto: int, payload: bytes, csum: int, start: int, mtu: int
) -> None:
    """A link's word on what it left open is not taken for what no link could finish."""
    stack, iface = router(mtu=mtu)
    data = MAC + HOST_MAC + b"\x08\0" + ip_packet(HOST, FAR, proto, payload)
    frame = Frame(data, (), iface, csum, csum_start=start, csum_offset=16, gso_size=100)
    assert forwarded(stack, frame) == []
    assert stack.counters["ip.drop.offload"] == 1


@pytest.mark.parametrize("csum", [CSUM_PARTIAL, CSUM_VALID])
@pytest.mark.parametrize("start", [0, 34, 38])
def test_forward_super_segment_cut_where_its_header_is(csum: int, start: int) -> None:
    stack, iface = router()
    segment = tcp_segment(HOST, FAR, 1, 2, 1_000, 2_000, 0x18, 100, payload=bytes(2_500))
    data = MAC + HOST_MAC + b"\x08\0" + ip_packet(HOST, FAR, TCP, segment)
    sent = forwarded(stack, Frame(data, (), iface, csum, csum_start=start, csum_offset=16, gso_size=1_000))
    assert [int.from_bytes(each[38:42], "big") for each in sent] == [1_000, 2_000, 3_000]
    assert [len(each) for each in sent] == [1_054, 1_054, 554]
