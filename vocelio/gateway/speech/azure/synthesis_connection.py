"""One synthesis connection of the SDK. Imported and called only on our threads, see the package's docstring.

It speaks one text at a time; its audio is posted to the event loop as the service sends it. Of the SDK's ways to get
the audio this is the only one that neither waits for the end nor occupies a thread.
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
    """Connects when opened, and reconnects by itself."""

    def __init__(self, on_event: Callable[[SynthesisEvent], None], loop: asyncio.AbstractEventLoop) -> None:
        """``on_event`` is called on the event loop."""
        self._on_event = on_event
        self._callbacks = SdkCallbacks(loop)
        self._lock = threading.Lock()  # one thread may start a text while another starts the teardown
        self._synthesizer: sdk.SpeechSynthesizer | None = None
        self._connection: sdk.Connection | None = None  # keeps the callbacks alive
        self._pending_result: sdk.ResultFuture | None = None

    def open(self, account: AzureSettings) -> None:
        """Start to connect. Takes milliseconds: the SDK connects on a thread of its own."""
        config = speech_config(account)
        config.set_speech_synthesis_output_format(sdk.SpeechSynthesisOutputFormat.Raw8Khz8BitMonoMULaw)
        self._synthesizer = sdk.SpeechSynthesizer(config, None)
        self._connection = sdk.Connection.from_speech_synthesizer(self._synthesizer)
        connect, on_event = self._callbacks.connect, self._on_event
        connect(self._connection.connected, lambda _: Connected(), on_event)
        connect(self._connection.disconnected, lambda _: Disconnected(), on_event)
        connect(self._synthesizer.synthesizing, lambda args: AudioChunk(args.result.audio_data), on_event)
        connect(self._synthesizer.synthesis_completed, lambda _: Completed(), on_event)
        connect(self._synthesizer.synthesis_canceled, lambda args: _canceled_event(args.result), on_event)
        self._connection.open(True)

    def speak(self, ssml: str) -> None:
        """Start to speak a document. Does nothing after the teardown."""
        with self._lock:
            if self._synthesizer:
                self._pending_result = self._synthesizer.speak_ssml_async(ssml)

    def release_result(self) -> None:
        """Release the result of a text that was spoken in full: the SDK keeps all of its audio until then."""
        with self._lock:
            result, self._pending_result = self._pending_result, None
        if result:
            result.get()

    def tear_down(self) -> None:
        """Stop speaking and disconnect: 20 ms, or 1 s if the service does not respond.

        Stopping ends the connection, since that is how the service learns of it.
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
