"""Reassembly against a model: an array of octets."""

from hypothesis import given, settings
from hypothesis import strategies as st

from scapystack.base.config import StackConfig
from scapystack.base.core import Core
from scapystack.base.iface import Interface
from scapystack.base.rng import Rng
from scapystack.codec import make_codec
from scapystack.layers.ipfrag import Reassembly, cut

CODEC = make_codec()
ETH0 = Interface("eth0", b"\2\0\0\0\0\1")
KEY = (b"\x0a\0\0\2", b"\x0a\0\0\1", 17, 1)
HEADER = bytes(20)
SIZE = 25 * 8 + 5
DATA = bytes(i * 7 & 0xFF for i in range(SIZE))


def add(table, start, stop, data=None):
    more = stop < SIZE
    octets = DATA[start:stop] if data is None else data
    return table.add(KEY, start, more, memoryview(HEADER + octets), 20, 0, ETH0, 0)


def spans():
    """Spans of the datagram that a fragment may cover: start and length multiples of 8, but at the end."""
    return st.tuples(st.integers(0, 25), st.integers(1, 26)).map(lambda s: (s[0] * 8, min(SIZE, (s[0] + s[1]) * 8)))


@settings(max_examples=300, deadline=None)
@given(st.lists(spans(), max_size=40))
def test_ipfrag_any_true_fragments_complete_when_all_octets_came(sent):
    table = Reassembly(Core(StackConfig(), CODEC, Rng(1)))
    have = set()
    for start, stop in sent:
        have.update(range(start, stop))
        result = add(table, start, stop)
        if len(have) == SIZE:
            assert result == (HEADER, DATA, 0)
            assert len(table) == 0
            assert table.held == 0
            return
        assert result is None
    pending = next(iter(table._table.values()), None)
    assert (pending.received if pending else 0) == len(have)
    assert table.core.counters.drops() == {}


@settings(max_examples=300, deadline=None)
@given(st.lists(spans(), min_size=1, max_size=12), spans(), st.data())
def test_ipfrag_a_lie_about_octets_held_discards_and_nothing_is_kept(sent, lie, data):
    table = Reassembly(Core(StackConfig(), CODEC, Rng(1)))
    have = set()
    for start, stop in sent:
        if len(have | set(range(start, stop))) == SIZE:
            break
        have.update(range(start, stop))
        add(table, start, stop)
    start, stop = lie
    at = data.draw(st.integers(start, stop - 1))
    forged = bytearray(DATA[start:stop])
    forged[at - start] ^= 0x55
    result = add(table, start, stop, bytes(forged))
    if at in have:
        assert result is None
        assert table.held == 0
        assert table.core.counters["ip.drop.fragment_overlap"] == 1
    elif result is not None:
        assert result[1] != DATA


@given(st.binary(max_size=3000), st.integers(68, 1500), st.sampled_from([0, 4, 40]))
def test_ipfrag_cut_pieces_fit_align_and_join(data, mtu, options):
    pieces = list(cut(memoryview(data), mtu - 20 - options, mtu - 20))
    assert b"".join(piece for _, piece, _ in pieces) == data
    at = 0
    for offset, piece, more in pieces:
        assert offset == at
        at += len(piece)
        assert len(piece) <= mtu - 20 - (options if offset == 0 else 0)
        assert more == (at < len(data) or (more and offset != pieces[-1][0]))
        assert not more or (len(piece) % 8 == 0 and len(piece) > 0)
    assert [more for _, _, more in pieces] == [True] * (len(pieces) - 1) + [False]


@settings(max_examples=200, deadline=None)
@given(
    st.lists(
        st.tuples(st.integers(0, 8191), st.booleans(), st.binary(max_size=64), st.integers(0, 3), st.integers(1, 5)),
        max_size=60,
    )
)
def test_ipfrag_any_fragments_at_all_never_raise_and_stay_bounded(fragments):
    config = StackConfig()
    config.ip.reassembly_max_bytes = 2_000
    config.ip.reassembly_max_datagrams = 3
    core = Core(config, CODEC, Rng(1))
    table = Reassembly(core)
    for offset, more, octets, ecn, ident in fragments:
        key = (*KEY[:3], ident)
        table.add(key, offset * 8, more, memoryview(HEADER + octets), 20, ecn, ETH0, 0)
        assert 0 <= table.held <= 2_000
        assert len(table) <= 3
        assert table.held == sum(pending.bytes_held for pending in table._table.values())
    table.expire(60_000_000_000)
    assert (len(table), table.held) == (0, 0)
