"""Every state against every kind of segment, as RFC 9293 section 3.10.7 asks, and every transition.

A row of a table names the segment; each entry says what leaves and which state follows. Numbers are
relative: `S` is SND.NXT and `R` RCV.NXT before the segment came.
"""

from __future__ import annotations

from collections.abc import Callable

import pytest

from scapystack.layers.tcp import demux
from scapystack.layers.tcp.output import output
from scapystack.layers.tcp.state import (
    CLOSE_WAIT,
    CLOSED,
    CLOSING,
    ESTABLISHED,
    FIN_WAIT_1,
    FIN_WAIT_2,
    LAST_ACK,
    LISTEN,
    STATE_NAMES,
    SYN_RECEIVED,
    SYN_SENT,
    TIME_WAIT,
    TRANSITIONS,
)
from scapystack.layers.tcp.user import Connection
from tests.harness.tcp import MASK, PEER, PEER_ISS, PORT, TcpWire

RECEIVING = (ESTABLISHED, FIN_WAIT_1, FIN_WAIT_2)
PEER_CLOSED = (CLOSE_WAIT, CLOSING, LAST_ACK, TIME_WAIT)
SYNCHRONIZED = RECEIVING + PEER_CLOSED
ACKED = {FIN_WAIT_1: FIN_WAIT_2, CLOSING: TIME_WAIT, LAST_ACK: CLOSED}
"""Where an ACK of all that we sent leads, where it leads anywhere."""
AGAIN = "A seq=S ack=R len=0"
"""The ACK that says where we are."""

Reaction = tuple[str, int]

# name: flags, how far from RCV.NXT, how far from SND.NXT, payload, more fields
SEGMENTS: dict[str, tuple[str, int, int, bytes, int]] = {
    "SYN": ("S", 0, 0, b"", 0),
    "SYN again": ("S", -1, 0, b"", 0),
    "SYN far away": ("S", 1 << 30, 0, b"", 0),
    "SYN and ACK": ("SA", 0, 0, b"", 0),
    "SYN and RST": ("SR", 1, 0, b"", 0),
    "RST exact": ("R", 0, 0, b"", 0),
    "RST exact, with text": ("RA", 0, 0, b"reason", 0),
    "RST in the window": ("R", 1, 0, b"", 0),
    "RST before the window": ("R", -1, 0, b"", 0),
    "RST behind the window": ("R", 1 << 24, 0, b"", 0),
    "ACK": ("A", 0, 0, b"", 0),
    "ACK of the future": ("A", 0, 1, b"", 0),
    "ACK too old": ("A", 0, -(1 << 24), b"", 0),
    "old ACK": ("A", 0, -1, b"", 0),
    "ACK before the window": ("A", -1, 0, b"", 0),
    "ACK behind the window": ("A", 1 << 24, 0, b"", 0),
    "FIN": ("FA", 0, 0, b"", 0),
    "FIN behind a gap": ("FA", 10, 0, b"", 0),
    "FIN again": ("FA", -1, 0, b"", 0),
    "text": ("PA", 0, 0, b"text", 0),
    "text and FIN": ("FPA", 0, 0, b"text", 0),
    "text behind a gap": ("PA", 10, 0, b"text", 0),
    "old text": ("PA", -4, 0, b"text", 0),
    "text behind the window": ("PA", 1 << 24, 0, b"text", 0),
    "text with an ACK of the future": ("PA", 0, 1, b"text", 0),
    "urgent text": ("UPA", 0, 0, b"text", 4),
    "urgent, and nothing to it": ("UA", 0, 0, b"", 1),
    "text without ACK": ("P", 0, 0, b"text", 0),
    "FIN without ACK": ("F", 0, 0, b"", 0),
    "nothing at all": (".", 0, 0, b"", 0),
}


def everywhere(reaction: str) -> dict[int, Reaction]:
    return {state: (reaction, state) for state in SYNCHRONIZED}


def acknowledged() -> dict[int, Reaction]:
    """The ACK field is taken, and nothing is answered."""
    return {state: ("", ACKED.get(state, state)) for state in SYNCHRONIZED}


def text(ack: str) -> dict[int, Reaction]:
    """Text is acknowledged where it is taken; from a peer that has closed it is ignored (and answered)."""
    taken = {state: (f"A seq=S ack={ack} len=0", ACKED.get(state, state)) for state in RECEIVING}
    ignored = {state: (AGAIN, ACKED.get(state, state)) for state in PEER_CLOSED}
    return {**taken, **ignored, LAST_ACK: ("", CLOSED)}


def fin(ack: str) -> dict[int, Reaction]:
    reaction = f"A seq=S ack={ack} len=0"
    return {
        **text("R"),
        ESTABLISHED: (reaction, CLOSE_WAIT),
        FIN_WAIT_1: (reaction, TIME_WAIT),  # the segment acknowledges our FIN
        FIN_WAIT_2: (reaction, TIME_WAIT),
    }


