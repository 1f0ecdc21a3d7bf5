"""Buckets: a burst, then a steady rate; what is forgotten is full again."""

import pytest

from vocelio.gateway.api.framework import rate_limit
from vocelio.gateway.api.framework.rate_limit import Buckets
from vocelio.gateway.errors import TooMany


class Clock:
    def __init__(self):
        self.now = 1_700_000_000_000_000

    def __call__(self):
        return self.now


@pytest.fixture
def clock():
    return Clock()


def taken(buckets, name="key", most=1_000):
    """How many can be taken at once."""
    for count in range(most):
        try:
            buckets.take(name)
        except TooMany:
            return count
    return most


def test_a_burst_and_then_a_steady_rate(clock):
    buckets = Buckets(50, 200, clock)
    assert taken(buckets) == 200
    clock.now += 100_000
    assert taken(buckets) == 5
    clock.now += 60_000_000
    assert taken(buckets) == 200


def test_a_refusal_says_how_long_to_wait_and_takes_nothing(clock):
    buckets = Buckets(0.5, 1, clock)
    buckets.take("key")
    for _ in range(10):
        with pytest.raises(TooMany) as refused:
            buckets.take("key")
        assert refused.value.seconds == pytest.approx(2)
    clock.now += 2_000_000
    buckets.take("key")


def test_one_bucket_is_not_anothers(clock):
    buckets = Buckets(1, 3, clock)
    assert [taken(buckets, "a"), taken(buckets, "b")] == [3, 3]


def test_a_clock_that_is_put_back_takes_nothing_away(clock):
    buckets = Buckets(1, 3, clock)
    buckets.take("key")
    clock.now -= 3_600_000_000
    assert taken(buckets) == 2


def test_there_is_a_bound_to_what_is_remembered(clock):
    buckets = Buckets(1, 1, clock)
    buckets.take("first")
    for place in range(rate_limit.REMEMBERED):
        buckets.take(str(place))
    assert taken(buckets, "first") == 1  # forgotten, so full again
    assert taken(buckets, str(rate_limit.REMEMBERED - 1)) == 0
