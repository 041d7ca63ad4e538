"""How a hook chooses its packets: by a function, by an expression as tcpdump takes it, or by fields.

filter=lambda packet: packet[TCP].sport > 1024      # of the whole frame; an IndexError is a no
filter="tcp port 80 and tcp[13] & 2 != 0"           # needs libpcap, which compiles and runs it
filter={"IP.src": "10.0.0.2", "dport": (80, 443)}   # fields; of several values one must fit
filter=TCP(flags="S")                               # the fields that are set in a packet
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, TypeAlias

from scapystack.base.errors import ConfigError
from scapystack.base.frames import Frame

if TYPE_CHECKING:
    from scapystack.base.types import Buffer

Filter: TypeAlias = Callable[[Any], object] | Mapping[str, Any] | str | Any | None
Match: TypeAlias = Callable[[Frame], object]

_DLT_EN10MB = 1


def matcher(filter: Filter) -> Match | None:
    """The test for frames that a filter means; None for one that means all. Raises ConfigError."""
    if filter is None or filter == "":
        return None
    if isinstance(filter, str):
        octets_match = bpf(filter)
        return lambda frame: octets_match(frame.data)
    if isinstance(filter, Mapping):
        wanted = tuple((*_named(name), value) for name, value in filter.items())
        return lambda frame: all(_fits(frame.packet, *each) for each in wanted)
    if hasattr(filter, "fields_desc"):
        layers = tuple(_template(filter))
        return lambda frame: all(_fits(frame.packet, *each) for each in layers)
    if callable(filter):
        return lambda frame: _asked(filter, frame)
    raise ConfigError(f"a filter is a function, an expression, fields or a packet, not {filter!r}")


def _asked(predicate: Callable[[Any], object], frame: Frame) -> object:
    try:
        return predicate(frame.packet)
    except (IndexError, AttributeError):  # of a layer or a field that this packet has not
        return False


def _named(name: str) -> tuple[Any, str]:
    """`TCP.dport` as the layer and the field. Raises ConfigError."""
    layer, _, field = name.rpartition(".")
    if not field.isidentifier():
        raise ConfigError(f"{name!r} is no field: say dport or TCP.dport")
    return layer or None, field


def _template(packet: Any) -> list[tuple[Any, str | None, Any]]:
    wanted: list[tuple[Any, str | None, Any]] = []
    layer = packet
    while layer:
        wanted.append((type(layer), None, None))
        wanted += [(type(layer), name, value) for name, value in layer.fields.items()]
        layer = layer.payload
    return wanted


def _fits(packet: Any, layer: Any, field: str | None, value: Any) -> bool:
    """Whether a packet has the layer (None: any) and, in it, the field with this value, or one of these."""
    found = packet if layer is None else packet.getlayer(layer)
    if found is None or field is None:
        return found is not None
    try:
        actual = getattr(found, field)
    except AttributeError:
        return False
    if isinstance(value, list | tuple | set | frozenset | range) and not isinstance(actual, list | tuple):
        return any(actual == each for each in value)
    return bool(actual == value)


def bpf(expression: str) -> Callable[[Buffer], bool]:
    """A filter expression (pcap-filter(7)), as a test for the octets of Ethernet frames. 0.9 us a frame.

    Raises ConfigError: an expression that libpcap does not take, or no libpcap on this machine.
    """
    import ctypes  # noqa: PLC0415 - for whoever filters, with Scapy's bindings
    import weakref  # noqa: PLC0415

    from scapy.arch.common import compile_filter  # noqa: PLC0415
    from scapy.error import Scapy_Exception  # noqa: PLC0415

    try:
        program = compile_filter(expression, linktype=_DLT_EN10MB)
    except ImportError:
        raise ConfigError(
            f"the filter {expression!r} needs libpcap (Debian: apt install libpcap0.8); a function or fields do not"
        ) from None
    except Scapy_Exception as error:
        raise ConfigError(f"{expression!r} is no filter: {error}") from None
    from scapy.libs.winpcapy import _lib as libpcap  # noqa: PLC0415

    run = ctypes.CFUNCTYPE(ctypes.c_uint, ctypes.c_void_p, ctypes.c_char_p, ctypes.c_uint, ctypes.c_uint)(
        ("bpf_filter", libpcap)
    )
    code = ctypes.cast(program.bf_insns, ctypes.c_void_p)

    def match(octets: Buffer) -> bool:
        data = octets if type(octets) is bytes else bytes(octets)
        return bool(run(code, data, len(data), len(data)))

    weakref.finalize(match, libpcap.pcap_freecode, program)
    return match