CHALLENGED = everywhere(AGAIN)
IGNORED = everywhere("")
RESET = {**dict.fromkeys(SYNCHRONIZED, ("", CLOSED)), TIME_WAIT: ("", TIME_WAIT)}  # 1337

TABLE: dict[str, dict[int, Reaction]] = {
    "SYN": {**CHALLENGED, SYN_RECEIVED: ("", CLOSED), SYN_SENT: ("SA seq=0 ack=1 len=0", SYN_RECEIVED)},
    "SYN again": {**CHALLENGED, SYN_RECEIVED: ("SA seq=0 ack=1 len=0", SYN_RECEIVED)},
    "SYN far away": {
        **CHALLENGED,
        SYN_RECEIVED: (AGAIN, SYN_RECEIVED),
        TIME_WAIT: ("SA seq=0 ack=1 len=0", CLOSED),  # MAY-2: newer than all of the old connection
    },
    "SYN and ACK": {**CHALLENGED, SYN_RECEIVED: ("", CLOSED), SYN_SENT: ("A seq=1 ack=1 len=0", ESTABLISHED)},
    "SYN and RST": {
        **CHALLENGED,
        TIME_WAIT: ("", TIME_WAIT),
        SYN_RECEIVED: (AGAIN, SYN_RECEIVED),
        SYN_SENT: ("", SYN_SENT),
    },
    "RST exact": {**RESET, SYN_RECEIVED: ("", CLOSED), SYN_SENT: ("", SYN_SENT)},
    "RST exact, with text": {**RESET, SYN_RECEIVED: ("", CLOSED), SYN_SENT: ("", CLOSED)},
    "RST in the window": {**CHALLENGED, TIME_WAIT: ("", TIME_WAIT), SYN_RECEIVED: (AGAIN, SYN_RECEIVED)},
    "RST before the window": {**IGNORED, SYN_RECEIVED: ("", SYN_RECEIVED)},
    "RST behind the window": {**IGNORED, SYN_RECEIVED: ("", SYN_RECEIVED)},
    "ACK": {**acknowledged(), SYN_RECEIVED: ("", ESTABLISHED), SYN_SENT: ("", SYN_SENT)},
    "ACK of the future": {
        **CHALLENGED,
        SYN_RECEIVED: ("R seq=2 ack=0 len=0", SYN_RECEIVED),
        SYN_SENT: ("R seq=2 ack=0 len=0", SYN_SENT),
    },
    "ACK too old": {**CHALLENGED, SYN_RECEIVED: ("R ack=0", SYN_RECEIVED), SYN_SENT: ("R ack=0", SYN_SENT)},
    "old ACK": {**IGNORED, SYN_RECEIVED: ("R seq=0 ack=0 len=0", SYN_RECEIVED), SYN_SENT: ("R seq=0 ack=0", SYN_SENT)},
    "ACK before the window": {**CHALLENGED, SYN_RECEIVED: (AGAIN, SYN_RECEIVED)},
    "ACK behind the window": {**CHALLENGED, SYN_RECEIVED: (AGAIN, SYN_RECEIVED)},
    "FIN": {**fin("R+1"), SYN_RECEIVED: ("A seq=1 ack=2 len=0", CLOSE_WAIT), SYN_SENT: ("", SYN_SENT)},
    "FIN behind a gap": {**text("R"), SYN_RECEIVED: (AGAIN, ESTABLISHED)},
    "FIN again": {**CHALLENGED, SYN_RECEIVED: (AGAIN, SYN_RECEIVED)},
    "text": {**text("R+4"), SYN_RECEIVED: ("A seq=1 ack=5 len=0", ESTABLISHED), SYN_SENT: ("", SYN_SENT)},
    "text and FIN": {**fin("R+5"), SYN_RECEIVED: ("A seq=1 ack=6 len=0", CLOSE_WAIT)},
    "text behind a gap": {**text("R"), SYN_RECEIVED: (AGAIN, ESTABLISHED)},
    "old text": {**CHALLENGED, SYN_RECEIVED: (AGAIN, SYN_RECEIVED)},
    "text behind the window": {**CHALLENGED, SYN_RECEIVED: (AGAIN, SYN_RECEIVED)},
    "text with an ACK of the future": {**CHALLENGED, SYN_RECEIVED: ("R seq=2 ack=0 len=0", SYN_RECEIVED)},
    "urgent text": text("R+4"),
    "urgent, and nothing to it": acknowledged(),
    "text without ACK": {**IGNORED, SYN_RECEIVED: ("", SYN_RECEIVED), SYN_SENT: ("", SYN_SENT)},
    "FIN without ACK": {**IGNORED, SYN_RECEIVED: ("", SYN_RECEIVED), SYN_SENT: ("", SYN_SENT)},
    "nothing at all": {**IGNORED, SYN_RECEIVED: ("", SYN_RECEIVED), SYN_SENT: ("", SYN_SENT)},
}

