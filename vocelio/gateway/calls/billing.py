"""What a call costs the client, by segments of time at one voice tier.

Billed is from the first stream's begin to the last one's end, with what passes between a stream that was lost and
the one that went on, and without transfers. The tier in force is that of the voice that spoke last; before anybody
has spoken, of the first one that will.

What the providers of speech did for one call: what they will ask money for, and how fast they were.
"""

from collections.abc import Mapping
from copy import copy
from typing import Any, assert_never

from vocelio.engine.voice import Tier
from vocelio.gateway.metrics import Metrics
from vocelio.gateway.speech.telemetry import FirstAudio, ProviderFailure, RecognitionUsage, SpeechEvent, SynthesisUsage
from vocelio.gateway.store.calls.interface import ProviderUsageTotals, Segment

MICROSECONDS_PER_MINUTE = 60_000_000


def cost_micro_usd(microseconds: int, rate: int) -> int:
    """Micro-USD for so long at that rate (micro-USD a minute), rounded half up once."""
    return (microseconds * rate + MICROSECONDS_PER_MINUTE // 2) // MICROSECONDS_PER_MINUTE


class BillingMeter:
    """One call's. Instants are whole microseconds UTC; one before an earlier one (the clock was set back) adds nothing.

    ``held`` is what another meter of the same call had to say by ``state``.
    """

    def __init__(self, rates: Mapping[Tier, int], tier: Tier, saved_state: Mapping[str, Any] | None = None) -> None:
        self._rates = rates
        state = saved_state or {"spent": [[tier, 0]], "until": 0, "away": False, "silent": True}
        self._segments: list[tuple[Tier, int]] = [(kind, microseconds) for kind, microseconds in state["spent"]]
        self._metered_until: int = state["until"]
        self._paused: bool = state["away"]
        self._tier_is_provisional: bool = state.get("silent", False)  # nobody has spoken yet: the tier is only supposed

    def state(self) -> dict[str, Any]:
        """All of it, JSON-able."""
        return {
            "spent": self._segments,
            "until": self._metered_until,
            "away": self._paused,
            "silent": self._tier_is_provisional,
        }

    def start_stream(self, now: int) -> None:
        """A stream begins: the call's first, or one that goes on with it."""
        if self._paused or not self._metered_until:
            self._metered_until = max(now, self._metered_until)
        self._paused = False
        self.advance(now)

    def advance(self, now: int) -> None:
        """The call has gone on until now."""
        if self._metered_until and not self._paused and now > self._metered_until:
            tier, microseconds = self._segments[-1]
            self._segments[-1] = (tier, microseconds + now - self._metered_until)
            self._metered_until = now

    def set_tier(self, now: int, tier: Tier) -> None:
        """A voice of that tier speaks: from now on it is in force; from the beginning, if it is the first."""
        self.advance(now)
        if self._tier_is_provisional:
            self._tier_is_provisional, self._segments = False, [(tier, self._segments[-1][1])]
        elif tier != self._segments[-1][0]:
            self._segments.append((tier, 0))

    def pause(self) -> None:
        """A transfer begins: what follows is not billed, until a stream begins again."""
        self._paused = True

    def resume(self) -> None:
        """The transfer was not begun: the call has gone on all the time."""
        self._paused = False

    @property
    def segments(self) -> tuple[Segment, ...]:
        """What was billed, in order; there is at least one."""
        spent = [one for one in self._segments if one[1]] or self._segments[-1:]
        return tuple(
            Segment(tier, part, self._rates[tier], cost_micro_usd(part, self._rates[tier])) for tier, part in spent
        )

    @property
    def billed_microseconds(self) -> int:
        """Microseconds."""
        return sum(microseconds for _, microseconds in self._segments)

    @property
    def total_micro_usd(self) -> int:
        """What it costs: the sum of its segments, each rounded on its own."""
        return sum(segment.cost_micro_usd for segment in self.segments)


class ProviderUsage:
    """All of a call's, through all of its streams."""

    def __init__(self, totals: dict[Tier, ProviderUsageTotals] | None = None) -> None:
        self._totals = totals or {}

    def snapshot(self) -> dict[Tier, ProviderUsageTotals]:
        """As it is now."""
        return {provider: copy(tally) for provider, tally in self._totals.items()}

    def add(self, event: SpeechEvent) -> None:
        """Take it into account."""
        if isinstance(event, FirstAudio):
            return
        tally = self._totals.setdefault(event.provider, ProviderUsageTotals())
        match event:
            case SynthesisUsage(characters=characters, first_audio_seconds=seconds):
                tally.syntheses += 1
                tally.characters += characters
                if seconds is not None:
                    tally.first_byte_count += 1
                    tally.first_byte_total_ms += round(seconds * 1000)
                    tally.first_byte_max_ms = max(tally.first_byte_max_ms, round(seconds * 1000))
            case RecognitionUsage(audio_seconds=seconds, latency_seconds=after):
                tally.recognitions += 1
                tally.recognized_ms += round(seconds * 1000)
                if after is not None:
                    tally.transcripts += 1
                    tally.transcript_latency_total_ms += round(after * 1000)
            case ProviderFailure():
                tally.failures += 1
            case _:
                assert_never(event)


def update_metrics(metrics: Metrics, event: SpeechEvent) -> None:
    """The same, for the process's figures."""
    match event:
        case SynthesisUsage():
            metrics.observe_synthesis(event.provider, event.characters, event.first_audio_seconds)
        case RecognitionUsage():
            metrics.observe_recognition(event.provider, event.audio_seconds, event.latency_seconds)
        case ProviderFailure():
            metrics.count_failure(event.provider, event.service)
        case FirstAudio():
            pass
