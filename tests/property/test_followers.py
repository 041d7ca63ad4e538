"""Segments that a link has put behind another one (`Frame.more`): to TCP they are as if each had come alone."""

from hypothesis import given, settings
from hypothesis import strategies as st

from scapystack.layers.tcp.user import Connection
from tests.harness.tcp import Peer, TcpWire

TEXT = bytes(range(256)) * 8


@st.composite
def bursts(draw: st.DrawFn) -> list[tuple[int, list[bytes]]]:
    """Where each burst begins, by its distance from the first octet; the texts that follow each other in it."""
    made = []
    for _ in range(draw(st.integers(1, 4))):
        at = draw(st.integers(0, 1200))
        ends = sorted(draw(st.sets(st.integers(1, 800), min_size=1, max_size=5)))
        made.append((at, [TEXT[at + a : at + b] for a, b in zip([0, *ends], ends, strict=False)]))
    return made


def opened(rcvbuf: int) -> tuple[TcpWire, Connection]:
    wire = TcpWire(peer=Peer(sack=True, timestamps=True), timestamps=True, sack=True, rcvbuf=rcvbuf)
    return wire, wire.established()


@given(bursts(), st.sampled_from((600, 1_000, 100_000)), st.booleans())
@settings(max_examples=100)
def test_texts_behind_a_segment_are_taken_as_segments_of_their_own(
    given_bursts: list[tuple[int, list[bytes]]], rcvbuf: int, read: bool
) -> None:
    (alone, a), (together, b) = opened(rcvbuf), opened(rcvbuf)
    for at, texts in given_bursts:
        same = {"ack": 1, "tsval": 200, "tsecr": a.ts_now(), "flush": False}
        offset = 1 + at
        for text in texts:
            alone.send(a, "A", seq=offset, payload=text, **same)
            offset += len(text)
        more = tuple(map(memoryview, texts[1:]))
        together.send(b, "A", seq=1 + at, payload=texts[0], more=more, **same)
        alone.flush()
        together.flush()
        if read:
            assert a.read(1_000) == b.read(1_000)
    assert a.peek(10_000) == b.peek(10_000)
    assert a.rcv_nxt == b.rcv_nxt
    assert a.ooo.blocks(9) == b.ooo.blocks(9)
    assert [repr(seg) for seg in alone.take()] == [repr(seg) for seg in together.take()]
    assert a.info() == b.info()
    assert alone.core.counters == together.core.counters


def test_texts_behind_a_segment_that_nobody_reads_are_answered_once() -> None:
    wire, c = opened(100_000)
    c.close()
    wire.flush()
    wire.clear()
    wire.send(c, "A", ack=2, payload=b"first", more=(memoryview(b"second"), memoryview(b"third")))
    wire.expect("R")
    assert wire.tcp.connections == {}
    wire.raw("A", 1, 1, payload=b"first", more=(memoryview(b"second"),))
    wire.expect("R")
