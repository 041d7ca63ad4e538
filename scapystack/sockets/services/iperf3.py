"""iperf3: what `iperf3 -c` measures against: TCP and UDP, both directions (-R, --bidir), streams in parallel (-P).

One test at a time, as with iperf3's own server; who comes meanwhile is told that it is busy. Read
`iperf3_wire` for what the two sides tell each other, `base` for what a service is, `iperf3_streams` for the data.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from scapystack.base.types import SECOND, Address, Nanoseconds
from scapystack.layers.tcp.congestion import names
from scapystack.sockets.services import iperf3_wire as wire
from scapystack.sockets.services.base import Service, Session
from scapystack.sockets.services.iperf3_streams import Stream, TcpStream, UdpStream

if TYPE_CHECKING:
    from scapystack.layers.tcp.user import Connection
    from scapystack.runtime.driver import Driver

_PATIENCE = 30 * SECOND
"""So long a client may be silent where something is due from it."""
_PACE = SECOND // 1_000
"""Between the bursts of streams that send at a given rate."""
_ALL_THERE_IS = SECOND // 10_000
"""And of UDP streams that send as fast as they can."""

Usage = Callable[[], tuple[float, float]]
"""Processor seconds of this process: user and system."""


def process_usage() -> tuple[float, float]:
    """Of this very process."""
    times = os.times()
    return times.user, times.system


class Iperf3Session(Session):
    """One TCP connection: the control connection of a test, or a stream of it; its cookie tells."""

    __slots__ = ("_cookie", "part")

    def __init__(self, service: Service, connection: Connection) -> None:
        super().__init__(service, connection)
        self._cookie = b""
        self.part: Test | TcpStream | None = None

    def serve(self) -> None:
        """Learn what it is, then be that."""
        if self.part is None:
            connection = self.connection
            self._cookie += connection.read(wire.COOKIE - len(self._cookie))
            if len(self._cookie) == wire.COOKIE:
                service = self.service
                assert isinstance(service, Iperf3)
                service.introduced(self, self._cookie)
            elif connection.eof:
                self.finish()
        if self.part is not None:
            self.part.serve()

    def finish(self) -> None:
        """As `Session.finish`; the end of the control connection is that of the test."""
        part, self.part = self.part, None
        super().finish()
        if isinstance(part, Test):
            part.end()


class Test:
    """A test from its cookie to its end; an owner of deadlines in the stack's timers."""

    def __init__(self, service: Iperf3, control: Iperf3Session, cookie: bytes) -> None:
        self.service = service
        self.cookie = cookie
        self.streams: list[Stream] = []
        self.wants = wire.Parameters.of({})
        self.state = 0
        self.heap_at: Nanoseconds | None = None
        self.core = service.net.core
        self.ended = False
        self._control = control
        self._input = b""
        self._patient_until = 0
        self._started_at = 0
        self._omit_until: Nanoseconds | None = None
        self._pace_at: Nanoseconds | None = None
        self._usage = (0.0, 0.0)
        self._say(wire.PARAM_EXCHANGE)

    @property
    def expects_streams(self) -> bool:
        """Whether more of them are to come."""
        return self.state == wire.CREATE_STREAMS and len(self.streams) < self.wants.sends + self.wants.receives

    # -- the control connection ---------------------------------------------------------------------

    def serve(self) -> None:
        """The client has said something, or left."""
        connection = self._control.connection
        try:
            self._input += connection.read(wire.MAX_JSON + 8 - len(self._input))
            while self._input and not self.ended and self._step():
                pass
        except (wire.BadClient, OSError):
            self.core.counters["iperf3.bad_client"] += 1
            self.end()
        if connection.eof:
            self.end()

    def _step(self) -> bool:
        """Take one thing that was said. False if it is not whole yet. Raises BadClient."""
        if self.state in (wire.PARAM_EXCHANGE, wire.EXCHANGE_RESULTS):
            parsed = wire.parse_message(self._input)
            if parsed is None:
                return False
            value, length = parsed
            self._input = self._input[length:]
            if self.state == wire.PARAM_EXCHANGE:
                self.wants = wire.Parameters.of(value)
                self._say(wire.CREATE_STREAMS)
            else:
                self._control.connection.write(wire.message(self._results()))
                self._say(wire.DISPLAY_RESULTS)
            return True
        told, self._input = self._input[0], self._input[1:]
        if told == wire.TEST_END and self.state == wire.TEST_RUNNING:
            self._stop()
            self._say(wire.EXCHANGE_RESULTS)
        elif told in (wire.IPERF_DONE, wire.CLIENT_TERMINATE):
            self.end()
        else:
            raise wire.BadClient(f"state {told} after {self.state}")
        return True

    def _say(self, state: int) -> None:
        """Go over to a state, and tell."""
        self.state = state
        self._control.connection.write(bytes((state,)))
        self._wait(_PATIENCE)

    def _wait(self, span: Nanoseconds) -> None:
        self._patient_until = self.core.now + span
        self.core.timers.arm(self, self._patient_until)

    # -- the streams ----------------------------------------------------------------------------------

    def add(self, make: Callable[[int, bool], Stream]) -> Stream:
        """One more of those that are expected: `make(number, sends)`; the client connects first what it sends on."""
        number = len(self.streams)
        stream = make(wire.stream_number(number), number >= self.wants.receives)
        self.streams.append(stream)
        if not self.expects_streams:
            self._start()
        return stream

    def prepare(self, connection: Connection) -> None:
        """Have a stream's connection be as the client wants it."""
        options, wants = connection.options, self.wants
        options.nodelay = wants.nodelay
        if wants.window:
            options.rcvbuf = options.sndbuf = wants.window
        if wants.congestion in names():
            options.congestion = wants.congestion
        connection.options_changed()

    def _start(self) -> None:
        wants = self.wants
        now = self.core.now
        self._say(wire.TEST_START)
        self._say(wire.TEST_RUNNING)
        if not wants.duration:
            self._patient_until = 0  # it takes as long as it takes
        else:
            self._wait((wants.omit + wants.duration) * SECOND + _PATIENCE)
        self._started_at = now
        self._usage = self.service.usage()
        if wants.omit:
            self._omit_until = now + wants.omit * SECOND
            self.core.timers.arm(self, self._omit_until)
        if wants.sends and (wants.udp or wants.rate):
            self._pace_at = now
            self.core.timers.arm(self, now)
        for stream in self.streams:
            stream.start(now)

    def _stop(self) -> None:
        """No more is sent or counted."""
        self._pace_at = self._omit_until = None
        for stream in self.streams:
            stream.stop(self.core.now)

    def _results(self) -> dict[str, Any]:
        took = max(self.core.now - self._started_at, 1) / 1e9
        user, system = (100 * (b - a) / took for a, b in zip(self._usage, self.service.usage(), strict=True))
        used = {stream.congestion for stream in self.streams if stream.congestion}
        return {
            "cpu_util_total": user + system,
            "cpu_util_user": user,
            "cpu_util_system": system,
            "sender_has_retransmits": int(not self.wants.udp) if self.wants.sends else -1,
            **({"congestion_used": used.pop()} if used else {}),
            "streams": [stream.result.said() for stream in self.streams],
        }

    # -- time -------------------------------------------------------------------------------------------

    def next_at(self) -> Nanoseconds | None:
        """The next of its deadlines."""
        if self.ended:
            return None
        times = [at for at in (self._patient_until, self._omit_until, self._pace_at) if at]
        return min(times, default=None)

    def expire(self, now: Nanoseconds) -> None:
        """Send the next burst, forget what is not to count, or give the client up."""
        if self._pace_at is not None and self._pace_at <= now:
            self._pace_at = now + (_PACE if self.wants.rate else _ALL_THERE_IS)
            for stream in self.streams:
                stream.burst(now)
        if self._omit_until is not None and self._omit_until <= now:
            self._omit_until = None
            for stream in self.streams:
                stream.omit(now)
        if self._patient_until and self._patient_until <= now:
            self.core.counters["iperf3.silent_client"] += 1
            self.end()

    def end(self) -> None:
        """Let go of everything. Harmless when repeated."""
        if self.ended:
            return
        self.ended = True
        self._stop()
        if self.service.test is self:
            self.service.test = None
        self._control.finish()


