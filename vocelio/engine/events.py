"""What happens to a call, as the engine is told: a small closed set.

``at`` is seconds since the call began; it never decreases, also across a resume. An ``id`` echoes the action
that asked for something; an event with a stale id is ignored.
"""

from typing import Any, Literal

import msgspec


class Event(msgspec.Struct, frozen=True, tag=True, tag_field="event", omit_defaults=True):
    """The common part."""

    at: float


class CallStarted(Event, frozen=True, tag="call_started"):
    """The caller is on the line and audio flows."""


class PromptFinished(Event, frozen=True, tag="prompt_finished"):
    """The prompt was played to its end, to the caller's ear."""

    id: str


class PromptInterrupted(Event, frozen=True, tag="prompt_interrupted"):
    """The prompt was stopped after ``heard`` seconds of it had been played."""

    id: str
    played_seconds: float = 0.0


class SpeechStarted(Event, frozen=True, tag="speech_started"):
    """The caller begins to speak."""


class SpeechEnded(Event, frozen=True, tag="speech_ended"):
    """The caller has fallen silent."""


class TranscriptReceived(Event, frozen=True, tag="transcript_received"):
    """What the caller said so far, or in all (``final``). A final of ``""`` was speech that nobody understood."""

    id: str
    text: str
    final: bool
    confidence: float = 1.0


class ListeningFailed(Event, frozen=True, tag="listening_failed"):
    """Speech cannot be heard at present; keys still can."""

    id: str


class KeyPressed(Event, frozen=True, tag="key_pressed"):
    """One DTMF key: 0-9, *, #, A-D."""

    key: str


class TimerFired(Event, frozen=True, tag="timer_fired"):
    """A timer that the engine started has run out."""

    id: str


class TransferEnded(Event, frozen=True, tag="transfer_ended"):
    """How ringing the department ended; after ``answered`` the conversation with it is over, too."""

    id: str
    result: Literal["answered", "busy", "no_answer", "failed"]
    duration_seconds: float = 0.0


class RequestEnded(Event, frozen=True, tag="request_ended"):
    """An HTTP request's end: a status and a JSON body (None when it was not JSON), or how it failed."""

    id: str
    result: Literal["ok", "error", "timeout"]
    status: int = 0
    body: Any = None


class RecordingEnded(Event, frozen=True, tag="recording_ended"):
    """A recording is complete: its length in seconds and where it is kept."""

    id: str
    duration_seconds: float
    url: str = ""


class QueueEnded(Event, frozen=True, tag="queue_ended"):
    """How waiting in the department's queue ended."""

    id: str
    result: Literal["answered", "timeout", "callback", "failed"]


class OperatorCommand(Event, frozen=True, tag="operator_command"):
    """An operator's command: say ``value``, jump to node ``value``, transfer to department ``value``, hang up."""

    command: Literal["say", "jump", "transfer", "hang_up"]
    value: str = ""


class CallResumed(Event, frozen=True, tag="call_resumed"):
    """The call goes on with a new stream after its last one: what was under way then is gone.

    ``between``: it was handed over between two prompts, so the caller has missed nothing that needs an excuse.
    """

    between_prompts: bool = False


class CallEnded(Event, frozen=True, tag="call_ended"):
    """The caller has gone."""


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
