"""Explicit congestion notification (RFC 3168): agreed on, marked, echoed, answered. 3168/6.1, SHLD-8."""

from __future__ import annotations

import pytest

from scapystack.layers.tcp.state import CWR, OPEN, RECOVERY
from scapystack.layers.tcp.user import Connection
from tests.harness.tcp import TcpWire

MSS = 1460
ECT_0, ECT_1, CE = 2, 1, 3


def marked(wire: TcpWire) -> list[int]:
    """The ECN field of each segment that has left since the last look, and forget them."""
    fields = [how["tos"] & 3 for how in wire.ip.kept[-len(wire.ip.sent) :]] if wire.ip.sent else []
    wire.clear()
    return fields


def agreed(**config: object) -> tuple[TcpWire, Connection]:
    """A connection that we have opened, on which both ends use ECN."""
    wire = TcpWire(ecn="on", **config)
    c = wire.connect()
    wire.expect("SEC")
    wire.raw("SAE", 5_000, c.snd_nxt, options=wire.syn_options(), sport=c.remote_port, dport=c.local_port)
    wire.flush()
    wire.clear()
    return wire, c


def sending(segments: int, more: int = 0) -> tuple[TcpWire, Connection]:
    wire, c = agreed(initial_cwnd_segments=segments)
    c.write(b"x" * MSS * (segments + more))
    wire.flush()
    return wire, c


# -- the handshake (RFC 3168 section 6.1.1) -------------------------------------------------------------


@pytest.mark.parametrize(("ours", "flags", "answer"), [
    ("accept-only", "SEC", "SAE"), ("on", "SEC", "SAE"), ("off", "SEC", "SA"),
    ("accept-only", "S", "SA"), ("on", "SE", "SA"), ("on", "SC", "SA"),
])  # fmt: skip
def test_listener_asked_for_ecn_answers_as_it_is_set(ours: str, flags: str, answer: str) -> None:
    """SHLD-8: an ECN-setup SYN has both flags, its answer ECE alone."""
    wire = TcpWire(ecn=ours)
    wire.listen()
    wire.raw(flags, 5_000, 0, options=wire.syn_options())
    wire.flush()
    assert marked_flags(wire) == [answer]


def marked_flags(wire: TcpWire) -> list[str]:
    names = "FSRPAUEC"
    out = ["".join(n for bit, n in enumerate(names) if seg.flags >> bit & 1) for seg in wire.ip.sent]
    wire.clear()
    return out


def test_syn_marked_ect_is_answered_without_ecn() -> None:
    """RFC 3168 section 6.1.1: no SYN may be marked; one that is was tampered with."""
    wire = TcpWire(ecn="on")
    wire.listen()
    wire.raw("SEC", 5_000, 0, options=wire.syn_options(), tos=ECT_0)
    wire.flush()
    assert marked_flags(wire) == ["SA"]


def test_connect_repeats_its_syn_without_ecn() -> None:
    """RFC 3168 section 6.1.1.1: a box that drops such SYNs must not keep us out."""
    wire = TcpWire(ecn="on")
    wire.connect()
    assert marked_flags(wire) == ["SEC"]
    wire.after(ms=1_000)
    assert marked_flags(wire) == ["S"]


@pytest.mark.parametrize("answer", ["SA", "SAEC"])
def test_connect_whose_answer_agrees_to_nothing_marks_nothing(answer: str) -> None:
    """RFC 3168 section 6.1.1.2: an answer with both flags only reflects ours."""
    wire = TcpWire(ecn="on")
    c = wire.connect()
    wire.raw(answer, 5_000, c.snd_nxt, options=wire.syn_options(), sport=c.remote_port, dport=c.local_port)
    wire.flush()
    wire.clear()
    c.write(b"x")
    wire.flush()
    assert marked(wire) == [0]


# -- what is marked (sections 6.1.4 to 6.1.6) -----------------------------------------------------------


def test_new_text_alone_is_marked() -> None:
    """3168/6.1: not the SYN, not an ACK, not what goes again; the application's DSCP stays, its lowest bits do not."""
    wire, c = agreed()
    c.options.tos = 0xB8 | CE
    c.write(b"x" * MSS)
    wire.flush()
    assert wire.ip.kept[-1]["tos"] == 0xB8 | ECT_0
    wire.clear()
    wire.after(ms=c.rtt.rto / 1e6)
    assert wire.ip.kept[-1]["tos"] == 0xB8
    wire.clear()
    wire.send(c, "A")
    wire.send(c, "A", payload=b"y", flush=True)
    wire.after(ms=50)
    assert marked(wire) == [0]


def test_window_probe_is_not_marked() -> None:
    """RFC 3168 section 6.1.6."""
    wire, c = agreed()
    wire.send(c, "A", wnd=0)
    c.write(b"x" * 10)
    wire.flush()
    wire.after(ms=c.rtt.rto / 1e6 + 1)
    assert marked(wire) == [0]


