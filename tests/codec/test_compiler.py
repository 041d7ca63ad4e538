"""What `compile_layers` promises: sizes, names, values, byte orders, where it stops and why it refuses."""

import struct

import pytest
from scapy.layers.inet import ICMP, IP, TCP, UDP, IPOption_NOP
from scapy.layers.inet6 import IPv6
from scapy.layers.l2 import ARP, Dot1Q, Ether
from scapy.layers.tftp import TFTP
from scapy.packet import Raw

from scapystack.base.errors import ConfigError
from scapystack.codec import CompiledLayers, compile_layers
from tests.harness import scapy_layers as mine


@pytest.mark.parametrize(
    ("layer", "size", "count"),
    [(Ether, 14, 3), (ARP, 28, 9), (IP, 20, 12), (IPv6, 40, 8), (ICMP, 4, 3), (UDP, 8, 4), (TCP, 20, 10)],
)
def test_compile_scapys_own_layer_has_its_size_and_fields(layer, size, count):
    compiled = compile_layers(layer)
    assert (compiled.size, len(compiled.names)) == (size, count)
    own = [field.name for field in layer.fields_desc][:count]
    assert compiled.fields == {layer.__name__: tuple(own)}
    assert compiled.names == tuple(own)
    assert compiled.layers == (layer,)


def test_compile_several_layers_fuses_them_into_one_struct():
    compiled = compile_layers(Ether, IP, TCP)
    assert compiled.source.count("Struct(") == 1
    assert compiled.size == 54
    assert list(compiled.fields) == ["Ether", "IP", "TCP"]
    assert compiled.names[:3] + compiled.names[-2:] == (
        "ether_dst",
        "ether_src",
        "ether_type",
        "tcp_chksum",
        "tcp_urgptr",
    )
    assert compiled.assumed == ("IP.options",)
    assert compiled.stopped == "TCP.options (TCPOptionsField) has no fixed length"
    assert [compiled.offsets[name] for name in ("ether_dst", "ip_version", "ip_ihl", "tcp_chksum")] == [0, 14, 14, 50]
    assert repr(compiled) == "<CompiledLayers Ether / IP / TCP: 54 octets, 25 fields>"


def test_compile_fused_equals_its_layers_one_by_one():
    data = bytes(Ether(dst="ff:ff:ff:ff:ff:ff", src="00:00:00:00:00:01") / IP(src="1.2.3.4", dst="5.6.7.8") / TCP())
    apart = (
        compile_layers(Ether).decode(data) + compile_layers(IP).decode(data, 14) + compile_layers(TCP).decode(data, 34)
    )
    fused = compile_layers(Ether, IP, TCP)
    assert fused.decode(data) == apart
    assert fused.encode(*apart) == data


def test_decode_values_are_packed_bytes_and_plain_integers():
    data = bytes(IP(src="1.2.3.4", dst="5.6.7.8", flags="DF") / UDP())
    values = dict(zip(compile_layers(IP).names, compile_layers(IP).decode(data), strict=True))
    assert values["src"] == b"\1\2\3\4"
    assert (type(values["flags"]), values["flags"], values["proto"]) == (int, 2, 17)


def test_encode_takes_names():
    assert compile_layers(UDP).encode(sport=1, dport=2, len=8, chksum=0) == b"\0\1\0\2\0\x08\0\0"
    with pytest.raises(TypeError):
        compile_layers(UDP).encode(1, 2, 3)


@pytest.mark.parametrize("layer", [UDP, IP, mine.Mixed, mine.Word])
def test_decode_and_encode_out_of_range_raise_struct_error(layer):
    compiled = compile_layers(layer)
    for data, offset in ((b"", 0), (bytes(compiled.size - 1), 0), (bytes(compiled.size), 1)):
        with pytest.raises(struct.error):
            compiled.decode(data, offset)
    if layer is UDP:
        with pytest.raises(struct.error):
            compiled.encode(1 << 16, 0, 0, 0)