class Iperf3(Service):
    """The other end of `iperf3 -c`."""

    name = "iperf3"
    port = 5201
    about = "measures throughput with `iperf3 -c`"
    session = Iperf3Session
    datagrams = True

    def __init__(self, driver: Driver, port: int = 0, usage: Usage = process_usage) -> None:
        """`usage` is what the results say of the processor."""
        super().__init__(driver, port)
        self.test: Test | None = None
        self.usage = usage

    def _listen(self, backlog: int) -> None:
        super()._listen(backlog)
        assert self._listener is not None
        # a client that is gone must not keep the others away for two hours
        options = self._listener.options
        options.keepalive_idle_ms, options.keepalive_interval_ms, options.keepalive_probes = 15_000, 5_000, 3

    def introduced(self, session: Iperf3Session, cookie: bytes) -> None:
        """A connection has shown its cookie: that of the test that runs, or a new one."""
        test = self.test
        if test is None:
            self.test = session.part = Test(self, session, cookie)
        elif cookie == test.cookie and test.expects_streams and not test.wants.udp:
            test.prepare(session.connection)
            session.part = test.add(lambda number, sends: TcpStream(number, sends, test.wants, session))  # type: ignore[assignment]
        else:
            self.net.core.counters["iperf3.busy"] += 1
            session.connection.write(bytes((wire.ACCESS_DENIED,)))
            session.finish()

    def datagrams_ready(self) -> None:
        """Take every datagram to the stream of its sender, or begin one."""
        endpoint = self._endpoint
        while True:
            try:
                message = endpoint.recv_message()
                if message is None:
                    return
                self._datagram(message.data, message.src, message.port, message.dst)
            except OSError:
                continue  # an ICMP error of something that was sent, or no way back to this one

    def _datagram(self, data: bytes, src: Address, port: int, dst: Address) -> None:
        test = self.test
        if test is None or not test.wants.udp:
            return
        streams = (s for s in test.streams if isinstance(s, UdpStream) and s.peer == (src, port))
        stream = next(streams, None)
        hello = wire.HELLOS.get(data)
        if stream is not None and hello is None:
            stream.arrived(data, self.net.core.now)
            return
        if stream is None and (hello is None or not test.expects_streams):
            return
        if hello is not None:
            self._endpoint.send(hello, src, port, dst)
        if stream is None:
            endpoint = self._endpoint
            test.add(lambda number, sends: UdpStream(number, sends, test.wants, endpoint, (src, port), dst))
