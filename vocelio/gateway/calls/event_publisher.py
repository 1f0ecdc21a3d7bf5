"""Publishes the events of calls: to the timeline in the call store, and to the subscribers on the event bus.

Publishing never waits, and so never delays a call.
"""

from collections.abc import Sequence
from typing import Any

from vocelio.engine.voice import Voice
from vocelio.gateway.clock import WallClock
from vocelio.gateway.events import Event, EventBus
from vocelio.gateway.store.calls.interface import CallStore, Segment, StoredCall


class CallEventPublisher:
    """Publisher of one process. It counts a call's events in ``last_event_seq`` of the call."""

    def __init__(self, call_store: CallStore, bus: EventBus, wall_clock: WallClock) -> None:
        self._call_store, self._bus, self._wall_clock = call_store, bus, wall_clock

    def publish(self, call: StoredCall, event_type: str, **data: Any) -> None:
        """Publish an event to the timeline and to subscribers."""
        self.send(self.build(call, event_type, data), call.flow)

    def publish_transient(self, call: StoredCall, event_type: str, **data: Any) -> None:
        """Publish an event to subscribers only; it does not count."""
        self._bus.publish(self._build(call, event_type, data))

    def publish_cost(self, call: StoredCall, segments: Sequence[Segment]) -> None:
        """Publish the call's final bill."""
        parts = [{"tier": segment.tier, **_totals([segment])} for segment in segments]
        self.publish(call, "cost.updated", **_totals(segments), segments=parts)

    def publish_end(self, call: StoredCall, segments: Sequence[Segment]) -> None:
        """Publish the end of the call. If the call is resumed, another one follows, of a higher generation."""
        facts = {"outcome": call.outcome, "department": call.department, "disposition": call.disposition}
        tier = segments[-1].tier if segments else Voice().tier
        self.publish(call, "call.ended", **facts, **_totals(segments), tier=tier)

    def build(self, call: StoredCall, event_type: str, data: dict[str, Any]) -> Event:
        """Make the call's next event, to be sent later."""
        call.last_event_seq += 1
        return self._build(call, event_type, data)

    def send(self, event: Event, flow: str) -> None:
        """Publish an event that was built."""
        self._call_store.append_event(event, flow)
        self._bus.publish(event)

    def _build(self, call: StoredCall, event_type: str, data: dict[str, Any]) -> Event:
        return Event(
            tenant=call.tenant,
            call=call.id,
            generation=call.generation,
            sequence=call.last_event_seq,
            type=event_type,
            occurred_at=self._wall_clock(),
            data=data,
        )


def _totals(segments: Sequence[Segment]) -> dict[str, Any]:
    return {
        "billed_seconds": sum(segment.billed_microseconds for segment in segments) / 1e6,
        "cost_micro_usd": sum(segment.cost_micro_usd for segment in segments),
    }
