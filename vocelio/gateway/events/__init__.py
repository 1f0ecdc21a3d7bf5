"""What happens to calls, told to whoever watches: monitors, the demo's display, other processes."""

from vocelio.gateway.events.bus import EventBus
from vocelio.gateway.events.event import TRANSIENT_TYPES, Event
from vocelio.gateway.events.pubsub import LocalPubSub, PubSub, decode_message
from vocelio.gateway.events.subscription import MAX_BACKLOG_EVENTS, Subscription

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
