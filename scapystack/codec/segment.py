"""A whole TCP segment made of compiled pieces: Ethernet, IPv4, TCP, its options and its payload,
with both checksums. `TcpCodec` is to `Ether(data)` and `bytes(Ether()/IP()/TCP()/data)` what a
compiled layer is to one header. Read `compiler` first.

A stack does not go through here (its layers decode as they walk); programs that read or make many
segments with Scapy do.
"""

from __future__ import annotations

from struct import Struct
from typing import Any, NamedTuple, NoReturn

from scapystack.base.addr import ANY4
from scapystack.base.checksum import partial_sum
from scapystack.base.errors import ConfigError, ScapystackError
from scapystack.base.guard import ipv4_header, tcp_header
from scapystack.base.types import Buffer
from scapystack.codec.compiler import compile_layers

TYPE_IPV4 = 0x0800
PROTO_TCP = 6
_MF = 1

TcpOptions = list[tuple[Any, Any]]
"""As in Scapy: `[("MSS", 1460), ("NOP", None), ("Timestamp", (1, 2)), (253, b"unknown kind")]`."""


class BadFrame(ScapystackError, ValueError):
    """A frame that is no sound TCP segment over IPv4; `reason` is such as `ip.checksum`."""

    def __init__(self, reason: str) -> None:
        super().__init__(f"not a sound TCP segment: {reason}")
        self.reason = reason


class TcpFrame(NamedTuple):
    """One segment: every field of Scapy's `Ether`, `IP` and `TCP` as on the wire, addresses packed.

    `frame._replace(tcp_seq=1)` is another one; `build(*frame)` its octets.
    """

    ether_dst: bytes
    ether_src: bytes
    ether_type: int
    ip_version: int
    ip_ihl: int
    ip_tos: int
    ip_len: int
    ip_id: int
    ip_flags: int
    ip_frag: int
    ip_ttl: int
    ip_proto: int
    ip_chksum: int
    ip_src: bytes
    ip_dst: bytes
    tcp_sport: int
    tcp_dport: int
    tcp_seq: int
    tcp_ack: int
    tcp_dataofs: int
    tcp_reserved: int
    tcp_flags: int
    tcp_window: int
    tcp_chksum: int
    tcp_urgptr: int
    ip_options: bytes
    tcp_options: TcpOptions
    payload: Buffer


_FIELDS = TcpFrame._fields
_TYPE, _IHL, _LEN = (_FIELDS.index(name) for name in ("ether_type", "ip_ihl", "ip_len"))
_FLAGS, _FRAG, _PROTO = (_FIELDS.index(name) for name in ("ip_flags", "ip_frag", "ip_proto"))
_SRC, _DST, _DATAOFS = (_FIELDS.index(name) for name in ("ip_src", "ip_dst", "tcp_dataofs"))
_NOP_NOP_TIMESTAMP = b"\1\1\x08\x0a"
_new = tuple.__new__
_from_bytes = int.from_bytes


