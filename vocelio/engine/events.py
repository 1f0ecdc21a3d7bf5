"""Events: what the host reports to the engine. A closed set.

``at`` is seconds since the call started; it never decreases, not even when the call is resumed. ``id`` repeats the id
of the action that the event answers; an event with a stale id is ignored.
"""

from typing import Any, Literal

import msgspec


class Event(msgspec.Struct, frozen=True, tag=True, tag_field="event", omit_defaults=True):
    """Base of all events."""

    at: float


class CallStarted(Event, frozen=True, tag="call_started"):
    """The media stream is open: the caller can hear and be heard."""


class PromptFinished(Event, frozen=True, tag="prompt_finished"):
    """The prompt was played to its end."""

    id: str


class PromptInterrupted(Event, frozen=True, tag="prompt_interrupted"):
    """The prompt was stopped after ``played_seconds`` of it had been played."""

    id: str
    played_seconds: float = 0.0


class SpeechStarted(Event, frozen=True, tag="speech_started"):
    """The caller started to speak."""


class SpeechEnded(Event, frozen=True, tag="speech_ended"):
    """The caller stopped speaking."""


class TranscriptReceived(Event, frozen=True, tag="transcript_received"):
    """A partial or ``final`` transcript of the utterance. An empty final transcript was unintelligible speech."""

    id: str
    text: str
    final: bool
    confidence: float = 1.0


class ListeningFailed(Event, frozen=True, tag="listening_failed"):
    """Speech recognition is unavailable; keys still work."""

    id: str


class KeyPressed(Event, frozen=True, tag="key_pressed"):
    """One DTMF key: 0-9, *, #, A-D."""

    key: str


class TimerFired(Event, frozen=True, tag="timer_fired"):
    """A timer expired."""

    id: str


class TransferEnded(Event, frozen=True, tag="transfer_ended"):
    """The transfer ended with ``result``.

    ``answered`` is reported when the conversation is over, too; ``duration_seconds`` is its length.
    """

    id: str
    result: Literal["answered", "busy", "no_answer", "failed"]
    duration_seconds: float = 0.0


class RequestEnded(Event, frozen=True, tag="request_ended"):
    """The HTTP request ended: with a status and a JSON body (None if it was not JSON), or with a failure."""

    id: str
    result: Literal["ok", "error", "timeout"]
    status: int = 0
    body: Any = None


class RecordingEnded(Event, frozen=True, tag="recording_ended"):
    """The recording is complete and stored at ``url``."""

    id: str
    duration_seconds: float
    url: str = ""


class QueueEnded(Event, frozen=True, tag="queue_ended"):
    """The caller left the queue with ``result``."""

    id: str
    result: Literal["answered", "timeout", "callback", "failed"]


class OperatorCommand(Event, frozen=True, tag="operator_command"):
    """An operator's command: say text ``value``, jump to node ``value``, transfer to department ``value``, hang up."""

    command: Literal["say", "jump", "transfer", "hang_up"]
    value: str = ""


class CallResumed(Event, frozen=True, tag="call_resumed"):
    """The call continues on a new media stream; every operation of the old stream is lost.

    With ``between_prompts`` it was handed over between two prompts: the caller missed nothing, and no apology is due.
    """

    between_prompts: bool = False


class CallEnded(Event, frozen=True, tag="call_ended"):
    """The caller hung up."""


AnyEvent = (
    CallStarted
    | PromptFinished
    | PromptInterrupted
    | SpeechStarted
    | SpeechEnded
    | TranscriptReceived
    | ListeningFailed
    | KeyPressed
    | TimerFired
    | TransferEnded
    | RequestEnded
    | RecordingEnded
    | QueueEnded
    | OperatorCommand
    | CallResumed
    | CallEnded
)
