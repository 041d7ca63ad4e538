"""Addresses between text and the packed form, and the questions asked of the packed form.

Text is for people: it is parsed at the edge and never travels. A bad text raises
`scapystack.base.errors.ConfigError` with one line that says what was expected.
"""

from __future__ import annotations

import ipaddress
import itertools
from dataclasses import dataclass

from scapystack.base.errors import ConfigError
from scapystack.base.types import Address, Mac

ANY4 = b"\0\0\0\0"
BROADCAST4 = b"\xff\xff\xff\xff"
LOCALHOST4 = b"\x7f\0\0\1"
MAC_BROADCAST = b"\xff\xff\xff\xff\xff\xff"
MAC_NONE = b"\0\0\0\0\0\0"


def ip(text: str | bytes) -> Address:
    """Pack an address given as text; packed bytes of 4 or 16 octets pass through."""
    if isinstance(text, bytes):
        if len(text) in (4, 16):
            return text
        raise ConfigError(f"an IP address has 4 or 16 octets, not {len(text)}")
    try:
        return ipaddress.ip_address(text).packed
    except ValueError:
        raise ConfigError(f"{text!r} is not an IP address (such as 10.0.0.1)") from None


def ip_text(address: Address) -> str:
    """The address as people write it."""
    if len(address) == 4:
        return "%d.%d.%d.%d" % tuple(address)
    return str(ipaddress.ip_address(address))


def mac(text: str | bytes) -> Mac:
    """Pack a hardware address such as `02:00:00:00:00:01`; 6 packed octets pass through."""
    if isinstance(text, bytes) and len(text) == 6:
        return text
    if isinstance(text, str):
        try:
            packed = bytes.fromhex(text.replace(":", "").replace("-", ""))
        except ValueError:
            packed = b""
        if len(packed) == 6:
            return packed
    raise ConfigError(f"{text!r} is not a MAC address (such as 02:00:00:00:00:01)")


def mac_text(address: Mac) -> str:
    """The hardware address in lower-case hex with colons."""
    return address.hex(":")


def is_multicast(address: Address) -> bool:
    """224.0.0.0/4 (RFC 1122 section 3.2.1.3) or ff00::/8."""
    return address[0] >> 4 == 14 if len(address) == 4 else address[0] == 0xFF


def is_loopback(address: Address) -> bool:
    """127.0.0.0/8 or ::1."""
    return address[0] == 127 if len(address) == 4 else address == b"\0" * 15 + b"\1"


def is_unspecified(address: Address) -> bool:
    """0.0.0.0 or ::."""
    return not any(address)


@dataclass(frozen=True, slots=True)
class Prefix:
    """A network: a packed address with its host bits clear, and a prefix length."""

    network: Address
    length: int

    @classmethod
    def parse(cls, text: str) -> Prefix:
        """From `10.0.0.0/24`, `default` or a bare address (a host prefix); host bits are cleared."""
        if text == "default":
            return cls(ANY4, 0)
        address, length = interface_address(text, host=True)
        return cls.of(address, length)

    @classmethod
    def of(cls, address: Address, length: int) -> Prefix:
        """The network that `address` lies in."""
        bits = len(address) * 8
        value = int.from_bytes(address, "big") >> (bits - length) << (bits - length)
        return cls(value.to_bytes(len(address), "big"), length)

    def __contains__(self, address: Address) -> bool:
        if len(address) != len(self.network):
            return False
        shift = len(address) * 8 - self.length
        return (int.from_bytes(address, "big") ^ int.from_bytes(self.network, "big")) >> shift == 0

    @property
    def broadcast(self) -> Address | None:
        """The directed broadcast address; None where there is none (IPv6, /31, /32)."""
        if len(self.network) != 4 or self.length >= 31:
            return None
        value = int.from_bytes(self.network, "big") | (0xFFFFFFFF >> self.length)
        return value.to_bytes(4, "big")

    def __str__(self) -> str:
        return f"{ip_text(self.network)}/{self.length}"


def interface_address(text: str, *, host: bool = False) -> tuple[Address, int]:
    """Split `10.0.0.1/24` into a packed address and a prefix length.

    With `host`, a bare address means a host prefix; without, a missing length is an error.
    """
    address_text, slash, length_text = text.partition("/")
    address = ip(address_text)
    bits = len(address) * 8
    if not slash:
        if host:
            return address, bits
        raise ConfigError(f"{text!r} lacks its prefix length (write {text}/24)")
    if not length_text.isdecimal() or int(length_text) > bits:
        raise ConfigError(f"{length_text!r} is not a prefix length (0 to {bits})")
    return address, int(length_text)


def first_neighbour(text: str) -> str | None:
    """The first other host on the network of an interface's address: `10.0.0.2/24` for `10.0.0.1/24`.

    None where there is none (a /32). Raises ConfigError for a text that is no interface's address.
    """
    packed, length = interface_address(text)
    own = ipaddress.ip_interface((packed, length))
    # two are enough: one of them is not ours
    for host in itertools.islice(own.network.hosts(), 2):
        if host != own.ip:
            return f"{host}/{length}"
    return None


def endpoint_text(address: Address, port: int) -> str:
    """`10.0.0.1:80`, `[::1]:80`; `*` for the unspecified address."""
    host = "*" if is_unspecified(address) else ip_text(address)
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
