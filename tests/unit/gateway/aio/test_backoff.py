"""Exponential backoff."""

from vocelio.gateway.aio.backoff import Backoff


def test_delay_doubles_with_each_failure_up_to_the_maximum():
    backoff = Backoff(initial_seconds=10, max_seconds=3_600)
    assert [backoff.delay_seconds(n) for n in (1, 2, 3, 9, 10, 1_000_000)] == [10, 20, 40, 2_560, 3_600, 3_600]


def test_no_failure_means_no_delay():
    assert Backoff(0.5, 30.0).delay_seconds(0) == 0.0
