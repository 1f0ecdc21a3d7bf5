"""What happens during a simulated call, for a live display. ``at`` is seconds since it was placed."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class CallPlaced:
    """The call was placed; the voice webhook is being asked."""

    at: float
    to: str
    from_: str


@dataclass(frozen=True, slots=True)
class StreamConnected:
    """A stream's socket is open: the first, or the ``number``-th of the call."""

    at: float
    stream_number: int


@dataclass(frozen=True, slots=True)
class CallerSpeechStarted:
    """The caller begins to say ``text``."""

    at: float
    text: str


@dataclass(frozen=True, slots=True)
class CallerPressedKeys:
    """The caller begins to press ``keys``."""

    at: float
    keys: str


@dataclass(frozen=True, slots=True)
class CallerInterrupted:
    """The caller's next words or keys come while the gateway is speaking."""

    at: float


@dataclass(frozen=True, slots=True)
class GatewayReplied:
    """The caller hears the answer to a turn, ``latency_ms`` after the end of what was said or the last key."""

    at: float
    latency_ms: float


@dataclass(frozen=True, slots=True)
class TwilioSayStarted:
    """Twilio itself reads ``text`` to the caller (the verb ``<Say>``)."""

    at: float
    text: str


@dataclass(frozen=True, slots=True)
class DialStarted:
    """Twilio rings ``targets``."""

    at: float
    targets: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class CallBridged:
    """``target`` has answered and talks with the caller."""

    at: float
    target: str


@dataclass(frozen=True, slots=True)
class CallEnded:
    """The call is over; ``how`` is the report's ``ended``."""

    at: float
    ending: str


CallEvent = (
    CallPlaced
    | StreamConnected
    | CallerSpeechStarted
    | CallerPressedKeys
    | CallerInterrupted
    | GatewayReplied
    | TwilioSayStarted
    | DialStarted
    | CallBridged
    | CallEnded
)
