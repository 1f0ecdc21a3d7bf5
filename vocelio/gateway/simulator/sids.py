"""Twilio's identifiers (SIDs): a two-letter prefix for the resource and 32 hexadecimal digits."""

import random


def new_rng(seed: int | None = None) -> random.Random:
    """Return the random source of identifiers; the same seed gives the same identifiers."""
    return random.Random(seed)  # noqa: S311 - identifiers of simulated calls are no secrets


def new_sid(prefix: str, rng: random.Random) -> str:
    """Return a new SID; ``prefix`` is ``CA`` for a call, ``MZ`` for a stream."""
    return f"{prefix}{rng.getrandbits(128):032x}"


def new_idempotency_token(rng: random.Random) -> str:
    """Return a token that all attempts of one webhook share."""
    digits = f"{rng.getrandbits(128):032x}"
    return "-".join((digits[:8], digits[8:12], digits[12:16], digits[16:20], digits[20:]))
