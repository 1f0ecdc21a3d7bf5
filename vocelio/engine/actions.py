"""Actions: what the engine asks its host to do. A closed set; the host carries actions out in order."""

from typing import Any, Literal

import msgspec

from vocelio.engine.voice import Tier, Voice


class Action(msgspec.Struct, frozen=True, tag=True, tag_field="action", omit_defaults=True):
    """Base of all actions."""


class Speak(Action, frozen=True, tag="speak"):
    """Play a prompt: ``text`` in ``voice``, or the stored sound ``audio``.

    PromptFinished or PromptInterrupted follows. A ``sensitive`` text is only spoken: it must not be logged, shown
    or stored.
    """

    id: str
    text: str
    voice: Voice
    barge_in: bool = True
    audio: str = ""
    sensitive: bool = False


class StopSpeaking(Action, frozen=True, tag="stop_speaking"):
    """Stop the prompt immediately; PromptInterrupted follows."""

    id: str


class Listen(Action, frozen=True, tag="listen"):
    """Recognize the next utterance. Partial and final TranscriptReceived events follow, or ListeningFailed.

    ``phrases`` are recognition hints; with ``phrases_repeat`` they can follow one another (digits). ``silence_seconds``
    of silence end the utterance. ``ignore_current_utterance`` skips an utterance that has already started. ``tier`` is
    the tier of the flow's voice: the same provider recognizes the caller.
    """

    id: str
    phrases: tuple[str, ...]
    language: str = "en-US"
    phrases_repeat: bool = False
    silence_seconds: float = 0.6
    ignore_current_utterance: bool = False
    sensitive: bool = False
    tier: Tier = "local"


class StopListening(Action, frozen=True, tag="stop_listening"):
    """Stop the recognition; its later events are ignored."""

    id: str


class StartTimer(Action, frozen=True, tag="start_timer"):
    """Send TimerFired after ``seconds``."""

    id: str
    seconds: float


class CancelTimer(Action, frozen=True, tag="cancel_timer"):
    """Cancel the timer."""

    id: str


class Request(Action, frozen=True, tag="request"):
    """Send an HTTP request; RequestEnded follows. Every attempt carries the same ``idempotency_key``.

    Headers still contain ``{{ secret.name }}``: the host resolves secrets, the engine never sees them. The URL, headers
    or body of a ``sensitive`` request contain sensitive values and must not be logged.
    """

    id: str
    idempotency_key: str
    method: str
    url: str
    headers: dict[str, str] = {}
    json: Any = None
    timeout_seconds: float = 5.0
    retries: int = 0
    sensitive: bool = False


class Transfer(Action, frozen=True, tag="transfer"):
    """Connect the caller to a department, a number (E.164) or a SIP address; TransferEnded follows.

    With 0 ``ring_seconds`` and an empty ``ring`` the department's settings apply. A ``sensitive`` whisper must not be
    logged.
    """

    id: str
    department: str = ""
    number: str = ""
    sip: str = ""
    ring_seconds: float = 0.0
    whisper: str = ""
    caller_id: str = ""
    ring: Literal["sequential", "simultaneous", ""] = ""
    sensitive: bool = False


class Queue(Action, frozen=True, tag="queue"):
    """Put the caller into a department's queue; QueueEnded follows."""

    id: str
    department: str
    music: str = ""
    announce_position: bool = False
    max_wait_seconds: float = 600.0
    offer_callback: bool = False


class Record(Action, frozen=True, tag="record"):
    """Record the caller, after a ``beep``, up to ``silence_seconds`` of silence or ``max_seconds``.

    RecordingEnded follows.
    """

    id: str
    max_seconds: float = 120.0
    silence_seconds: float = 3.0
    beep: bool = True


class StopRecording(Action, frozen=True, tag="stop_recording"):
    """Complete the recording; RecordingEnded follows if the flow still waits for it."""

    id: str


class Echo(Action, frozen=True, tag="echo"):
    """Start (``enabled``) or stop sending the caller's audio back, frame by frame."""

    enabled: bool


class HangUp(Action, frozen=True, tag="hang_up"):
    """End the call. Always the last action; ``outcome`` is how the flow ended."""

    outcome: Literal["completed", "transferred", "failed"] = "completed"
    disposition: str = ""


class EmitEvent(Action, frozen=True, tag="emit_event"):
    """Publish an event to monitors and to the call's timeline."""

    type: str
    data: dict[str, Any] = {}


AnyAction = (
    Speak
    | StopSpeaking
    | Listen
    | StopListening
    | StartTimer
    | CancelTimer
    | Request
    | Transfer
    | Queue
    | Record
    | StopRecording
    | Echo
    | HangUp
    | EmitEvent
)
