"""Running a recorded stack again, offline: every frame that leaves must be the recorded one, octet for octet.

    again = Rerun("session.rec")
    again.run()                      # or run(until=120): up to the frame with this number, in or out, counted from 1
    assert not again.differences
    again.stack.tcp.connections      # the state there

Services, sockets and programs do not run: what they asked of the stack is in the recording. Read `record` first.
"""

from __future__ import annotations

import gzip
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Self

from scapystack.base.addr import Prefix, endpoint_text, ip_text
from scapystack.base.config import StackConfig
from scapystack.base.errors import ConfigError, LinkError
from scapystack.base.frames import Frame
from scapystack.base.offload import finished
from scapystack.base.types import Nanoseconds
from scapystack.layers.tcp.tcb import Options
from scapystack.replay.record import (
    CALL,
    CONFIG,
    FORMAT,
    FRAME,
    GONE,
    OPTION,
    OUT,
    POLL,
    SET,
    brief,
    outcome,
)
from scapystack.replay.roster import CALLS, NUMBERED, Roster
from scapystack.replay.values import Reader
from scapystack.stack import NetStack

MASK = 0xFFFFFFFF
_MOST_TOLD = 5
_DAMAGE = (KeyError, TypeError, ValueError, AttributeError, IndexError, StopIteration, OverflowError)
"""What values that make no sense may lead to."""
Passed = Callable[[int, str, Frame, Nanoseconds], None]
"""(number, `rx` or `tx`, frame, when since 1970): a frame that passes."""


class Rerun:
    """A recording, opened. Raises LinkError for what is none, OSError if it cannot be read.

    `stack` is where the rerun has come to; `frames` how many have passed, in and out; `differences` says what did not
    come out as recorded, in lines; `torn` that the recording ends in the middle.
    """

    def __init__(self, path: str | Path, passed: Passed | None = None) -> None:
        self.path = str(path)
        self.frames = 0
        self.sent = 0
        self.calls = 0
        self.differences: list[str] = []
        self.different = 0
        self.torn = False
        self.ended = False
        self._passed = passed
        self._file = gzip.open(path, "rb")  # noqa: SIM115 - closed by close()
        try:
            self._reader = Reader(self._file)
            self._begin(next(self._records(), None))
        except (ConfigError, *_DAMAGE) as error:
            self.close()
            raise LinkError(f"{self.path} is no recording of scapystack, or a damaged one ({error})") from None
        except BaseException:
            self.close()
            raise
        self._steps = self._records()

    def _begin(self, head: Any) -> None:
        if not isinstance(head, tuple) or len(head) != 2 or head[0] != FORMAT:
            raise ConfigError("it does not begin as one")
        told = head[1]
        config = StackConfig()
        for group, values in told["config"].items():
            for name, value in values.items():
                if hasattr(getattr(config, group, None), name):
                    setattr(getattr(config, group), name, value)
        self.version: str = told["version"]
        self.epoch: int = told["epoch"]
        self.stack = NetStack(config, seed=told["seed"], codec=told["codec"])
        self._roster = Roster(self.stack)

    def _records(self) -> Iterator[Any]:
        while True:
            try:
                yield self._reader.value()
            except (EOFError, zlib.error, gzip.BadGzipFile) as error:
                # a file that was closed ends between two records
                self.torn = not isinstance(error, EOFError) or "end-of-stream" in str(error)
                return

    def close(self) -> None:
        """Close the file."""
        self._file.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    # -- running -----------------------------------------------------------------------------------------

    def run(self, until: int | None = None) -> bool:
        """Go on to the frame `until` and stop behind it, or (None) to the end; False where the recording ends before.

        Frames that left at once are one step: it stops behind the last of them.
        Raises LinkError for a recording that is damaged. What comes out differently is noted, and the rerun goes on.
        """
        while until is None or self.frames < until:
            try:
                record = next(self._steps, None)
                if record is None:
                    self.ended = True
                    return until is None
                self._do(record)
            except (ConfigError, *_DAMAGE) as error:
                raise LinkError(f"{self.path} is damaged behind frame {self.frames} ({error})") from None
        return True

    def _do(self, record: tuple[Any, ...]) -> None:
        kind = record[0]
        if kind == FRAME:
            self._receive(*record[1:])
        elif kind == POLL:
            self._inside(lambda: self.stack.poll(*record[1:]))
        elif kind == OUT:
            self._compare(record[1])
        elif kind == CALL:
            self._call(*record[1:])
        elif kind in (SET, OPTION):
            _, now, number, name, value = record
            self.stack.enter(now)
            thing = self._roster.objects[number]
            setattr(thing.options if kind == OPTION else thing, name, self._made(value))
        elif kind == CONFIG:
            for name, value in record[1].items():
                group, _, field = name.partition(".")
                setattr(getattr(self.stack.config, group), field, value)
        elif kind == GONE:
            for number in record[1]:
                self._roster.forget(number)
        else:
            raise ConfigError(f"no record begins with {kind!r}")

    def _inside(self, act: Callable[[], object]) -> None:
        """Let the layers work; what they raised in the recording was logged by the driver, who went on."""
        self._roster.depth += 1
        try:
            act()
        except Exception as error:
            self._differs(f"the stack raised {type(error).__name__}: {error}")
        finally:
            self._roster.depth -= 1

    def _receive(
        self, now: Nanoseconds, index: int, csum: int, csum_start: int, csum_offset: int, gso_size: int, data: bytes
    ) -> None:
        iface = next((each for each in self.stack.interfaces if each.index == index), None)
        frame = Frame(data, (), iface, csum, csum_start, csum_offset, gso_size)
        self.frames += 1
        if self._passed is not None:
            self._passed(self.frames, "rx", frame, now + self.epoch)
        self._inside(lambda: self.stack.accept(frame, now))

    def _compare(self, recorded: tuple[tuple[int, int, int, bytes, bytes], ...]) -> None:
        """What leaves, beside what left then."""
        frames = self.stack.take_frames()
        for i in range(max(len(recorded), len(frames))):
            self.frames += 1
            self.sent += 1
            frame = frames[i] if i < len(frames) else None
            then = recorded[i] if i < len(recorded) else None
            if frame is not None and self._passed is not None:
                self._passed(self.frames, "tx", frame, self.stack.core.now + self.epoch)
            if frame is None or then is None or brief(frame) != then:
                self._differs(f"frame {self.frames} is another:", _shown("-", then), _shown("+", frame))

    def _call(self, now: Nanoseconds, number: int, name: str, args: Any, named: Any, told: Any) -> None:
        self.calls += 1
        self.stack.enter(now)
        thing = self._roster.objects[number]
        if not any(name in CALLS[kind] for kind in CALLS if isinstance(thing, kind)):
            raise ConfigError(f"nobody can call {name!r}")
        given = [self._made(each) for each in args]
        try:
            result = getattr(thing, name)(*given, **{key: self._made(value) for key, value in named.items()})
        except OSError as error:
            result = error
        except Exception as error:
            result = None
            if told != ("raises", type(error).__name__):
                self._differs(f"{name} of {thing!r} raises {type(error).__name__}: {error}")
            return
        if isinstance(result, NUMBERED) and self._roster.number(result) is None:
            self._roster.add(result)
        if name == "remove_interface":
            out = self.stack.core.outbox
            out[:] = [frame for frame in out if frame.iface is not given[0]]  # as the driver does
        seen = outcome(result, self._roster.number)
        if seen != told:
            self._differs(f"behind frame {self.frames}: {name} of {thing!r} gives {seen!r}; in the recording {told!r}")

    def _made(self, value: Any) -> Any:
        """An argument, from what is written of it."""
        if isinstance(value, dict):
            ((kind, what),) = value.items()
            if kind == "interface":
                return next(each for each in self.stack.interfaces if each.index == what)
            if kind == "prefix":
                return Prefix.parse(what)
            if kind == "options":
                return Options(**what)
            return memoryview(bytearray(what))  # room to read into
        return value

    def _differs(self, *lines: str) -> None:
        self.different += 1
        if self.different <= _MOST_TOLD:
            self.differences += lines

    # -- looking -----------------------------------------------------------------------------------------

    def state(self) -> list[str]:
        """The state of the stack where the rerun has come to, in lines."""
        stack = self.stack
        at = f"{stack.core.now / 1e9:.6f} s"
        lines = [f"behind frame {self.frames}, at {at}, {self.calls} calls of applications"]
        for iface in stack.interfaces[1:]:
            addresses = ", ".join(f"{ip_text(each.address)}/{each.prefix.length}" for each in iface.addresses)
            up = "up" if iface.up else "down"
            lines.append(f"interface {iface.name} {addresses} MAC {iface.mac.hex(':')} MTU {iface.mtu} {up}")
        lines += [
            f"neighbour {ip_text(each.address)} is {each.mac.hex(':')} ({each.state})" for each in stack.arp.entries()
        ]
        lines += [f"listening on {endpoint_text(*where)}: {each!r}" for where, each in stack.tcp.listeners.items()]
        for endpoint in stack.udp.endpoints:
            lines.append(f"UDP on {endpoint_text(endpoint.local_addr, endpoint.local_port)}")
        for connection in stack.tcp.connections.values():
            lines += connection_lines(connection)
        drops = ", ".join(f"{name} {n}" for name, n in sorted(stack.counters.drops().items()))
        return [*lines, f"dropped: {drops or 'nothing'}"]


