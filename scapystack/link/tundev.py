"""Opening /dev/net/tun (Documentation/networking/tuntap.rst, linux/if_tun.h): flags, offload, names.

Everything that asks the kernel about the interface happens once, here, inside its namespace. Read
`link.netns` first.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import socket
import struct
from dataclasses import dataclass
from pathlib import Path

from scapystack.base.errors import LinkError
from scapystack.base.types import Mac
from scapystack.link.netns import in_namespace

DEVICE = "/dev/net/tun"

_TUNSETIFF = 0x400454CA
_TUNSETOFFLOAD = 0x400454D0
_TUNGETIFF = 0x800454D2
_TUNSETVNETHDRSZ = 0x400454D8
_SIOCGIFMTU = 0x8921
_SIOCSIFMTU = 0x8922
_SIOCGIFHWADDR = 0x8927
_SIOCSIFTXQLEN = 0x8943

_IFF_TAP = 0x0002
_IFF_NO_PI = 0x1000
_IFF_VNET_HDR = 0x4000
_IFF_MULTI_QUEUE = 0x0100

TUN_F_CSUM = 1
TUN_F_TSO4 = 2
TUN_F_TSO6 = 4

_IFREQ = struct.Struct("16sH22x")
_IFREQ_INT = struct.Struct("16si20x")
_HEADER_SIZE = 10
_QUEUE_FRAMES = 10_000
"""How many frames for us a TAP made here holds. The kernel's 1,000 overflow when 1,000 connections send at the same
time: without those losses they bring 360 MB/s and not 190 (`scapystack bench --only many-in`)."""


@dataclass(slots=True)
class TunDevice:
    """An open TAP: the descriptor, and what the kernel said about the interface at its end."""

    fd: int
    name: str
    vnet: bool
    offload: int
    mtu: int = 1500
    mac: Mac = b""
    created: bool = True
    place: bytes = b""  # of this machine and namespace, the same each time

    def close(self) -> None:
        """Close the descriptor; an interface that was there before gets no more super-segments."""
        if self.offload and not self.created:
            with contextlib.suppress(OSError):
                fcntl.ioctl(self.fd, _TUNSETOFFLOAD, 0)
        with contextlib.suppress(OSError):
            os.close(self.fd)


def open_tap(name: str, netns: str | None, offload: bool, mtu: int | None = None) -> TunDevice:
    """Make the TAP `name` in a namespace (None: ours), or attach to it where it is there.

    `mtu` is set on a TAP that is made here. Raises LinkError with one line that says what to do.
    """
    if len(name.encode()) > 15 or "/" in name or any(c.isspace() for c in name):
        raise LinkError(f"{name!r} cannot be an interface's name (15 letters at most, no blanks)")
    if netns is None:
        return _open(name, offload, mtu)
    return in_namespace(netns, lambda: _open(name, offload, mtu))


def _open(name: str, offload: bool, mtu: int | None) -> TunDevice:
    try:
        fd = os.open(DEVICE, os.O_RDWR | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError as error:
        raise LinkError(_no_device(error)) from None
    try:
        existed = _exists(name)
        vnet, real_name = _attach(fd, name, offload)
        granted = _grant_offload(fd, vnet)
        device = TunDevice(fd, real_name, vnet, granted, created=not existed, place=_place())
        _ask_interface(device, mtu)
    except BaseException:
        os.close(fd)
        raise
    return device


def _place() -> bytes:
    """What tells the namespace we are in from others, here and on other machines."""
    machine = b""
    for path in ("/etc/machine-id", "/proc/sys/kernel/random/boot_id"):
        with contextlib.suppress(OSError):
            machine = machine or Path(path).read_bytes()
    return b"%d %s" % (os.stat("/proc/thread-self/ns/net").st_ino, machine.strip())


def _no_device(error: OSError) -> str:
    if error.errno in (errno.EPERM, errno.EACCES):
        return f"no right to open {DEVICE}: run as root"
    return f"there is no {DEVICE} on this machine: load the module (modprobe tun), or let the container have the device"


def _exists(name: str) -> bool:
    try:
        socket.if_nametoindex(name)
    except OSError:
        return False
    return True


def _attach(fd: int, name: str, offload: bool) -> tuple[bool, str]:
    """TUNSETIFF with as many of the flags as the kernel and the interface take."""
    plain = _IFF_TAP | _IFF_NO_PI
    # an interface that was made with several queues takes none without the flag; one queue is enough
    tries = [plain | _IFF_VNET_HDR, plain | _IFF_VNET_HDR | _IFF_MULTI_QUEUE] if offload else []
    tries += [plain, plain | _IFF_MULTI_QUEUE]
    for flags in tries:
        try:
            answer = fcntl.ioctl(fd, _TUNSETIFF, _IFREQ.pack(name.encode(), flags))
        except OSError as error:
            if error.errno != errno.EINVAL:
                raise LinkError(_refused(name, error)) from None
            continue
        real_name, _ = _IFREQ.unpack(answer)
        _, held = _IFREQ.unpack(fcntl.ioctl(fd, _TUNGETIFF, bytes(_IFREQ.size)))
        return bool(held & _IFF_VNET_HDR), real_name.rstrip(b"\0").decode()
    raise LinkError(f"{name} is no TAP interface: give the name of one, or a new name")


def _refused(name: str, error: OSError) -> str:
    if error.errno == errno.EBUSY:
        return f"TAP {name} is in use by another program"
    if error.errno in (errno.EPERM, errno.EACCES):
        return f"no right to use TAP {name or 'interfaces'}: run as root (CAP_NET_ADMIN)"
    return f"cannot open TAP {name}: {error.strerror}"


def _grant_offload(fd: int, vnet: bool) -> int:
    """The most offload the kernel grants. Without a header there is none, whatever was left behind."""
    if vnet:
        # an earlier user of a persistent TAP may have asked for a longer header
        fcntl.ioctl(fd, _TUNSETVNETHDRSZ, struct.pack("i", _HEADER_SIZE))
    wishes: list[int] = [TUN_F_CSUM | TUN_F_TSO4 | TUN_F_TSO6, TUN_F_CSUM | TUN_F_TSO4, TUN_F_CSUM] if vnet else []
    for wish in [*wishes, 0]:
        with contextlib.suppress(OSError):
            fcntl.ioctl(fd, _TUNSETOFFLOAD, wish)
            return wish
    return 0


def _ask_interface(device: TunDevice, mtu: int | None) -> None:
    name = device.name.encode()
    try:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as sock:
            if mtu is not None and device.created:
                fcntl.ioctl(sock, _SIOCSIFMTU, _IFREQ_INT.pack(name, mtu))
            if device.created:
                with contextlib.suppress(OSError):  # the kernel's own length does too
                    fcntl.ioctl(sock, _SIOCSIFTXQLEN, _IFREQ_INT.pack(name, _QUEUE_FRAMES))
            _, device.mtu = _IFREQ_INT.unpack(fcntl.ioctl(sock, _SIOCGIFMTU, _IFREQ_INT.pack(name, 0)))
            # a struct sockaddr stands behind the name: two octets of family, then the address
            device.mac = fcntl.ioctl(sock, _SIOCGIFHWADDR, _IFREQ_INT.pack(name, 0))[18:24]
    except OSError as error:
        what = f"cannot have an MTU of {mtu}" if mtu is not None else "cannot be asked for its MTU"
        raise LinkError(f"TAP {device.name} {what}: {error.strerror}") from None
