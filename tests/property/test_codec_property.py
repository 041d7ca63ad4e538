"""Compiled equals Scapy: on any octets, any values, any layer made of Scapy's fields, and on frames
that were generated whole and then mutated. The guard stands before both and never raises."""

from hypothesis import given, settings
from hypothesis import strategies as st
from scapy import fields as sf
from scapy.layers.inet import ICMP, IP, TCP, UDP
from scapy.layers.inet6 import IPv6
from scapy.layers.l2 import ARP, Ether
from scapy.packet import Packet
from scapy.utils import checksum as scapy_checksum

from scapystack.base.guard import arp_packet, icmp_header, ipv4_header, tcp_header, udp_header
from scapystack.codec import BadFrame, TcpCodec, compile_layers, make_codec
from scapystack.codec.modes import scapy_pair
from scapystack.testing import strategies as some
from tests.harness.scapy_layers import Mixed

PAIRS = {layer: (compile_layers(layer), *scapy_pair(layer)) for layer in (Ether, ARP, IP, IPv6, ICMP, UDP, TCP, Mixed)}
PARANOID = make_codec("paranoid")
TCP_CODEC = TcpCodec()
ARP_KIND = b"\0\1\x08\0\6\4"

layers = st.sampled_from(list(PAIRS))
mac = st.binary(min_size=6, max_size=6)
ip4 = st.binary(min_size=4, max_size=4)
u3, u4, u8, u9, u13, u16, u32 = (st.integers(0, (1 << bits) - 1) for bits in (3, 4, 8, 9, 13, 16, 32))


@given(layers, st.data(), st.integers(0, 3))
def test_decode_any_octets_equals_scapy_and_encodes_back(layer, data, offset):
    compiled, scapy_decode, scapy_encode = PAIRS[layer]
    octets = data.draw(st.binary(min_size=compiled.size, max_size=compiled.size))
    if layer is ARP:
        octets = ARP_KIND + octets[6:]
    if layer is Mixed:  # the one float: not every NaN survives a trip through Python's float, in Scapy either
        at = compiled.offsets["real"]
        octets = octets[:at] + b"\x3f\x80" + octets[at + 2 :]
    buffer = bytes(offset) + octets + b"behind"
    values = compiled.decode(buffer, offset)
    if layer is not Mixed:  # its LEMACField and CharEnumField have machine values of their own, tested below
        assert values == scapy_decode(buffer, offset)
        assert scapy_encode(*values) == octets
    assert compiled.encode(*values) == octets


@given(st.data())
def test_decode_dict_any_octets_equals_scapys_packet(data):
    layer = data.draw(st.sampled_from([Ether, IP, IPv6, UDP, TCP, Mixed]))
    compiled = PAIRS[layer][0]
    octets = bytearray(data.draw(st.binary(min_size=compiled.size, max_size=compiled.size)))
    if layer is Mixed:
        at = compiled.offsets["real"]
        octets[at : at + 2] = b"\x3f\x80"
        octets[compiled.offsets["letter"]] &= 0x7F
    packet = layer()
    packet.do_dissect(bytes(octets))
    got = compiled.decode_dict(octets)
    assert got == {f"{layer.__name__}.{name}": packet.fields[name] for name in compiled.fields[layer.__name__]}
    assert compiled.encode_dict(got) == octets


aligned = st.one_of(
    st.sampled_from(
        [sf.ByteField, sf.SignedByteField, sf.ShortField, sf.LEShortField, sf.XIntField, sf.LEIntField, sf.LongField,
         sf.SignedIntField, sf.LESignedShortField, sf.LELongField, sf.ThreeBytesField, sf.LEThreeBytesField]
    ).map(lambda make: lambda name: [make(name, 0)]),
    st.integers(1, 9).map(lambda n: lambda name: [sf.StrFixedLenField(name, b"", n)]),
    st.integers(1, 9).map(lambda n: lambda name: [sf.NBytesField(name, 0, n)]),
    st.sampled_from([sf.IPField, sf.MACField, sf.IP6Field]).map(
        lambda make: lambda name: [make(name, {"IPField": "0.0.0.0", "IP6Field": "::"}.get(make.__name__))]
    ),
)  # fmt: skip


