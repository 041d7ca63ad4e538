"""The memory link: finished frames, delays by the drivers' time, bounds, closing."""

from scapystack.base.frames import CSUM_NONE, CSUM_PARTIAL, Frame
from scapystack.base.iface import Interface
from scapystack.base.offload import split
from scapystack.link import memory
from scapystack.link.memory import MemoryLink
from tests.unit.link.test_tap import tcp_head


def super_segment():
    return Frame(tcp_head(), (bytes(3000),), None, CSUM_PARTIAL, 34, 16, 1448)


def test_pair_carries_both_ways_in_order():
    a, b = MemoryLink.pair()
    b.iface = Interface("b", b.mac)
    a.write([Frame(b"one" * 10), Frame(b"tw", (b"o", b"!"))])
    b.write([Frame(b"back" * 10)])
    got = b.read()
    assert [f.data for f in got] == [b"one" * 10, b"two!"]
    assert all(f.iface is b.iface for f in got)
    assert [f.data for f in a.read()] == [b"back" * 10]
    assert a.read() == b.read() == []
    assert a.mac != b.mac


def test_write_sends_what_would_be_on_a_wire():
    a, b = MemoryLink.pair()
    a.write([super_segment()])
    got = b.read()
    assert [f.data for f in got] == [p.data for p in split(super_segment())]
    assert {(f.csum, f.gso_size, tuple(f.payload)) for f in got} == {(CSUM_NONE, 0, ())}


def test_write_with_offload_passes_frames_as_they_are():
    a, b = MemoryLink.pair(offload=True)
    frame = super_segment()
    a.write([frame])
    (got,) = b.read()
    assert got is not frame
    assert (got.data, got.csum, got.csum_start, got.csum_offset, got.gso_size) == (
        frame.data, CSUM_PARTIAL, 34, 16, 1448,
    )  # fmt: skip


def test_delay_holds_frames_until_their_time():
    a, b = MemoryLink.pair(delay=500)
    a.advance(1000)
    a.write([Frame(b"x")])
    a.advance(1200)
    a.write([Frame(b"y")])
    assert b.next_at() == 1500
    b.advance(1499)
    assert b.read() == []
    b.advance(1500)
    assert [f.data for f in b.read()] == [b"x"]
    assert b.next_at() == 1700
    b.advance(9999)
    assert [f.data for f in b.read()] == [b"y"]
    assert b.next_at() is None


def test_read_limit_leaves_the_rest_due_at_once():
    a, b = MemoryLink.pair()
    a.write([Frame(b"x")] * 5)
    assert len(b.read(2)) == 2
    assert b.next_at() == 0
    assert len(b.read()) == 3


def test_write_tells_the_other_end():
    a, b = MemoryLink.pair()
    told = []
    b.on_input = lambda: told.append(1)
    a.write([Frame(b"x")])
    assert told == [1]


def test_write_into_a_full_queue_is_lost_and_counted(monkeypatch):
    monkeypatch.setattr(memory, "QUEUE_FRAMES", 3)
    a, b = MemoryLink.pair()
    a.write([Frame(b"x")] * 5)
    assert a.tx_dropped == 2
    assert len(b.read()) == 3


def test_close_parts_the_ends():
    a, b = MemoryLink.pair()
    a.write([Frame(b"x")])
    b.close()
    b.close()
    assert b.read() == []
    a.write([Frame(b"x")] * 2)
    assert a.tx_dropped == 2
