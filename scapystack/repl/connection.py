"""`Conn`: a live connection in a person's hand: look at it, step it, bend it, break it.

Every call takes the driver's lock, does what it says and has the stack send what came of it, so any thread may make it
while the stack runs. `packets` says what becomes of Scapy packets, `gate` of `hold`, `account` of what is sent by hand.
"""

from __future__ import annotations

from dataclasses import fields
from typing import TYPE_CHECKING, Any

from scapy.layers.inet import IP, TCP
from scapy.plist import PacketList

from scapystack.base.errors import ConfigError
from scapystack.base.frames import Frame
from scapystack.base.offload import finished
from scapystack.base.types import SECOND
from scapystack.codec.packets import dissect
from scapystack.layers.tcp import output
from scapystack.layers.tcp.info import TcpInfo
from scapystack.layers.tcp.state import CLOSED, STATE_NAMES, SYNCHRONIZED
from scapystack.layers.tcp.user import Connection
from scapystack.repl.account import account as account_for
from scapystack.repl.gate import Gate
from scapystack.repl.packets import ip_of, ip_packet, octets
from scapystack.repl.records import Record
from scapystack.repl.table import Table, show_variables

if TYPE_CHECKING:
    from scapystack.repl.live import Stack
    from scapystack.sockets.stream import StreamSocket

_WAIT_S = 5.0