@st.composite
def bit_group(draw):
    """Bit fields that fill 1 to 9 octets, little-endian or not."""
    octets = draw(st.integers(1, 9))
    cuts = sorted(draw(st.sets(st.integers(1, octets * 8 - 1), max_size=4)))
    # a cut at an octet's edge ends a big-endian group; a little-endian one must stay whole
    little = draw(st.booleans()) and not any(cut % 8 == 0 for cut in cuts)
    widths = [b - a for a, b in zip([0, *cuts], [*cuts, octets * 8], strict=True)]

    def make(name):
        made = []
        for i, width in enumerate(widths):
            ends = {}
            if little:
                ends = {"tot_size": -octets if i == 0 else 0, "end_tot_size": -octets if i == len(widths) - 1 else 0}
            made.append(sf.BitField(f"{name}_{i}", 0, width, **ends))
        return made

    return make


@st.composite
def layer_classes(draw):
    """A Scapy layer that nobody wrote; the underscore keeps it out of conf.layers."""
    makers = draw(st.lists(aligned | bit_group(), min_size=1, max_size=8))
    fields = [field for i, make in enumerate(makers) for field in make(f"f{i}")]
    return type(Packet)("_Drawn", (Packet,), {"fields_desc": fields})


@settings(max_examples=150)
@given(layer_classes(), st.data())
def test_any_layer_made_of_scapys_fields_compiles_to_what_scapy_does(layer, data):
    compiled = compile_layers(layer)
    assert compiled.stopped == ""
    octets = data.draw(st.binary(min_size=compiled.size, max_size=compiled.size))
    packet = layer(octets)
    assert not packet.payload, "Scapy read the same number of octets"
    assert compiled.decode_dict(octets) == {f"_Drawn.{name}": value for name, value in packet.fields.items()}
    assert compiled.encode(*compiled.decode(octets)) == octets
    packet.raw_packet_cache = None
    assert compiled.encode_dict(compiled.decode_dict(octets)) == packet.self_build() == octets


mutated = some.mutated(some.frames() | some.frames(some.packets(some.tcp())))


@settings(max_examples=300)
@given(mutated)
def test_walk_of_a_mutated_frame_paranoid_finds_no_difference(data):
    """Guard, then decode, as the layers do: what the guard passes both sides read alike."""
    if len(data) < 14:
        return
    _, _, kind = PARANOID.decode_ethernet(data, 0)
    if kind == 0x0806 and not arp_packet(data, 14, len(data) - 14):
        fields = PARANOID.decode_arp(data, 14)
        assert PARANOID.encode_arp(*fields) == data[14:42]
    if kind != 0x0800 or ipv4_header(data, 14, len(data) - 14):
        return
    fields = PARANOID.decode_ipv4(data, 14)
    assert PARANOID.encode_ipv4(*fields) == data[14:34]
    _, ihl, _, total, _, _, _, _, proto, _, src, dst = fields
    assert (fields[0], ihl >= 5, ihl * 4 <= total <= len(data) - 14) == (4, True, True)
    above = memoryview(data)[14 + ihl * 4 : 14 + total]
    if proto == 6 and not tcp_header(above, src, dst, False):
        dataofs = PARANOID.decode_tcp(above, 0)[4]
        assert 20 <= dataofs * 4 <= len(above)
    if proto == 17 and not udp_header(above, src, dst, False):
        assert 8 <= PARANOID.decode_udp(above, 0)[2] <= len(above)
    if proto == 1 and not icmp_header(above, False):
        PARANOID.decode_icmp(above, 0)


