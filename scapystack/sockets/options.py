"""`getsockopt` and `setsockopt`: one table, (level, name) to how it is read and written.

A value is an int, or octets where the kernel has a struct (SO_LINGER, TCP_INFO, IP_ADD_MEMBERSHIP)
or a name (TCP_CONGESTION). Buffer sizes read back as they were set (Linux doubles them); ranges are
Linux's. Read `base.Socket` first.
"""

from __future__ import annotations

import struct
from collections.abc import Callable
from errno import EINVAL, ENOENT, ENOPROTOOPT, EOPNOTSUPP
from typing import TYPE_CHECKING, Any, NamedTuple

from scapystack.base.errors import os_error
from scapystack.base.types import Buffer
from scapystack.layers.tcp.congestion import names as congestion_names
from scapystack.layers.tcp.ecn import MASK as ECN_MASK
from scapystack.layers.tcp.fastopen import CLIENT
from scapystack.sockets import constants as c

if TYPE_CHECKING:
    from scapystack.sockets.base import Socket

Value = int | bytes
_INT = struct.Struct("i")
_LINGER = struct.Struct("ii")
_MIN_RCVBUF = 2_304
_MIN_SNDBUF = 4_608
_MAX_BUF = 1 << 30  # RFC 7323 section 2.3: no window is larger
_DEFAULT_MSS = 536  # MUST-15


class Option(NamedTuple):
    """`write` None: an option that can only be read, and the other way round."""

    read: Callable[[Any], Value] | None
    write: Callable[[Any, Any], None] | None
    packed: bool = False  # takes octets, not an int


def read(sock: Socket, level: int, name: int, buflen: int) -> Value:
    """The option as an int, or packed and cut to `buflen` octets. Raises OSError."""
    option = _find(sock, level, name)
    if option.read is None:
        raise os_error(ENOPROTOOPT)
    if not 0 <= buflen <= 1024:
        raise OSError("getsockopt buflen out of range")
    value = option.read(sock)
    if not buflen:
        # the kernel fills an int from the front of whatever the option is
        return value if isinstance(value, int) else int.from_bytes(value[:4], "little")
    return (_INT.pack(value) if isinstance(value, int) else value)[:buflen]


def write(sock: Socket, level: int, name: int, value: int | Buffer) -> None:
    """Set the option. Raises OSError: ENOPROTOOPT, EINVAL, or what the option itself says."""
    option = _find(sock, level, name)
    if option.write is None:
        raise os_error(ENOPROTOOPT)
    if option.packed:
        option.write(sock, _INT.pack(value) if isinstance(value, int) else bytes(value))
        return
    if not isinstance(value, int):
        value = _int_of(bytes(value), level)
    option.write(sock, value)


def _int_of(data: bytes, level: int) -> int:
    if len(data) >= 4:
        return int(_INT.unpack_from(data)[0])
    if data and level == c.IPPROTO_IP:
        return data[0]  # ip(7): some of these take one octet
    raise os_error(EINVAL)


def _find(sock: Socket, level: int, name: int) -> Option:
    option = _TABLE.get((level, name))
    if option is None or (level == c.IPPROTO_TCP and sock.type != c.SOCK_STREAM):
        raise os_error(ENOPROTOOPT)
    return option


# -- makers of options -----------------------------------------------------------------------------


