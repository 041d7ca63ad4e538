"""`Observer`: sees what each packet does to a stack: connections before and after, counters, timers.

It stands in three places of a running stack (`hooks.around`): around `NetStack.accept`, `Tcp.flush` and `Tcp.expire`; a
stack without one pays nothing. With one, a packet costs two snapshots
of its connection more, and the segments of one read are not joined (`tcp.coalesce`), so that each is seen alone.
The same places stop the timers of one connection. Everything here happens under the driver's lock.
"""

from __future__ import annotations

from collections import defaultdict, deque
from collections.abc import Callable
from typing import TYPE_CHECKING

from scapystack.base.frames import Frame
from scapystack.base.offload import finished, split
from scapystack.base.types import Nanoseconds
from scapystack.hooks.around import Around
from scapystack.layers.tcp.info import snapshot
from scapystack.layers.tcp.tcb import NEVER, Tcb
from scapystack.repl.records import Pass, Record
from scapystack.sockets.claims import Flow, flow_of

if TYPE_CHECKING:
    from scapystack.stack import NetStack

MAX_RECORDS = 50_000
MAX_OCTETS = 64 << 20
"""What is remembered; the oldest packets go first."""
TIMERS = ("rtx", "pace", "probe", "reorder", "delack", "persist", "keepalive", "wait")


