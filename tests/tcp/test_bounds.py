"""Memory: every bound of a connection and of the stack is reached here, and work goes on (docs/memory.md).

Half-open connections and accept queues are in `test_listen`, orphans in `test_close`, TIME-WAIT in `test_time_wait`.
"""

from __future__ import annotations

import gc
import tracemalloc
from collections.abc import Callable

import pytest

from scapystack.layers.tcp.memory import PIECE, SHARE
from scapystack.layers.tcp.reassembly import Reassembly
from scapystack.layers.tcp.recvqueue import ReceiveQueue
from scapystack.layers.tcp.state import ESTABLISHED
from scapystack.layers.tcp.user import Connection
from tests.harness.tcp import Peer, TcpWire
from tests.harness.tcp_invariants import check
from tests.harness.tcp_pair import Pair

MSS = 1460


def several(wire: TcpWire, number: int) -> list[Connection]:
    """So many connections past their handshakes; their peers' windows are 65,535."""
    listener = wire.listen(backlog=number)
    made = []
    for sport in range(1, number + 1):
        wire.syn(sport=sport)
        wire.send(wire.connection(sport), "A")
        c = listener.accept()
        assert c is not None
        made.append(c)
    wire.clear()
    return made


# -- out of order ----------------------------------------------------------------------------------------


def behind_a_gap(wire: TcpWire, c: Connection, pieces: int, size: int = 1000) -> None:
    """Every second piece of the stream, the first one missing."""
    for n in range(pieces):
        wire.send(c, "A", seq=1 + (2 * n + 1) * size, payload=bytes([n % 256]) * size)
    wire.clear()


def test_out_of_order_pieces_of_a_connection_are_bounded() -> None:
    """SHLD-31: what is nearest to the gap stays."""
    wire = TcpWire(max_out_of_order_segments=10)
    (c,) = several(wire, 1)
    behind_a_gap(wire, c, 30)
    assert (len(c.ooo), c.ooo.size) == (10, 10_000)
    assert min(c.ooo.blocks(10)) == (c.rcv_nxt + 1000, c.rcv_nxt + 2000)
    assert max(c.ooo.blocks(10)) == (c.rcv_nxt + 19_000, c.rcv_nxt + 20_000)
    assert wire.core.counters["tcp.drop.out_of_order_bound"] == 20


def test_out_of_order_octets_of_a_connection_are_bounded_by_its_window() -> None:
    """No more than was offered."""
    wire = TcpWire(rcvbuf=20_000)
    (c,) = several(wire, 1)
    behind_a_gap(wire, c, 50)
    assert 0 < c.ooo.size <= 10_000
    check(wire.tcp)


def test_out_of_order_octets_that_all_had_to_go_leave_no_acks_owed_for_them() -> None:
    """Each later ACK would leave as often as there were ranges that none has told of."""
    wire = TcpWire(max_out_of_order_bytes=1000)
    (c,) = several(wire, 1)
    for n in (2, 4, 6, 8):
        wire.send(c, "A", seq=1 + n * 1000, payload=bytes(1000), flush=False)
    wire.flush()
    assert not c.ooo
    wire.clear()
    wire.send(c, "A", payload=bytes(2 * MSS))
    wire.expect(f"A ack={1 + 2 * MSS}")


def test_out_of_order_octets_of_the_stack_are_bounded_and_the_far_end_goes() -> None:
    """The pieces next to the gap stay, so that the stream goes on from there."""
    bound = 100 * (1000 + PIECE)
    wire = TcpWire(max_out_of_order_bytes=bound)
    (c,) = several(wire, 1)
    behind_a_gap(wire, c, 101)
    assert wire.core.counters["tcp.out_of_order_pruned"] == 1
    assert bound * 3 // 4 < wire.tcp.memory.out_of_order == c.ooo.cost <= bound * 7 // 8
    check(wire.tcp)
    for n in range(len(c.ooo)):
        wire.send(c, "A", seq=1 + 2 * n * 1000, payload=b"x" * 1000)
    assert c.available == 2_000 * 87
    assert wire.tcp.memory.out_of_order == 0
    wire.flush()
    check(wire.tcp)