class TcpCodec:
    """Dissects and builds whole TCP segments over Ethernet and IPv4. Holds no state between calls."""

    __slots__ = (
        "_decode",
        "_encode",
        "_ether_ip",
        "_ip_at",
        "_ip_chksum",
        "_ip_end",
        "_options",
        "_tcp",
        "_tcp_chksum",
    )

    def __init__(self) -> None:
        from scapy.layers.inet import IP, TCP  # noqa: PLC0415
        from scapy.layers.l2 import Ether  # noqa: PLC0415

        fused = compile_layers(Ether, IP, TCP)
        self._decode, self._encode = fused.decode, fused.encode
        self._ip_at = fused.offsets["ip_version"]
        self._ip_chksum = fused.offsets["ip_chksum"]
        self._ip_end = fused.offsets["tcp_sport"]
        self._tcp_chksum = fused.offsets["tcp_chksum"]
        self._ether_ip = compile_layers(Ether, IP)
        self._tcp = compile_layers(TCP)
        self._options = OptionsCodec()

    def dissect(self, data: Buffer) -> TcpFrame:
        """Bounds, both checksums, every field and option of a frame; octets behind the IP packet are left out.

        `payload` is a view of `data`. Raises BadFrame for anything but a sound TCP segment: other
        protocols and fragments, what `scapystack.base.guard` refuses, and options (`tcp.options`)
        whose lengths do not add up, of which Scapy would make what it can.
        """
        ip_at = self._ip_at
        n = len(data)
        problem = ipv4_header(data, ip_at, n - ip_at)
        if problem:
            self._refuse(data, problem)
        view = memoryview(data)
        ip_end = self._ip_end
        values = self._decode(data) if n >= ip_end + self._tcp.size else self._ether_ip.decode(data)
        if values[_TYPE] != TYPE_IPV4 or values[_PROTO] != PROTO_TCP or values[_FLAGS] & _MF or values[_FRAG]:
            self._refuse(data, "")
        if values[_IHL] != 5:
            ip_end = ip_at + values[_IHL] * 4
        segment = view[ip_end : ip_at + values[_LEN]]
        problem = tcp_header(segment, values[_SRC], values[_DST])
        if problem:
            raise BadFrame("tcp." + problem)
        ip_options = b""
        if values[_IHL] != 5:
            ip_options = bytes(view[self._ip_end : ip_end])
            values = self._ether_ip.decode(data) + self._tcp.decode(segment)
        header = values[_DATAOFS] * 4
        options = self._options.decode(bytes(segment[self._tcp.size : header]))
        return _new(TcpFrame, (*values, ip_options, options, segment[header:]))

    def build(
        self,
        ether_dst: bytes,
        ether_src: bytes,
        ether_type: int = TYPE_IPV4,
        ip_version: int = 4,
        ip_ihl: int = 0,
        ip_tos: int = 0,
        ip_len: int = 0,
        ip_id: int = 1,
        ip_flags: int = 0,
        ip_frag: int = 0,
        ip_ttl: int = 64,
        ip_proto: int = PROTO_TCP,
        ip_chksum: int = 0,
        ip_src: bytes = ANY4,
        ip_dst: bytes = ANY4,
        tcp_sport: int = 20,
        tcp_dport: int = 80,
        tcp_seq: int = 0,
        tcp_ack: int = 0,
        tcp_dataofs: int = 0,
        tcp_reserved: int = 0,
        tcp_flags: int = 2,
        tcp_window: int = 8192,
        tcp_chksum: int = 0,
        tcp_urgptr: int = 0,
        ip_options: bytes = b"",
        tcp_options: TcpOptions | None = None,
        payload: Buffer = b"",
    ) -> bytes:
        """The octets of a segment given by its fields: by name, or all of a `TcpFrame`, `build(*frame)`.

        The defaults are Scapy's. Lengths and both checksums are computed, whatever was given for
        `ip_ihl`, `ip_len`, `ip_chksum`, `tcp_dataofs` and `tcp_chksum`. Raises ConfigError for options
        that do not fit their header, `struct.error` for a value that does not fit its field.
        """
        options = self._options.encode(tcp_options) if tcp_options else b""
        if ip_options:
            ip_options += bytes(-len(ip_options) % 4)
        header = self._tcp.size + len(options)
        if header > 60 or len(ip_options) > 40:
            raise ConfigError("a header has room for 40 octets of options")
        length = header + len(payload)
        ip_len = self._ip_end - self._ip_at + len(ip_options) + length
        head = self._encode(
            ether_dst, ether_src, ether_type, ip_version, 5 + (len(ip_options) >> 2), ip_tos, ip_len, ip_id, ip_flags,
            ip_frag, ip_ttl, ip_proto, 0, ip_src, ip_dst, tcp_sport, tcp_dport, tcp_seq, tcp_ack, header >> 2,
            tcp_reserved, tcp_flags, tcp_window, 0, tcp_urgptr,
        )  # fmt: skip
        ip_end = self._ip_end
        # both sums, the fields themselves still zero; the addresses count for either
        ip_total = _from_bytes(head[self._ip_at : ip_end], "big")
        total = _from_bytes(head[ip_end:] + options, "big") + partial_sum(payload) + _from_bytes(ip_src + ip_dst, "big")
        total = (total + ip_proto + length) % 0xFFFF
        if ip_options:
            ip_total += _from_bytes(ip_options, "big")
        ip_total %= 0xFFFF
        ip_at, tcp_at = self._ip_chksum, self._tcp_chksum
        return b"".join(
            (
                head[:ip_at],
                (0xFFFF - ip_total if ip_total else 0).to_bytes(2, "big"),
                head[ip_at + 2 : ip_end],
                ip_options,
                head[ip_end:tcp_at],
                (0xFFFF - total if total else 0).to_bytes(2, "big"),
                head[tcp_at + 2 :],
                options,
                payload,
            )
        )

    def _refuse(self, data: Buffer, problem: str) -> NoReturn:
        """Say first what it is not, then what is wrong with it."""
        if len(data) < self._ip_at:
            raise BadFrame("ethernet.truncated")
        if len(data) < self._ip_end:
            raise BadFrame("ip.truncated")
        values = self._ether_ip.decode(data)
        if values[_TYPE] != TYPE_IPV4:
            raise BadFrame(f"ethernet type {values[_TYPE]:#06x}")
        if problem:
            raise BadFrame("ip." + problem)
        if values[_PROTO] != PROTO_TCP:
            raise BadFrame(f"ip protocol {values[_PROTO]}")
        raise BadFrame("ip.fragment")