class Conn:
    """A handle. `stack` and `connection` are what it stands for; `socket`, where there is one, reads and writes it.

    Methods raise ConfigError for what makes no sense now, and OSError as sockets do.
    """

    def __init__(self, stack: Stack, connection: Connection, socket: StreamSocket | None = None) -> None:
        """Not for applications: `Stack.connect`, `Listener.accept` and `conns` give them."""
        self.stack = stack
        self.connection = connection
        self.socket = socket
        self._gate: Gate | None = None

    # -- looking -----------------------------------------------------------------------------------------

    def __repr__(self) -> str:
        i = self._info()
        gate = f" held:{len(self._gate.frames)}" if self._gate is not None else ""
        still = " timers:paused" if self.stack.observer.paused(self.connection) else ""
        return (
            f"<{type(self).__name__} {i.local} > {i.remote} {i.state} {i.ca_state} flight={self.connection.flight} "
            f"cwnd={i.snd_cwnd_bytes} rtt={i.rtt / 1000:g}ms sendq={i.snd_queue} recvq={i.rcv_queue}{gate}{still}>"
        )

    @property
    def state(self) -> str:
        """As RFC 9293 calls it."""
        return STATE_NAMES[self.connection.state]

    def _info(self) -> TcpInfo:
        with self.stack.driver.entered():
            return self.connection.info()

    def info(self) -> Table:
        """Every variable as it stands now: a table that shows itself, whose values are its attributes."""
        return Table(self._info())

    def show(self) -> None:
        """Print all of it in groups, with the timers that run."""
        print(show_variables(repr(self), self._info()))

    def ls(self) -> None:
        """What `ls(c)` prints: each variable, its type and value."""
        i = self._info()
        for each in fields(i):
            print(f"{each.name:24}: {type(getattr(i, each.name)).__name__:12} = {getattr(i, each.name)!r}")

    @property
    def log(self) -> PacketList:
        """The packets of this connection that the stack has seen since it was observed, in order, as Scapy's list."""
        with self.stack.driver.lock:
            records = [each for each in self.stack.observer.records if self._mine(each)]
        packets = [_seen(each) for each in records]
        return PacketList(packets, name=f"{self.connection!r}"[1:-1])

    def _mine(self, record: Record) -> bool:
        return record.flow == self.connection.key and not (record.way == "rx" and record.loopback)

    # -- the next segment --------------------------------------------------------------------------------

    def next(self, payload: bytes | str = b"") -> Any:
        """The very segment that would leave now, as an `IP` packet with every number filled in; nothing is sent.

        The first that `hold` keeps back; else what the output pass would send, with `payload` behind what is
        written; where it would send nothing, a pure ACK. Found out on a copy, so the connection does not move.
        """
        from scapystack.repl.fork import Fork  # noqa: PLC0415 - which is a handle itself

        if self._gate is not None:
            for way, frame in self._gate.frames:
                if way == "tx":
                    return ip_of(finished(frame))
        self._check_alive()
        text = octets(payload)
        trial = Fork(self)
        with trial.stack.driver.entered():
            copy = trial.connection
            if text:
                copy.write(text)
            copy.mark_dirty()
        sent = trial.sent()
        if not sent:
            with trial.stack.driver.entered():
                output.send_ack(copy)
            sent = trial.sent()
        trial.discard()
        return sent[0]

    def send(self, packet: Any, account: bool = False) -> Any:
        """Send a packet (from Ethernet, IP or TCP on, or octets) as it stands; what was sent, as `IP`.

        What follows from other fields (lengths, checksums) is computed anew unless you have set it. `account`: the
        connection moves as if it had sent that itself (SND.NXT, the timer, what a retransmission carries); without,
        it knows nothing of it.
        """
        made = ip_packet(packet, self._template)
        with self.stack.driver.entered() as net:
            c = self.connection
            if account:
                if TCP not in made:
                    raise ConfigError("only TCP can be accounted for: send it with account=False")
                tcp = made[TCP]
                account_for(c, tcp.seq, int(tcp.flags), bytes(tcp.payload))
            route = net.ipv4.route(c.remote_addr, c.local_addr)
            net.ipv4.transmit(Frame(bytes(14) + bytes(made), (), route.iface), route)
        return made

    def _template(self) -> Any:
        """An ACK of the connection, of which packets get what they lack."""
        with self.stack.driver.lock:
            c = self.connection
            return IP(
                bytes(
                    IP(src=_text(c.local_addr), dst=_text(c.remote_addr), flags="DF")
                    / TCP(
                        sport=c.local_port, dport=c.remote_port, seq=c.snd_nxt, ack=c.rcv_nxt, flags="A",
                        window=min(c.rcv_wnd >> c.rcv_wscale, 0xFFFF),
                    )
                )
            )  # fmt: skip

    def from_peer(self, payload: bytes | str = b"", **fields_: Any) -> Any:
        """The segment that the peer would send next, as far as we can know, for `inject`: `c.from_peer(flags="R")`."""
        with self.stack.driver.lock:
            c = self.connection
            options: list[tuple[str, Any]] = []
            if c.ts_ok:
                options = [("NOP", None), ("NOP", None), ("Timestamp", (c.ts_recent, c.ts_now()))]
            numbers = {
                "sport": c.remote_port, "dport": c.local_port, "seq": c.rcv_nxt, "ack": c.snd_nxt,
                "flags": "PA" if payload else "A", "window": min(c.snd_wnd >> c.snd_wscale, 0xFFFF), "options": options,
            }  # fmt: skip
            try:
                made = IP(src=_text(c.remote_addr), dst=_text(c.local_addr)) / TCP(**{**numbers, **fields_})
            except (AttributeError, ValueError, TypeError) as error:
                raise ConfigError(f"TCP has no such fields: {', '.join(fields_)} ({error})") from None
        return IP(bytes(made / octets(payload) if payload else made))

    def inject(self, packet: Any) -> Any:
        """Have a packet come as if the peer had sent it; it, as it came, for `explain`. `hold` does not hold it.

        TCP without IP, or octets, get what they lack from `from_peer`.
        """
        made = ip_packet(packet, self.from_peer)
        with self.stack.driver.entered() as net:
            iface = self.connection.route.iface
            frame = Frame(iface.mac + bytes(6) + b"\x08\x00" + bytes(made), (), iface)
            self.stack.observer.injecting = True
            if self._gate is not None:
                self._gate.through = frame
            try:
                net.receive(frame, net.core.now)
            finally:
                self.stack.observer.injecting = False
        return made

    # -- segment by segment --------------------------------------------------------------------------------

    def hold(self) -> None:
        """Let nothing in or out any more but by `step`. Timers run on (`pause_timers`)."""
        with self.stack.driver.entered() as net:
            if self._gate is None:
                self.stack.observer.attach()
                self._gate = Gate(net, self.connection.key)

    @property
    def held(self) -> PacketList:
        """What waits at the gate, the next one first."""
        with self.stack.driver.lock:
            frames = list(self._gate.frames) if self._gate is not None else []
        return PacketList([ip_of(finished(frame)) for _, frame in frames], name="held")

    def step(self, timeout: float = 0.0) -> Any:
        """Let the next segment through, either way; it, as `IP`, or None where none came within `timeout` seconds."""
        return self._take("step", timeout)

    def drop(self, timeout: float = 0.0) -> Any:
        """Lose the next one instead, as a network does; it."""
        return self._take("drop", timeout)

    def _take(self, what: str, timeout: float) -> Any:
        gate = self._gate
        if gate is None:
            raise ConfigError("nothing is held: c.hold() first")
        self.stack.wait_for(lambda: bool(gate.frames), timeout)
        with self.stack.driver.entered():
            taken = getattr(gate, what)()
        return None if taken is None else ip_of(finished(taken[1]))

    def release(self) -> None:
        """Let everything through again."""
        with self.stack.driver.entered():
            if self._gate is not None:
                self._gate.open()
                self._gate = None

    def pause_timers(self, pause: bool = True) -> None:
        """Have the connection's clocks stand still, or (False) go on with what they had left."""
        with self.stack.driver.entered():
            if pause:
                self.stack.observer.pause(self.connection)
            else:
                self.stack.observer.resume(self.connection)

    # -- what the stack can be told to send ------------------------------------------------------------------

    def rst(self) -> None:
        """ABORT: a RST to the peer, and the connection is gone."""
        with self.stack.driver.entered():
            self.connection.abort()

    def fin(self) -> None:
        """CLOSE our half: a FIN behind what is written."""
        with self.stack.driver.entered():
            self.connection.shutdown_write()

    def keepalive(self) -> None:
        """Send a keep-alive probe now."""
        self._check_alive()
        with self.stack.driver.entered():
            output.send_keepalive(self.connection)

    def probe(self) -> None:
        """Send a loss probe if something is in flight, else a window probe of what waits."""
        self._check_alive()
        with self.stack.driver.entered():
            c = self.connection
            if c.flight:
                output.send_probe(c)
            elif len(c.sendbuf) or c.fin_queued:
                output.probe_window(c)
            else:
                raise ConfigError("nothing is in flight or waits: write something first, or c.keepalive()")

    def forget(self) -> None:
        """Drop the connection without a word on the wire."""
        with self.stack.driver.entered():
            self.release()
            self.stack.observer.resume(self.connection)
            self.connection.tcp.close(self.connection, 0)

    def _check_alive(self) -> None:
        if self.connection.state not in SYNCHRONIZED:
            raise ConfigError(f"the connection is in {self.state}: that takes one that is made")

    # -- the stream -----------------------------------------------------------------------------------------

    def write(self, data: bytes | str) -> int:
        """Send octets in the ordinary way; how many were taken."""
        with self.stack.driver.entered():
            return self.connection.write(octets(data))

    def recv(self, n: int = 65_536, timeout: float = _WAIT_S) -> bytes:
        """Up to `n` octets, b"" at the end or where none came within `timeout` seconds."""
        self.stack.wait_for(lambda: self.connection.readable, timeout)
        with self.stack.driver.entered():
            return self.connection.read(n)

    def sr1(self, payload: bytes | str, timeout: float = _WAIT_S) -> Any:
        """Write `payload`; the first segment that comes after it with text, a FIN or a RST, as `IP`; None in vain.

        The text is still to be read with `recv`, and all that came stands in `log`.
        """
        found: list[Record] = []

        def sink(record: Record) -> None:
            if record.way == "rx" and self._mine(record) and _answers(record):
                found.append(record)

        with self.stack.driver.lock:
            self.stack.observer.attach()
            self.stack.observer.sinks.append(sink)
        try:
            self.write(payload)
            self.stack.wait_for(lambda: bool(found), timeout)
        finally:
            with self.stack.driver.lock:
                self.stack.observer.sinks.remove(sink)
        return ip_of(found[0].octets, found[0].at) if found else None

    def wait(self, state: str, timeout: float = _WAIT_S) -> bool:
        """Wait until the connection is in a state (`ESTABLISHED`); whether it is. Raises ConfigError for no state."""
        if state not in STATE_NAMES:
            raise ConfigError(f"there is no state {state!r}; the states are {', '.join(STATE_NAMES)}")
        number = STATE_NAMES.index(state)
        return self.stack.wait_for(lambda: self.connection.state in (number, CLOSED), timeout) and self.state == state

    def plot(self, kind: str = "sequence", **how: Any) -> Any:
        """A picture of `log`: `scapystack.plot.plot` says which there are, and what it raises.

        It is a matplotlib figure with `show()` for a window and `save("picture.svg")`; a notebook shows it.
        """
        from scapystack.plot import plot  # noqa: PLC0415 - an extra

        return plot(list(self.log), kind, **how)

    def close(self) -> None:
        """CLOSE, as an application does; the stack finishes by itself."""
        self.release()
        if self.socket is not None:
            self.socket.close()
        else:
            with self.stack.driver.entered():
                self.connection.close()


def _seen(record: Record) -> Any:
    packet = dissect(record.octets)
    packet.time = record.at / SECOND
    return packet


def _answers(record: Record) -> bool:
    tcp = dissect(record.octets).getlayer(TCP)
    return tcp is not None and (len(tcp.payload) > 0 or bool(int(tcp.flags) & 5))


def _text(address: bytes) -> str:
    return ".".join(map(str, address))