def test_out_of_order_octets_are_taken_from_those_who_hold_most() -> None:
    """A peer that hoards does not have others' text dropped."""
    wire = TcpWire(max_out_of_order_bytes=100 * (1000 + PIECE))
    *modest, greedy = several(wire, 5)
    for c in modest:
        behind_a_gap(wire, c, 5)
    behind_a_gap(wire, greedy, 200)
    assert [len(c.ooo) for c in modest] == [5] * 4
    assert 60 <= len(greedy.ooo) <= 80
    check(wire.tcp)
    greedy.abort()
    assert wire.tcp.memory.out_of_order == 4 * 5 * (1000 + PIECE)


def test_out_of_order_octets_are_counted_with_what_they_cost() -> None:
    """Pieces of one octet: it is their number that the memory goes to."""
    wire = TcpWire(max_out_of_order_bytes=50_000)
    (c,) = several(wire, 1)
    behind_a_gap(wire, c, 1_000, size=1)
    assert len(c.ooo) <= 50_000 // PIECE
    check(wire.tcp)


def test_out_of_order_bound_of_nothing_keeps_nothing_and_the_stream_goes_on() -> None:
    wire = TcpWire(max_out_of_order_bytes=0)
    (c,) = several(wire, 1)
    behind_a_gap(wire, c, 3)
    assert len(c.ooo) == 0
    for n in range(6):
        wire.send(c, "A", seq=1 + n * 1000, payload=b"x" * 1000)
    assert c.available == 6_000
    wire.flush()
    check(wire.tcp)


# -- what a view keeps alive -------------------------------------------------------------------------------


def kept(put: Callable[[], None]) -> int:
    """Octets that are held when `put` is done and were not before."""
    gc.collect()
    tracemalloc.start()
    before, _ = tracemalloc.get_traced_memory()
    put()
    gc.collect()
    after, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    return after - before


@pytest.mark.parametrize("in_order", [True, False], ids=["in-order", "behind-a-gap"])
@pytest.mark.parametrize("size", [1, 100, 2_049, 30_000, 40_000])
def test_slices_of_large_frames_do_not_keep_them(size: int, in_order: bool) -> None:
    """A slice of a 64 KB frame costs no more than twice itself, and some for the piece."""
    queue, ooo = ReceiveQueue(), Reassembly(100)

    def put() -> None:
        for n in range(60):
            text = memoryview(bytes(64_000))[-size:]
            if in_order:
                queue.append(text)
            else:
                ooo.insert(1 + n * 2 * size, text, 0)

    assert kept(put) < 60 * (2 * size + 400) + 4_000
    assert max(len(queue), ooo.size) == 60 * size


def test_large_segments_with_little_news_cost_little() -> None:
    """Super-segments of which all but 100 octets were received before."""
    wire = TcpWire(told=0)
    (c,) = several(wire, 1)
    wire.send(c, "A", payload=bytes(60_000))
    c.read(60_000)

    def put() -> None:
        for _ in range(100):
            wire.send(c, "A", seq=c.rcv_nxt - c.irs - 59_900, payload=bytes(60_000))
            wire.clear()

    assert kept(put) < 40_000
    assert c.available == 10_000


# -- sending -----------------------------------------------------------------------------------------------


def test_send_buffers_of_the_stack_are_bounded() -> None:
    """`write` takes what is left, and then everybody's share."""
    wire = TcpWire(max_send_bytes=100_000, sndbuf=80_000)
    first, second, third = several(wire, 3)
    assert first.write(bytes(80_000)) == 80_000
    assert second.write(bytes(80_000)) == 20_000
    assert second.write(b"more") == 0
    assert not second.writable
    assert third.writable
    assert third.write_space == SHARE
    assert third.write(bytes(80_000)) == SHARE
    assert wire.tcp.memory.sending == 100_000 + SHARE
    wire.flush()
    check(wire.tcp)


def test_writer_that_was_held_back_goes_on_with_its_own_acks() -> None:
    """It never waits for memory that another holds."""
    wire = TcpWire(max_send_bytes=50_000, sndbuf=50_000)
    hoarder, writer = several(wire, 2)
    wire.send(hoarder, "A", wnd=0)
    assert hoarder.write(bytes(50_000)) == 50_000
    woken: list[int] = []
    writer.on_ready = lambda: woken.append(len(writer.sendbuf))
    written = 0
    for _ in range(20):
        written += writer.write(bytes(50_000))
        assert writer.write(b"x") == 0
        wire.flush()
        while writer.unsent:
            wire.send(writer, "A")
        assert writer.writable
        assert writer.ready_marked
        writer.ready_marked = False
    assert written == 20 * SHARE
    hoarder.abort()
    assert writer.write(bytes(60_000)) == 50_000
    wire.flush()
    check(wire.tcp)