def _setting(name: str, low: int, high: int, scale: int = 1) -> Option:
    """An int kept under `name`; out of range is EINVAL. `scale`: ours are so many to one of theirs."""

    def put(sock: Any, value: int) -> None:
        if not low <= value <= high:
            raise os_error(EINVAL)
        sock._write_setting(name, value * scale)

    return Option(lambda sock: int(sock._read_setting(name)) // scale, put)


def _flag(name: str) -> Option:
    return Option(lambda sock: int(sock._read_setting(name)), lambda sock, value: sock._write_setting(name, value != 0))


def _buffer(name: str, least: int) -> Option:
    def put(sock: Any, value: int) -> None:
        sock._write_setting(name, min(max(value, least), _MAX_BUF))

    return Option(lambda sock: int(sock._read_setting(name)), put)


def _only(value: Callable[[Any], int]) -> Option:
    return Option(value, None)


# -- those with a shape of their own ---------------------------------------------------------------


def _read_linger(sock: Any) -> bytes:
    seconds = sock._read_setting("linger_s")
    return _LINGER.pack(0, 0) if seconds is None else _LINGER.pack(1, int(seconds))


def _write_linger(sock: Any, data: bytes) -> None:
    if len(data) < _LINGER.size:
        raise os_error(EINVAL)
    on, seconds = _LINGER.unpack_from(data)
    sock._write_setting("linger_s", max(seconds, 0) if on else None)


def _read_congestion(sock: Any) -> bytes:
    return str(sock._read_setting("congestion")).encode().ljust(16, b"\0")


def _write_congestion(sock: Any, data: bytes) -> None:
    name = data.rstrip(b"\0").decode("ascii", "replace")
    if name not in congestion_names():
        raise os_error(ENOENT)
    sock._write_setting("congestion", name)


def _read_maxseg(sock: Any) -> int:
    connection = sock._connection
    if connection is not None and connection.connected:
        return int(connection.snd_mss)
    return int(sock._read_setting("mss")) or _DEFAULT_MSS


def _write_ttl(sock: Any, value: int) -> None:
    if value != -1 and not 1 <= value <= 255:
        raise os_error(EINVAL)
    sock._write_setting("ttl", 0 if value == -1 else value)


def _read_ttl(sock: Any) -> int:
    return int(sock._read_setting("ttl")) or int(sock._net.config.ip.ttl)


def _write_tos(sock: Any, value: int) -> None:
    value &= 0xFF  # as Linux, which has room for no more and does not complain
    # RFC 3168 section 5: the two low bits are ECN's, which TCP sets by itself (as Linux has it)
    sock._write_setting("tos", value & ~ECN_MASK if sock.type == c.SOCK_STREAM else value)


def _write_fastopen(sock: Any, value: int) -> None:
    if value < 0 or sock._connection is not None:
        raise os_error(EINVAL)  # as Linux: for listeners, and those that may become one
    sock._write_setting("fastopen", min(value, c.SOMAXCONN))


def _write_fastopen_connect(sock: Any, value: int) -> None:
    if not sock._net.config.tcp.fastopen & CLIENT:
        raise os_error(EOPNOTSUPP)
    if value not in (0, 1) or sock._listening() or sock._connection is not None:
        raise os_error(EINVAL)
    sock._write_setting("fastopen_connect", value == 1)


_TABLE: dict[tuple[int, int], Option] = {
    (c.SOL_SOCKET, c.SO_TYPE): _only(lambda s: int(s.type)),
    (c.SOL_SOCKET, c.SO_DOMAIN): _only(lambda s: int(s.family)),
    (c.SOL_SOCKET, c.SO_PROTOCOL): _only(lambda s: s._protocol()),
    (c.SOL_SOCKET, c.SO_ERROR): _only(lambda s: s._take_error()),
    (c.SOL_SOCKET, c.SO_ACCEPTCONN): _only(lambda s: int(s._listening())),
    (c.SOL_SOCKET, c.SO_REUSEADDR): _flag("reuse"),
    (c.SOL_SOCKET, c.SO_BROADCAST): _flag("broadcast"),
    (c.SOL_SOCKET, c.SO_KEEPALIVE): _flag("keepalive"),
    (c.SOL_SOCKET, c.SO_OOBINLINE): _flag("oobinline"),
    (c.SOL_SOCKET, c.SO_RCVBUF): _buffer("rcvbuf", _MIN_RCVBUF),
    (c.SOL_SOCKET, c.SO_SNDBUF): _buffer("sndbuf", _MIN_SNDBUF),
    (c.SOL_SOCKET, c.SO_LINGER): Option(_read_linger, _write_linger, packed=True),
    (c.IPPROTO_TCP, c.TCP_NODELAY): _flag("nodelay"),
    (c.IPPROTO_TCP, c.TCP_CORK): _flag("cork"),
    (c.IPPROTO_TCP, c.TCP_QUICKACK): _flag("quickack"),
    (c.IPPROTO_TCP, c.TCP_KEEPIDLE): _setting("keepalive_idle_ms", 1, 32_767, 1000),
    (c.IPPROTO_TCP, c.TCP_KEEPINTVL): _setting("keepalive_interval_ms", 1, 32_767, 1000),
    (c.IPPROTO_TCP, c.TCP_KEEPCNT): _setting("keepalive_probes", 1, 127),
    (c.IPPROTO_TCP, c.TCP_USER_TIMEOUT): _setting("user_timeout_ms", 0, 0x7FFFFFFF),
    (c.IPPROTO_TCP, c.TCP_MAXSEG): Option(_read_maxseg, _setting("mss", 88, 65_495).write),
    (c.IPPROTO_TCP, c.TCP_INFO): Option(lambda s: s._tcp_info(), None),
    (c.IPPROTO_TCP, c.TCP_FASTOPEN): Option(lambda s: int(s._read_setting("fastopen")), _write_fastopen),
    (c.IPPROTO_TCP, c.TCP_FASTOPEN_CONNECT): Option(
        lambda s: int(s._read_setting("fastopen_connect")), _write_fastopen_connect
    ),
    (c.IPPROTO_TCP, c.TCP_CONGESTION): Option(_read_congestion, _write_congestion, packed=True),
    (c.IPPROTO_IP, c.IP_TTL): Option(_read_ttl, _write_ttl),
    (c.IPPROTO_IP, c.IP_TOS): Option(lambda s: int(s._read_setting("tos")), _write_tos),
    (c.IPPROTO_IP, c.IP_HDRINCL): _flag("hdrincl"),
    (c.IPPROTO_IP, c.IP_ADD_MEMBERSHIP): Option(None, lambda s, data: s._join(data), packed=True),
    (c.IPPROTO_IP, c.IP_DROP_MEMBERSHIP): Option(None, lambda s, data: s._leave(data), packed=True),
}
