"""Buckets: a burst, then a steady rate; what is forgotten is full again."""

import pytest

from vocelio.gateway.api.framework import authentication
from vocelio.gateway.api.framework.authentication import TokenBuckets
from vocelio.gateway.errors import RateLimited


class ManualClock:
    def __init__(self):
        self.now = 1_700_000_000_000_000

    def __call__(self):
        return self.now


@pytest.fixture
def clock():
    return ManualClock()


def acquire_all(buckets, name="key", most=1_000):
    """How many can be taken at once."""
    for count in range(most):
        try:
            buckets.acquire(name)
        except RateLimited:
            return count
    return most


def test_a_burst_and_then_a_steady_rate(clock):
    buckets = TokenBuckets(50, 200, clock)
    assert acquire_all(buckets) == 200
    clock.now += 100_000
    assert acquire_all(buckets) == 5
    clock.now += 60_000_000
    assert acquire_all(buckets) == 200


def test_a_refusal_says_how_long_to_wait_and_takes_nothing(clock):
    buckets = TokenBuckets(0.5, 1, clock)
    buckets.acquire("key")
    for _ in range(10):
        with pytest.raises(RateLimited) as refused:
            buckets.acquire("key")
        assert refused.value.retry_after_seconds == pytest.approx(2)
    clock.now += 2_000_000
    buckets.acquire("key")


def test_one_bucket_is_not_anothers(clock):
    buckets = TokenBuckets(1, 3, clock)
    assert [acquire_all(buckets, "a"), acquire_all(buckets, "b")] == [3, 3]


def test_a_clock_that_is_put_back_takes_nothing_away(clock):
    buckets = TokenBuckets(1, 3, clock)
    buckets.acquire("key")
    clock.now -= 3_600_000_000
    assert acquire_all(buckets) == 2


def test_there_is_a_bound_to_what_is_remembered(clock):
    buckets = TokenBuckets(1, 1, clock)
    buckets.acquire("first")
    for place in range(authentication.MAX_BUCKETS):
        buckets.acquire(str(place))
    assert acquire_all(buckets, "first") == 1  # forgotten, so full again
    assert acquire_all(buckets, str(authentication.MAX_BUCKETS - 1)) == 0