def test_send_buffer_that_is_empty_holds_no_block() -> None:
    """Small writes are gathered in blocks of up to 64 KB; an idle connection has none."""
    wire = TcpWire(told=0)
    (c,) = several(wire, 1)

    def chat() -> None:
        for _ in range(100):
            for _ in range(100):
                c.write(b"x" * 90)
            wire.flush()
            while c.unsent:
                wire.send(c, "A")
            wire.clear()

    assert kept(chat) < 4_000


# -- receiving ---------------------------------------------------------------------------------------------


def pour(wire: TcpWire, c: Connection, octets: int) -> int:
    """The peer sends so many, whatever the window; how many were taken."""
    before = c.rcv_nxt
    for _ in range(octets // MSS):
        wire.send(c, "A", payload=bytes(MSS))
    wire.flush()
    wire.clear()
    return c.rcv_nxt - before


def test_unread_octets_of_the_stack_are_bounded() -> None:
    """Over the bound each connection keeps a share, and the peer is to send the rest again."""
    wire = TcpWire(max_receive_bytes=100_000, peer=Peer(wscale=7))
    first, second, third = several(wire, 3)
    pour(wire, first, 150_000)
    assert 100_000 < first.available <= 100_000 + MSS
    for c in (second, third):
        assert SHARE < pour(wire, c, 100_000) <= SHARE + MSS
        assert c.state == ESTABLISHED
    assert wire.core.counters["tcp.drop.receive_memory"] > 0
    assert first.read(1 << 20)
    assert second.read(1 << 20)
    wire.flush()
    wire.clear()
    assert pour(wire, third, 20_000) > 0
    check(wire.tcp)


def test_window_opens_no_further_than_a_share_over_the_bound() -> None:
    """And what was offered before is not taken back (SHLD-14)."""
    wire = TcpWire(max_receive_bytes=100_000, rcvbuf=1 << 20, peer=Peer(wscale=7))
    hoarder, reader = several(wire, 2)
    pour(wire, hoarder, 120_000)
    offered = reader.rcv_wnd
    for _ in range(100):
        wire.send(reader, "A", payload=bytes(MSS))
        reader.read(1 << 20)
        wire.flush()
    assert SHARE - 2 * MSS <= reader.rcv_wnd <= max(SHARE, offered)
    wire.clear()
    hoarder.read(1 << 20)
    wire.send(reader, "A", payload=bytes(MSS))
    reader.read(1 << 20)
    wire.flush()
    assert reader.rcv_wnd > 1_000_000
    check(wire.tcp)


def test_unread_octets_of_a_connection_that_ended_are_its_holders() -> None:
    """They stay readable, and no longer count as the stack's."""
    wire = TcpWire()
    (c,) = several(wire, 1)
    pour(wire, c, 10 * MSS)
    assert wire.tcp.memory.received == 10 * MSS
    wire.send(c, "R")
    assert wire.tcp.memory.received == 0
    assert c.recvq.read(1 << 20) == bytes(10 * MSS)
    assert wire.tcp.memory.received == 0


def test_child_that_ends_before_it_is_accepted_leaves_nothing() -> None:
    wire = TcpWire()
    wire.listen()
    wire.syn()
    c = wire.connection()
    wire.send(c, "PA", payload=b"x" * 1000)
    wire.send(c, "PA", seq=2001, payload=b"y" * 1000)
    assert (wire.tcp.memory.received, c.ooo.size) == (1000, 1000)
    wire.send(c, "R")
    assert (wire.tcp.memory.received, wire.tcp.memory.out_of_order) == (0, 0)


# -- all of them at once -------------------------------------------------------------------------------------


@pytest.mark.parametrize("seed", range(6))
def test_transfer_under_every_bound_at_once_arrives_whole(seed: int) -> None:
    """With nothing to spare but the shares, over a wire that loses and reorders: slower, and all of it."""
    bounds = {"max_send_bytes": 0, "max_receive_bytes": 0, "max_out_of_order_bytes": (0, 3_000, 20_000)[seed % 3]}
    pair = Pair(seed=seed, loss=0.03, **bounds)
    pair.transfer(200_000, 100_000)
