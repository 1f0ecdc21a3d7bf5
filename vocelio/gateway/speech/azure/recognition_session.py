"""One recognition at the SDK. Imported and called only on threads of ours: see the package.

What happens is posted to the event loop, first of all ``Connected`` or ``Failed``.
"""

import asyncio
import json
from collections.abc import Callable
from typing import Any

import azure.cognitiveservices.speech as sdk

from vocelio.gateway.config import AzureSettings
from vocelio.gateway.speech.azure.sdk_events import (
    Completed,
    Connected,
    Failed,
    FinalPhrase,
    Hypothesis,
    RecognitionEvent,
    SdkCallbacks,
    to_speech_error,
)
from vocelio.gateway.speech.interfaces import RecognitionHints

MIN_SILENCE_SECONDS, MAX_SILENCE_SECONDS = 0.1, 5.0
"""Seconds of silence that the service can be told to end a phrase."""

DEFAULT_CONFIDENCE = 0.9
"""Of a text that the service gives without its own figure, which it does for some languages."""


class RecognitionSession:
    """Connects at once, and costs the service nothing until sound comes."""

    def __init__(self, on_event: Callable[[RecognitionEvent], None], loop: asyncio.AbstractEventLoop) -> None:
        """``happened`` is called on the event loop."""
        self._on_event = on_event
        self._callbacks = SdkCallbacks(loop)
        self._stream: sdk.audio.PushAudioInputStream | None = None
        self._recognizer: sdk.SpeechRecognizer | None = None
        self._connection: sdk.Connection | None = None  # held, for it tells nothing once it is gone

    def open(self, account: AzureSettings, hints: RecognitionHints) -> None:
        """Takes milliseconds: the SDK connects on a thread of its own, and tries again by itself."""
        sound = sdk.audio.AudioStreamFormat(8000, 8, 1, wave_stream_format=sdk.AudioStreamWaveFormat.MULAW)
        self._stream = sdk.audio.PushAudioInputStream(sound)
        source = sdk.audio.AudioConfig(stream=self._stream)
        self._recognizer = sdk.SpeechRecognizer(_recognition_config(account, hints), source, hints.language)
        self._connect_callbacks(self._recognizer)
        _add_phrases(self._recognizer, hints)
        self._recognizer.start_continuous_recognition_async().get()

    def write(self, mulaw: bytes) -> None:
        """More sound: copied, in 10 us. The one call that the event loop makes."""
        if mulaw and self._stream:  # nothing written is to the SDK the end of all sound
            self._stream.write(mulaw)

    def finish(self) -> None:
        """No more sound comes."""
        if stream := self._stream:
            stream.close()

    def tear_down(self) -> None:
        """Let go of it: 20 ms when it heard nothing, 0.1 s when the service answers, 10 to 18 s when it does not.

        The last references to the SDK's objects are dropped here, for that can block as well.
        """
        self._callbacks.disconnect()
        recognizer, self._recognizer = self._recognizer, None
        if recognizer:
            recognizer.stop_continuous_recognition_async().get()
        self._connection = self._stream = None

    def _connect_callbacks(self, recognizer: sdk.SpeechRecognizer) -> None:
        connect, happened = self._callbacks.connect, self._on_event
        self._connection = sdk.Connection.from_recognizer(recognizer)
        connect(self._connection.connected, lambda _: Connected(), happened)
        connect(recognizer.recognizing, lambda told: Hypothesis(told.result.text), happened)
        connect(recognizer.recognized, lambda told: _final_phrase(told.result.text, told.result.json), happened)
        connect(recognizer.canceled, lambda told: _canceled_event(told.cancellation_details), happened)
        connect(recognizer.session_stopped, lambda _: Completed(), happened)


def speech_config(account: AzureSettings) -> sdk.SpeechConfig:
    """The SDK's idea of an account."""
    if account.host:
        return sdk.SpeechConfig(subscription=account.key, host=account.host)
    return sdk.SpeechConfig(subscription=account.key, region=account.region)


def _recognition_config(account: AzureSettings, hints: RecognitionHints) -> sdk.SpeechConfig:
    made = speech_config(account)
    silence = min(max(hints.silence_seconds, MIN_SILENCE_SECONDS), MAX_SILENCE_SECONDS)
    made.set_property(sdk.PropertyId.Speech_SegmentationSilenceTimeoutMs, str(round(silence * 1000)))
    made.output_format = sdk.OutputFormat.Detailed  # for its confidence
    made.set_profanity(sdk.ProfanityOption.Raw)  # a masked word is one that no flow can expect
    return made


def _add_phrases(recognizer: sdk.SpeechRecognizer, hints: RecognitionHints) -> None:
    if hints.repeat:
        return  # digits and numbers: the service knows those, and would hear them in everything
    phrases = sdk.PhraseListGrammar.from_recognizer(recognizer)
    for phrase in hints.phrases:
        phrases.addPhrase(phrase)


def _final_phrase(text: str, document: str) -> FinalPhrase:
    """``document`` is the service's JSON: in the detailed format it holds ``NBest``, the best reading first."""
    best = json.loads(document).get("NBest") or [{}]
    confidence = float(best[0].get("Confidence") or DEFAULT_CONFIDENCE)
    return FinalPhrase(text, min(max(confidence, 0.0), 1.0) if text else 0.0)


def _canceled_event(details: Any) -> Completed | Failed:
    if details.reason == sdk.CancellationReason.EndOfStream:
        return Completed()
    return Failed(to_speech_error(details.code.name, details.error_details))
