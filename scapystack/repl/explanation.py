"""`Explanation`: what became of one packet, and why: the rule that took or dropped it, the variables it moved, the
timers it set. Made from a `Record` when somebody asks. Read `observer` first.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from scapystack.base.counternames import MEANINGS
from scapystack.base.segment import ACK, FIN, RST, SYN, flags_text
from scapystack.base.seq import seq_gt, seq_sub
from scapystack.describe import describe
from scapystack.layers.tcp.info import TcpInfo
from scapystack.layers.tcp.state import STATE_NAMES, TRANSITIONS
from scapystack.repl import rules
from scapystack.repl.records import Record

_RFC_NAMES = {
    "snd_una": "SND.UNA", "snd_nxt": "SND.NXT", "snd_wnd": "SND.WND", "snd_up": "SND.UP", "snd_wl1": "SND.WL1",
    "snd_wl2": "SND.WL2", "iss": "ISS", "rcv_nxt": "RCV.NXT", "rcv_wnd": "RCV.WND", "rcv_up": "RCV.UP", "irs": "IRS",
}  # fmt: skip
"""The variables of RFC 9293 section 3.3.1 under its names."""
_OTHERS = (
    "state", "ca_state", "snd_mss", "rto", "rtt", "rttvar", "backoff", "retransmits", "snd_cwnd_bytes",
    "snd_ssthresh_bytes", "pipe", "sacked", "lost", "retrans", "snd_queue", "rcv_queue", "ooo_bytes", "ts_recent",
    "dsack_dups", "error",
)  # fmt: skip
_STEPS = "RFC 9293 section 3.10.7.4"


@dataclass(slots=True)
class Explanation:
    """Shows itself as text. `verdict` is `taken`, `dropped`, `sent` or `kept by a hook`."""

    packet: str
    verdict: str
    rules: list[str] = field(default_factory=list)
    moved: dict[str, tuple[object, object]] = field(default_factory=dict)
    """Variables, as they were and as they are."""
    timers: dict[str, str] = field(default_factory=dict)
    answers: list[str] = field(default_factory=list)

    def __str__(self) -> str:
        lines = [f"{self.verdict}: {self.packet}", *(f"  rule     {rule}" for rule in self.rules)]
        if self.moved:
            lines.append("  moved    " + ", ".join(f"{name} {old} -> {new}" for name, (old, new) in self.moved.items()))
        lines += [f"  timer    {name} {what}" for name, what in self.timers.items()]
        lines += [f"  answered {answer}" for answer in self.answers]
        return "\n".join(lines)

    __repr__ = __str__


def explained(record: Record) -> Explanation:
    """The explanation of a record as far as it is known now."""
    made = Explanation(describe(record.octets), "sent")
    before, after = record.before, record.after
    if record.way == "rx":
        dropped = [name for name in record.counted if ".drop." in name]
        made.verdict = "dropped" if dropped else "taken" if record.taken else "kept by a hook"
        made.rules = _arrival_rules(record) if record.taken else ["a hook kept it from the stack, or holds it"]
    else:
        made.rules = _reasons(record)
    if before is not None and after is not None:
        made.moved = _moved(before, after)
        made.timers = _timers(before, after)
    elif after is not None:
        made.timers = _timers(None, after)
    made.answers = [describe(answer.octets) for answer in record.answers]
    return made


# -- what came ---------------------------------------------------------------------------------------------


@dataclass(slots=True)
class _Header:
    seq: int
    ack: int
    flags: int
    wnd: int
    length: int


def _header(record: Record) -> _Header | None:
    """The TCP header of a record that has a flow (so it is IPv4, and the ports are there)."""
    if record.flow is None:
        return None
    octets = record.octets
    at = 14 + (octets[14] & 15) * 4
    if len(octets) < at + 20:
        return None
    total = 14 + int.from_bytes(octets[16:18], "big")

    def number(offset: int, size: int) -> int:
        return int.from_bytes(octets[at + offset : at + offset + size], "big")

    return _Header(number(4, 4), number(8, 4), octets[at + 13], number(14, 2), total - at - (octets[at + 12] >> 4) * 4)


def _arrival_rules(record: Record) -> list[str]:
    found = [_counted(name) for name in record.counted if name in rules.SOURCES or ".drop." in name]
    seg = _header(record)
    if seg is None:
        return found or _outside_tcp(record)
    if record.counted.get("tcp.challenge_acks"):
        found.append(_challenge(record, seg))
    if found and any(".drop." in name for name in record.counted):
        return found
    before, after = record.before, record.after
    if before is None:
        if after is not None:
            where = "3.10.7.2 (LISTEN), third (SYN)"
            found.append(f"RFC 9293 section {where}: a connection in {after.state}, its SYN and ACK due")
        return found
    if before.state == "SYN-SENT" and after is not None and after.state != "SYN-SENT":
        found.append(
            "RFC 9293 section 3.10.7.3 (SYN-SENT), fourth (SYN): IRS and RCV.NXT are set, and our SYN is ACKed"
        )
    elif after is not None:
        found += _steps(seg, before, after)
    if after is not None and before.state != after.state:
        found.append(_transition(before.state, after.state))
    return found or [f"{_STEPS}, first to fifth: acceptable, and nothing in it is new"]


def _outside_tcp(record: Record) -> list[str]:
    """A packet that no connection took, and that was not dropped."""
    found = [_counted(name) for name in record.counted]
    if _fragment(record) and "ip.reassembly.ok" not in record.counted:
        found.append(f"{rules.FRAGMENT}: kept until the rest of the datagram is here")
    return found or [f"{rules.LAYERS[_layer(record)]}: taken, and nothing is counted for it"]


def _layer(record: Record) -> str:
    octets = record.octets
    if octets[12:14] != b"\x08\x00":
        return "arp" if octets[12:14] == b"\x08\x06" else "ethernet"
    return {b"\x01": "icmp", b"\x06": "tcp", b"\x11": "udp"}.get(octets[23:24], "ip")


def _fragment(record: Record) -> bool:
    """Whether it is a piece of a datagram: MF, or an offset."""
    return record.octets[12:14] == b"\x08\x00" and bool(int.from_bytes(record.octets[20:22], "big") & 0x3FFF)


def _counted(name: str) -> str:
    return f"{rules.source(name)}: {MEANINGS[name]} ({name})"


def _challenge(record: Record, seg: _Header) -> str:
    before = record.before
    ahead = seq_sub(seg.seq, before.rcv_nxt) if before is not None else 0
    if seg.flags & RST:
        return (
            f"{_STEPS}, second (RST); RFC 5961 section 3.2, 3): in the window, but {ahead} past RCV.NXT: "
            "a challenge ACK, and the connection stays"
        )
    if seg.flags & SYN:
        return f"{_STEPS}, fourth (SYN); RFC 5961 section 4.2: a challenge ACK, whatever its sequence number"
    if before is not None and seq_gt(seg.ack, before.snd_nxt):
        return (
            f"{_STEPS}, fifth (ACK); RFC 5961 section 5.2: SEG.ACK is {seq_sub(seg.ack, before.snd_nxt)} past SND.NXT"
        )
    return f"{_STEPS}, first (sequence number): not acceptable, an ACK in reply (RFC 5961 section 7 limits them)"


def _steps(seg: _Header, before: TcpInfo, after: TcpInfo) -> list[str]:
    """Of the steps of section 3.10.7.4 those that have done something."""
    found = []
    if before.snd_una != after.snd_una:
        n = seq_sub(after.snd_una, before.snd_una)
        found.append(f"{_STEPS}, fifth (ACK): SND.UNA < SEG.ACK =< SND.NXT: {n} octets are acknowledged")
    elif seg.flags & ACK and before.snd_una == seg.ack != before.snd_nxt and not seg.length:
        found.append(f"{_STEPS}, fifth (ACK); RFC 5681 section 2: a duplicate ACK")
    if (before.snd_wnd, before.snd_wl1, before.snd_wl2) != (after.snd_wnd, after.snd_wl1, after.snd_wl2):
        found.append(f"{_STEPS}, fifth (ACK): SND.WND is {after.snd_wnd}, from this segment (SND.WL1, SND.WL2)")
    if after.ooo_bytes > before.ooo_bytes:
        gap = seq_sub(seg.seq, before.rcv_nxt)
        found.append(f"{_STEPS}, seventh (text): kept behind a gap of {gap} octets (SHLD-31); a duplicate ACK is due")
    text = after.bytes_received - before.bytes_received
    if text > 0 or (seg.length and after.rcv_nxt != before.rcv_nxt):
        n = seq_sub(after.rcv_nxt, before.rcv_nxt)
        found.append(f"{_STEPS}, seventh (text): RCV.NXT advances by {n}")
    if seg.flags & FIN and after.rcv_nxt != before.rcv_nxt:
        found.append(f"{_STEPS}, eighth (FIN): the peer will send no more")
    if before.rto != after.rto or before.rtt != after.rtt:
        found.append("RFC 6298 section 2: a round trip was timed")
    if before.ca_state != after.ca_state:
        found.append(f"RFC 5681, RFC 6675, RFC 8985: from {before.ca_state} to {after.ca_state}")
    return found


def _transition(old: str, new: str) -> str:
    why = TRANSITIONS[STATE_NAMES.index(old)].get(STATE_NAMES.index(new), "by way of others")
    return f"RFC 9293 section 3.3.2: {old} to {new} ({why})"


# -- what left ---------------------------------------------------------------------------------------------


def _reasons(record: Record) -> list[str]:
    found = [rules.TIMERS[name] for name in dict.fromkeys(record.causes)]
    found += [f"answers {describe(arrival.octets)}" for arrival in record.arrivals]
    if _fragment(record):
        found.append(f"{rules.FRAGMENT}: a piece of a datagram that was too large for the way")
    seg = _header(record)
    before = record.before
    if seg is not None and seg.flags & RST:
        found.append("RFC 9293 section 3.10.5 (ABORT)" if not record.arrivals else "RFC 9293 section 3.5.2 (resets)")
    elif seg is not None and before is not None:
        if (seg.length or seg.flags & (SYN | FIN)) and seq_gt(before.snd_nxt, seg.seq):
            found.append("a retransmission (RFC 6298 section 5.4, RFC 5681 section 3.2)")
        elif seg.length or seg.flags & (SYN | FIN):
            found.append(
                f"new from SND.NXT on ({flags_text(seg.flags)}): the windows allow it (RFC 9293 section 3.8.6)"
            )
        if before.state != record.after.state if record.after else False:
            assert record.after is not None
            found.append(_transition(before.state, record.after.state))
    return found or ["sent by a call of the application"]


# -- variables and timers ------------------------------------------------------------------------------------


def _moved(before: TcpInfo, after: TcpInfo) -> dict[str, tuple[object, object]]:
    names = {**_RFC_NAMES, **{name: name for name in _OTHERS}}
    pairs = {shown: (getattr(before, name), getattr(after, name)) for name, shown in names.items()}
    return {name: pair for name, pair in pairs.items() if pair[0] != pair[1]}


def _timers(before: TcpInfo | None, after: TcpInfo) -> dict[str, str]:
    old = before.due if before is not None else {}
    new = after.due
    changed = {name: f"set: due in {span / 1000:g} ms" for name, span in new.items() if old.get(name) != span}
    return {**changed, **{name: "off" for name in old if name not in new}}
