"""The out-of-order queue against a model that holds single octets by their place in the stream."""

from hypothesis import given
from hypothesis import strategies as st

from scapystack.base.seq import MASK
from scapystack.layers.tcp.reassembly import Reassembly

BASE = st.one_of(st.integers(0, MASK), st.integers(MASK - 150, MASK), st.integers(0x7FFFFF80, 0x80000010))
FILL = st.integers(0, 255)
SEGMENT = st.one_of(
    st.tuples(st.integers(-20, 200), st.integers(0, 40), FILL),
    # on a grid, so that edges meet: holes are filled exactly, segments come twice
    st.tuples(st.integers(-1, 12).map(lambda n: n * 10), st.sampled_from([10, 10, 20]), FILL),
)


def runs(places):
    """The maximal runs of consecutive numbers, as (first, behind the last)."""
    out = []
    for place in sorted(places):
        if out and out[-1][1] == place:
            out[-1][1] = place + 1
        else:
            out.append([place, place + 1])
    return [tuple(run) for run in out]


def check(queue, model, base):
    assert queue.size == len(model)
    assert bool(queue) == bool(model)
    wire = {((a + base) & MASK, (b + base) & MASK) for a, b in runs(model)}
    blocks = queue.blocks(4)
    assert set(blocks) <= wire
    assert len(set(blocks)) == len(blocks) == min(4, len(wire))


@given(BASE, st.lists(st.one_of(SEGMENT, st.integers(0, 30)), max_size=40))
def test_any_segments_agree_with_a_model_of_octets(base, steps):
    """SHLD-31, 2018/3, 2883/4: across every wrap of the sequence space; an int step fills that much
    of the first gap in order, as the connection would, and takes what follows."""
    queue = Reassembly(1000)
    model: dict[int, int] = {}
    nxt = 0
    for step in steps:
        if isinstance(step, int):
            nxt += step
            got = b"".join(bytes(piece) for piece in queue.pop((base + nxt) & MASK))
            expected = bytearray()
            while nxt in model:
                expected.append(model[nxt])
                nxt += 1
            assert got == expected
            model = {place: octet for place, octet in model.items() if place > nxt}
        else:
            at, n, fill = step
            start = nxt + at
            places = range(start, start + n)
            again = [place for place in places if place < nxt or place in model]
            data = bytes((fill + i) & 0xFF for i in range(n))
            assert queue.insert((base + start) & MASK, memoryview(data), (base + nxt) & MASK)
            expected_duplicate = tuple((edge + base) & MASK for edge in runs(again)[0]) if again else None
            if expected_duplicate and again[0] < nxt:
                # below RCV.NXT and above it are two different things to report: the first counts
                below = [place for place in again if place < nxt]
                expected_duplicate = tuple((edge + base) & MASK for edge in runs(below)[0])
            assert queue.duplicate == expected_duplicate
            for i, place in enumerate(places):
                if place >= nxt:
                    model.setdefault(place, data[i])
            around = [(a, b) for a, b in runs(model) if a <= max(start, nxt) < b]
            if n and start + n > nxt:
                a, b = around[0]
                assert queue.blocks(1) == (((a + base) & MASK, (b + base) & MASK),)
        # what touches RCV.NXT is taken in the same breath by the connection
        if nxt not in model:
            check(queue, model, base)
        else:
            assert queue.size == len(model)


def places_held(queue, base):
    """Every place in the stream that the queue tells of, in offsets from `base`."""
    return {(left - base & MASK) + i for left, right in queue.blocks(999) for i in range(right - left & MASK)}


@given(BASE, st.integers(1, 12), st.lists(SEGMENT, max_size=40))
def test_bound_holds_and_what_is_kept_is_right(base, limit, segments):
    """Whatever is dropped, the pieces stay within the bound and nothing is made up or moved."""
    queue = Reassembly(limit)
    seen: dict[int, set[int]] = {}
    for at, n, fill in segments:
        data = bytes((fill + i) & 0xFF for i in range(n))
        before = places_held(queue, base)
        new = set(range(max(at, 0), at + n)) - before
        kept = queue.insert((base + at) & MASK, data, base)
        after = places_held(queue, base)
        assert len(queue) <= limit
        assert queue.size == len(after)
        assert after <= before | new
        assert kept is (not new or bool(after & new))
        gone = (before | new) - after
        assert not gone or (len(queue) == limit and min(gone) > max(after))
        for i, octet in enumerate(data):
            seen.setdefault(at + i, set()).add(octet)
    nxt = 0
    while queue:
        size = queue.size
        for piece in queue.pop((base + nxt) & MASK):
            for octet in bytes(piece):
                assert octet in seen[nxt]
                nxt += 1
            size -= len(piece)
        assert queue.size == size
        nxt += 1


def test_thousands_of_single_octets_in_reverse_come_out_in_order():
    queue = Reassembly(5000)
    stream = bytes(i * 7 & 0xFF for i in range(5000))
    for i in range(4999, 0, -1):
        assert queue.insert(MASK - 2000 + i, stream[i : i + 1], (MASK - 2000) & MASK)
        assert len(queue.blocks(4)) == 1
    assert b"".join(bytes(p) for p in queue.pop((MASK - 1999) & MASK)) == stream[1:]
