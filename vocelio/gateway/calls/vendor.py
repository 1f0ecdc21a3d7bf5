"""What the providers of speech did for one call: what they will ask money for, and how fast they were."""

from typing import assert_never

import msgspec

from vocelio.engine.voice import Tier
from vocelio.gateway.metrics import Metrics
from vocelio.gateway.speech.facts import Fact, Recognised, Sounded, Synthesised, Troubled


class Tally(msgspec.Struct, omit_defaults=True):
    """One provider's. ``characters`` were to be spoken, ``recognised_ms`` of sound were sent to be recognised.

    ``first_byte_ms`` is the sum over ``sounded`` syntheses, ``first_byte_max_ms`` the slowest; ``text_ms`` the sum over
    ``understood`` utterances of what passed from their end to their text.
    """

    syntheses: int = 0
    characters: int = 0
    sounded: int = 0
    first_byte_ms: int = 0
    first_byte_max_ms: int = 0
    recognitions: int = 0
    recognised_ms: int = 0
    understood: int = 0
    text_ms: int = 0
    failures: int = 0


class Vendors:
    """All of a call's, through all of its streams."""

    def __init__(self, tallies: dict[Tier, Tally] | None = None) -> None:
        self.tallies = tallies or {}

    def add(self, fact: Fact) -> None:
        """Take it into account."""
        if isinstance(fact, Sounded):
            return
        tally = self.tallies.setdefault(fact.provider, Tally())
        match fact:
            case Synthesised(characters=characters, seconds=seconds):
                tally.syntheses += 1
                tally.characters += characters
                if seconds is not None:
                    tally.sounded += 1
                    tally.first_byte_ms += round(seconds * 1000)
                    tally.first_byte_max_ms = max(tally.first_byte_max_ms, round(seconds * 1000))
            case Recognised(seconds=seconds, after=after):
                tally.recognitions += 1
                tally.recognised_ms += round(seconds * 1000)
                if after is not None:
                    tally.understood += 1
                    tally.text_ms += round(after * 1000)
            case Troubled():
                tally.failures += 1
            case _:
                assert_never(fact)


def measure(metrics: Metrics, fact: Fact) -> None:
    """The same, for the process's figures."""
    match fact:
        case Synthesised():
            metrics.synthesised(fact.provider, fact.characters, fact.seconds)
        case Recognised():
            metrics.recognised(fact.provider, fact.seconds, fact.after)
        case Troubled():
            metrics.failed(fact.provider, fact.service)
        case Sounded():
            pass