CASES = [(name, state) for name, row in TABLE.items() for state in row]


@pytest.mark.parametrize(("name", "state"), CASES, ids=[f"{STATE_NAMES[s]}: {n}" for n, s in CASES])
def test_states_any_segment_gets_the_reaction_of_the_rfc(name: str, state: int) -> None:
    """RFC 9293 section 3.10.7.3 and 3.10.7.4; 5961/3-a, 5961/3-b, 5961/4, 5961/5 (MAY-12), 1337, SHLD-2."""
    wire = TcpWire()
    c = wire.reach(state)
    c.options.quickack = True
    flags, ahead, ack, payload, up = SEGMENTS[name]
    sent = (c.snd_nxt - c.iss) & MASK
    received = (c.rcv_nxt - c.irs) & MASK
    wire.raw(
        flags, (c.rcv_nxt if state != SYN_SENT else PEER_ISS) + ahead, c.snd_nxt + ack if "A" in flags else 0,
        payload=payload, up=up, sport=c.remote_port, dport=c.local_port,
    )  # fmt: skip
    wire.flush()
    reaction, after = TABLE[name][state]
    for letter, value in (("S", sent), ("R", received)):
        reaction = reaction.replace(f"={letter}+", f"={value}+").replace(f"={letter} ", f"={value} ")
    words = [word if "+" not in word else add(word) for word in reaction.split()]
    wire.expect(*([" ".join(words)] if words else []))
    assert STATE_NAMES[c.state] == STATE_NAMES[after]


def add(word: str) -> str:
    name, _, total = word.partition("=")
    return f"{name}={sum(map(int, total.split('+')))}"


@pytest.mark.parametrize(
    ("flags", "answer"),
    [
        ("S", "SA seq=0 ack=1 len=0"),
        ("SPU", "SA seq=0 ack=1 len=0"),
        ("A", "R seq=77 ack=0 len=0"),
        ("SA", "R seq=77 ack=0 len=0"),
        ("FA", "R seq=77 ack=0 len=0"),
        ("UPA", "R seq=77 ack=0 len=0"),
        ("R", ""),
        ("RA", ""),
        ("SR", ""),
        ("F", ""),
        (".", ""),
        ("UP", ""),
        ("SF", ""),
        ("FSRPAUEC", ""),
    ],
)
def test_listen_any_segment_gets_the_reaction_of_the_rfc(flags: str, answer: str) -> None:
    """RFC 9293 section 3.10.7.2."""
    wire = TcpWire()
    listener = wire.listen()
    wire.raw(flags, PEER_ISS, 77)
    wire.flush()
    wire.expect(*([answer] if answer else []))
    assert len(listener.half_open) == answer.startswith("SA")


@pytest.mark.parametrize(
    ("flags", "payload", "answer"),
    [
        ("S", b"", (0, PEER_ISS + 1)),
        ("S", b"text", (0, PEER_ISS + 5)),
        ("F", b"", (0, PEER_ISS + 1)),
        ("SF", b"", (0, PEER_ISS + 2)),
        (".", b"text", (0, PEER_ISS + 4)),
        ("A", b"text", (77, 0)),
        ("SA", b"", (77, 0)),
        ("FA", b"", (77, 0)),
        ("R", b"", None),
        ("RA", b"text", None),
        ("FSRPAUEC", b"", None),
    ],
)
def test_closed_any_segment_but_rst_is_reset(flags: str, payload: bytes, answer: tuple[int, int] | None) -> None:
    """RFC 9293 section 3.10.7.1."""
    wire = TcpWire()
    wire.raw(flags, PEER_ISS, 77, payload=payload)
    wire.flush()
    if answer is None:
        wire.expect_nothing()
        return
    (rst,) = wire.expect("RA len=0 wnd=0" if answer[0] == 0 else "R len=0 wnd=0")
    assert (rst.seq, rst.ack) == answer


# -- transitions ---------------------------------------------------------------------------------------


def reached(state: int, then: Callable[[TcpWire, Connection], object]) -> Callable[[], TcpWire]:
    def scenario() -> TcpWire:
        wire = TcpWire(syn_retries=0)
        c = wire.reach(state)
        then(wire, c)
        wire.flush()
        return wire

    return scenario


def simultaneous(then: Callable[[TcpWire, Connection], object]) -> Callable[[], TcpWire]:
    def scenario() -> TcpWire:
        wire = TcpWire()
        c = wire.connect()
        wire.syn(sport=c.remote_port, dport=c.local_port)
        then(wire, c)
        wire.flush()
        return wire

    return scenario


