"""`TapLink`: a TAP interface of the kernel, over a raw descriptor of /dev/net/tun.

With offload every frame has a `virtio_net_hdr` in front (`link.vnet`), and both sides pass checksums
that are not computed yet and TCP super-segments of up to 64 KB, which is what IPv4's length field can say.
What the kernel itself takes may be four times as long; what it sends is joined here. Without offload, frames
are cut and finished here, at the edge. Read `link.base` first; `link.tundev` opens the device.

What the loops are shaped by (benchmarks/link.py, CPython 3.11, microseconds):
- `os.readv` into a slot that is there costs 1.1 for a small frame, `os.read`, which makes room for 64 KB
  and gives the rest back, 2.3: hence the slots. A small frame is copied out of its slot (0.2);
- a large one is looked at where it lies (a copy of 64 KB costs 4), so it is read by `os.read`;
- a batch of large frames that walk joined costs less the longer it is, until it no longer fits the
  cache (of 1 MB here): hence `BATCH_OCTETS`;
- a read that finds nothing costs more (1.5) than one that finds a frame: hence `limit`.
"""

from __future__ import annotations

import errno
import os
import re
import struct
from collections.abc import Sequence
from hashlib import blake2b

from scapystack.base.addr import mac as parse_mac
from scapystack.base.coalesce import joined, runs
from scapystack.base.frames import CSUM_NONE, CSUM_PARTIAL, CSUM_VALID, Frame
from scapystack.base.offload import split
from scapystack.base.types import Buffer, Mac
from scapystack.link.base import SUPER_SEGMENT, BaseLink
from scapystack.link.tundev import TUN_F_TSO4, TunDevice, open_tap
from scapystack.link.vnet import DATA_VALID, HEADER_LEN, NEEDS_CSUM, PLAIN, pack_vnet, unpack_vnet, vnet_header

READ_ROOM = HEADER_LEN + 18 + 65_536
"""One frame: the header, Ethernet with a VLAN tag, and the largest super-segment."""
KERNEL_SEGMENT = 262_144 - 14 - 20 - 60
"""TCP payload of one frame for the kernel itself (`KernelLink.gso_kernel`): as much as tcpdump there keeps of one.
Measured, one connection out: 5,300 MB/s and not 2,700; 6,300 with twice as much."""
BATCH_OCTETS = 1 << 20
"""A batch ends with the frame that reaches this. Measured, one connection in: 4,400 MB/s; with a quarter of it
2,580, with four times as much 3,270."""
_COPY_BELOW = 4_096
_SLOT = 2_048
_SLOTS = 256
_STAYS_LARGE = 16
"""So many small frames in a row, and small ones are expected again."""
_WORTH_JOINING = 512
_IOV_MAX = 1_000  # 1,024 (POSIX's UIO_MAXIOV on Linux) less the headers
_MIN_FRAME = 14
_BIG_TCP = (6, 3)


def _takes_big_tcp() -> bool:
    """Whether the kernel takes an IPv4 packet of any length: with 0 for it, by the frame (BIG TCP, Linux 6.3)."""
    found = re.match(r"(\d+)\.(\d+)", os.uname().release)
    return found is not None and (int(found[1]), int(found[2])) >= _BIG_TCP


def default_mac(name: str, seed: int | bytes) -> Mac:
    """A locally administered address (IEEE 802, bit 1 of the first octet) that follows from name and seed."""
    octets = seed if isinstance(seed, bytes) else b"%d" % seed
    return b"\x02" + blake2b(name.encode() + b"\0" + octets, digest_size=5, person=b"scapystack-mac").digest()