class OptionsCodec:
    """TCP options as Scapy gives them, every length checked.

    Formats come from Scapy's own table (`scapy.layers.inet.TCPOptions`). The shape that nearly every
    segment has, timestamps behind two NOPs, goes flat; when building, the rest is Scapy's work.
    """

    __slots__ = ("_ao", "_field", "_kinds", "_shapes", "_timestamp")

    def __init__(self) -> None:
        from scapy.layers.inet import TCP, TCPAOValue, TCPOptions  # noqa: PLC0415

        self._field = TCP().get_field("options")
        self._ao = TCPAOValue
        self._kinds: dict[int, tuple[str, str | None]] = TCPOptions[0]
        self._shapes: dict[tuple[int, int], tuple[Any, Struct | None]] = {}
        self._timestamp = Struct(f"!4s{self._kinds[8][1]}".replace("!II", "II"))

    def decode(self, data: bytes) -> TcpOptions:
        """Raises BadFrame (`tcp.options`) for a length below 2 or beyond the header's end."""
        n = len(data)
        if n == 12 and data.startswith(_NOP_NOP_TIMESTAMP):
            _, tsval, tsecr = self._timestamp.unpack(data)
            return [("NOP", None), ("NOP", None), ("Timestamp", (tsval, tsecr))]
        options: TcpOptions = []
        at = 0
        while at < n:
            kind = data[at]
            if kind == 0:
                options.append(("EOL", None))
                break
            if kind == 1:
                options.append(("NOP", None))
                at += 1
                continue
            end = at + data[at + 1] if at + 1 < n else 0
            if end < at + 2 or end > n:
                raise BadFrame("tcp.options")
            options.append(self._value(kind, data[at + 2 : end]))
            at = end
        return options

    def _value(self, kind: int, octets: bytes) -> tuple[Any, Any]:
        """One option by Scapy's rules: a value of the format's length is unpacked, any other stays octets."""
        shape = self._shapes.get((kind, len(octets)))
        if shape is None:
            name, form = self._kinds.get(kind, (kind, None))
            if kind == 5 and form is not None:  # SAck: as many edges as there is room for
                form += f"{len(octets) // 4}I"
            layout = Struct(form) if form else None
            shape = (name, layout if layout and layout.size == len(octets) else None)
            self._shapes[kind, len(octets)] = shape
        name, layout = shape
        if kind == 29:
            return name, self._ao(octets)
        if layout is None:
            return name, octets
        values = layout.unpack(octets)
        return name, values[0] if len(values) == 1 else values

    def encode(self, options: TcpOptions) -> bytes:
        """Padded to a multiple of four octets."""
        if len(options) == 3 and options[0][0] == "NOP" == options[1][0] and options[2][0] == "Timestamp":
            value = options[2][1]
            if isinstance(value, tuple):
                return self._timestamp.pack(_NOP_NOP_TIMESTAMP, *value)
        return bytes(self._field.i2m(None, options))
