"""Events of a simulated call, for a live display. ``at`` is seconds since the call was placed."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class CallPlaced:
    """The call was placed; the voice webhook is being requested."""

    at: float
    to: str
    from_: str


@dataclass(frozen=True, slots=True)
class StreamConnected:
    """The socket of the call's ``stream_number``-th stream is open (from 1)."""

    at: float
    stream_number: int


@dataclass(frozen=True, slots=True)
class CallerSpeechStarted:
    """The caller started to say ``text``."""

    at: float
    text: str


@dataclass(frozen=True, slots=True)
class CallerPressedKeys:
    """The caller started to press ``keys``."""

    at: float
    keys: str


@dataclass(frozen=True, slots=True)
class CallerInterrupted:
    """The caller started the next step while the gateway was speaking."""

    at: float


@dataclass(frozen=True, slots=True)
class GatewayReplied:
    """The gateway's reply to a turn is audible, ``latency_ms`` after the end of the speech or the last key."""

    at: float
    latency_ms: float


@dataclass(frozen=True, slots=True)
class TwilioSayStarted:
    """Twilio reads ``text`` to the caller (``<Say>``)."""

    at: float
    text: str


@dataclass(frozen=True, slots=True)
class DialStarted:
    """Twilio dials ``targets``."""

    at: float
    targets: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class CallBridged:
    """``target`` answered and is connected to the caller."""

    at: float
    target: str


@dataclass(frozen=True, slots=True)
class CallEnded:
    """The call ended; see ``report.Ending``."""

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