def test_compile_own_layer_with_every_kind_of_field_equals_scapy():
    compiled = compile_layers(mine.Mixed)
    data = bytes(mine.Mixed())
    assert compiled.size == len(data)
    assert compiled.stopped == ""
    assert compiled.encode(*compiled.decode(data)) == data
    values = compiled.decode(bytes(3) + data, 3)
    named = dict(zip(compiled.names, values, strict=True))
    assert named["le16"] == 0x1234
    assert (named["be24"], named["le24"], named["be40"]) == (0x010203, 0x010203, 7)
    assert (named["le_a"], named["le_b"], named["le_c"]) == (1, 2, 3)
    assert (named["signed"], named["real"], named["s8"]) == (-4, 1.5, -1)
    assert (named["low"], named["wide"], named["rest"]) == (1, 5, 1)
    assert (named["text"], named["ip"], named["letter"]) == (b"ab\0\0", b"\x0a\0\0\1", b"x")
    packet = mine.Mixed(data)
    assert compiled.decode_dict(data) == {f"Mixed.{name}": packet.fields[name] for name in compiled.names}


def test_decode_dict_and_encode_dict_speak_scapys_values():
    compiled = compile_layers(Ether, IP, TCP)
    packet = (
        Ether(dst="02:00:00:00:00:02", src="02:00:00:00:00:01") / IP(src="10.0.0.1", dst="10.0.0.2") / TCP(flags="SA")
    )
    data = bytes(packet)
    values = compiled.decode_dict(data)
    assert (values["IP.src"], values["Ether.dst"]) == ("10.0.0.1", "02:00:00:00:00:02")
    assert (str(values["TCP.flags"]), values["IP.proto"]) == ("SA", 6)
    assert compiled.encode_dict(values) == data
    given = {"IP.src": "10.0.0.9", "TCP.flags": "FA", "TCP.sport": "http", "IP.ihl": 5}
    assert {
        name: value for name, value in compiled.decode_dict(compiled.encode_dict(given)).items() if name in given
    } == {"IP.src": "10.0.0.9", "TCP.flags": 17, "TCP.sport": 80, "IP.ihl": 5}


def test_encode_dict_rest_is_the_defaults_and_0_for_what_scapy_computes_or_looks_up():
    values = compile_layers(IP, TCP).decode_dict(compile_layers(IP, TCP).encode_dict({}))
    assert (values["IP.version"], values["IP.ttl"], values["TCP.window"]) == (4, 64, 8192)
    assert (values["IP.ihl"], values["IP.chksum"], values["IP.src"], values["TCP.dataofs"]) == (0, 0, "0.0.0.0", 0)


def test_encode_dict_defaults_know_what_the_layers_carry():
    values = compile_layers(Ether, IPv6, UDP).decode_dict(compile_layers(Ether, IPv6, UDP).encode_dict({}))
    assert (values["Ether.type"], values["IPv6.nh"]) == (0x86DD, 17)


def test_encode_dict_unknown_name_is_refused():
    with pytest.raises(ConfigError, match=r"no field 'UDP.port'; one of: UDP.sport, UDP.dport, UDP.len, UDP.chksum"):
        compile_layers(UDP).encode_dict({"UDP.port": 3})


def test_compile_a_packet_settles_its_conditions():
    assert compile_layers(ICMP).stopped == ("ICMP.id is there only under a condition (compile a packet to settle it)")
    assert compile_layers(ICMP(type=8)).names == ("type", "code", "chksum", "id", "seq")
    assert compile_layers(ICMP(type=3)).names == ("type", "code", "chksum", "reserved", "length", "nexthopmtu")
    assert compile_layers(ICMP(type=13)).size == 20
    one = compile_layers(mine.Chosen(kind=1, n=3))
    assert one.decode(b"\1\3\0\2\0\0\0\x09abc") == (1, 3, 2, 9, b"abc")
    assert compile_layers(ARP(hwtype=6, hwlen=8)).size == 32
    zero = compile_layers(mine.Chosen(kind=0, n=0))
    assert zero.decode(b"\0\0\x07") == (0, 0, 7)


def test_compile_stacked_packet_is_its_layers():
    packet = Ether() / Dot1Q(vlan=5) / Dot1Q() / IP() / UDP()
    compiled = compile_layers(packet)
    assert list(compiled.fields) == ["Ether", "Dot1Q", "Dot1Q_2", "IP", "UDP"]
    assert compiled.size == 50
    data = bytes(
        Ether(src="02:00:00:00:00:01", dst="02:00:00:00:00:02")
        / Dot1Q(vlan=5)
        / Dot1Q(vlan=6)
        / IP(src="1.1.1.1")
        / UDP()
    )
    values = compiled.decode_dict(data)
    assert (values["Dot1Q.vlan"], values["Dot1Q_2.vlan"], values["Dot1Q_2.type"]) == (5, 6, 0x0800)
    assert packet.payload.vlan == 5
    assert compile_layers(Ether, packet.payload).size == 50  # and the user's packets are left as they were
    assert packet.underlayer is None
    assert packet.layers() == [Ether, Dot1Q, Dot1Q, IP, UDP]


