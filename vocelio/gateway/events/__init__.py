"""What happens to calls, told to whoever watches: monitors, the demo's display, other processes."""

from vocelio.gateway.events.bus import EventBus
from vocelio.gateway.events.event import PASSING, Event
from vocelio.gateway.events.pubsub import Alone, Line, read
from vocelio.gateway.events.subscription import WATCHER_BACKLOG, Watcher

__all__ = ["PASSING", "WATCHER_BACKLOG", "Alone", "Event", "EventBus", "Line", "Watcher", "read"]
