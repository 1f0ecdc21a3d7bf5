"""One recognition session of the SDK. Imported and called only on our threads, see the package's docstring.

Its events are posted to the event loop; the first one is ``Connected`` or ``Failed``.
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
"""Limits of the silence that ends a phrase, as the service accepts them."""

DEFAULT_CONFIDENCE = 0.9
"""For languages in which the service gives a text without a confidence."""


class RecognitionSession:
    """Connects when opened; nothing is charged until audio comes."""

    def __init__(self, on_event: Callable[[RecognitionEvent], None], loop: asyncio.AbstractEventLoop) -> None:
        """``on_event`` is called on the event loop."""
        self._on_event = on_event
        self._callbacks = SdkCallbacks(loop)
        self._stream: sdk.audio.PushAudioInputStream | None = None
        self._recognizer: sdk.SpeechRecognizer | None = None
        self._connection: sdk.Connection | None = None  # keeps the callbacks alive

    def open(self, account: AzureSettings, hints: RecognitionHints) -> None:
        """Start the session. Takes milliseconds: the SDK connects, and reconnects, on a thread of its own."""
        audio_format = sdk.audio.AudioStreamFormat(8000, 8, 1, wave_stream_format=sdk.AudioStreamWaveFormat.MULAW)
        self._stream = sdk.audio.PushAudioInputStream(audio_format)
        audio_config = sdk.audio.AudioConfig(stream=self._stream)
        self._recognizer = sdk.SpeechRecognizer(_recognition_config(account, hints), audio_config, hints.language)
        self._connect_callbacks(self._recognizer)
        _add_phrases(self._recognizer, hints)
        self._recognizer.start_continuous_recognition_async().get()

    def write(self, mulaw: bytes) -> None:
        """Append audio, which the SDK copies in 10 us. The only method called on the event loop."""
        if mulaw and self._stream:  # writing nothing would tell the SDK that the audio has ended
            self._stream.write(mulaw)

    def finish(self) -> None:
        """Mark the end of the audio."""
        if stream := self._stream:
            stream.close()

    def tear_down(self) -> None:
        """End the session: 20 ms if it heard nothing, 0.1 s if the service responds, 10 to 18 s if it does not.

        The last references to the SDK's objects are dropped here, since that can block as well.
        """
        self._callbacks.disconnect()
        recognizer, self._recognizer = self._recognizer, None
        if recognizer:
            recognizer.stop_continuous_recognition_async().get()
        self._connection = self._stream = None

    def _connect_callbacks(self, recognizer: sdk.SpeechRecognizer) -> None:
        connect, on_event = self._callbacks.connect, self._on_event
        self._connection = sdk.Connection.from_recognizer(recognizer)
        connect(self._connection.connected, lambda _: Connected(), on_event)
        connect(recognizer.recognizing, lambda args: Hypothesis(args.result.text), on_event)
        connect(recognizer.recognized, lambda args: _final_phrase(args.result.text, args.result.json), on_event)
        connect(recognizer.canceled, lambda args: _canceled_event(args.cancellation_details), on_event)
        connect(recognizer.session_stopped, lambda _: Completed(), on_event)


def speech_config(account: AzureSettings) -> sdk.SpeechConfig:
    """Return the SDK's configuration for the account."""
    if account.host:
        return sdk.SpeechConfig(subscription=account.key, host=account.host)
    return sdk.SpeechConfig(subscription=account.key, region=account.region)


def _recognition_config(account: AzureSettings, hints: RecognitionHints) -> sdk.SpeechConfig:
    config = speech_config(account)
    silence = min(max(hints.silence_seconds, MIN_SILENCE_SECONDS), MAX_SILENCE_SECONDS)
    config.set_property(sdk.PropertyId.Speech_SegmentationSilenceTimeoutMs, str(round(silence * 1000)))
    config.output_format = sdk.OutputFormat.Detailed  # includes a confidence
    config.set_profanity(sdk.ProfanityOption.Raw)  # unmasked: no flow can expect a masked word
    return config


def _add_phrases(recognizer: sdk.SpeechRecognizer, hints: RecognitionHints) -> None:
    if hints.repeat:
        return  # digits and numbers: the service knows them, and would hear them everywhere
    phrases = sdk.PhraseListGrammar.from_recognizer(recognizer)
    for phrase in hints.phrases:
        phrases.addPhrase(phrase)


def _final_phrase(text: str, document: str) -> FinalPhrase:
    """Parse the service's JSON, which in the detailed format has the readings in ``NBest``, the best one first."""
    best = json.loads(document).get("NBest") or [{}]
    confidence = float(best[0].get("Confidence") or DEFAULT_CONFIDENCE)
    return FinalPhrase(text, min(max(confidence, 0.0), 1.0) if text else 0.0)


def _canceled_event(details: Any) -> Completed | Failed:
    if details.reason == sdk.CancellationReason.EndOfStream:
        return Completed()
    return Failed(to_speech_error(details.code.name, details.error_details))