# -- the receiver (section 6.1.3) -----------------------------------------------------------------------


def test_text_marked_ce_is_echoed_until_cwr() -> None:
    """3168/6.1."""
    wire, c = agreed()
    assert c.info().options & 24 == 8
    wire.send(c, "A", payload=b"a", tos=CE)
    assert c.info().options & 24 == 24
    assert c.info().received_ce == 1
    assert marked_flags(wire) == ["AE"]
    wire.send(c, "A", payload=b"b" * MSS * 2, tos=ECT_0)
    wire.after(ms=50)
    assert marked_flags(wire) == ["AE"]
    wire.send(c, "AC", payload=b"c", tos=ECT_0)
    assert marked_flags(wire) == ["A"]
    wire.send(c, "AC", payload=b"d", tos=CE)  # both: the old congestion is answered, and there is new
    assert marked_flags(wire) == ["AE"]
    assert c.read(10_000) == b"a" + b"b" * MSS * 2 + b"cd"


def test_ce_without_agreement_means_nothing() -> None:
    wire = TcpWire()
    c = wire.established()
    wire.send(c, "A", payload=b"a", tos=CE)
    wire.after(ms=50)
    assert marked_flags(wire) == ["A"]


# -- the sender (section 6.1.2) -------------------------------------------------------------------------


def test_echo_halves_the_window_once_and_is_told_of_it() -> None:
    """3168/6.1: the first new text says CWR; what still echoes is of the same window of data."""
    wire, c = sending(10, more=30)
    wire.clear()
    wire.send(c, "AE", ack=1 + MSS)
    assert (c.ca_state, c.cc.ssthresh) == (CWR, 5 * MSS)
    while c.ca_state == CWR and c.board.una + MSS <= c.board.nxt:
        wire.send(c, "AE", ack=(c.snd_una + MSS - c.iss) & 0xFFFFFFFF)
        if c.board.una >= c.episode.recover:  # type: ignore[union-attr]
            break
    assert c.cc.ssthresh == 5 * MSS
    flags = marked_flags(wire)
    assert [f for f in flags if "C" in f] == flags[:1]
    assert c.total_retrans == 0


def test_echo_with_nothing_in_flight_reduces_the_window_and_text_still_leaves() -> None:
    """No ACK would end a reduction that has no flight to bring down: what was written then would never be sent."""
    wire, c = sending(4)
    wire.send(c, "A", ack=1 + 4 * MSS)
    wire.clear()
    cwnd = c.cc.cwnd
    wire.send(c, "EA")
    assert c.ca_state == OPEN
    assert c.cc.cwnd == cwnd // 2
    c.write(b"x" * MSS)
    wire.flush()
    wire.expect(f"PAC seq={1 + 4 * MSS} len={MSS}")
    wire.send(c, "EA", ack=1 + 4 * MSS)
    assert (c.ca_state, c.cc.cwnd) == (OPEN, cwnd // 2)


def test_echo_without_agreement_is_ignored() -> None:
    wire = TcpWire(initial_cwnd_segments=10)
    c = wire.established()
    c.write(b"x" * MSS * 10)
    wire.flush()
    wire.send(c, "AE", ack=1 + MSS)
    assert c.ca_state == OPEN


def test_window_reduced_again_in_the_next_window_of_data() -> None:
    wire, c = sending(10, more=100)
    wire.send(c, "AE", ack=1 + MSS)
    first = c.cc.ssthresh
    edge = c.snd_nxt
    while c.ca_state == CWR:
        wire.send(c, "A", ack=(c.snd_una + MSS - c.iss) & 0xFFFFFFFF)
    assert c.snd_una - edge >= 0
    wire.send(c, "AE", ack=(c.snd_una + MSS - c.iss) & 0xFFFFFFFF)
    assert c.ca_state == CWR
    assert c.cc.ssthresh <= first


def test_echo_in_a_recovery_that_has_reduced_the_window_counts_as_no_reduction() -> None:
    """The ACK that ends the recovery still echoes: the window is not reduced again."""
    wire, c = sending(10, more=100)
    counters = wire.core.counters
    wire.send(c, "A", ack=1, sack=((1 + MSS, 1 + 5 * MSS),))
    assert c.ca_state == RECOVERY
    reduced = c.cc.ssthresh
    wire.send(c, "A", ack=(c.episode.recover - c.iss - MSS) & 0xFFFFFFFF)  # type: ignore[union-attr]
    wire.send(c, "AE", ack=(c.snd_nxt - c.iss) & 0xFFFFFFFF)
    assert (c.cc.ssthresh, counters["tcp.ecn_reductions"]) == (reduced, 0)
    wire.send(c, "AE", ack=(c.snd_nxt - c.iss) & 0xFFFFFFFF)
    assert (c.cc.ssthresh < reduced, counters["tcp.ecn_reductions"]) == (True, 1)
