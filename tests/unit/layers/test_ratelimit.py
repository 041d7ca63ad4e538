"""Token buckets: the burst, the rate, and a bounded number of peers."""

from scapystack.base.rng import Rng
from scapystack.base.types import SECOND
from scapystack.layers.ratelimit import Bucket, Jittered, PeerBuckets


def taken(bucket, now, tries=1_000, rate=10, burst=5):
    return sum(bucket.take(now, rate, burst) for _ in range(tries))


def test_ratelimit_burst_then_rate():
    bucket = Bucket()
    assert taken(bucket, SECOND) == 5
    assert taken(bucket, SECOND + SECOND // 10) == 1
    assert taken(bucket, SECOND + SECOND // 10 + 1) == 0
    assert sum(taken(bucket, SECOND * 10 + n * SECOND // 100, tries=100) for n in range(1_000)) in (104, 105)


def test_ratelimit_idle_refills_no_more_than_the_burst():
    bucket = Bucket()
    taken(bucket, 0)
    assert taken(bucket, 3_600 * SECOND) == 5


def test_ratelimit_rate_zero_is_never():
    assert taken(Bucket(), SECOND, rate=0) == 0
    assert taken(Bucket(), SECOND, burst=0) == 0


def test_ratelimit_peers_do_not_share_and_are_bounded():
    peers = PeerBuckets(limit=8)
    assert sum(peers.take(b"a", 0, 10, 5) for _ in range(9)) == 5
    assert sum(peers.take(b"b", 0, 10, 5) for _ in range(9)) == 5
    for n in range(100):
        peers.take(n.to_bytes(4, "big"), 0, 10, 5)
    assert len(peers) == 8


def test_jittered_gives_between_half_and_all_in_one_to_two_periods():
    """5961/7: and the same for the same seed."""

    def given(seed):
        limit, rng = Jittered(), Rng(seed)
        return [sum(limit.take(rng, at * SECOND // 2, 100, SECOND) for _ in range(200)) for at in range(300)]

    assert set(given(1)) <= {0, *range(50, 101)}
    assert len(set(given(1))) > 30
    assert 75 <= sum(n > 0 for n in given(1)) <= 150
    assert given(1) == given(1) != given(2)


def test_jittered_of_one_gives_one_and_of_none_gives_none():
    limit, rng = Jittered(), Rng(1)
    assert [limit.take(rng, 0, 1, SECOND) for _ in range(3)] == [True, False, False]
    assert limit.take(rng, 2 * SECOND, 1, SECOND)
    none = Jittered()
    assert not any(none.take(rng, second * SECOND, 0, SECOND) for second in range(9))
