"""`Pair`: two stacks in one process, nothing between them but lists of frames; `Path`: with a way between.

No link, no driver, no kernel: what is measured on one is the cost of the core (and of cutting and checksumming
where frames are wire-size), both stacks' together. Time is virtual; `Meter` counts this thread's CPU seconds.
"""

from __future__ import annotations

import random
import time
from collections import deque
from collections.abc import Callable

from scapystack.base.addr import ANY4, ip
from scapystack.base.config import StackConfig
from scapystack.base.frames import Frame
from scapystack.base.iface import Interface
from scapystack.base.offload import split
from scapystack.base.types import MICROSECOND, SECOND
from scapystack.layers.tcp.user import Connection
from scapystack.stack import NetStack

A, B = ip("10.0.0.1"), ip("10.0.0.2")
PORT = 7
SUPER = 65_455
"""What `scapystack.link.base.SUPER_SEGMENT` says."""
BATCH = 64
"""Frames that a stack receives before it gets to answer, as `scapystack.runtime.driver` has it."""
STEP = 50 * MICROSECOND
"""How far virtual time moves with every exchange."""

Order = Callable[[list[Frame]], list[Frame]]


class Pair:
    """Two stacks that know each other; `offload` leaves super-segments whole and checksums open.

    `loss` drops every 1/loss-th frame. `config` changes the defaults of both.
    """

    def __init__(
        self,
        *,
        offload: bool,
        loss: float = 0.0,
        codec: str = "compiled",
        config: Callable[[StackConfig], None] | None = None,
    ) -> None:
        self.offload = offload
        self.now = SECOND
        self.frames = 0
        self._every = round(1 / loss) if loss else 0
        self.a, self.b = (NetStack(self._config(config), seed=n, codec=codec) for n in (1, 2))
        self.ifaces: dict[NetStack, Interface] = {}
        for stack, peer, n in ((self.a, B, 1), (self.b, A, 2)):
            iface = self.ifaces[stack] = stack.add_interface("eth0", bytes((2, 0, 0, 0, 0, n)), gso_max=SUPER)
            stack.add_address(iface, f"10.0.0.{n}/24")
            stack.arp.add_static(iface, peer, bytes((2, 0, 0, 0, 0, 3 - n)))

    @staticmethod
    def _config(change: Callable[[StackConfig], None] | None) -> StackConfig:
        config = StackConfig()
        config.tcp.msl_ms = 1  # TIME-WAIT ends while we look
        if change is not None:
            change(config)
        return config

    def sent(self, sender: NetStack) -> list[Frame]:
        """What a stack has to send now, as it leaves its link."""
        sender.poll(self.now)
        if sender.core.ready:
            sender.take_ready()
        frames = sender.take_frames()
        return frames if self.offload else [part for frame in frames for part in split(frame)]

    def deliver(self, frames: list[Frame], receiver: NetStack) -> None:
        """Frames as they come to a stack, in batches."""
        iface = self.ifaces[receiver]
        now = self.now
        for count, f in enumerate(frames, 1):
            receiver.receive(Frame(f.data, (), iface, f.csum, f.csum_start, f.csum_offset, f.gso_size), now)
            if count % BATCH == 0:
                receiver.poll(now)

    def carry(self, sender: NetStack, receiver: NetStack) -> int:
        """What one has to send reaches the other; how many frames that were."""
        frames = self.sent(sender)
        count = len(frames)
        if self._every:
            frames = [frame for n, frame in enumerate(frames, self.frames + 1) if n % self._every]
        self.frames += count
        self.deliver(frames, receiver)
        return count

    def exchange(self) -> int:
        """Both ways, once; how many frames that were."""
        self.now += STEP
        return self.carry(self.a, self.b) + self.carry(self.b, self.a)

    def wait(self) -> None:
        """Nothing is under way: on to the next deadline."""
        times = [at for stack in (self.a, self.b) if (at := stack.next_deadline()) is not None]
        self.now = max(self.now, min(times, default=self.now))

    def settle(self) -> None:
        """Until nobody has anything to send."""
        while self.exchange():
            pass

    def open(self) -> tuple[Connection, Connection]:
        """A connection from a to b."""
        listener = self.b.tcp.listeners.get((ANY4, PORT)) or self.b.tcp.listen(ANY4, PORT, 128)
        self.a.enter(self.now)
        c = self.a.tcp.connect(B, PORT)
        d = None
        while d is None:
            self.exchange()
            d = listener.accept()
        return c, d


class Path(Pair):
    """A pair whose frames take `steps` exchanges to arrive, each way; from a to b they may be lost or come in
    another order: `loss` is the chance of each, `order` is asked about all that arrive at once."""

    def __init__(
        self,
        steps: int,
        *,
        loss: float = 0.0,
        order: Order | None = None,
        config: Callable[[StackConfig], None] | None = None,
    ) -> None:
        super().__init__(offload=False, config=config)
        self._steps = steps
        self._loss = loss
        self._order = order
        self._random = random.Random(1).random
        self._forth: deque[list[Frame]] = deque()
        self._back: deque[list[Frame]] = deque()
        self._under_way = 0

    def connect(self) -> tuple[Connection, Connection]:
        """A connection opened at once; from now on frames take their time."""
        ends = self.open()
        self.settle()
        self._forth.extend([] for _ in range(self._steps))
        self._back.extend([] for _ in range(self._steps))
        return ends

    def exchange(self) -> int:
        """One step: what is due arrives at either end; how many frames that were or are under way."""
        if not self._forth:
            return super().exchange()
        self.now += STEP
        sent = self.sent(self.a)
        self.frames += len(sent)
        if self._loss:
            chance, draw = self._loss, self._random
            sent = [frame for frame in sent if draw() >= chance]
        self._forth.append(sent)
        arrived = self._forth.popleft()
        self.deliver(self._order(arrived) if self._order is not None else arrived, self.b)
        answers = self.sent(self.b)
        self._back.append(answers)
        answered = self._back.popleft()
        self.deliver(answered, self.a)
        moved = self._under_way + len(sent) + len(answers)
        self._under_way = moved - len(arrived) - len(answered)
        return moved


class Meter:
    """CPU seconds until `seconds` are spent: `while meter.on(): ...`, many operations a turn."""

    def __init__(self, seconds: float) -> None:
        self.seconds = seconds
        self.start = time.thread_time()
        self.spent = 0.0

    def on(self) -> bool:
        self.spent = time.thread_time() - self.start
        return self.spent < self.seconds
