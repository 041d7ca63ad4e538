"""Layers as a user would define them: every kind of field that can be compiled, and some that cannot."""

# ruff: noqa: RUF012 - Scapy's way to define a layer

from scapy import fields as sf
from scapy.packet import Packet


class Mixed(Packet):
    """Both byte orders, odd sizes, bits across octets, text, floats."""

    name = "mixed"
    fields_desc = [
        sf.LEShortField("le16", 0x1234),
        sf.ByteField("u8", 5),
        sf.XIntField("be32", 0xDEADBEEF),
        sf.ThreeBytesField("be24", 0x010203),
        sf.LEThreeBytesField("le24", 0x010203),
        sf.BitField("le_a", 1, 9, tot_size=-2),
        sf.BitField("le_b", 2, 2),
        sf.BitField("le_c", 3, 5, end_tot_size=-2),
        sf.NBytesField("be40", 7, 5),
        sf.StrFixedLenField("text", b"ab", 4),
        sf.SignedIntField("signed", -4),
        sf.BitField("bits24", 1, 24),
        sf.IEEEFloatField("real", 1.5),
        sf.LELongField("le64", 1 << 60),
        sf.FlagsField("flags", 0, 8, "ABCDEFGH"),
        sf.BitEnumField("low", 1, 3, {1: "one"}),
        sf.BitField("wide", 5, 70),
        sf.BitField("rest", 1, 7),
        sf.SignedByteField("s8", -1),
        sf.LEIntEnumField("le_enum", 2, {2: "two"}),
        sf.Emph(sf.IPField("ip", "10.0.0.1")),
        sf.IP6Field("ip6", "fe80::1"),
        sf.MACField("mac", "02:00:00:00:00:01"),
        sf.LEMACField("le_mac", "02:00:00:00:00:01"),
        sf.CharEnumField("letter", "x", {"x": "cross"}, "1s"),
        sf.YesNoByteField("yes", 1),
    ]


class Options(Packet):
    """A fixed part, then a length-prefixed tail."""

    fields_desc = [
        sf.FieldLenField("n", None, length_of="tail", fmt="B"),
        sf.ShortField("x", 7),
        sf.StrLenField("tail", b"", length_from=lambda packet: packet.n),
    ]


class Chosen(Packet):
    """What is behind `kind` depends on it; so does a length."""

    fields_desc = [
        sf.ByteField("kind", 0),
        sf.ByteField("n", 0),
        sf.ConditionalField(sf.ShortField("only1", 3), lambda packet: packet.kind == 1),
        sf.MultipleTypeField(
            [(sf.IntField("value", 0), lambda packet: packet.kind == 1)],
            sf.ByteField("value", 0),
        ),
        sf.StrFixedLenField("data", b"", length_from=lambda packet: packet.n),
    ]


class Unaligned(Packet):
    fields_desc = [sf.BitField("half", 0, 4), sf.ByteField("next", 0)]


class UnalignedEnd(Packet):
    fields_desc = [sf.ByteField("first", 0), sf.BitField("half", 0, 4)]


class HalfTurned(Packet):
    fields_desc = [sf.BitField("turned", 0, 4, tot_size=-2), sf.BitField("more", 0, 12)]


class TurnedOut(Packet):
    """Scapy turns these octets round when it builds them and not when it reads them."""

    fields_desc = [sf.BitField("straight", 0, 4, tot_size=2), sf.BitField("turned", 0, 12, end_tot_size=-2)]


class OwnField(sf.ShortField):
    def getfield(self, pkt, s):
        return s[2:], 42


class Own(Packet):
    fields_desc = [sf.ByteField("ok", 0), OwnField("mine", 0)]


class Padded(Packet):
    fields_desc = [sf.PadField(sf.ByteField("padded", 0), 4)]


class Pascal(Packet):
    fields_desc = [sf.Field("pascal", b"", "4p")]


class Checked(Packet):
    """An FCS at the very end of the packet."""

    fields_desc = [sf.ByteField("a", 1), sf.FCSField("fcs", 0, fmt="I")]


class MayEndHere(Packet):
    fields_desc = [sf.ByteField("a", 1), sf.MayEnd(sf.ByteField("b", 2)), sf.ByteField("c", 0)]


class Many(Packet):
    fields_desc = [sf.ByteField("a", 1), sf.FieldListField("numbers", [], sf.ByteField("", 0))]


class Odd(Packet):
    """Names that would clash with the generated source."""

    fields_desc = [
        sf.ByteField("buf", 0),
        sf.ByteField("offset", 0),
        sf.ByteField("from_bytes", 0),
        sf.ByteField("__u0", 0),
        sf.ByteField("type", 0),
        sf.BitField("x", 0, 4),
        sf.BitField("__w_x", 0, 4),
    ]


class Word(Packet):
    fields_desc = [sf.ThreeBytesField("only", 0)]


class Nothing(Packet):
    fields_desc = []
