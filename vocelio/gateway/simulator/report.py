"""Report of a simulated call, as seen by the caller and by Twilio. Times are seconds since the call was placed."""

from dataclasses import dataclass
from typing import Literal

from vocelio.gateway.simulator.error_codes import DebuggerEntry

Ending = Literal["caller_hung_up", "twiml", "hangup", "rejected", "error", "lost", "too_long"]
"""What ended the call: the caller, the end of the TwiML document, ``<Hangup>``, ``<Reject>``, an error that Twilio does
not recover from, a lost stream (if TwilioBehavior says so), or the maximum duration."""

TurnKind = Literal["speech", "keys", "noise"]

DialOutcome = Literal["answered", "busy", "no-answer", "failed"]


@dataclass(frozen=True, slots=True)
class Turn:
    """One turn of the caller: its text or keys, and the start and end of its audible part.

    ``latency_ms`` is measured from the last voiced sample, or the last key, to the first audible sample of the reply as
    played to the caller; negative if the gateway started before the caller had ended, None if it did not reply before
    the next step. ``barge_in_latency_ms`` is measured from the caller's first voiced sample, or first key, to the end
    of the gateway's prompt if ``clear`` ended it.
    """

    kind: TurnKind
    text: str
    started_at: float
    ended_at: float
    latency_ms: float | None = None
    interrupted: bool = False
    barge_in_latency_ms: float | None = None


@dataclass(frozen=True, slots=True)
class ClearReport:
    """A ``clear`` message: how long audio continued after it, and how much audio was discarded."""

    at: float
    to_silence_ms: float
    cleared_ms: float


@dataclass(frozen=True, slots=True)
class MarkReport:
    """A returned mark; ``by_clear`` is whether ``clear`` caused its return."""

    name: str
    received_at: float
    returned_at: float
    by_clear: bool


EndDetection = Literal["close_frame", "connection_lost", "protocol_error", "silence"]
"""A close frame, the end of the connection without one, a protocol violation, or silence for too long."""


@dataclass(frozen=True, slots=True)
class StreamReport:
    """One Media Streams socket.

    ``close_code`` is the server's; None if the caller hung up or the connection was lost. ``detected_by`` is how Twilio
    detected that the server is gone, ``detected_after_seconds`` how long after its last activity (0 if at once).
    ``underruns`` counts how often audio ran out within a burst, ``underrun_ms`` is the resulting silence.
    """

    number: int
    stream_sid: str
    opened_at: float
    closed_at: float
    closed_by: Literal["server", "caller", "lost"]
    close_code: int | None
    received_ms: float
    played_ms: float
    cleared_ms: float
    underruns: int
    underrun_ms: float
    detected_by: EndDetection | None = None
    detected_after_seconds: float | None = None


@dataclass(frozen=True, slots=True)
class DialResult:
    """Result of one target of a ``<Dial>``: outcome, caller ID shown, and whisper played if it answered."""

    target: str
    outcome: DialOutcome
    caller_id: str | None
    whisper_text: str | None
    talk_seconds: float


QueueResult = Literal["bridged", "queue-full", "error", "system-error", "redirected", "leave", "hangup"]
"""Twilio's QueueResult of an ``<Enqueue>``; ``leave`` is caused by the document, ``hangup`` by the caller."""


@dataclass(frozen=True, slots=True)
class QueueStay:
    """One stay in a queue."""

    queue_name: str
    result: QueueResult
    wait_seconds: float


@dataclass(frozen=True, slots=True)
class RecordedMessage:
    """Result of a ``<Record>``: mu-law audio (empty if the caller said nothing), and the key that ended it or "hangup".

    ``seconds`` is the duration that Twilio reports, rounded up.
    """

    sid: str
    url: str
    seconds: int
    digits: str
    audio: bytes


@dataclass(frozen=True, slots=True)
class WebhookReport:
    """A webhook request; ``status`` is 0 if there was no response."""

    path: str
    status: int
    duration_ms: float


@dataclass(frozen=True, slots=True)
class CallReport:
    """Report of a complete call. ``heard_audio`` is mu-law and starts at ``answered_at``."""

    call_sid: str
    ending: Ending
    seconds: float
    turns: tuple[Turn, ...]
    say_texts: tuple[str, ...]
    dial_results: tuple[DialResult, ...]
    streams: tuple[StreamReport, ...]
    clears: tuple[ClearReport, ...]
    marks: tuple[MarkReport, ...]
    errors: tuple[DebuggerEntry, ...]
    webhooks: tuple[WebhookReport, ...]
    heard_audio: bytes
    steps_done: int
    answered_at: float | None = None
    recorded_messages: tuple[RecordedMessage, ...] = ()
    queue_stays: tuple[QueueStay, ...] = ()

    @property
    def underruns(self) -> int:
        """Number of underruns of all streams."""
        return sum(stream.underruns for stream in self.streams)

    @property
    def latencies_ms(self) -> tuple[float, ...]:
        """Latencies of the turns that got a reply, in order."""
        return tuple(turn.latency_ms for turn in self.turns if turn.latency_ms is not None)
