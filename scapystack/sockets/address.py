"""`(host, port)` as applications write it, to and from the packed form.

Only what needs no name service: dotted addresses, `localhost`, `<broadcast>`, and the empty string
for "any". The errors are those of the `socket` module, texts included where programs look at them.
"""

from __future__ import annotations

import socket
from typing import TypeAlias

from scapystack.base.addr import ANY4, BROADCAST4, LOCALHOST4, ip_text
from scapystack.base.types import Address

InetAddress: TypeAlias = tuple[str, int]
"""An IPv4 socket address as the `socket` module writes it."""

_NAMES: dict[str, Address] = {"": ANY4, "localhost": LOCALHOST4, "<broadcast>": BROADCAST4}


def unpack_address(address: object) -> tuple[Address, int]:
    """`("10.0.0.1", 80)` as a packed address and a port.

    Raises TypeError, OverflowError and gaierror where `socket.bind` would.
    """
    if not isinstance(address, tuple):
        raise TypeError(f"AF_INET address must be tuple, not {type(address).__name__}")
    if len(address) != 2:
        raise TypeError("AF_INET address must be a pair (host, port)")
    host, port = address
    if not isinstance(port, int):
        raise TypeError(f"'{type(port).__name__}' object cannot be interpreted as an integer")
    if not 0 <= port <= 65535:
        raise OverflowError("bind(): port must be 0-65535.")
    return resolve(host), port


def resolve(host: object) -> Address:
    """The packed form of a numeric address, `localhost`, `<broadcast>` or `""`. Raises gaierror."""
    if isinstance(host, (bytes, bytearray)):
        host = host.decode("ascii", "replace")
    if not isinstance(host, str):
        raise TypeError(f"str, bytes or bytearray expected, not {type(host).__name__}")
    known = _NAMES.get(host)
    if known is not None:
        return known
    try:
        # inet_aton takes "127.1" as every program does, but also "10.0.0.1 and more"
        if not any(map(str.isspace, host)):
            return socket.inet_aton(host)
    except (OSError, ValueError):
        pass
    raise socket.gaierror(socket.EAI_NONAME, f"{host!r} is neither an IPv4 address nor localhost")


def text_address(address: Address, port: int) -> InetAddress:
    """The pair that `getsockname` and `recvfrom` give."""
    return ip_text(address), port
