"""What a call costs: the tenant's bill by voice tier, and the usage that the speech providers will charge for.

Billed is from the start of the first stream to the end of the last one, including the gap between a lost stream and the
one that resumed the call, excluding transfers. The tier in force is that of the voice that spoke last; before the first
prompt, that of the first voice to speak.
"""

from collections.abc import Mapping
from copy import copy
from typing import assert_never

import msgspec

from vocelio.engine.voice import Tier
from vocelio.gateway.metrics import Metrics
from vocelio.gateway.speech.interfaces import FirstAudio, ProviderFailure, RecognitionUsage, SpeechEvent, SynthesisUsage
from vocelio.gateway.store.calls.interface import ProviderUsageTotals, Segment

MICROSECONDS_PER_MINUTE = 60_000_000


def cost_micro_usd(microseconds: int, micro_usd_per_minute: int) -> int:
    """Compute a segment's cost, rounded half up once."""
    return (microseconds * micro_usd_per_minute + MICROSECONDS_PER_MINUTE // 2) // MICROSECONDS_PER_MINUTE


class MeterState(msgspec.Struct):
    """The state of a BillingMeter, as the call's next stream takes it over. Instants are microseconds UTC.

    ``segments`` are pairs of tier and billed microseconds. ``tier_is_provisional``: no voice has spoken yet, so the
    tier of the only segment is that of the flow's voice.
    """

    segments: list[tuple[Tier, int]]
    metered_until: int = 0
    paused: bool = False
    tier_is_provisional: bool = True


class BillingMeter:
    """Meters one call. Instants are whole microseconds UTC; one before an earlier one (the clock was set back) adds 0.

    ``state`` is mutated in place.
    """

    def __init__(self, rates: Mapping[Tier, int], state: MeterState) -> None:
        self._rates, self.state = rates, state

    def start_stream(self, now: int) -> None:
        """Start or resume metering with a new stream."""
        state = self.state
        if state.paused or not state.metered_until:
            state.metered_until = max(now, state.metered_until)
        state.paused = False
        self.advance(now)

    def advance(self, now: int) -> None:
        """Bill the time until now."""
        state = self.state
        if state.metered_until and not state.paused and now > state.metered_until:
            tier, microseconds = state.segments[-1]
            state.segments[-1] = (tier, microseconds + now - state.metered_until)
            state.metered_until = now

    def set_tier(self, now: int, tier: Tier) -> None:
        """Bill at that tier from now on; from the start of the call, if it is the first voice to speak."""
        self.advance(now)
        state = self.state
        if state.tier_is_provisional:
            state.tier_is_provisional, state.segments = False, [(tier, state.segments[-1][1])]
        elif tier != state.segments[-1][0]:
            state.segments.append((tier, 0))

    def pause(self) -> None:
        """Stop billing for a transfer, until the next stream starts."""
        self.state.paused = True

    def resume(self) -> None:
        """Continue billing after a transfer that did not start: the call went on all the time."""
        self.state.paused = False

    @property
    def segments(self) -> tuple[Segment, ...]:
        """The billed segments in order; at least one."""
        billed = [segment for segment in self.state.segments if segment[1]] or self.state.segments[-1:]
        return tuple(
            Segment(tier, microseconds, self._rates[tier], cost_micro_usd(microseconds, self._rates[tier]))
            for tier, microseconds in billed
        )

    @property
    def billed_microseconds(self) -> int:
        """Billed time of all segments."""
        return sum(microseconds for _, microseconds in self.state.segments)

    @property
    def total_micro_usd(self) -> int:
        """Total cost: the sum of the segments, each rounded on its own."""
        return sum(segment.cost_micro_usd for segment in self.segments)


class ProviderUsage:
    """Counts the speech provider usage of one call, across its streams."""

    def __init__(self, totals: Mapping[Tier, ProviderUsageTotals]) -> None:
        self._totals: dict[Tier, ProviderUsageTotals] = {provider: copy(total) for provider, total in totals.items()}

    def snapshot(self) -> dict[Tier, ProviderUsageTotals]:
        """Copy the totals."""
        return {provider: copy(total) for provider, total in self._totals.items()}

    def add(self, event: SpeechEvent) -> None:
        """Add what the event reports."""
        if isinstance(event, FirstAudio):
            return
        total = self._totals.setdefault(event.provider, ProviderUsageTotals())
        match event:
            case SynthesisUsage(characters=characters, first_audio_seconds=seconds):
                total.syntheses += 1
                total.characters += characters
                if seconds is not None:
                    total.first_byte_count += 1
                    total.first_byte_total_ms += round(seconds * 1000)
                    total.first_byte_max_ms = max(total.first_byte_max_ms, round(seconds * 1000))
            case RecognitionUsage(audio_seconds=seconds, latency_seconds=latency):
                total.recognitions += 1
                total.recognized_ms += round(seconds * 1000)
                if latency is not None:
                    total.transcripts += 1
                    total.transcript_latency_total_ms += round(latency * 1000)
            case ProviderFailure():
                total.failures += 1
            case _:
                assert_never(event)


def update_metrics(metrics: Metrics, event: SpeechEvent) -> None:
    """Add what the event reports to the process's metrics."""
    match event:
        case SynthesisUsage():
            metrics.observe_synthesis(event.provider, event.characters, event.first_audio_seconds)
        case RecognitionUsage():
            metrics.observe_recognition(event.provider, event.audio_seconds, event.latency_seconds)
        case ProviderFailure():
            metrics.count_failure(event.provider, event.service)
        case FirstAudio():
            pass
