"""Identifiers as Twilio makes them: two letters that say of what, and 32 hexadecimal digits."""

import random


def new_rng(seed: int | None = None) -> random.Random:
    """Where identifiers come from; the same seed gives the same ones."""
    return random.Random(seed)  # noqa: S311 - identifiers of pretended calls guard nothing


def new_sid(prefix: str, rng: random.Random) -> str:
    """A new identifier, such as ``CA`` for a call and ``MZ`` for a stream."""
    return f"{prefix}{rng.getrandbits(128):032x}"


def new_idempotency_token(rng: random.Random) -> str:
    """The token that retries of one webhook have in common."""
    digits = f"{rng.getrandbits(128):032x}"
    return "-".join((digits[:8], digits[8:12], digits[12:16], digits[16:20], digits[20:]))