class TapLink(BaseLink):
    """One TAP. `created` says whether it came into being here; then it vanishes on `close`, or with
    the process, unless something made it persistent."""

    def __init__(
        self,
        name: str = "",
        *,
        netns: str | None = None,
        offload: bool = True,
        mac: str | Mac | None = None,
        seed: int | bytes | None = None,
        mtu: int | None = None,
    ) -> None:
        """Make a TAP, or attach to the one of that name; "" lets the kernel choose a name.

        `netns` is the namespace the interface is (or comes to be) in; the descriptor is ours. An
        existing interface is left as it is (addresses, state, MAC address, MTU); `mtu` then bounds
        only what we send. Without a `mac` ours follows from the name and the `seed`; without that too, from the
        name, the namespace and the machine: neighbours find the same station there the next time. Raises LinkError.
        """
        device = open_tap(name, netns, offload, mtu)
        ours = parse_mac(mac) if mac else default_mac(device.name, device.place if seed is None else seed)
        self._use(device, ours, mtu or device.mtu)

    def _use(self, device: TunDevice, mac: Mac, mtu: int) -> None:
        if mac == device.mac:
            mac = mac[:5] + bytes((mac[5] ^ 1,))  # the kernel's end and ours are two stations
        BaseLink.__init__(self, device.name, mac, mtu, SUPER_SEGMENT)
        self._device = device
        self._fd = device.fd
        self._vnet = device.vnet
        self._header_len = HEADER_LEN if device.vnet else 0
        self._room = room = memoryview(bytearray(_SLOT * _SLOTS))
        self._slots = [room[at : at + _SLOT] for at in range(0, len(room), _SLOT)]
        self._spill = memoryview(bytearray(READ_ROOM - _SLOT))
        self._into = [(slot, self._spill) for slot in self._slots]
        self._large = 0
        self.found = 0
        self.created = device.created
        self.offload = device.offload
        """The `TUN_F_*` bits that the kernel granted for what it gives us; 0 without offload."""
        self.kernel_mac: Mac = device.mac
        self.gso_kernel = KERNEL_SEGMENT if device.offload & TUN_F_TSO4 and device.mac and _takes_big_tcp() else 0

    @classmethod
    def over(cls, device: TunDevice, mac: Mac, mtu: int = 1500) -> TapLink:
        """A link over a descriptor that somebody else opened (one whole frame a read and write)."""
        link = cls.__new__(cls)
        link._use(device, mac, mtu)
        return link

    def fileno(self) -> int | None:
        """The descriptor; None once closed."""
        return self._fd if self._fd >= 0 else None

    # -- in

    def read(self, limit: int = 64, join: bool = False) -> list[Frame]:
        """Up to `limit` frames, and no more than about 1 MB; see `JoiningLink.read`.

        Large frames and small ones are read in different ways (`_large`: as the last few were).
        """
        self.found = 0
        try:
            if self._large:
                return self._read_large(limit, BATCH_OCTETS, join)
            frames = self._read_small(limit, join)
            if self._large:
                frames += self._read_large(limit - self.found, BATCH_OCTETS - len(frames[-1]), join)
            return frames
        except OSError as error:
            self._failed(error)
        except struct.error:  # shorter than its header: no kernel does that
            self.rx_dropped += 1
        return []

    def _read_large(self, limit: int, room: int, join: bool) -> list[Frame]:
        found: list[bytes] = []
        fd = self._fd
        read = os.read
        while limit > 0 and room > 0:
            try:
                data = read(fd, READ_ROOM)
            except BlockingIOError:
                break
            found.append(data)
            size = len(data)
            if size > _SLOT:
                self._large = _STAYS_LARGE
            else:
                self._large -= 1
                if not self._large:
                    break
            room -= size
            limit -= 1
        self.found += len(found)
        if join and self._vnet and len(found) > 1 and min(map(len, found)) > HEADER_LEN:
            return self._followed(found)
        return [self._frame(data) for data in found]

    def _followed(self, found: list[bytes]) -> list[Frame]:
        """Super-segments with those behind them that go on where they end (`Frame.more`): nothing is copied."""
        views = [memoryview(data) for data in found]
        # virtio's flags are CSUM_PARTIAL and CSUM_VALID; what nobody has verified stays alone
        kinds = [data[0] or -1 for data in found]
        frames = []
        for first, behind, start in runs(views, HEADER_LEN, list(map(len, found)), kinds, even=False):
            frame = self._frame(found[first])
            if start:
                frame.more = tuple(view[HEADER_LEN + start :] for view in views[first + 1 : behind])
                if self.iface is not None:
                    self.iface.rx_frames += behind - first - 1
                    self.iface.rx_bytes += sum(map(len, frame.more)) + (behind - first - 1) * start
            frames.append(frame)
        return frames

    def _read_small(self, limit: int, join: bool) -> list[Frame]:
        """Into slots that are there already; what does not fit runs over into `_spill`, and large ones follow."""
        fd = self._fd
        readv = os.readv
        sizes: list[int] = []
        last = b""
        try:
            for into in self._into[:limit]:
                size = readv(fd, into)
                if size > _SLOT:
                    last = b"".join((into[0], self._spill[: size - _SLOT]))
                    self._large = _STAYS_LARGE
                    break
                sizes.append(size)
        except BlockingIOError:
            pass
        slots = self._slots
        if join and len(sizes) > 1 and max(sizes) > _WORTH_JOINING:
            frames = self._joined(sizes)
        else:
            frames = [self._frame(slots[n][:size].tobytes()) for n, size in enumerate(sizes)]
        if last:
            frames.append(self._frame(last))
        self.found = len(sizes) + bool(last)
        return frames

    def _joined(self, sizes: list[int]) -> list[Frame]:
        """`base.coalesce` for frames that still lie in their slots: no copy, and no object, for each of them."""
        slots = self._slots
        at = self._header_len
        if at:
            # flags and gso_type in one number: CSUM_NONE, CSUM_PARTIAL and CSUM_VALID are virtio's own
            behind = len(sizes) * _SLOT
            kinds = self._room[:behind:_SLOT].tolist()
            super_segments = self._room[1:behind:_SLOT].tolist()
            if any(super_segments):
                kinds = [flags | gso << 8 for flags, gso in zip(kinds, super_segments, strict=True)]
        else:
            kinds = [CSUM_NONE] * len(sizes)
        frames = []
        for run in runs(slots, at, sizes, kinds):
            first, _, start = run
            if start:
                frames.append(joined(slots, at, sizes, run, self.iface))
            else:
                frames.append(self._frame(slots[first][: sizes[first]].tobytes()))
        return frames

    def _frame(self, data: bytes) -> Frame:
        """What one read gave."""
        if not self._vnet:
            return Frame(data, (), self.iface)
        flags, _, _, gso_size, start, offset = unpack_vnet(data)
        octets: Buffer = data[HEADER_LEN:] if len(data) < _COPY_BELOW else memoryview(data)[HEADER_LEN:]
        if flags & NEEDS_CSUM:
            return Frame(octets, (), self.iface, CSUM_PARTIAL, start, offset, gso_size)
        return Frame(octets, (), self.iface, CSUM_VALID if flags & DATA_VALID else CSUM_NONE, 0, 0, gso_size)

    # -- out

    def write(self, frames: Sequence[Frame]) -> None:
        """See `Link.write`. An interface that is down, or gone, drops."""
        if self._vnet:
            for frame in frames:
                if frame.csum == CSUM_PARTIAL:
                    head = (
                        vnet_header(frame)
                        if frame.gso_size
                        else pack_vnet(NEEDS_CSUM, 0, 0, 0, frame.csum_start, frame.csum_offset)
                    )
                elif frame.gso_size:
                    # a super-segment whose checksum was finished: the kernel cuts none but open ones
                    for part in split(frame):
                        self._put(PLAIN, part)
                    continue
                else:
                    head = PLAIN
                self._put(head, frame)
            return
        for frame in frames:
            if frame.gso_size or frame.csum == CSUM_PARTIAL:
                for part in split(frame):
                    self._put(b"", part)
            else:
                self._put(b"", frame)

    def _put(self, header: bytes, frame: Frame) -> None:
        """One frame, whole; one that only our own kernel takes in smaller ones, where it has no room for that."""
        payload = frame.payload
        try:
            if not payload:
                os.write(self._fd, header + frame.head if header else frame.head)
            elif len(payload) < _IOV_MAX:
                os.writev(self._fd, (header, frame.head, *payload))
            else:
                os.write(self._fd, b"".join((header, frame.head, *payload)))
        except OSError as error:
            if self.gso_kernel and len(frame) > READ_ROOM and error.errno in _TOO_LARGE:
                self.gso_kernel = 0
                if self.iface is not None:
                    self.iface.gso_kernel = 0
                for part in split(frame):
                    self._put(PLAIN, part)
                return
            self.tx_dropped += 1
            if error.errno not in _LOST:
                self._failed(error)

    def _failed(self, error: OSError) -> None:
        """Note why the link is dead: the interface was deleted, or the descriptor closed."""
        if not self.broken:
            gone = error.errno in (errno.EBADFD, errno.ENODEV, errno.EBADF)
            self.broken = f"{self.name}: {'the interface is gone' if gone else error.strerror}"

    def close(self) -> None:
        """Let go of the TAP: ours vanishes, an existing one stays as it was."""
        if self._fd >= 0:
            self._fd = -1
            self._device.close()


# no room in one piece: memory is in small ones
_TOO_LARGE = frozenset((errno.ENOBUFS, errno.ENOMEM, errno.EMSGSIZE, errno.EINVAL))
# what one frame may meet without the link being dead: no room, no memory, the interface is down, or
# the kernel does not like the frame (too short, too long, nonsense in its headers)
_LOST = frozenset(
    (errno.EAGAIN, errno.EIO, errno.ENOBUFS, errno.ENOMEM, errno.EINVAL, errno.EMSGSIZE, errno.EFAULT, errno.ENETDOWN)
)
