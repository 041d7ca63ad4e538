"""Fast Open's leaves: cookies nobody can forge, places that resets do not give back, a client's memory."""

from __future__ import annotations

import pytest

from scapystack.base.types import SECOND
from scapystack.layers.tcp.fastopen import HOLD_NS, CookieCache, PendingRequests, ServerCookies

A = b"\x0a\0\0\1"
B = b"\x0a\0\0\2"
KEY = bytes(range(32))
COOKIE = b"12345678"


# -- the server's cookies ------------------------------------------------------------------------------------


def test_cookie_is_valid_for_the_addresses_it_was_made_for() -> None:
    """RFC 7413 section 4.1.2: it authenticates the source address."""
    cookies = ServerCookies(KEY, 1000)
    cookie = cookies.cookie(A, B, 0)
    assert len(cookie) == 8
    assert cookies.valid(cookie, A, B, 0)
    assert not cookies.valid(cookie, B, B, 0)
    assert not cookies.valid(cookie, A, A, 0)


@pytest.mark.parametrize("forged", [b"", b"1234", bytes(8), bytes(16)])
def test_cookie_that_is_not_ours_is_invalid(forged: bytes) -> None:
    assert not ServerCookies(KEY, 1000).valid(forged, A, B, 0)


def test_cookie_cut_or_lengthened_is_invalid() -> None:
    cookies = ServerCookies(KEY, 1000)
    cookie = cookies.cookie(A, B, 0)
    assert not cookies.valid(cookie[:4], A, B, 0)
    assert not cookies.valid(cookie + cookie, A, B, 0)


def test_cookie_of_another_secret_is_invalid() -> None:
    assert not ServerCookies(KEY, 1000).valid(ServerCookies(KEY[::-1], 1000).cookie(A, B, 0), A, B, 0)


def test_cookie_lives_for_the_period_after_its_own_and_no_longer() -> None:
    """RFC 7413 section 4.1.2, 5: it expires; the key before is still accepted, so no client is cut off at once."""
    cookies = ServerCookies(KEY, 1000)
    old = cookies.cookie(A, B, 0)
    assert cookies.cookie(A, B, SECOND - 1) == old
    assert cookies.cookie(A, B, SECOND) != old
    assert cookies.valid(old, A, B, 2 * SECOND - 1)
    assert not cookies.valid(old, A, B, 2 * SECOND)
    assert not cookies.valid(cookies.cookie(A, B, 9 * SECOND), A, B, 2 * SECOND)


# -- the server's pending requests ---------------------------------------------------------------------------


def test_pending_requests_that_complete_make_room_at_once() -> None:
    pending = PendingRequests()
    assert pending.room(1, 0)
    pending.begin()
    assert not pending.room(1, 0)
    pending.completed()
    assert pending.room(1, 0)
    assert not pending.room(0, 0)


def test_pending_requests_that_were_reset_make_room_a_minute_after_their_syn() -> None:
    """RFC 7413 section 5.1."""
    pending = PendingRequests()
    pending.begin()
    pending.begin()
    pending.abandoned(10 * SECOND, 11 * SECOND)
    pending.abandoned(5 * SECOND, 12 * SECOND)
    assert not pending.room(2, 65 * SECOND - 1)
    assert pending.room(2, 65 * SECOND)
    assert not pending.room(1, 70 * SECOND - 1)
    assert pending.room(1, 70 * SECOND)


def test_pending_request_that_waited_a_minute_makes_room_when_it_ends() -> None:
    pending = PendingRequests()
    pending.begin()
    assert not pending.room(1, 2 * HOLD_NS)
    pending.abandoned(0, HOLD_NS)
    assert pending.room(1, HOLD_NS)


# -- the client's cache --------------------------------------------------------------------------------------


def test_cache_gives_the_latest_cookie_of_a_pair_of_addresses() -> None:
    """RFC 7413 section 4.1.3: at most one per client and server address."""
    cache = CookieCache(8)
    assert cache.find(A, B) is None
    cache.learn(A, B, b"abcd", 1000)
    cache.learn(A, B, COOKIE, 1200)
    assert cache.find(A, B) == (COOKIE, 1200)
    assert cache.find(B, A) is None


def test_cache_learns_an_mss_beside_a_cookie_that_stands() -> None:
    cache = CookieCache(8)
    cache.learn(A, B, None, 1000)
    assert cache.find(A, B) is None
    cache.learn(A, B, COOKIE, 1000)
    cache.learn(A, B, None, 1400)
    assert cache.find(A, B) == (COOKIE, 1400)


def test_cache_holds_no_larger_mss_than_ethernets() -> None:
    """RFC 7413 section 4.1.3."""
    cache = CookieCache(8)
    cache.learn(A, B, COOKIE, 8960)
    cache.learn(A * 4, B * 4, COOKIE, 8960)
    assert (cache.find(A, B), cache.find(A * 4, B * 4)) == ((COOKIE, 1460), (COOKIE, 1440))


def test_cache_is_bounded_and_forgets_the_one_unused_for_longest() -> None:
    cache = CookieCache(2)
    servers = [bytes([10, 0, 1, n]) for n in range(3)]
    for server in servers[:2]:
        cache.learn(A, server, COOKIE, 1460)
    cache.find(A, servers[0])
    cache.learn(A, servers[2], COOKIE, 1460)
    assert len(cache) == 2
    assert [cache.find(A, server) is not None for server in servers] == [True, False, True]


def test_cache_of_failures_is_bounded() -> None:
    cache = CookieCache(2)
    for port in range(3):
        cache.failed(A, B, port, 0)
    assert [cache.allowed(A, B, port, 0) for port in range(3)] == [True, False, False]


def test_failure_forbids_the_path_for_a_minute_then_for_two() -> None:
    """RFC 7413 section 4.1.3.1: at least temporarily, by addresses and port."""
    cache = CookieCache(8)
    cache.failed(A, B, 80, 0)
    assert cache.allowed(A, B, 81, 0)
    assert not cache.allowed(A, B, 80, 60 * SECOND - 1)
    assert cache.allowed(A, B, 80, 60 * SECOND)
    cache.failed(A, B, 80, 60 * SECOND)
    assert not cache.allowed(A, B, 80, 180 * SECOND - 1)
    assert cache.allowed(A, B, 80, 180 * SECOND)


def test_failures_in_a_row_forbid_the_path_for_an_hour_at_most() -> None:
    cache = CookieCache(8)
    for _ in range(40):
        cache.failed(A, B, 80, 0)
    assert cache.allowed(A, B, 80, 64 * 60 * SECOND)


def test_success_ends_what_was_held_against_the_path() -> None:
    cache = CookieCache(8)
    cache.failed(A, B, 80, 0)
    cache.failed(A, B, 80, 0)
    cache.worked(A, B, 80)
    assert cache.allowed(A, B, 80, 0)
    cache.failed(A, B, 80, 0)
    assert cache.allowed(A, B, 80, 60 * SECOND)
