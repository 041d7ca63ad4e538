"""Scapy's layers, compiled to flat decoders and encoders; frames as Scapy packets.

Read `docs/codec.md` first. Importing this room imports no Scapy: the first call that needs it does.
"""

from scapystack.codec.compiler import CompiledLayers, compile_layers
from scapystack.codec.modes import MODES, make_codec
from scapystack.codec.packets import dissect, frame_of
from scapystack.codec.segment import BadFrame, TcpCodec, TcpFrame

__all__ = [
    "MODES",
    "BadFrame",
    "CompiledLayers",
    "TcpCodec",
    "TcpFrame",
    "compile_layers",
    "dissect",
    "frame_of",
    "make_codec",
]
