"""Cost is whole micro-USD, rounded half up once per segment; billed is the time on streams, without transfers."""

import msgspec
import pytest

from vocelio.gateway.calls.billing import BillingMeter, MeterState, cost_micro_usd

RATES = {"local": 0, "azure": 80_000, "elevenlabs": 350_000}
SECOND_US = 1_000_000
START = 1_700_000_000 * SECOND_US


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
    assert cost_micro_usd(round(seconds * 1e6), rate) == micro_usd


def make_meter(tier):
    return BillingMeter(RATES, MeterState([(tier, 0)]))


def resume_meter(meter):
    """The meter of another process, with the saved state of this one."""
    return BillingMeter(RATES, msgspec.json.decode(msgspec.json.encode(meter.state), type=MeterState))


def segments_of(meter):
    return [
        (segment.tier, segment.billed_microseconds / SECOND_US, segment.cost_micro_usd) for segment in meter.segments
    ]


def instant_at(seconds):
    return START + round(seconds * SECOND_US)


def test_cost_is_summed_by_tier_segment():
    meter = make_meter("azure")
    meter.start_stream(instant_at(0))
    meter.set_tier(instant_at(1), "azure")
    meter.set_tier(instant_at(30), "elevenlabs")
    meter.set_tier(instant_at(40), "elevenlabs")
    meter.set_tier(instant_at(60), "azure")
    meter.advance(instant_at(61))
    assert segments_of(meter) == [("azure", 30, 40_000), ("elevenlabs", 30, 175_000), ("azure", 1, 1_333)]
    assert (meter.billed_microseconds, meter.total_micro_usd) == (61 * SECOND_US, 216_333)


def test_gap_between_streams_is_billed_on_resume():
    meter = make_meter("azure")
    meter.start_stream(instant_at(0))
    meter.advance(instant_at(10))
    assert meter.billed_microseconds == 10 * SECOND_US
    meter.start_stream(instant_at(12))
    assert meter.billed_microseconds == 12 * SECOND_US


def test_a_transfer_is_not_billed():
    meter = make_meter("azure")
    meter.start_stream(instant_at(0))
    meter.advance(instant_at(10))
    meter.pause()
    meter.advance(instant_at(50))
    meter.start_stream(instant_at(100))
    meter.advance(instant_at(105))
    assert meter.billed_microseconds == 15 * SECOND_US


def test_clock_set_back_changes_no_billed_time():
    meter = make_meter("azure")
    meter.start_stream(instant_at(10))
    meter.set_tier(instant_at(10), "azure")
    meter.advance(instant_at(20))
    meter.advance(instant_at(5))
    meter.set_tier(instant_at(15), "local")
    meter.advance(instant_at(25))
    assert segments_of(meter) == [("azure", 10, 13_333), ("local", 5, 0)]


def test_call_without_a_stream_has_one_empty_segment():
    assert segments_of(make_meter("elevenlabs")) == [("elevenlabs", 0, 0)]


def test_meter_continues_from_saved_state():
    meter = make_meter("azure")
    meter.start_stream(instant_at(0))
    meter.set_tier(instant_at(0), "azure")
    meter.set_tier(instant_at(7), "local")
    meter.advance(instant_at(9))
    other = resume_meter(meter)
    other.start_stream(instant_at(11))
    assert segments_of(other) == [("azure", 7, 9_333), ("local", 4, 0)]


def test_time_before_the_first_prompt_is_billed_at_its_tier():
    meter = make_meter("elevenlabs")
    meter.start_stream(instant_at(0))
    meter.advance(instant_at(2))
    other = resume_meter(meter)
    other.set_tier(instant_at(3), "local")
    other.advance(instant_at(9))
    assert segments_of(other) == [("local", 9, 0)]