SCENARIOS = [
    reached(SYN_SENT, lambda w, c: w.send_syn_ack(c)),
    reached(SYN_SENT, lambda w, c: c.close()),
    reached(SYN_RECEIVED, lambda w, c: w.send(c, "A")),
    reached(SYN_RECEIVED, lambda w, c: w.send(c, "R")),
    simultaneous(lambda w, c: (c.shutdown_write(), w.send(c, "A"))),
    *(reached(s, lambda w, c: c.abort()) for s in (ESTABLISHED, FIN_WAIT_1, FIN_WAIT_2, CLOSE_WAIT, CLOSING)),
    reached(CLOSING, lambda w, c: w.send(c, "A")),
    reached(LAST_ACK, lambda w, c: w.send(c, "A")),
    reached(TIME_WAIT, lambda w, c: w.after(ms=60_001)),
]


def test_transitions_are_all_taken_and_no_others() -> None:
    """RFC 9293 section 3.3.2, figure 5: the table and the code agree."""
    seen = {move for scenario in SCENARIOS for move in scenario().states}
    table = {(old, new) for old, row in TRANSITIONS.items() for new in row if old != LISTEN}
    assert {(STATE_NAMES[a], STATE_NAMES[b]) for a, b in seen} == {(STATE_NAMES[a], STATE_NAMES[b]) for a, b in table}


def test_move_that_the_table_lacks_is_refused() -> None:
    wire = TcpWire()
    c = wire.established()
    with pytest.raises(AssertionError, match="ESTABLISHED does not lead to LAST-ACK"):
        c.move(LAST_ACK)


def test_listener_closed_children_are_reset() -> None:
    """LISTEN to CLOSED: what was not accepted learns of it."""
    wire = TcpWire()
    listener = wire.listen()
    wire.syn()
    wire.syn(sport=41_000)
    wire.send(wire.connection(41_000), "A")
    wire.clear()
    listener.close()
    wire.expect("RA seq=1 ack=1", "RA seq=1 ack=1")
    assert not wire.tcp.connections
    wire.syn()
    wire.expect("RA")


# -- observers


def failing(*args: object) -> None:
    raise ValueError("mine")


def reporting(**config: int) -> tuple[TcpWire, list[str]]:
    """A layer below a driver: what observers raise is told."""
    wire = TcpWire(**config)
    told: list[str] = []
    wire.core.report = lambda error, where, frame: told.append(f"{error} {where}")
    return wire, told


def test_observer_that_raises_is_told_of_and_all_else_goes_on() -> None:
    """In the timer round of two connections that end, and in the output pass of two that begin."""
    wire, told = reporting(msl_ms=5)
    wire.tcp.observers.insert(0, failing)
    first, second = [wire.tcp.connect(PEER, PORT) for _ in range(2)]
    wire.flush()
    assert told == ["mine in the observer failing"] * 2
    assert [wire.known[(c.local_port, c.remote_port)] for c in (first, second)] == [first, second]
    assert [seg.sport for seg in wire.ip.sent] == [first.local_port, second.local_port]
    for c in (first, second):
        wire.send_syn_ack(c)
        c.close()
        wire.flush()
        wire.send(c, "FA")
    assert len(wire.tcp.time_wait) == 2
    wire.after(ms=11)
    assert wire.tcp.connections == {}


def test_output_that_raises_is_told_of_and_the_others_send(monkeypatch: pytest.MonkeyPatch) -> None:
    wire, told = reporting()
    bad, good = [wire.tcp.connect(PEER, PORT) for _ in range(2)]

    def some(c: Connection) -> None:
        if c is bad:
            c.mark_dirty()
            failing()
        output(c)

    monkeypatch.setattr(demux, "output", some)
    bad.mark_dirty()
    good.mark_dirty()
    wire.clear()
    wire.flush()
    assert told == ["mine in TCP's output"]
    assert [seg.sport for seg in wire.ip.sent] == [good.local_port]
    monkeypatch.undo()
    bad.mark_dirty()
    wire.flush()
    assert [seg.sport for seg in wire.ip.sent] == [good.local_port, bad.local_port]


def test_observer_that_raises_without_a_driver_is_the_callers() -> None:
    wire = TcpWire()
    wire.tcp.observers.append(failing)
    with pytest.raises(ValueError, match="mine"):
        wire.connect()


def test_output_that_raises_without_a_driver_leaves_the_others_to_the_next_pass(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    wire = TcpWire()
    bad, good = [wire.tcp.connect(PEER, PORT) for _ in range(2)]
    wire.clear()
    monkeypatch.setattr(demux, "output", lambda c: failing() if c is bad else output(c))
    bad.mark_dirty()
    good.mark_dirty()
    with pytest.raises(ValueError, match="mine"):
        wire.flush()
    wire.flush()
    assert [seg.sport for seg in wire.ip.sent] == [good.local_port]
