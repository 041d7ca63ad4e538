"""SYN cookies as numbers: what goes in comes out, for two minutes, and nothing else does (4987)."""

import random

import pytest

from scapystack.base.types import SECOND
from scapystack.layers.tcp.cookies import LIFETIME, MSS, PERIOD, SynCookies, name_of, stamp, unstamp

KEY = bytes(range(32))
NAME = name_of(b"\x0a\0\0\1", 80, b"\x0a\0\0\2", 4000)
NOW = 12_345 * SECOND
MASK = 0xFFFFFFFF


@pytest.mark.parametrize(
    ("mss", "told"),
    [*zip(MSS, MSS, strict=True), (1, 88), (535, 88), (1219, 536), (1459, 1440), (8959, 1460), (65_495, 8960)],
)
def test_cookie_tells_the_mss_or_the_next_smaller(mss: int, told: int) -> None:
    cookies = SynCookies(KEY)
    assert cookies.check(NOW, NAME, 77, cookies.make(NOW, NAME, 77, mss)) == told


@pytest.mark.parametrize("irs", [0, 1, 0x7FFFFFFF, 0x80000000, MASK])
@pytest.mark.parametrize("now", [0, NOW, PERIOD * 255, PERIOD * 256 - 1, PERIOD * (1 << 32)])
def test_cookie_fits_anywhere_in_the_sequence_space(irs: int, now: int) -> None:
    cookies = SynCookies(KEY)
    assert cookies.check(now, NAME, irs, cookies.make(now, NAME, irs, 1460)) == 1460


def test_cookie_is_good_in_its_period_and_the_next() -> None:
    cookies = SynCookies(KEY)
    start = NOW // PERIOD * PERIOD
    cookie = cookies.make(start, NAME, 77, 1460)
    for later, good in ((0, True), (PERIOD, True), (LIFETIME - 1, True), (LIFETIME, False), (256 * PERIOD, False)):
        assert (cookies.check(start + later, NAME, 77, cookie) == 1460) == good
    assert cookies.check(start - 1, NAME, 77, cookie) is None, "of a time to come"


def test_cookie_fits_its_connection_its_syn_and_its_secret_only() -> None:
    cookies = SynCookies(KEY)
    cookie = cookies.make(NOW, NAME, 77, 1460)
    others = [
        name_of(b"\x0a\0\0\1", 81, b"\x0a\0\0\2", 4000),
        name_of(b"\x0a\0\0\1", 80, b"\x0a\0\0\2", 4001),
        name_of(b"\x0a\0\0\1", 80, b"\x0a\0\0\3", 4000),
        name_of(b"\x0a\0\0\4", 80, b"\x0a\0\0\2", 4000),
    ]
    assert all(cookies.check(NOW, name, 77, cookie) is None for name in others)
    assert cookies.check(NOW, NAME, 78, cookie) is None
    assert cookies.check(NOW, NAME, 77 - (1 << 24), cookie) is None
    assert SynCookies(KEY[::-1]).check(NOW, NAME, 77, cookie) is None


def test_cookie_of_a_guess_is_as_rare_as_promised() -> None:
    """16 good numbers at a time: those of the peer's eight values of MSS, now and a period ago."""
    cookies = SynCookies(KEY)
    good = {cookies.make(at, NAME, 77, mss) for at in (NOW, NOW - PERIOD) for mss in MSS}
    assert len(good) == 16
    assert all(cookies.check(NOW, NAME, 77, cookie) for cookie in good)
    r = random.Random(1)
    guesses = {r.getrandbits(32) for _ in range(20_000)} | {(c + d) & MASK for c in good for d in (-9, 9, 1 << 24)}
    assert {guess for guess in guesses if cookies.check(NOW, NAME, 77, guess)} <= good


def test_cookie_moves_with_the_clock_as_an_initial_sequence_number() -> None:
    """MUST-8, 6528: about 250,000 a second, so that a connection's numbers lie behind those of the last one."""
    cookies = SynCookies(KEY)
    first = cookies.make(NOW, NAME, 77, 1460)
    for periods in (1, 2, 100):
        moved = (cookies.make(NOW + periods * PERIOD, NAME, 77, 1460) - first) & MASK
        assert abs(moved - periods * (1 << 24)) < 1 << 24
    assert 250_000 < (1 << 24) / 64 < 270_000


@pytest.mark.parametrize("ecn", [False, True])
@pytest.mark.parametrize("sack", [False, True])
@pytest.mark.parametrize("wscale", [None, *range(15)])
def test_stamp_carries_the_options_and_is_never_ahead(wscale: int | None, sack: bool, ecn: bool) -> None:
    for ts_now in (64, 1000, 1_000_001, 0x80000000, MASK):
        tsval = stamp(ts_now, wscale, sack, ecn)
        assert unstamp(tsval) == (wscale, sack, ecn)
        assert 0 <= ts_now - tsval < 64
    assert (0 - stamp(0, wscale, sack, ecn)) & MASK < 64  # the clock has just wrapped
