"""The protocol of realtime recognition, both directions: a WebSocket URL, chunks of sound, and what is answered.

Source: the API reference, "Realtime" under speech to text, and ``elevenlabs.types`` of the SDK. A message is JSON
with a ``message_type``; any that has an ``error`` reports one. Types not known here are passed over, as the
reference asks of clients.
"""

import base64
from urllib.parse import quote, urlencode

import msgspec

from vocelio.codecs import mulaw
from vocelio.gateway.speech.interfaces import RecognitionHints, SpeechError

MODEL = "scribe_v2_realtime"

MIN_SILENCE_SECONDS, MAX_SILENCE_SECONDS = 0.35, 3.0
"""Seconds of silence that the service can be told to end an utterance with: "between 0.3", itself refused, "and 3"."""

MAX_KEYTERMS, MAX_KEYTERM_LENGTH, MAX_KEYTERM_WORDS = 50, 20, 5
"""Keyterms in one session, characters and words in each: one too many and the session is refused."""

_FORBIDDEN_KEYTERM_CHARACTERS = frozenset('<>{}[]\\"')

MIN_COMMIT_BYTES = 4_000
"""Bytes of sound, 0.5 s, to be there when it is committed: the service answers ``commit_throttled`` under 0.3 s."""

_SESSION_CLOSED_ERRORS = frozenset({"insufficient_audio_activity", "session_time_limit_exceeded"})
"""Errors by which the service ends a session that nothing was wrong with."""


class SessionStarted(msgspec.Struct, frozen=True):
    """The session is ready."""


class TranscriptMessage(msgspec.Struct, frozen=True):
    """What was said since the last commit: so far, or (``committed``) for good. Empty when nothing was understood."""

    text: str
    committed: bool


class CommitThrottled(msgspec.Struct, frozen=True):
    """There was too little sound to commit."""


class SessionClosed(msgspec.Struct, frozen=True):
    """The service ends the session, which was idle or has lasted long enough."""


class SessionFailed(msgspec.Struct, frozen=True):
    """The service ends the session for a reason that has a ``name``."""

    error_name: str


ServerMessage = SessionStarted | TranscriptMessage | CommitThrottled | SessionClosed | SessionFailed


class _RawMessage(msgspec.Struct):
    message_type: str
    text: str = ""
    error: object = None


class _InputAudioChunk(msgspec.Struct, tag="input_audio_chunk", tag_field="message_type"):
    audio_base_64: str
    commit: bool
    sample_rate: int = mulaw.SAMPLE_RATE


_decoder = msgspec.json.Decoder(_RawMessage)
_encoder = msgspec.json.Encoder()


def parse_message(received: str | bytes) -> ServerMessage | None:
    """One message of the service, or None for one that does not matter here. Raises SpeechError for what is none."""
    try:
        message = _decoder.decode(received)
    except (msgspec.DecodeError, UnicodeError):
        raise SpeechError("ElevenLabs sent something that is no message") from None
    match message.message_type:
        case "session_started":
            return SessionStarted()
        case "partial_transcript" | "committed_transcript" as kind:
            return TranscriptMessage(message.text.strip(), kind == "committed_transcript")
        case "commit_throttled":
            return CommitThrottled()
        case kind if kind in _SESSION_CLOSED_ERRORS:
            return SessionClosed()
    return SessionFailed(message.message_type) if message.error is not None else None


def audio_message(audio: bytes, commit: bool) -> bytes:
    """A message with some mu-law; ``commit`` asks for the text of all since the last commit."""
    return _encoder.encode(_InputAudioChunk(base64.b64encode(audio).decode(), commit))


def session_url(base_url: str, hints: RecognitionHints) -> str:
    """Where a session for ``expectation`` is opened."""
    query = [
        ("model_id", MODEL),
        ("audio_format", "ulaw_8000"),
        ("commit_strategy", "vad"),
        (
            "vad_silence_threshold_secs",
            f"{min(MAX_SILENCE_SECONDS, max(MIN_SILENCE_SECONDS, hints.silence_seconds)):.2f}",
        ),
        ("language_code", hints.language.partition("-")[0].lower()),
    ]
    query += [("keyterms", phrase) for phrase in select_keyterms(hints.phrases)]
    address = "ws" + base_url.removeprefix("http").rstrip("/")
    return f"{address}/v1/speech-to-text/realtime?{urlencode(query, quote_via=quote)}"


def select_keyterms(phrases: tuple[str, ...]) -> list[str]:
    """The phrases that the service can be told to prefer; the others are understood without that."""
    fitting = [
        phrase
        for phrase in dict.fromkeys(map(str.strip, phrases))
        if 0 < len(phrase) <= MAX_KEYTERM_LENGTH
        and len(phrase.split()) <= MAX_KEYTERM_WORDS
        and not _FORBIDDEN_KEYTERM_CHARACTERS & {*phrase}
    ]
    return fitting[:MAX_KEYTERMS]
