"""`Driver`: joins one `NetStack` to its links, a clock and the threads that use it.

A round is: read a batch of frames from each link that has some, `receive` them, let applications act
on what became ready, `poll`, write what must go out. `run()` makes rounds for ever, asleep in epoll
between them (`runtime.fdloop`); `entered()` lets any other thread act on the stack and sends what that
produced from the calling thread, so that a blocking `send` needs no switch to the loop's thread. The lock is
held during a round and never while sleeping. Another `Host` may make the rounds (`runtime.aio`). Without
either there is no descriptor and no thread: `round()` and `next_at()` are all that a simulation needs
(`runtime.virtual`). Read `link.base` first.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Sequence
from functools import partial

from scapystack.base.frames import Frame
from scapystack.base.iface import Interface
from scapystack.base.types import Nanoseconds
from scapystack.link.base import KernelLink, Link
from scapystack.runtime.clock import Clock, monotonic
from scapystack.runtime.fdloop import FdLoop
from scapystack.runtime.guard import Guard
from scapystack.runtime.host import AWAKE, NEVER, Host
from scapystack.runtime.intake import BATCH, Intake, Port
from scapystack.runtime.interrupt import HeldInterrupt
from scapystack.stack import NetStack

_SETTLE_ROUNDS = 64
_FAILED_PAUSE_NS = 10_000_000
_NS = 1e-9


class Entered:
    """The context manager of `Driver.entered`: without state of its own, so that one serves all."""

    __slots__ = ("_driver",)

    def __init__(self, driver: Driver) -> None:
        self._driver = driver

    def __enter__(self) -> NetStack:
        return self._driver._enter()

    def __exit__(self, *error: object) -> None:
        self._driver._leave()


class Preparing:
    """The context manager of `Driver.preparing`."""

    __slots__ = ("_driver",)

    def __init__(self, driver: Driver) -> None:
        self._driver = driver

    def __enter__(self) -> NetStack:
        return self._driver._enter()

    def __exit__(self, *error: object) -> None:
        self._driver._release()
        self._driver.wake()


class Driver:
    """Drives `stack` by `clock`. Every method may be called by any thread.

    What applications raise in `on_ready`, in hooks or in `call_soon` is logged once and counted
    (`driver.errors`), and harms nobody else; with `strict`, as in a simulation, it is raised. A link whose `read`
    raises is lost, as one that says it is broken.
    """

    def __init__(self, stack: NetStack, clock: Clock = monotonic, *, strict: bool = False) -> None:
        self.stack = stack
        self.clock = clock
        self.lock = threading.RLock()
        self.links: dict[int, Link] = {}
        """By the index of their interface."""
        self.on_lost: Callable[[Link], None] | None = None
        """Called under the lock with a link that died."""
        self.loop = FdLoop(self)
        self.host: Host = self.loop
        """Who makes the rounds: the loop of `run`, or another one (`be_hosted`)."""
        self.rounding = False
        """Whether it is a round that has the lock, and not a call of an application."""
        self.sleeps_until: Nanoseconds = AWAKE
        """When the next round is due, as the last one saw it: `AWAKE` at once (or under way), `NEVER`."""
        self._guard = Guard(stack.counters, strict)
        self._intake = Intake(stack, self._guard)
        stack.core.report = self._guard.report
        self._interrupt = HeldInterrupt()
        self._holding = False  # whether the thread inside holds SIGINT back
        self._depth = 0
        self._entered = Entered(self)
        self._preparing = Preparing(self)
        self._calls: deque[Callable[[], None]] = deque()
        self._ports: dict[int, Port] = {}  # by descriptor
        self._timed: list[Link] = []
        self._failed = False
        self._closed = False

    # -- links -----------------------------------------------------------------------------------------

    def attach(self, link: Link) -> Interface:
        """Give the stack an interface for `link` and drive it. Raises ConfigError (a name twice)."""
        with self.entered():
            iface = self.stack.add_interface(link.name, link.mac, link.mtu, link.gso_max)
            link.iface = iface
            self.links[iface.index] = link
            _note_kernel(iface, link)
            port = Port(link, iface)
            if port.fd is not None:
                self.host.watch(port.fd)
                self._ports[port.fd] = port
            if link.timed:
                self._timed.append(link)
            link.on_input = self.wake
            return iface

    def detach(self, link: Link) -> None:
        """Take the interface away and close the link."""
        with self.entered():
            iface = link.iface
            if iface is None or self.links.get(iface.index) is not link:
                return
            self._unregister(link)
            del self.links[iface.index]
            if link in self._timed:
                self._timed.remove(link)
            self.stack.remove_interface(iface)
            outbox = self.stack.core.outbox
            outbox[:] = [frame for frame in outbox if frame.iface is not iface]
            link.close()

    def exchange(self, link: Link, other: Link) -> None:
        """Have `other`, a wrapper put around `link` or what is inside of it, carry the frames from now on."""
        with self.entered():
            iface = link.iface
            if iface is None or self.links.get(iface.index) is not link:
                return
            self.links[iface.index] = other
            _note_kernel(iface, other)
            for fd, port in self._ports.items():
                if port.link is link:
                    self._ports[fd] = Port(other, iface)
            if link in self._timed:
                self._timed.remove(link)
            if other.timed:
                self._timed.append(other)
                other.advance(self.stack.core.now)

    def _unregister(self, link: Link) -> None:
        for fd, port in list(self._ports.items()):
            if port.link is link:
                del self._ports[fd]
                self.host.unwatch(fd)

    @property
    def hosted(self) -> bool:
        """Whether an event loop makes the rounds."""
        return self.host is not self.loop

    def be_hosted(self, host: Host | None) -> None:
        """Have `host` make the rounds from now on; with None nobody does until `run()`. RuntimeError inside of that."""
        with self.lock:
            if self.loop.running:
                raise RuntimeError("the stack has a thread that runs it already")
            for fd in self._ports:
                self.host.unwatch(fd)
            self.loop.close()
            self.host = host or self.loop
            for fd in self._ports:
                self.host.watch(fd)
            if host is not None:
                host.wake()

    # -- the loop --------------------------------------------------------------------------------------

    def run(self) -> None:
        """Make rounds until `stop()`; a KeyboardInterrupt of the main thread passes through.

        Raises RuntimeError where a host makes them.
        """
        begun = False
        try:
            self._acquire()
            try:
                if self._closed:
                    return
                if self.hosted:
                    raise RuntimeError("an event loop runs the stack already")
                self.loop.begin()
                begun = True
            finally:
                self._release()
            self.loop.run()
        finally:
            if begun:
                self._ended()

    def _ended(self) -> None:
        with self.lock:
            self.loop.end()
            self.sleeps_until = AWAKE
            if self._closed:
                self.loop.close()

    def stop(self) -> None:
        """Have `run()` return after its round. One that is not running yet returns at once."""
        self.loop.stop()

    def wake(self) -> None:
        """End the sleep of whoever makes the rounds. Takes no lock."""
        if self.sleeps_until != AWAKE:
            self.host.wake()

    def call_soon(self, call: Callable[[], None]) -> None:
        """Have the loop call `call` in its next round, under the lock. Takes no lock itself, so that
        a finalizer may call it wherever it runs."""
        self._calls.append(call)
        self.wake()

    def close(self) -> None:
        """Close every link and end `run()`; the driver is of no more use."""
        with self.lock:
            if self._closed:
                return
            self._closed = True
            for link in list(self.links.values()):
                self.detach(link)
            if self.loop.running:
                self.stop()
            else:
                self.loop.close()

    def round(self) -> None:
        """One round, without sleeping."""
        self.turn(() if self._closed else self.loop.ready())

    def turn(self, events: Sequence[tuple[int, int]]) -> float:
        """Serve the descriptors that are ready, and all else that is due; how long to sleep then (s)."""
        self._acquire()
        try:
            self.rounding = True
            self.sleeps_until = AWAKE
            now = self.clock()
            self.stack.enter(now)
            self._intake.more = False
            timed = self._timed
            if timed:
                for link in timed:
                    link.advance(now)
            for fd, _ in events:
                port = self._ports.get(fd)
                if port is not None:
                    try:
                        if not self._intake.read(port, now) and port.link.broken:
                            self._lose(port.link, port.link.broken)
                    except Exception as error:
                        self._failed_link(port.link, error)
                else:
                    self.loop.clear()
            if timed:
                self._read_timed(now)
            self._settle(now)
            return self._sleep_time()
        finally:
            self.rounding = False
            self._release()

    def _read_timed(self, now: Nanoseconds) -> None:
        """Links that hold frames back for a time, or have no descriptor to show what they have."""
        for link in list(self._timed):
            at = link.next_at()
            if at is not None and at <= now:
                try:
                    self._intake.take(link.read(BATCH), now)
                except Exception as error:
                    self._failed_link(link, error)

    def _failed_link(self, link: Link, error: Exception) -> None:
        """One of somebody's own whose `read` raised: asked again at once, for ever, it would do the same."""
        self._guard.report(error, f"while {link.name} was read")
        self._lose(link, f"{link.name}: reading it failed")

    def _lose(self, link: Link, why: str) -> None:
        """A link that died (its interface was deleted): the stack goes on without it."""
        self._unregister(link)
        if link in self._timed:
            self._timed.remove(link)
        if link.iface is not None:
            self.stack.set_up(link.iface, False)
        self._guard.warn("driver.links_lost", why)
        if self.on_lost is not None:
            self._guard.run(partial(self.on_lost, link), "in on_lost")

    def _settle(self, now: Nanoseconds) -> None:
        """Applications, timers and output, until nobody has anything left to do (bounded)."""
        stack = self.stack
        core = stack.core
        calls = self._calls
        for _ in range(_SETTLE_ROUNDS):
            if calls:
                for _ in range(len(calls)):
                    self._guard.run(calls.popleft(), "in call_soon")
            if core.ready:
                for endpoint in stack.take_ready():
                    if endpoint.on_ready is not None:
                        self._guard.run(endpoint.on_ready, "in on_ready")
            try:
                stack.poll(now, self._intake.more)
            except Exception as error:
                self._failed = True
                self._guard.report(error, "in poll")
            if core.outbox:
                self._write()
            if not core.ready and not calls:
                return

    def _write(self) -> None:
        """Give each link its frames, in order."""
        try:
            frames = self.stack.take_frames()
        except Exception as error:  # a hook or an observer, as above
            self._guard.report(error, "while frames were sent")
            return
        links = self.links
        if len(links) == 1:
            for link in links.values():
                link.write(frames)
            return
        batches: dict[int, list[Frame]] = {}
        for frame in frames:
            if frame.iface is not None:
                batches.setdefault(frame.iface.index, []).append(frame)
        for index, batch in batches.items():
            if index in links:
                links[index].write(batch)
            else:
                self.stack.counters["driver.drop.no_link"] += len(batch)

    def next_at(self) -> Nanoseconds | None:
        """When the next round is due (0: at once), by the stack's deadlines and the links'; None for never."""
        stack = self.stack
        core = stack.core
        # what is left in the latter two is of a hook or a tap that sent while frames were taken
        if core.ready or self._calls or core.outbox or stack.tcp.dirty:
            return 0
        at = stack.next_deadline()
        for link in self._timed:
            due = link.next_at()
            if due is not None and (at is None or due < at):
                at = due
        return at

    def _sleep_time(self) -> float:
        """Seconds until the next round is due: 0 at once, -1 when something arrives."""
        # said before the last look: whoever adds work now either is seen by that look or sees this and wakes
        self.sleeps_until = NEVER
        at = self.next_at()
        if at is None:
            return -1.0
        wait = at - self.clock()
        if self._failed:  # a core that cannot be polled must not take the whole processor
            self._failed = False
            pause = max(_FAILED_PAUSE_NS - wait, 0)
            at += pause
            wait += pause
        if wait <= 0:
            self.sleeps_until = AWAKE
            return 0.0
        self.sleeps_until = at
        return wait * _NS

    # -- other threads -----------------------------------------------------------------------------------

    def entered(self) -> Entered:
        """Act on the stack from any thread: `with driver.entered() as stack: ...`.

        Takes the lock and sets the time; at the end applications are told, and what has to leave is
        sent from this thread. May be nested; the outermost one sends. A Ctrl-C meanwhile is raised
        behind it (`runtime.interrupt`).
        """
        return self._entered

    def preparing(self) -> Preparing:
        """As `entered`, and the next round sends: for who is likely to act again before it comes."""
        return self._preparing

    @property
    def inside(self) -> bool:
        """Whether the calling thread is inside, and so must not wait for one that may want to be."""
        return bool(self.lock._is_owned())  # type: ignore[attr-defined]  # what threading.Condition asks, too

    def _acquire(self) -> None:
        held = self._interrupt.hold()
        try:
            self.lock.acquire()
        except BaseException:  # the handler of another signal
            if held:
                self._interrupt.let_go()
            raise
        self._depth += 1
        if held:
            self._holding = True

    def _release(self) -> None:
        self._depth -= 1
        held = self._holding and not self._depth
        if held:
            self._holding = False
        self.lock.release()
        if held:
            self._interrupt.let_go()

    def _enter(self) -> NetStack:
        self._acquire()
        if self._depth == 1:
            now = self.clock()
            self.stack.enter(now)
            for link in self._timed:
                link.advance(now)
        return self.stack

    def _leave(self) -> None:
        try:
            if self._depth == 1 and not self._closed:
                self._settle(self.stack.core.now)
                if self.sleeps_until != AWAKE:
                    at = self.next_at()
                    if at is not None and at < self.sleeps_until:
                        self.host.hurry(at)
        finally:
            self._release()


def _note_kernel(iface: Interface, link: Link) -> None:
    """What the layers are to know of the kernel at the other end; a wrapper has frames of the usual size."""
    if isinstance(link, KernelLink):
        iface.gso_kernel, iface.kernel_mac = link.gso_kernel, link.kernel_mac
    else:
        iface.gso_kernel = 0
