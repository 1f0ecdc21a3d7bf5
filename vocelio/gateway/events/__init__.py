"""Events of calls, and their delivery to monitors, the demo's display and other processes."""

from vocelio.gateway.events.bus import MAX_BACKLOG_EVENTS, TRANSIENT_TYPES, Event, EventBus, Subscription
from vocelio.gateway.events.pubsub import LocalPubSub, PubSub, decode_message

__all__ = [
    "MAX_BACKLOG_EVENTS",
    "TRANSIENT_TYPES",
    "Event",
    "EventBus",
    "LocalPubSub",
    "PubSub",
    "Subscription",
    "decode_message",
]
