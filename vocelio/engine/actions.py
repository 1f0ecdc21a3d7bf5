"""What the engine asks of its shell: a small closed set, carried out in order."""

from typing import Any, Literal

import msgspec

from vocelio.engine.voice import Tier, Voice


class Action(msgspec.Struct, frozen=True, tag=True, tag_field="action", omit_defaults=True):
    """The common part."""


class Speak(Action, frozen=True, tag="speak"):
    """Play a prompt: ``text`` in ``voice``, or the stored sound ``audio``.

    PromptFinished or PromptInterrupted follows. A ``sensitive`` text must be spoken and nothing else: not logged,
    shown or kept.
    """

    id: str
    text: str
    voice: Voice
    barge_in: bool = True
    audio: str = ""
    sensitive: bool = False


class StopSpeaking(Action, frozen=True, tag="stop_speaking"):
    """Stop the prompt at once; PromptInterrupted follows."""

    id: str


class Listen(Action, frozen=True, tag="listen"):
    """Recognise the next utterance: partials and one final as Heard, or ListeningFailed.

    ``phrases`` are what the flow can answer; ``repeat`` says that they may follow one another (digits);
    ``silence`` seconds end the utterance; ``fresh`` ignores an utterance that is already under way. ``tier`` is that of
    the voice in which the flow speaks: it is heard by the same provider.
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
    """Nothing more is wanted of this recognition."""

    id: str


class StartTimer(Action, frozen=True, tag="start_timer"):
    """TimerFired after ``seconds``."""

    id: str
    seconds: float


class CancelTimer(Action, frozen=True, tag="cancel_timer"):
    """The timer is no longer wanted."""

    id: str


class Request(Action, frozen=True, tag="request"):
    """An HTTP request; ReplyArrived follows. ``key`` is its Idempotency-Key, the same however often it is sent.

    Headers still hold ``{{ secret.name }}``: secrets are resolved in the shell, never here. ``sensitive``: its
    URL, headers or body hold what the caller entered in confidence and must not be logged.
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

    ``timeout`` is seconds of ringing; 0 takes the department's own. A ``sensitive`` whisper must not be logged.
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
    """Let the caller wait for a department; QueueEnded follows."""

    id: str
    department: str
    music: str = ""
    announce_position: bool = False
    max_wait_seconds: float = 600.0
    offer_callback: bool = False


class Record(Action, frozen=True, tag="record"):
    """Record the caller, after a ``beep``, until ``silence`` or ``max_seconds``; RecordingEnded follows."""

    id: str
    max_seconds: float = 120.0
    silence_seconds: float = 3.0
    beep: bool = True


class StopRecording(Action, frozen=True, tag="stop_recording"):
    """The recording is complete; RecordingEnded follows, if the flow still waits for it."""

    id: str


class Echo(Action, frozen=True, tag="echo"):
    """From now on (``on``) send the caller's audio back, frame for frame; or stop doing so."""

    enabled: bool


class HangUp(Action, frozen=True, tag="hang_up"):
    """End the call. Always the last action; ``outcome`` says how the flow ended."""

    outcome: Literal["completed", "transferred", "failed"] = "completed"
    disposition: str = ""


class EmitEvent(Action, frozen=True, tag="emit_event"):
    """Something for monitors and the timeline; nothing to carry out."""

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
