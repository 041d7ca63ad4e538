"""Stacks on one Ethernet segment, in virtual time: no link, no driver, no thread, only the core.

    net = Net()
    a = net.host("10.0.0.1/24")
    b = net.host("10.0.0.2/24")
    net.run(until=lambda: done, limit_ms=5000)

Every frame goes to all other hosts a millisecond later, unless `net.fault` decides otherwise. Between
frames and deadlines nothing happens, so a run takes as long as its events and no wall clock is read.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from heapq import heappop, heappush

from scapystack.base.config import StackConfig
from scapystack.base.frames import CSUM_NONE, CSUM_VALID, Frame
from scapystack.base.iface import Interface
from scapystack.base.offload import finish_frame, split
from scapystack.base.types import MILLISECOND, SECOND, Nanoseconds
from scapystack.stack import NetStack

Fault = Callable[["Host", Frame], list[tuple[Nanoseconds, Frame]]]
"""What becomes of a frame on the wire: any number of frames, each with its delay. The sender comes along."""

DELAY = MILLISECOND


@dataclass(slots=True, eq=False)
class Host:
    """A stack with one interface on the segment. `out` keeps every frame that it sent, if asked to.

    What leaves by other interfaces that a test has added ends in `elsewhere`.
    """

    stack: NetStack
    iface: Interface
    address: bytes
    offload: bool = False
    out: list[bytes] | None = None
    elsewhere: Callable[[Frame], None] = lambda frame: None


class Net:
    """The segment, its hosts, the frames under way and the clock."""

    def __init__(self, *, fault: Fault | None = None, tick: Nanoseconds = 1) -> None:
        """Frames arrive at multiples of `tick`: with a large one they come in bursts."""
        self.hosts: list[Host] = []
        self.tick = tick
        self.now: Nanoseconds = SECOND
        self.fault = fault
        self.frames = 0
        self._under_way: list[tuple[Nanoseconds, int, Host, Frame]] = []
        self._count = 0

    def host(
        self,
        address: str,
        *,
        config: StackConfig | None = None,
        seed: int = 0,
        codec: str = "compiled",
        mtu: int = 1500,
        gso_max: int = 0,
        keep: bool = False,
    ) -> Host:
        """Add a stack. With `gso_max` its super-segments cross the wire whole."""
        stack = NetStack(config or StackConfig(), seed=seed, codec=codec)
        number = len(self.hosts) + 1
        iface = stack.add_interface("eth0", f"02:00:00:00:00:{number:02x}", mtu, gso_max)
        entry = stack.add_address(iface, address)
        host = Host(stack, iface, entry.address, gso_max > 0, [] if keep else None)
        self.hosts.append(host)
        return host

    # -- the wire

    def collect(self, host: Host) -> None:
        """The output pass of a host: what it sends is under way."""
        host.stack.poll(self.now)
        host.stack.take_ready()
        for frame in host.stack.take_frames():
            for sent in [finish_frame(frame)] if host.offload else split(frame):
                if sent.iface is not host.iface:
                    host.elsewhere(sent)
                    continue
                self.frames += 1
                if host.out is not None:
                    host.out.append(sent.data)
                copies = [(DELAY, sent)] if self.fault is None else self.fault(host, sent)
                for delay, copy in copies:
                    self._send(host, delay, copy)

    def _send(self, sender: Host, delay: Nanoseconds, frame: Frame) -> None:
        for host in self.hosts:
            if host is not sender:
                self._count += 1
                at = self.now + delay
                heappush(self._under_way, (at + -at % self.tick, self._count, host, frame))

    @staticmethod
    def arrives(host: Host, frame: Frame, now: Nanoseconds) -> None:
        """A frame reaches a host: its octets, and what a link with offload would say of them."""
        csum = CSUM_VALID if frame.gso_size else CSUM_NONE
        host.stack.receive(Frame(frame.data, (), host.iface, csum, gso_size=frame.gso_size), now)

    # -- time

    def next_at(self) -> Nanoseconds | None:
        """When something happens next."""
        times = [at for host in self.hosts if (at := host.stack.next_deadline()) is not None]
        if self._under_way:
            times.append(self._under_way[0][0])
        return min(times, default=None)

    def enter(self, host: Host) -> NetStack:
        """The stack of a host, ready for an application's calls."""
        host.stack.enter(self.now)
        return host.stack

    def step(self, end: Nanoseconds) -> bool:
        """Everything up to now leaves; then the next moment at which something happens. False at `end`."""
        for host in self.hosts:
            self.collect(host)
        at = self.next_at()
        if at is None or at > end:
            self.now = end
            return False
        self.now = max(self.now, at)
        under_way = self._under_way
        while under_way and under_way[0][0] <= self.now:
            _, _, host, frame = heappop(under_way)
            self.arrives(host, frame, self.now)
        return True

    def run(self, *, until: Callable[[], bool] = lambda: False, limit_ms: float = 60_000) -> bool:
        """Let time pass until a condition holds (True) or the limit is reached (whether it holds then)."""
        end = self.now + int(limit_ms * MILLISECOND)
        while not until():
            if not self.step(end):
                for host in self.hosts:
                    self.collect(host)
                return until()
        return True
