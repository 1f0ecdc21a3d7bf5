"""The media of one stream: prompts, recognition and recording, as events for the flow session and for subscribers.

It connects prompt player, speech input and recorder. The session calls it; results go back through CallContext.
"""

import asyncio
from collections.abc import Callable, Mapping
from typing import Protocol, assert_never

from vocelio.codecs.vad import SpeechStarted, VadEvent
from vocelio.engine import actions, events
from vocelio.engine.voice import Tier
from vocelio.gateway.calls.billing import update_metrics
from vocelio.gateway.calls.call_record import CallRecord
from vocelio.gateway.calls.interfaces import CallServices, Transport
from vocelio.gateway.calls.media.call_recording import RecordingFactory
from vocelio.gateway.calls.media.prompt_player import PromptPlayer
from vocelio.gateway.calls.media.recorder import CallRecorder
from vocelio.gateway.calls.media.turn_latency import TurnLatency
from vocelio.gateway.media import messages
from vocelio.gateway.media.playout import PlayoutEvent, PromptFinished, PromptInterrupted, PromptStarted, SendCommand
from vocelio.gateway.media.speech_input import SpeechInput
from vocelio.gateway.speech.interfaces import (
    FirstAudio,
    ProviderFailure,
    Recognition,
    RecognitionHints,
    SpeechError,
    SpeechEvent,
    Transcript,
)

FINAL_TRANSCRIPT_TIMEOUT_SECONDS = 3.0  # from the end of an utterance to its text: past it the recognizer has failed
MASK = "***"


class CallContext(Protocol):
    """What the media need of their call session."""

    @property
    def node(self) -> str:
        """The flow's current node."""
        ...

    def elapsed(self) -> float:
        """Return the seconds since the start of the call."""
        ...

    def feed_event(self, event: events.AnyEvent) -> None:
        """Feed the flow session."""

    def publish(self, event_type: str, **data: object) -> None:
        """Publish an event to the timeline and to subscribers."""

    def publish_transient(self, event_type: str, **data: object) -> None:
        """Publish an event to subscribers only."""


