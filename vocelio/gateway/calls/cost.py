"""What a call costs the client, in whole micro-USD: seconds at a tier times the tier's rate, rounded half up once."""

from vocelio.engine.voice import Tier

RATES: dict[Tier, int] = {"local": 0, "azure": 80_000, "elevenlabs": 350_000}
"""Micro-USD a minute."""

MICROSECONDS_A_MINUTE = 60_000_000


def cost(microseconds: int, tier: Tier) -> int:
    """Micro-USD for so long at that tier."""
    return (microseconds * RATES[tier] + MICROSECONDS_A_MINUTE // 2) // MICROSECONDS_A_MINUTE
