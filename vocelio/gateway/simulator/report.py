"""What a call has been, as the caller and the carrier saw it. Times are seconds since the call was placed."""

from dataclasses import dataclass
from typing import Literal

from vocelio.gateway.simulator.error_codes import DebuggerEntry

Ending = Literal["caller_hung_up", "twiml", "hangup", "rejected", "error", "lost", "too_long"]
"""Who ended the call: the caller, the end of the document, ``<Hangup>``, ``<Reject>``, an error that Twilio does not
get over, a stream that broke (by the switches), or the longest time a call may take."""

TurnKind = Literal["speech", "keys", "noise"]

DialOutcome = Literal["answered", "busy", "no-answer", "failed"]


@dataclass(frozen=True, slots=True)
class Turn:
    """One step of the caller's: ``said`` is the text or the keys, ``began`` and ``ended`` its audible begin and end.

    ``latency_ms`` runs from the end of the last voiced sample, or from the last key, to the first audible sample of
    the answer as it is played to the caller; negative when the gateway began before the caller had ended, None
    when it did not answer before the next step. ``silenced_ms`` runs from the caller's first voiced sample, or
    first key, to the end of the gateway's speech when that was cut short by ``clear``.
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
    """A ``clear`` received: how long the caller still heard audio after it, and how much was thrown away."""

    at: float
    to_silence_ms: float
    cleared_ms: float


@dataclass(frozen=True, slots=True)
class MarkReport:
    """A mark returned: when it was received and returned, and whether ``clear`` returned it."""

    name: str
    received_at: float
    returned_at: float
    by_clear: bool


EndDetection = Literal["close_frame", "connection_lost", "protocol_error", "silence"]
"""A close frame; the connection's end without one; a breach of the protocol; no sign of life for too long."""


@dataclass(frozen=True, slots=True)
class StreamReport:
    """One Media Streams socket. ``close_code`` is the server's, None when the caller hung up or the socket broke.

    ``noticed`` is how Twilio learnt that the server is gone, ``noticed_after`` how many seconds after the last sign of
    it: for a close frame, and for a break that is seen at once, 0.

    ``underruns`` counts the times its audio ran out in the middle of a burst, ``underrun_ms`` the silence heard then.
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
    """One target of a ``<Dial>``: what became of it, what it was shown and, when it answered, told."""

    target: str
    outcome: DialOutcome
    caller_id: str | None
    whisper_text: str | None
    talk_seconds: float


QueueResult = Literal["bridged", "queue-full", "error", "system-error", "redirected", "leave", "hangup"]
"""How an ``<Enqueue>`` ended, in Twilio's words; ``leave`` and ``hangup`` are the document's and the caller's doing."""


@dataclass(frozen=True, slots=True)
class QueueStay:
    """One stay in a queue: how it ended, and how many seconds were waited."""

    queue_name: str
    result: QueueResult
    wait_seconds: float


@dataclass(frozen=True, slots=True)
class RecordedMessage:
    """What a ``<Record>`` came to: mu-law (empty if the caller said nothing), and the key that ended it, or "hangup".

    ``seconds`` is what Twilio says of its length, in whole seconds.
    """

    sid: str
    url: str
    seconds: int
    digits: str
    audio: bytes


@dataclass(frozen=True, slots=True)
class WebhookReport:
    """A request to the server: its path, the status of the answer (0 for none) and how long that took."""

    path: str
    status: int
    duration_ms: float


@dataclass(frozen=True, slots=True)
class CallReport:
    """A call, start to end. ``heard`` is mu-law on the line's clock, which starts when the call is ``answered``."""

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
        """Times the audio ran out in the middle of a burst, over all streams."""
        return sum(stream.underruns for stream in self.streams)

    @property
    def latencies_ms(self) -> tuple[float, ...]:
        """The latencies of the turns that were answered, in order."""
        return tuple(turn.latency_ms for turn in self.turns if turn.latency_ms is not None)