class CallMedia:
    """Prompts, recognition and recording of one stream. No method waits but ``wait_closed``."""

    def __init__(
        self, context: CallContext, services: CallServices, record: CallRecord, stream_sid: str, transport: Transport
    ) -> None:
        self._context, self._stream_sid, self._transport = context, stream_sid, transport
        self._loop = asyncio.get_running_loop()
        self._sounds: Mapping[str, bytes] = record.config.sounds
        self._prompts: dict[str, actions.Speak] = {}
        self._partial: tuple[actions.Listen, Transcript] | None = None  # of the current recognition
        self._final_transcript_timer: asyncio.TimerHandle | None = None
        self._turn_latency = TurnLatency()
        self._late_tiers: set[Tier] = set()  # that timed out in this turn: their voices are skipped
        self._echoing = self._closed = False
        self._record, self._recognizer, self._metrics = record, services.speech.recognizer, services.metrics
        self._tenant = tenant = record.config.tenant.id
        self._player = PromptPlayer(
            services.speech.synthesizer,
            tenant,
            stream_sid,
            transport.send,
            self._on_playout_event,
            self._on_prompt_failed,
            self._on_synthesis_event,
            self._on_audio_sent,
        )
        self._speech_input = SpeechInput(
            self._open_recognition, self._on_vad, self._on_transcript, self._on_recognition_error
        )
        recordings = RecordingFactory(services.recordings, tenant, record.stored.id, context.publish)
        self.recorder = CallRecorder(
            recordings, self._player, self._speech_input, self._is_sensitive, self._on_message_recorded
        )

    # From Twilio

    def on_audio(self, audio: bytes) -> None:
        """Process the caller's next audio: mu-law, usually 20 ms."""
        if self._echoing:
            self._transport.send(messages.media(self._stream_sid, audio))
            self.recorder.on_echo(audio)
        self._speech_input.on_audio(audio)
        if self.recorder.is_active:
            self.recorder.on_audio(audio)

    def on_dtmf(self) -> None:
        """Start the turn's latency at a key."""
        self._turn_latency.reset()
        self._turn_latency.on_transcript(self._loop.time())

    def on_mark(self, name: str) -> None:
        """Process a mark that Twilio returned."""
        self._player.on_mark(name)

    # Actions of the flow

    def speak(self, prompt: actions.Speak) -> None:
        """Queue a prompt."""
        self._prompts[prompt.id] = prompt
        self._turn_latency.on_reply(prompt.id, self._loop.time())
        sound = self._sounds.get(prompt.audio)
        if sound is not None:
            self._turn_latency.on_first_audio(prompt.id, self._loop.time())
            self._player.play(prompt.id, sound)
            return
        if prompt.audio:
            self._context.publish("prompt.failed", prompt=prompt.id, error=f"there is no sound {prompt.audio!r}")
        self._player.speak(prompt.id, prompt.text, prompt.voice, self._late_tiers)

    def stop_speaking(self, prompt: str) -> None:
        """Stop a prompt at once."""
        self._player.stop(prompt)

    def is_playing(self, prefix: str) -> bool:
        """Whether a prompt with that prefix of its id has not finished."""
        return any(prompt.startswith(prefix) for prompt in self._prompts)

    def listen(self, action: actions.Listen) -> None:
        """Recognize the next utterance, or the current one."""
        self._partial = None
        self._speech_input.listen(action)

    def stop_listening(self) -> None:
        """Stop recognition; the partial transcript, if any, was the answer."""
        if self._partial:
            self._turn_latency.on_transcript(self._loop.time())
            self._publish_transcript(*self._partial)
            self._partial = None
        self._speech_input.stop()

    def stop_recognition(self) -> None:
        """Stop recognition at the end of the stream, so that its usage is counted."""
        self._speech_input.stop()

    def set_echo(self, enabled: bool) -> None:
        """Start or stop sending the caller's audio back."""
        self._echoing = enabled

    def close(self) -> None:
        """End everything."""
        self._closed = True
        self.recorder.close()
        self._player.close()
        self._speech_input.stop()
        self._set_final_transcript_timer()

    async def wait_closed(self) -> None:
        """Wait until all tasks have ended."""
        await self._player.wait_closed()

    # Recording

    def _on_audio_sent(self, item: SendCommand) -> None:
        self.recorder.on_sent(item)

    def _is_sensitive(self, prompt: str) -> bool:
        action = self._prompts.get(prompt)
        return action is not None and action.sensitive

    def _on_message_recorded(self, recording: str, seconds: float, url: str) -> None:
        self._context.feed_event(events.RecordingEnded(self._context.elapsed(), recording, seconds, url))

    # Events of prompts and speech

    def _on_playout_event(self, event: PlayoutEvent) -> None:
        if self.recorder.intercepts(event):
            return
        match event:
            case PromptStarted():
                self._on_prompt_started(event)
            case PromptFinished():
                self._prompts.pop(event.prompt, None)
                self._context.publish(
                    "prompt.finished", prompt=event.prompt, playout_gap_ms=round(event.late_seconds * 1000)
                )
                self._context.feed_event(events.PromptFinished(self._context.elapsed(), event.prompt))
            case PromptInterrupted():
                self._prompts.pop(event.prompt, None)
                heard = round(event.played_seconds, 3)
                self._context.publish("prompt.interrupted", prompt=event.prompt, played_seconds=heard)
                self._context.feed_event(events.PromptInterrupted(self._context.elapsed(), event.prompt, heard))
            case _:
                assert_never(event)

    def _on_prompt_started(self, event: PromptStarted) -> None:
        parts = self._turn_latency.on_playback(event.prompt, event.at)
        latency: dict[str, object] = {}
        if parts:
            latency = {"latency_ms": round(sum(parts.values()) * 1000)}
            latency["latency"] = {f"{part}_ms": round(seconds * 1000) for part, seconds in parts.items()}
            self._metrics.observe_turn_latency(parts)
        prompt = self._prompts.get(event.prompt)
        text = "" if prompt is None else MASK if prompt.sensitive else prompt.text
        self._context.publish("prompt.started", prompt=event.prompt, node=self._context.node, text=text, **latency)

    def _on_synthesis_event(self, prompt: str, event: SpeechEvent) -> None:
        if isinstance(event, FirstAudio):
            self._turn_latency.on_first_audio(prompt, self._loop.time())
            if spoken := self._prompts.get(prompt):
                self._record.on_voice_tier(self._context.elapsed(), spoken.voice.tier, event.provider)
        else:
            self._on_speech_event(event)

    def _on_speech_event(self, event: SpeechEvent) -> None:
        self._record.provider_usage.add(event)
        update_metrics(self._metrics, event)
        if isinstance(event, ProviderFailure):
            if event.timed_out and event.service == "recognition":
                self._late_tiers.add(event.provider)
            failure = {"provider": event.provider, "service": event.service, "error": event.error}
            self._context.publish("speech.provider_failed", **failure)

    def _open_recognition(
        self,
        action: actions.Listen,
        on_transcript: Callable[[Transcript], None],
        on_error: Callable[[SpeechError], None],
    ) -> Recognition:
        hints = RecognitionHints(
            action.phrases, action.language, action.phrases_repeat, action.silence_seconds, self._tenant
        )
        return self._recognizer.open(action.tier, hints, on_transcript, on_error, self._on_speech_event)

    def _on_prompt_failed(self, prompt: str, error: SpeechError) -> None:
        self._context.publish("prompt.failed", prompt=prompt, error=str(error))

    def _on_vad(self, event: VadEvent) -> None:
        self.recorder.on_vad(event)
        self._context.publish_transient("caller.speaking", speaking=isinstance(event, SpeechStarted))
        if isinstance(event, SpeechStarted):
            self._turn_latency.reset()
            self._late_tiers.clear()
            self._context.feed_event(events.SpeechStarted(self._context.elapsed()))
        else:
            now = self._loop.time()
            self._turn_latency.on_silence(now - (event.detected_at - event.ended_at), now)
            self._context.feed_event(events.SpeechEnded(self._context.elapsed()))
            self._set_final_transcript_timer(FINAL_TRANSCRIPT_TIMEOUT_SECONDS)

    def _on_transcript(self, action: actions.Listen, transcript: Transcript) -> None:
        self._publish_partial(action, transcript)
        self._partial = None if transcript.final else (action, transcript)
        if transcript.final:
            self._set_final_transcript_timer()
            self._turn_latency.on_transcript(self._loop.time())
            self._publish_transcript(action, transcript)
        self._context.feed_event(
            events.TranscriptReceived(
                self._context.elapsed(), action.id, transcript.text, transcript.final, transcript.confidence
            )
        )

    def _publish_partial(self, action: actions.Listen, transcript: Transcript) -> None:
        """Publish a partial transcript that has changed; the final one is published on its own."""
        before = self._partial[1].text if self._partial else ""
        if not transcript.final and transcript.text != before:
            self._context.publish_transient("transcript.partial", text=MASK if action.sensitive else transcript.text)

    def _publish_transcript(self, action: actions.Listen, transcript: Transcript) -> None:
        text = MASK if action.sensitive else transcript.text
        self._context.publish(
            "transcript.final", node=self._context.node, text=text, confidence=round(transcript.confidence, 2)
        )

    def _on_recognition_error(self, action: actions.Listen, error: SpeechError) -> None:
        self._turn_latency.on_transcript(self._loop.time())
        self._context.publish("recognition.failed", node=self._context.node, error=str(error))
        self._context.feed_event(events.ListeningFailed(self._context.elapsed(), action.id))

    def _set_final_transcript_timer(self, seconds: float | None = None) -> None:
        """Start waiting for the final transcript, or stop."""
        if self._final_transcript_timer:
            self._final_transcript_timer.cancel()
            self._final_transcript_timer = None
        if seconds is not None and not self._closed:
            self._final_transcript_timer = self._loop.call_later(seconds, self._speech_input.on_timeout)