def connection_lines(connection: Any) -> list[str]:
    """A connection and the variables that one looks for first."""
    info = connection.info()
    base, peer = info.iss, info.irs
    due = ", ".join(f"{name} in {span / 1000:.1f} ms" for name, span in info.due.items()) or "none"
    return [
        f"TCP {info.local} {info.remote} {info.state}, {info.ca_state}",
        f"    sends: una {info.snd_una - base & MASK} nxt {info.snd_nxt - base & MASK} window {info.snd_wnd} "
        f"cwnd {info.snd_cwnd_bytes} in the network {info.pipe} queued {info.snd_queue} MSS {info.snd_mss}",
        f"    receives: nxt {info.rcv_nxt - peer & MASK} window {info.rcv_wnd} to be read {info.rcv_queue} "
        f"behind gaps {info.ooo_bytes}",
        f"    round trip {info.rtt / 1000:.1f} ms (least {info.min_rtt / 1000:.1f}), RTO {info.rto / 1000:.1f} ms, "
        f"sent again {info.total_retrans} segments; timers: {due}",
    ]


def _shown(mark: str, what: Any) -> str:
    """A frame, or what is kept of one, as a line of tcpdump."""
    from scapystack.describe import describe  # noqa: PLC0415 - Scapy, for what is seldom needed

    if what is None:
        return f"  {mark} nothing"
    if isinstance(what, Frame):
        return f"  {mark} {describe(finished(what))} ({len(what)} octets)"
    _, gso_size, length, head, _ = what
    cut = f", segments of {gso_size}" if gso_size else ""
    return f"  {mark} {describe(head)} ({length} octets{cut}; {head.hex()})"
