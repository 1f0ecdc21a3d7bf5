"""One connection for synthesis at the SDK. Imported and called only on threads of ours: see the package.

It says one text at a time, and its sound is posted to the event loop as the service sends it: of the SDK's ways to
get at sound this is the one that neither waits for the end nor holds a thread meanwhile.
"""

import asyncio
import threading
from collections.abc import Callable
from typing import Any

import azure.cognitiveservices.speech as sdk

from vocelio.gateway.config import AzureSettings
from vocelio.gateway.speech.azure.recognition_session import speech_config
from vocelio.gateway.speech.azure.sdk_events import (
    AudioChunk,
    Completed,
    Connected,
    Disconnected,
    Failed,
    SdkCallbacks,
    SynthesisEvent,
    to_speech_error,
)


class SynthesisConnection:
    """Connects at once, and again by itself when it has to."""

    def __init__(self, on_event: Callable[[SynthesisEvent], None], loop: asyncio.AbstractEventLoop) -> None:
        """``happened`` is called on the event loop."""
        self._on_event = on_event
        self._callbacks = SdkCallbacks(loop)
        self._lock = threading.Lock()  # a text may begin on one thread while another begins to tear down
        self._synthesizer: sdk.SpeechSynthesizer | None = None
        self._connection: sdk.Connection | None = None  # held, for it tells nothing once it is gone
        self._pending_result: sdk.ResultFuture | None = None

    def open(self, account: AzureSettings) -> None:
        """Takes milliseconds: the SDK connects on a thread of its own."""
        made = speech_config(account)
        made.set_speech_synthesis_output_format(sdk.SpeechSynthesisOutputFormat.Raw8Khz8BitMonoMULaw)
        self._synthesizer = sdk.SpeechSynthesizer(made, None)
        self._connection = sdk.Connection.from_speech_synthesizer(self._synthesizer)
        connect, happened = self._callbacks.connect, self._on_event
        connect(self._connection.connected, lambda _: Connected(), happened)
        connect(self._connection.disconnected, lambda _: Disconnected(), happened)
        connect(self._synthesizer.synthesizing, lambda told: AudioChunk(told.result.audio_data), happened)
        connect(self._synthesizer.synthesis_completed, lambda _: Completed(), happened)
        connect(self._synthesizer.synthesis_canceled, lambda told: _canceled_event(told.result), happened)
        self._connection.open(True)

    def speak(self, ssml: str) -> None:
        """Begin to say it. Nothing is said once it has been torn down."""
        with self._lock:
            if self._synthesizer:
                self._pending_result = self._synthesizer.speak_ssml_async(ssml)

    def release_result(self) -> None:
        """Let go of what has been said in full: the SDK holds all of its sound until then."""
        with self._lock:
            speaking, self._pending_result = self._pending_result, None
        if speaking:
            speaking.get()

    def tear_down(self) -> None:
        """Stop what is being said, and let go: 20 ms, or 1 s when the service does not answer.

        The service learns of the stop by the end of the connection, so that a line is of no use after one.
        """
        self._callbacks.disconnect()
        with self._lock:
            synthesizer, self._synthesizer = self._synthesizer, None
        if synthesizer and self._pending_result:
            synthesizer.stop_speaking_async().get()
            self.release_result()
        self._connection = None


def _canceled_event(result: Any) -> Failed:
    details = result.cancellation_details
    return Failed(to_speech_error(details.error_code.name, details.error_details))