def is_sound(data):
    """An oracle of its own: plain octets, and Scapy's checksum over what the lengths cover."""
    if len(data) < 34 or data[12:14] != b"\x08\0" or data[14] >> 4 != 4:
        return False
    l4 = 14 + (data[14] & 15) * 4
    end = 14 + int.from_bytes(data[16:18], "big")
    if not 34 <= l4 <= end <= len(data) or scapy_checksum(data[14:l4]) or data[23] != 6:
        return False
    if int.from_bytes(data[20:22], "big") & 0x3FFF or end - l4 < 20:
        return False
    behind = l4 + (data[l4 + 12] >> 4) * 4
    pseudo = data[26:34] + b"\0\x06" + (end - l4).to_bytes(2, "big")
    if not l4 + 20 <= behind <= end or scapy_checksum(pseudo + data[l4:end]):
        return False
    at = l4 + 20
    while at < behind and data[at]:
        if data[at] == 1:
            at += 1
            continue
        if at + 1 == behind or data[at + 1] < 2:
            return False
        at += data[at + 1]
    return at <= behind


@settings(max_examples=300)
@given(mutated)
def test_dissect_mutated_frame_is_refused_or_equals_scapy(data):
    try:
        frame = TCP_CODEC.dissect(data)
    except BadFrame:
        assert not is_sound(data)
        return
    assert is_sound(data)
    packet = Ether(data)
    tcp = packet[TCP]
    assert (frame.tcp_seq, frame.tcp_ack, frame.tcp_flags) == (tcp.seq, tcp.ack, int(tcp.flags))
    assert (frame.tcp_sport, frame.tcp_window, frame.tcp_chksum) == (tcp.sport, tcp.window, tcp.chksum)
    assert (frame.ip_len, frame.ip_ttl, frame.ip_id, frame.ip_frag) == (packet.len, packet.ttl, packet[IP].id, 0)
    assert repr(frame.tcp_options) == repr(tcp.options)
    end = 14 + packet[IP].len
    assert frame.payload == data[end - len(frame.payload) : end]
    assert frame.payload == bytes(tcp.payload)[: len(frame.payload)]


@given(st.binary(max_size=60), st.integers(0, 20), ip4, ip4)
def test_guard_never_raises(data, offset, src, dst):
    view = memoryview(bytes(offset) + data)
    arp_packet(view, offset, len(data))
    ipv4_header(view, offset, len(data))
    for judge in (tcp_header, udp_header):
        judge(view[offset:], src, dst)
    icmp_header(view[offset:])


segments = st.fixed_dictionaries(
    {
        "ether_dst": mac, "ether_src": mac, "ip_tos": u8, "ip_id": u16, "ip_flags": u3, "ip_frag": u13, "ip_ttl": u8,
        "ip_src": ip4, "ip_dst": ip4, "tcp_sport": u16, "tcp_dport": u16, "tcp_seq": u32, "tcp_ack": u32,
        "tcp_reserved": u3, "tcp_flags": u9, "tcp_window": u16, "tcp_urgptr": u16, "tcp_options": some.tcp_options(),
        "payload": st.binary(max_size=40) | st.integers(1000, 2000).map(lambda n: b"\xa5" * n),
    }
)  # fmt: skip


@given(segments)
def test_build_any_segment_equals_scapy(fields):
    def of(layer):
        return {name[len(layer) + 1 :]: value for name, value in fields.items() if name.startswith(layer + "_")}

    def dotted(octets):
        return ".".join(map(str, octets))

    ip = IP(**of("ip") | {"proto": 6, "src": dotted(fields["ip_src"]), "dst": dotted(fields["ip_dst"])})
    data = TCP_CODEC.build(**fields)
    assert data == bytes(Ether(**of("ether")) / ip / TCP(**of("tcp")) / fields["payload"])
    if not fields["ip_flags"] & 1 and not fields["ip_frag"]:
        again = TCP_CODEC.dissect(data)
        assert again.tcp_options == Ether(data)[TCP].options
        assert TCP_CODEC.build(*again) == data
