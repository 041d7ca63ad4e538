"""`make_codec`: the codec that a stack works with, in one of three modes.

- `compiled`: the functions that `compile_layers` makes of Scapy's layers.
- `scapy`: every decode dissects the header with Scapy, every encode builds it with Scapy; 50 to 200
  times slower, and what the other two are measured against.
- `paranoid`: both, and CodecMismatch on any difference.

`scapystack.base.codec.Codec` says what the functions promise. Lengths and checksums are judged
before, by `scapystack.base.guard`.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import Any

from scapystack.base.codec import Codec
from scapystack.base.errors import CodecMismatch, ConfigError
from scapystack.base.types import Buffer
from scapystack.codec.compiler import CompiledLayers, compile_layers
from scapystack.codec.packets import dissect

MODES = ("compiled", "scapy", "paranoid")

Decoder = Callable[[Buffer, int], Any]
Encoder = Callable[..., bytes]


class HeaderCodec:
    """Decoders and encoders for each header of the stack; see `scapystack.base.codec.Codec`."""

    __slots__ = (
        "decode_arp",
        "decode_ethernet",
        "decode_icmp",
        "decode_ipv4",
        "decode_tcp",
        "decode_udp",
        "encode_arp",
        "encode_ethernet",
        "encode_icmp",
        "encode_ipv4",
        "encode_tcp",
        "encode_udp",
        "mode",
    )

    def __init__(self, mode: str, pair: Callable[[Any], tuple[Decoder, Encoder]]) -> None:
        from scapy.layers.inet import ICMP, IP, TCP, UDP  # noqa: PLC0415
        from scapy.layers.l2 import ARP, Ether  # noqa: PLC0415

        self.mode = mode
        self.decode_ethernet, self.encode_ethernet = pair(Ether)
        self.decode_arp, self.encode_arp = pair(ARP)
        self.decode_ipv4, self.encode_ipv4 = pair(IP)
        self.decode_icmp, self.encode_icmp = pair(ICMP)
        self.decode_udp, self.encode_udp = pair(UDP)
        self.decode_tcp, self.encode_tcp = pair(TCP)

    def packet(self, data: Buffer) -> Any:
        """A Scapy `Ether` dissection of a whole frame. Never raises on bad bytes."""
        return dissect(data)

    def __repr__(self) -> str:
        return f"<HeaderCodec {self.mode}>"


def make_codec(mode: str = "compiled") -> Codec:
    """A codec in mode `compiled`, `scapy` or `paranoid`; raises ConfigError for any other name."""
    if mode == "compiled":
        return HeaderCodec(mode, compiled_pair)
    if mode == "scapy":
        return HeaderCodec(mode, scapy_pair)
    if mode == "paranoid":
        return HeaderCodec(mode, paranoid_pair)
    raise ConfigError(f"no codec mode {mode!r}; one of: {', '.join(MODES)}")


def compiled_pair(layer: Any) -> tuple[Decoder, Encoder]:
    """The compiled decoder and encoder of a layer."""
    compiled = _compiled(layer, tuple(layer.fields_desc))
    return compiled.decode, compiled.encode


@cache
def _compiled(layer: Any, fields: tuple[Any, ...]) -> CompiledLayers:
    """Once for a layer and its fields as they are: all stacks of a process share six, which take 2 ms to make."""
    return compile_layers(layer)


def scapy_pair(layer: Any) -> tuple[Decoder, Encoder]:
    """The same two functions by way of Scapy's packets."""
    # for its size and its fields: no header offsets by hand here either
    compiled = _compiled(layer, tuple(layer.fields_desc))
    names = compiled.fields[layer.__name__]
    size = compiled.size

    def decode(buf: Buffer, offset: int = 0) -> tuple[Any, ...]:
        packet = layer()  # not layer(octets): Ether would make a Dot3 of a short type
        try:
            packet.do_dissect(bytes(buf[offset : offset + size]))
        except Exception:
            if names[-1] not in packet.fields:
                raise
            # Scapy went on to fields behind the fixed part, which this function does not promise
        return tuple(_machine_value(packet, name) for name in names)

    def encode(*values: Any) -> bytes:
        packet = layer()
        for name, value in zip(names, values, strict=True):
            # what a field reads may depend on those before it (ARP's addresses on its lengths)
            scapy_field = _concrete(packet, name)
            packet.fields[name] = scapy_field.m2i(packet, value)
        return bytes(packet.self_build()[:size])

    return decode, encode


def _concrete(packet: Any, name: str) -> Any:
    """Scapy's field of that name as it is for this packet."""
    from scapy.fields import MultipleTypeField  # noqa: PLC0415

    scapy_field = packet.get_field(name)
    return scapy_field._find_fld_pkt(packet) if isinstance(scapy_field, MultipleTypeField) else scapy_field


def _machine_value(packet: Any, name: str) -> Any:
    value = _concrete(packet, name).i2m(packet, packet.fields[name])
    return value if isinstance(value, bytes) else int(value)


def paranoid_pair(layer: Any) -> tuple[Decoder, Encoder]:
    """Both, compared at every call."""
    compiled_decode, compiled_encode = compiled_pair(layer)
    scapy_decode, scapy_encode = scapy_pair(layer)
    name = layer.__name__

    def decode(buf: Buffer, offset: int = 0) -> tuple[Any, ...]:
        ours: tuple[Any, ...] = compiled_decode(buf, offset)
        theirs = scapy_decode(buf, offset)
        if ours != theirs:
            raise CodecMismatch(f"{name} at octet {offset}: compiled {ours}, Scapy {theirs}")
        return ours

    def encode(*values: Any) -> bytes:
        ours = compiled_encode(*values)
        theirs = scapy_encode(*values)
        if ours != theirs:
            raise CodecMismatch(f"{name}{values}: compiled {ours.hex()}, Scapy {theirs.hex()}")
        return ours

    return decode, encode
