"""What the providers of speech did for one call: what they will ask money for, and how fast they were."""

from copy import copy
from typing import assert_never

from vocelio.engine.voice import Tier
from vocelio.gateway.metrics import Metrics
from vocelio.gateway.speech.telemetry import Fact, Recognised, Sounded, Synthesised, Troubled
from vocelio.gateway.store.calls.interface import Tally


class Vendors:
    """All of a call's, through all of its streams."""

    def __init__(self, tallies: dict[Tier, Tally] | None = None) -> None:
        self._tallies = tallies or {}

    def copy(self) -> dict[Tier, Tally]:
        """As it is now."""
        return {provider: copy(tally) for provider, tally in self._tallies.items()}

    def add(self, fact: Fact) -> None:
        """Take it into account."""
        if isinstance(fact, Sounded):
            return
        tally = self._tallies.setdefault(fact.provider, Tally())
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
