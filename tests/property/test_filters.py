"""What a filter rules out by what a flow's super-segments share, it takes no piece of: the short way is the long way.

Most filters here are drawn to take a piece of the frame at hand, so that one ruled out for a wrong reason shows.
"""

import pytest
from hypothesis import given, reject, settings
from hypothesis import strategies as st
from scapy.layers.inet import IP, TCP, IPOption_RR
from scapy.layers.inet6 import IPv6
from scapy.layers.l2 import Dot1Q, Ether

from scapystack.base.errors import ConfigError
from scapystack.base.frames import CSUM_PARTIAL, Frame
from scapystack.base.offload import split
from scapystack.hooks.filters import matcher
from scapystack.hooks.packets import PacketHook

MAC = "02:00:00:00:00:01"
OTHERS = [
    "tcp", "udp", "arp", "not ip", "ip6", "port 80", "src port 443", "tcp dst port 80", "portrange 80-443",
    "host 10.0.0.1", "dst net 192.168.0.0/16", f"ether src {MAC}", "ether broadcast", "ip multicast", "greater 300",
    "vlan 5 and port 80", "ip protochain 6", "ip protochain 17", "ip6 protochain 6", "ip[6:2] & 0x1fff = 0",
    "tcp[tcpflags] & tcp-push != 0", "tcp[((tcp[12] & 0xf0) >> 2):4] = 0x47455420", "ip[tcp[12]] > 3",
    "ip[2:2] - (len & 3) > tcp[0:2]",
]  # fmt: skip
"""Expressions that may fit or not."""
FALSE = {"=": "!=", "!=": "=", "<=": ">", ">=": "<"}


@st.composite
def frames(draw) -> Frame:
    """A super-segment of three pieces or one, most of them of IPv4 without options; or a frame that never was one."""
    between = draw(st.sampled_from([IP] * 6 + [IPv6, Dot1Q]))
    ports = st.sampled_from([80, 443, 5000])
    flags = draw(st.sampled_from(["A", "PA", "FPUA", "CPA"]))
    tcp = TCP(sport=draw(ports), dport=draw(ports), seq=2**32 - 900, flags=flags)
    network = IP(src="10.0.0.1", dst=draw(st.sampled_from(["10.0.0.2", "192.168.7.7"])), ttl=9, id=65_534)
    network.tos, network.flags = draw(st.integers(0, 3)), draw(st.sampled_from(["DF", 0, "MF"]))
    network.options = draw(st.sampled_from([[], [], [], [IPOption_RR()]]))
    below = Ether(src=MAC, dst=draw(st.sampled_from([MAC, "01:00:5e:00:00:01"])))
    if between is IPv6:
        network = IPv6()
    elif between is Dot1Q:
        below /= Dot1Q(vlan=5)
    text = b"GET " + bytes(draw(st.sampled_from([96, 2196])))
    head = bytes(below / network / tcp / text)[: -len(text)]
    if draw(st.integers(0, 3)):
        return Frame(head, (text,), None, CSUM_PARTIAL, len(head) - 20, 16, 1_000)
    if between is IP:
        network.frag = draw(st.sampled_from([0, 185]))
    whole = bytes(below / network / tcp / text)[:200]
    return Frame(whole[: draw(st.just(len(whole)) | st.integers(0, len(whole)))])


@st.composite
def expressions(draw, octets: bytes, holds: bool = True, depth: int = 2) -> str:
    """One that is true of a frame (or false), and turns on any octets of its headers, and on others as well."""
    if not depth or draw(st.booleans()):
        return draw(comparisons(octets, holds))
    if draw(st.booleans()):
        return f"not ({draw(expressions(octets, not holds, depth - 1))})"
    one = draw(expressions(octets, holds, depth - 1))
    if draw(st.booleans()):
        two = draw(expressions(octets, holds, depth - 1))
        return f"({one}) {draw(st.sampled_from(['and', 'or']))} ({two})"
    return f"({draw(st.sampled_from(OTHERS))}) {'or' if holds else 'and'} ({one})"


@st.composite
def comparisons(draw, octets: bytes, holds: bool) -> str:
    """A single one, with octets as they are in Ethernet's count or in TCP's, or with the length."""
    size = draw(st.sampled_from([1, 2, 4]))
    at = draw(st.integers(0, min(len(octets), 70) - size))
    in_tcp = at >= 34 and octets[12:15] == b"\x08\x00\x45" and octets[20] & 0x1F == octets[21] == 0 and octets[23] == 6
    name = f"tcp[{at - 34}:{size}]" if in_tcp else f"ether[{at}:{size}]"
    value = int.from_bytes(octets[at : at + size])
    mask = draw(st.sampled_from([0x01, 0x0F, 0xF0, 0xFF]))
    left, true, right = draw(
        st.sampled_from([
            (name, "=", value), (name, "<=", value), (name, ">=", value), (f"{name} & {mask}", "=", value & mask),
            (f"{name} & {mask}", "!=" if value & mask else "=", 0), (name, ">=", f"len - len + {value}"),
            (name, "=", name), ("len", "=", len(octets)),
        ])
    )  # fmt: skip
    return f"{left} {true if holds else FALSE[true]} {right}"


@st.composite
def fields(draw, packet) -> dict[str, object]:
    """Some that a packet has, alone or among others, and perhaps one that it may have."""
    known = [(layer, name) for layer in packet.layers() for name in packet[layer].default_fields]
    wanted = {}
    for layer, name in draw(st.lists(st.sampled_from(known), min_size=1, max_size=3)):
        value = getattr(packet[layer], name)
        form = draw(st.sampled_from([lambda value: value, lambda value: (0, value), lambda value: [value, 0]]))
        wanted[f"{layer.__name__}.{name}"] = value if isinstance(value, list) else form(value)
        if draw(st.booleans()):  # of the first layer that has it
            wanted[name] = getattr(packet, name)
    others = [("flags", "DF"), ("TCP.dport", 80), ("UDP.dport", 80), ("Padding.load", b"\0"), ("nothing", 1)]
    return dict([*wanted.items(), *draw(st.lists(st.sampled_from(others), max_size=1))])


@st.composite
def filters(draw, frame: Frame) -> object:
    """One that takes a piece of the frame, or one that may."""
    piece = draw(st.sampled_from(split(frame)))
    if len(piece) < 14 or not draw(st.integers(0, 3)):
        return draw(st.sampled_from(OTHERS))
    if draw(st.booleans()):
        return draw(expressions(piece.data))
    return draw(fields(piece.packet))


@pytest.mark.filterwarnings("ignore:id has been deprecated")  # of a VLAN tag, which Scapy now calls dei
@settings(max_examples=80)
@given(st.data())
def test_hook_with_any_filter_sees_of_any_frame_what_each_piece_asked_would_tell(data):
    frame, whole = data.draw(frames()), data.draw(st.booleans())
    filter = data.draw(filters(frame))
    seen = []
    try:
        hook = PacketHook(lambda packet: seen.append(bytes(packet)), "tx", filter=filter, whole=whole)
    except ConfigError:  # an expression that takes nothing at all
        reject()
    takes = matcher(filter)._test
    expected = [bytes(piece.packet) for piece in ([frame] if whole else split(frame)) if takes(piece)]
    for _ in range(2):  # what was found for a flow is remembered
        seen.clear()
        assert hook(frame) is frame
        assert seen == expected
