"""The generator: the same from the same seed, different from any other, and even."""

from collections import Counter

import pytest

from scapystack.base.rng import Rng, keyed_hash32


def test_same_seed_gives_the_same_numbers():
    assert [Rng(7).u32() for _ in range(3)] == [Rng(7).u32() for _ in range(3)]
    assert Rng(b"seed").bytes(100) == Rng(b"seed").bytes(100)


def test_numbers_are_the_same_on_every_machine():
    """Golden captures hang on this: a change of the generator changes every byte of them."""
    assert Rng(0).bytes(8).hex() == "28bdffeda87c117f"


def test_stream_does_not_hang_on_how_it_is_cut():
    one, many = Rng(1), Rng(1)
    assert one.bytes(200) == b"".join(many.bytes(n) for n in (1, 63, 0, 64, 72))


@pytest.mark.parametrize("other", [1, -1, 2**64, b"", b"\0", b"\0" * 63])
def test_different_seeds_give_different_streams(other):
    assert Rng(0).bytes(16) != Rng(other).bytes(16)


def test_derived_generators_are_independent_of_draws_and_of_each_other():
    drawn = Rng(5)
    drawn.u32()
    assert drawn.derive("isn").u32() == Rng(5).derive("isn").u32()
    assert Rng(5).derive("isn").u32() != Rng(5).derive("ports").u32()
    assert Rng(5).derive("isn").u32() != Rng(6).derive("isn").u32()


def test_below_stays_below_and_reaches_all():
    rng = Rng(3)
    seen = Counter(rng.below(10) for _ in range(5000))
    assert sorted(seen) == list(range(10))
    assert min(seen.values()) > 400


def test_u16_and_u32_fill_their_range():
    rng = Rng(4)
    assert 60_000 < max(rng.u16() for _ in range(1000)) < 1 << 16
    assert 1 << 31 < max(rng.u32() for _ in range(1000)) < 1 << 32


@pytest.mark.parametrize(
    ("probability", "low", "high"), [(0.0, 0, 0), (1.0, 4000, 4000), (0.05, 150, 250), (0.5, 1850, 2150)]
)
def test_chance_comes_about_as_often_as_it_says(probability, low, high):
    rng = Rng(9)
    assert low <= sum(rng.chance(probability) for _ in range(4000)) <= high


def test_keyed_hash_hangs_on_key_and_on_every_part():
    """MUST-9: without the key the outcome cannot be computed"""
    assert keyed_hash32(b"k", b"a", b"b") == keyed_hash32(b"k", b"a", b"b")
    assert len({keyed_hash32(k, b"a", p) for k in (b"k", b"l") for p in (b"b", b"c")}) == 4
    assert all(0 <= keyed_hash32(b"k", bytes([i])) < 1 << 32 for i in range(50))
