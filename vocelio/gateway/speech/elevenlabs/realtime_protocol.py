"""Protocol of realtime recognition, both directions: the WebSocket URL, audio messages, and the service's messages.

Source: the API reference, "Realtime" under speech to text, and ``elevenlabs.types`` of the SDK. A message is JSON with
a ``message_type``; any with an ``error`` reports one. Unknown types are ignored, as the reference asks of clients.
"""

import base64
from urllib.parse import quote, urlencode

import msgspec

from vocelio.codecs import mulaw
from vocelio.gateway.speech.interfaces import RecognitionHints, SpeechError

MODEL = "scribe_v2_realtime"

MIN_SILENCE_SECONDS, MAX_SILENCE_SECONDS = 0.35, 3.0
"""Silence that ends an utterance, as the service accepts it: "between 0.3", itself rejected, "and 3"."""

MAX_KEYTERMS, MAX_KEYTERM_LENGTH, MAX_KEYTERM_WORDS = 50, 20, 5
"""Keyterms per session, characters and words per keyterm: with one too many the session is rejected."""

_FORBIDDEN_KEYTERM_CHARACTERS = frozenset('<>{}[]\\"')

MIN_COMMIT_BYTES = 4_000
"""0.5 s of audio, the least to commit: with less than 0.3 s the service responds ``commit_throttled``."""

_SESSION_CLOSED_ERRORS = frozenset({"insufficient_audio_activity", "session_time_limit_exceeded"})
"""Errors with which the service ends a session although nothing failed."""


class SessionStarted(msgspec.Struct, frozen=True):
    """The session is ready."""


class TranscriptMessage(msgspec.Struct, frozen=True):
    """Text since the last commit, partial or (``committed``) final; empty if nothing was understood."""

    text: str
    committed: bool


class CommitThrottled(msgspec.Struct, frozen=True):
    """There was too little audio to commit."""


class SessionClosed(msgspec.Struct, frozen=True):
    """The service ends the session because it was idle or has reached its time limit."""


class SessionFailed(msgspec.Struct, frozen=True):
    """The service ends the session with an error."""

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
    """Parse a message of the service; None if it is of no interest. Raises SpeechError if it is invalid."""
    try:
        message = _decoder.decode(received)
    except (msgspec.DecodeError, UnicodeError):
        raise SpeechError("ElevenLabs sent an invalid message") from None
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
    """Encode mu-law; ``commit`` asks for the final text of everything since the last commit."""
    return _encoder.encode(_InputAudioChunk(base64.b64encode(audio).decode(), commit))


def session_url(base_url: str, hints: RecognitionHints) -> str:
    """Return the URL of a session with these hints."""
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
    origin = "ws" + base_url.removeprefix("http").rstrip("/")
    return f"{origin}/v1/speech-to-text/realtime?{urlencode(query, quote_via=quote)}"


def select_keyterms(phrases: tuple[str, ...]) -> list[str]:
    """Return the phrases that the service accepts as keyterms; the others are only not preferred."""
    keyterms = [
        phrase
        for phrase in dict.fromkeys(map(str.strip, phrases))
        if 0 < len(phrase) <= MAX_KEYTERM_LENGTH
        and len(phrase.split()) <= MAX_KEYTERM_WORDS
        and not _FORBIDDEN_KEYTERM_CHARACTERS & {*phrase}
    ]
    return keyterms[:MAX_KEYTERMS]
