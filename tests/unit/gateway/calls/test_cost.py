"""Money is whole micro-USD, rounded half up once."""

import pytest

from vocelio.gateway.calls.cost import cost


@pytest.mark.parametrize(
    ("seconds", "tier", "micro_usd"),
    [
        (60, "local", 0),
        (60, "azure", 80_000),
        (60, "elevenlabs", 350_000),
        (0, "azure", 0),
        (3600, "elevenlabs", 21_000_000),
        (0.000375, "azure", 1),  # half a micro-USD
        (0.000374, "azure", 0),
    ],
)
def test_cost(seconds, tier, micro_usd):
    assert cost(round(seconds * 1e6), tier) == micro_usd
