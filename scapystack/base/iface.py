"""`Interface`: what the layers know of a link: its name, hardware address, MTU, IP addresses and
what it can take off our hands. The link itself (fd, queue) lives in `scapystack.link`.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from scapystack.base.addr import Prefix
from scapystack.base.types import Address, Mac


@dataclass(slots=True, frozen=True)
class InterfaceAddress:
    """One IP address on an interface, and the network that is on-link through it."""

    address: Address
    prefix: Prefix


@dataclass(slots=True, eq=False)
class Interface:
    """A network interface of the stack.

    `mtu` counts the octets of an IP packet (no Ethernet header). `gso_max` is the largest TCP
    payload that one frame may carry: 0 where the link takes wire-size segments only, up to 65,000
    or so where the link, or its edge, cuts super-segments (`scapystack.base.offload`). `gso_kernel` is
    the same for what goes to `kernel_mac`, the kernel's own station at the other end of a TAP, and 0
    where there is none: such a frame crosses no wire, and may be longer than IPv4 has a number for.
    """

    name: str
    mac: Mac
    mtu: int = 1500
    gso_max: int = 0
    index: int = 0
    loopback: bool = False
    up: bool = True
    addresses: list[InterfaceAddress] = field(default_factory=list)
    multicast_groups: set[Address] = field(default_factory=set)
    rx_frames: int = 0
    rx_bytes: int = 0
    tx_frames: int = 0
    tx_bytes: int = 0
    gso_kernel: int = 0
    kernel_mac: Mac = b""

    def primary(self) -> Address | None:
        """The first address, from which packets leave when nothing else was asked for."""
        return self.addresses[0].address if self.addresses else None

    def source_for(self, destination: Address) -> Address | None:
        """The address whose network holds `destination`, else the primary one."""
        for entry in self.addresses:
            if destination in entry.prefix:
                return entry.address
        return self.primary()
