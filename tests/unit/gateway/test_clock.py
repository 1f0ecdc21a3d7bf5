"""Instants as RFC 3339 text: one form out, every valid form in."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vocelio.gateway.clock import from_rfc3339, to_rfc3339

MAX_INSTANT = 253_402_300_799_999_999
"""The last microsecond of the year 9999."""


@pytest.mark.parametrize(
    ("microseconds", "text"),
    [
        (0, "1970-01-01T00:00:00.000000Z"),
        (1_796_080_200_123_456, "2026-11-30T23:10:00.123456Z"),
        (1_796_080_200_000_000, "2026-11-30T23:10:00.000000Z"),
        (-1, "1969-12-31T23:59:59.999999Z"),
        (MAX_INSTANT, "9999-12-31T23:59:59.999999Z"),
    ],
)
def test_instant_is_formatted_in_utc_with_six_digits(microseconds, text):
    assert to_rfc3339(microseconds) == text
    assert from_rfc3339(text) == microseconds


@given(st.integers(0, MAX_INSTANT))
def test_formatted_instant_parses_to_itself(microseconds):
    assert from_rfc3339(to_rfc3339(microseconds)) == microseconds


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("2026-11-30T23:10:00Z", "2026-11-30T23:10:00.000000Z"),
        ("2026-11-30T23:10:00.1z", "2026-11-30T23:10:00.100000Z"),
        ("2026-11-30t23:10:00+00:00", "2026-11-30T23:10:00.000000Z"),
        ("2026-12-01T00:40:00.5+01:30", "2026-11-30T23:10:00.500000Z"),
        ("2026-11-30T15:10:00-08:00", "2026-11-30T23:10:00.000000Z"),
        ("2026-11-30T23:10:00.1234564Z", "2026-11-30T23:10:00.123456Z"),
    ],
)
def test_every_form_of_rfc_3339_is_parsed(text, expected):
    assert to_rfc3339(from_rfc3339(text)) == expected


@pytest.mark.parametrize(
    "text",
    ["", "now", "1796080200123456", "2026-11-30", "2026-11-30T23:10:00", "20261130T231000Z", "2026-13-01T00:00:00Z"],
)
def test_other_text_is_rejected(text):
    with pytest.raises(ValueError, match="RFC 3339"):
        from_rfc3339(text)
