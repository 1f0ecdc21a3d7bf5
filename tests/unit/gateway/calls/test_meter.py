"""Money is whole micro-USD, rounded half up once for each segment; what is billed is the caller's time with us."""

import pytest

from vocelio.gateway.calls.billing import Meter, cost

RATES = {"local": 0, "azure": 80_000, "elevenlabs": 350_000}
SECOND = 1_000_000
START = 1_700_000_000 * SECOND


@pytest.mark.parametrize(
    ("seconds", "rate", "micro_usd"),
    [
        (60, 0, 0),
        (60, 80_000, 80_000),
        (60, 350_000, 350_000),
        (0, 80_000, 0),
        (3600, 350_000, 21_000_000),
        (0.000375, 80_000, 1),  # half a micro-USD
        (0.000374, 80_000, 0),
    ],
)
def test_cost(seconds, rate, micro_usd):
    assert cost(round(seconds * 1e6), rate) == micro_usd


def shown(meter):
    return [(segment.tier, segment.billed / SECOND, segment.micro_usd) for segment in meter.segments]


def at(seconds):
    return START + round(seconds * SECOND)


def test_a_call_that_changes_tier_is_costed_by_segment():
    meter = Meter(RATES, "azure")
    meter.begin(at(0))
    meter.sound(at(1), "azure")
    meter.sound(at(30), "elevenlabs")
    meter.sound(at(40), "elevenlabs")
    meter.sound(at(60), "azure")
    meter.run(at(61))
    assert shown(meter) == [("azure", 30, 40_000), ("elevenlabs", 30, 175_000), ("azure", 1, 1_333)]
    assert (meter.billed, meter.micro_usd) == (61 * SECOND, 216_333)


def test_a_stream_that_was_lost_is_billed_until_it_ended_and_its_gap_once_the_call_goes_on():
    meter = Meter(RATES, "azure")
    meter.begin(at(0))
    meter.run(at(10))
    assert meter.billed == 10 * SECOND
    meter.begin(at(12))
    assert meter.billed == 12 * SECOND


def test_a_transfer_is_not_billed():
    meter = Meter(RATES, "azure")
    meter.begin(at(0))
    meter.run(at(10))
    meter.leave()
    meter.run(at(50))
    meter.begin(at(100))
    meter.run(at(105))
    assert meter.billed == 15 * SECOND


def test_a_clock_that_is_set_back_adds_nothing_and_takes_nothing():
    meter = Meter(RATES, "azure")
    meter.begin(at(10))
    meter.sound(at(10), "azure")
    meter.run(at(20))
    meter.run(at(5))
    meter.sound(at(15), "local")
    meter.run(at(25))
    assert shown(meter) == [("azure", 10, 13_333), ("local", 5, 0)]


def test_a_call_without_a_stream_has_a_segment_without_time():
    assert shown(Meter(RATES, "elevenlabs")) == [("elevenlabs", 0, 0)]


def test_another_process_goes_on_with_the_same_meter():
    meter = Meter(RATES, "azure")
    meter.begin(at(0))
    meter.sound(at(0), "azure")
    meter.sound(at(7), "local")
    meter.run(at(9))
    other = Meter(RATES, "azure", meter.state())
    other.begin(at(11))
    assert shown(other) == [("azure", 7, 9_333), ("local", 4, 0)]


def test_what_passed_before_anybody_spoke_is_at_the_tier_of_the_first_who_did():
    meter = Meter(RATES, "elevenlabs")
    meter.begin(at(0))
    meter.run(at(2))
    other = Meter(RATES, "elevenlabs", meter.state())
    other.sound(at(3), "local")
    other.run(at(9))
    assert shown(other) == [("local", 9, 0)]