def test_compile_layer_behind_an_empty_tail_assumes_it():
    compiled = compile_layers(mine.Options, UDP)
    assert (compiled.size, compiled.assumed) == (11, ("Options.tail",))
    assert compile_layers(mine.Options).stopped == "Options.tail (StrLenField) has no fixed length"


@pytest.mark.parametrize(
    ("layer", "names", "why"),
    [
        (mine.Chosen, ("kind", "n"), "Chosen.only1 is there only under a condition (compile a packet to settle it)"),
        (mine.Checked, ("a",), "Checked.fcs stands at the end of the whole packet"),
        (mine.MayEndHere, ("a", "b"), "the packet may end behind MayEndHere.b"),
        (mine.Many, ("a",), "Many.numbers (FieldListField) has no fixed length"),
        (mine.Chosen(kind=0, n=None), ("kind", "n", "value"), "the length of Chosen.data depends on the packet"),
    ],
)
def test_compile_stops_where_nothing_has_a_fixed_place(layer, names, why):
    compiled = compile_layers(layer)
    assert compiled.names == names
    assert compiled.stopped.startswith(why)


@pytest.mark.parametrize(
    ("layers", "why"),
    [
        ((), "compile_layers needs at least one Scapy layer, such as IP"),
        (("IP",), "compile_layers takes Scapy layers such as IP or ICMP(type=8), not 'IP'"),
        ((int,), "compile_layers takes Scapy layers such as IP or ICMP(type=8), not <class 'int'>"),
        ((mine.Unaligned,), "cannot compile Unaligned.half: its bits end within an octet"),
        ((mine.UnalignedEnd,), "cannot compile UnalignedEnd.half: its bits end within an octet"),
        (
            (mine.HalfTurned,),
            "cannot compile HalfTurned.turned: its little-endian bits do not fill tot_size = end_tot_size",
        ),
        (
            (mine.TurnedOut,),
            "cannot compile TurnedOut.straight: its little-endian bits do not fill tot_size = end_tot_size",
        ),
        ((mine.Own,), "cannot compile Own.mine: OwnField reads it in its own way"),
        ((mine.Padded,), "cannot compile Padded.padded: PadField reads it in its own way"),
        ((mine.Pascal,), "cannot compile Pascal.pascal: its format '!4p' is not a single fixed-size value"),
        ((mine.Nothing,), "cannot compile Nothing: it has no fields"),
        ((Raw,), "cannot compile Raw: Raw.load (StrField) has no fixed length"),
        ((TFTP, Raw(b"x"), UDP), "cannot compile a layer behind Raw: Raw.load (StrField) has no fixed length"),
        (
            (ICMP, IP),
            "cannot compile a layer behind ICMP: ICMP.id is there only under a condition "
            "(compile a packet to settle it)",
        ),
        (
            (IP(options=[IPOption_NOP()]), TCP),
            "cannot compile a layer behind IP: IP.options (PacketListField) has no fixed length",
        ),
        ((mine.MayEndHere, UDP), "cannot compile a layer behind MayEndHere: the packet may end behind MayEndHere.b"),
    ],
)
def test_compile_refuses_with_one_line_that_says_why(layers, why):
    with pytest.raises(ConfigError) as caught:
        compile_layers(*layers)
    assert str(caught.value) == why


def test_compile_awkward_names_do_not_break_the_source():
    compiled = compile_layers(mine.Odd)
    data = bytes(range(1, 7))
    assert compiled.decode(b"\0" + data, 1) == (1, 2, 3, 4, 5, 0, 6)
    assert compiled.encode(*compiled.decode(data)) == data
    assert len(set(compiled.names)) == 7


def test_source_is_what_runs():
    compiled = compile_layers(TCP)
    namespace = {"Struct": struct.Struct, "from_bytes": int.from_bytes}
    exec(compiled.source, namespace)
    data = bytes(TCP(seq=9, flags="SA"))
    assert namespace["decode"](data, 0) == compiled.decode(data)
    assert "dataofs & 0xf) << 12" in compiled.source
    assert isinstance(compiled, CompiledLayers)