class Observer:
    """What one stack does with its packets. `sinks` are called with each record, in order, once it is complete."""

    def __init__(self, net: NetStack, limit: int = MAX_RECORDS) -> None:
        """`limit` is how many packets are remembered at most."""
        self.limit = limit
        self.records: deque[Record] = deque()
        self.sinks: list[Callable[[Record], None]] = []
        self.attached = False
        self._around: list[Around] = []
        self.rounds = 0
        """Output passes so far: what came before one is answered by what leaves until the next."""
        self._net = net
        self._octets = 0
        self._coalesce = net.config.tcp.coalesce
        self._pending: dict[int, tuple[Frame, Record]] = {}  # shown to the taps, and not to the layers yet
        self._open: list[Record] = []  # arrived since the last output pass
        self._answered: list[Record] = []  # and before that: what leaves now may be because of them
        self._causes: defaultdict[Flow, list[str]] = defaultdict(list)  # timers since then
        self._passes: dict[Flow, Pass] = {}  # the last of each connection that had one
        self._paused: dict[Tcb, Nanoseconds] = {}
        self._overdue: defaultdict[Tcb, dict[str, Nanoseconds]] = defaultdict(dict)
        self.injecting = False
        """Whether what is received now was made here."""

    # -- attaching -------------------------------------------------------------------------------------

    def attach(self) -> None:
        """Begin; nothing happens if it has begun."""
        if self.attached:
            return
        net = self._net
        self.attached = True
        self._coalesce, net.config.tcp.coalesce = net.config.tcp.coalesce, False
        net.taps.append(self._tap)
        self._around = [
            Around(net, "accept", self._accept),
            Around(net.tcp, "flush", self._flush),
            Around(net.tcp, "expire", self._expire),
        ]

    def detach(self) -> None:
        """End, and leave no trace; timers that stand still go on."""
        if not self.attached:
            return
        net = self._net
        for c in list(self._paused):
            self.resume(c)
        self.attached = False
        net.taps.remove(self._tap)
        others = [each for tap in net.taps if isinstance(each := getattr(tap, "__self__", None), Observer)]
        if others:  # who ends last puts it back
            others[0]._coalesce |= self._coalesce
        else:
            net.config.tcp.coalesce = self._coalesce
        for each in self._around:
            each.end()
        self._pending.clear()
        self._passes.clear()
        self._open.clear()
        self._answered.clear()

    # -- what comes ------------------------------------------------------------------------------------

    def _tap(self, way: str, frame: Frame) -> None:
        if way == "rx":
            self._pending[id(frame)] = (frame, self._keep("rx", frame, flow_of(frame)))
        else:
            flow = flow_of(frame, ours=True)
            for piece in split(frame) if frame.gso_size else (frame,):
                self._left(self._keep("tx", piece, flow))

    def _keep(self, way: str, frame: Frame, flow: Flow | None) -> Record:
        iface = frame.iface
        record = Record(way, frame.at if way == "rx" else self._net.core.now, finished(frame), flow)
        if iface is not None:
            record.interface, record.mac, record.loopback = iface.name, iface.mac, iface.loopback
        self.records.append(record)
        self._octets += len(record.octets)
        while self._octets > MAX_OCTETS or len(self.records) > self.limit:
            self._octets -= len(self.records.popleft().octets)
        return record

    def _accept(self, accept: Callable[[Frame, Nanoseconds], None], frame: Frame, now: Nanoseconds) -> None:
        net = self._net
        known = self._pending.pop(id(frame), None)
        record = known[1] if known is not None else self._keep("rx", frame, flow_of(frame))
        record.taken = True
        record.injected = self.injecting
        flow = record.flow
        c = net.tcp.connections.get(flow) if flow is not None else None
        if c is not None:
            net.enter(now)
            record.before = snapshot(c)
        elif flow is not None:
            ports = {port for _, port in net.tcp.listeners}
            record.listened = flow[1] in ports
        counted = dict(net.counters)
        accept(frame, now)
        record.counted = _difference(net, counted)
        if c is None and flow is not None:
            c = net.tcp.connections.get(flow)
        if c is not None:
            record.after = snapshot(c)
        self._open.append(record)

    # -- what leaves -----------------------------------------------------------------------------------

    def _flush(self, flush: Callable[[], None]) -> None:
        self.rounds += 1
        net = self._net
        tcp = net.tcp
        if tcp.dirty:
            touched = [(c, snapshot(c)) for c in dict.fromkeys(tcp.dirty)]
            counted = dict(net.counters)
            flush()
            difference = _difference(net, counted)
            for c, before in touched:
                causes = self._causes.pop(c.key, [])
                arrivals = [record for record in self._open if record.flow == c.key]
                self._note(c, Pass(net.core.now, before, snapshot(c), causes, arrivals, difference))
        else:
            flush()
        self._causes.clear()
        kept = [record for _, record in self._pending.values()]  # by a hook
        self._pending.clear()
        arrived, self._open = kept + self._open, []
        self._answered = arrived
        for record in arrived:
            self._tell(record)

    def _note(self, c: Tcb, made: Pass) -> None:
        old = self._passes.get(c.key)
        if old is not None and old.at == made.at and old.after.segs_out - old.before.segs_out == old.owed:  # none seen
            made.owed += old.owed
            made.before = old.before
            made.causes = [*old.causes, *(cause for cause in made.causes if cause not in old.causes)]
            made.arrivals = [*old.arrivals, *made.arrivals]
        self._passes[c.key] = made

    def _expire(self, expire: Callable[[Tcb, Nanoseconds], None], c: Tcb, now: Nanoseconds) -> None:
        if c in self._paused:
            for name in TIMERS:
                if (at := getattr(c, name + "_at")) <= now:
                    self._overdue[c][name] = at
                    setattr(c, name + "_at", NEVER)
            return
        due = [name for name in TIMERS if getattr(c, name + "_at") <= now]
        key, before, counted = c.key, snapshot(c), dict(self._net.counters)
        expire(c, now)
        difference = _difference(self._net, counted)
        if "rtx" in due and "probe" in due:  # at one time: the probe takes the RTO's place (RFC 8985 section 7.2)
            due.remove("probe" if difference.get("tcp.timeouts") else "rtx")
        self._causes[key] += due
        self._note(c, Pass(now, before, snapshot(c), due, [], difference))

    def _left(self, record: Record) -> None:
        record.taken = True
        made = self._passes.get(record.flow) if record.flow is not None else None
        if made is not None and made.owed:  # at once, or later: a neighbour may have had to be asked first
            made.owed -= 1
            record.before, record.after = made.before, made.after
            record.causes, record.arrivals, record.counted = made.causes, made.arrivals, made.counted
            for arrival in made.arrivals:
                arrival.answers.append(record)
        else:
            self._answers_alone(record)
        self._tell(record)

    def _answers_alone(self, record: Record) -> None:
        """Something that no connection sent: a RST for nobody's segment, an echo reply."""
        for other in reversed(self._answered):
            if _goes_back(other, record):
                other.answers.append(record)
                record.arrivals = [other]
                break

    def _tell(self, record: Record) -> None:
        for sink in tuple(self.sinks):
            sink(record)

    # -- timers that stand still -------------------------------------------------------------------------

    def pause(self, c: Tcb) -> None:
        """Let no timer of `c` run until `resume`."""
        self.attach()
        self._paused.setdefault(c, self._net.core.now)

    def resume(self, c: Tcb) -> None:
        """Let them go on with what they had left."""
        since = self._paused.pop(c, None)
        if since is None:
            return
        overdue = self._overdue.pop(c, {})
        stood = self._net.core.now - since
        for name in TIMERS:
            at = overdue.get(name, NEVER) if getattr(c, name + "_at") == NEVER else getattr(c, name + "_at")
            if at != NEVER:
                setattr(c, name + "_at", at + stood)
                c.arm(at + stood)

    def paused(self, c: Tcb) -> bool:
        """Whether the timers of `c` stand still."""
        return c in self._paused


def _goes_back(came: Record, leaves: Record) -> bool:
    """Whether it leaves for whom the other came from: of one protocol family, and on one interface."""
    a, b = came.octets, leaves.octets
    if a[12:14] != b[12:14] or came.flow != leaves.flow or came.interface != leaves.interface:
        return False
    return a[12:14] != b"\x08\x00" or a[26:30] == b[30:34]


def _difference(net: NetStack, before: dict[str, int]) -> dict[str, int]:
    return {name: n - before.get(name, 0) for name, n in net.counters.items() if n != before.get(name, 0)}
