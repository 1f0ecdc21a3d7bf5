"""What a call is told about how it is spoken for and heard: for its bill, its timeline and those who watch."""

from collections.abc import Callable

import msgspec

from vocelio.engine.voice import Tier
from vocelio.gateway.speech.circuit_breaker import Service


class Sounded(msgspec.Struct, frozen=True):
    """The first sound of a prompt is there, and whose voice it is; or another voice goes on with the prompt."""

    provider: Tier


class Synthesised(msgspec.Struct, frozen=True):
    """A provider was asked to speak so many ``characters``. ``seconds`` passed until its first sound, if one came."""

    provider: Tier
    characters: int
    seconds: float | None


class Recognised(msgspec.Struct, frozen=True):
    """A provider was sent so many ``seconds`` of sound. ``after`` the utterance's end so many passed to its text."""

    provider: Tier
    seconds: float
    after: float | None


class Troubled(msgspec.Struct, frozen=True):
    """A provider failed in this call; ``problem`` is safe to show. Another goes on, if there is one.

    One that came too ``late`` is likely to be so again at once, with all that it does.
    """

    provider: Tier
    service: Service
    problem: str
    late: bool = False


Fact = Sounded | Synthesised | Recognised | Troubled
Told = Callable[[Fact], None]


def untold(_: Fact) -> None:
    """For whom it is nobody's business."""
