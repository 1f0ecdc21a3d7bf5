"""The conversation on one stream: what is said and heard, as events for the engine and for those who watch.

It brings mouth, ear and recorder together. The call tells it what to do; what comes of that, it tells the call.
"""

import asyncio
from collections.abc import Callable, Mapping
from typing import Protocol, assert_never

from vocelio.codecs.vad import SpeechStarted
from vocelio.engine import actions, events
from vocelio.engine.voice import Tier
from vocelio.gateway.calls.call_record import CallRecord
from vocelio.gateway.calls.interfaces import Services, Transport
from vocelio.gateway.calls.media.prompt_player import Speaking
from vocelio.gateway.calls.media.recorder import Recorder
from vocelio.gateway.calls.media.recording_handle import Reels
from vocelio.gateway.calls.media.turn_latency import Turn
from vocelio.gateway.calls.provider_usage import measure
from vocelio.gateway.media import messages
from vocelio.gateway.media.playout import Began, Ended, Interrupted, PlayoutEvent, Send
from vocelio.gateway.media.speech_input import Edge, Listening
from vocelio.gateway.speech.interfaces import Expectation, Heard, Recognition, SpeechError
from vocelio.gateway.speech.telemetry import Fact, Sounded, Troubled

FINAL_DEADLINE = 3.0  # seconds from the end of an utterance to its text: past it the recogniser is taken for dead
HIDDEN = "***"


class Shell(Protocol):
    """What a conversation asks of its call."""

    @property
    def node(self) -> str:
        """Where the flow is."""
        ...

    def at(self) -> float:
        """Seconds since the call began."""
        ...

    def step(self, event: events.AnyEvent) -> None:
        """Something happened: the engine's next event."""

    def publish(self, kind: str, **data: object) -> None:
        """Tell those who watch, and the timeline."""

    def glimpse(self, kind: str, **data: object) -> None:
        """Tell those who watch just now."""


class Conversation:
    """Mouth, ear and recorder of one stream. All methods are plain; only ``wait_closed`` waits."""

    def __init__(
        self, shell: Shell, services: Services, record: CallRecord, stream_sid: str, transport: Transport
    ) -> None:
        self._shell, self._stream_sid, self._transport = shell, stream_sid, transport
        self._loop = asyncio.get_running_loop()
        self._sounds: Mapping[str, bytes] = record.assignment.sounds
        self._prompts: dict[str, actions.Speak] = {}
        self._partial: tuple[actions.Listen, Heard] | None = None  # the newest text of the present listening
        self._deadline: asyncio.TimerHandle | None = None
        self._turn = Turn()
        self._late: set[Tier] = set()  # with the text of what the caller said last: one silence a turn is enough
        self._echoing = self._closed = False
        self._record, self._ears, self._metrics = record, services.speech.ears, services.metrics
        tenant = record.assignment.tenant.id
        self._speaking = Speaking(
            services.speech.voices,
            tenant,
            stream_sid,
            transport.send,
            self._played,
            self._not_spoken,
            self._spoken_so,
            self._sent,
        )
        self._listening = Listening(self._open_ear, self._turned, self._heard, self._not_heard)
        reels = Reels(services.recordings, tenant, record.call, shell.publish)
        self.recorder = Recorder(reels, self._speaking, self._listening, self._is_secret, self._recorded)

    # What Twilio sends

    def hear(self, sound: bytes) -> None:
        """The caller's next sound: mu-law, usually 20 ms."""
        if self._echoing:
            self._transport.send(messages.media(self._stream_sid, sound))
            self.recorder.echoed(sound)
        self._listening.hear(sound)
        if self.recorder.on:
            self.recorder.hear(sound)

    def key(self) -> None:
        """The caller pressed a key."""
        self._turn.forget()
        self._turn.understood(self._loop.time())

    def marked(self, name: str) -> None:
        """Twilio gave a mark back."""
        self._speaking.marked(name)

    # What the engine wants

    def speak(self, prompt: actions.Speak) -> None:
        """Say it behind what is being said."""
        self._prompts[prompt.id] = prompt
        self._turn.speaks(prompt.id, self._loop.time())
        sound = self._sounds.get(prompt.audio)
        if sound is not None:
            self._turn.sounds(prompt.id, self._loop.time())
            self._speaking.play(prompt.id, sound)
            return
        if prompt.audio:
            self._shell.publish("prompt.failed", prompt=prompt.id, problem=f"there is no sound {prompt.audio!r}")
        self._speaking.speak(prompt.id, prompt.text, prompt.voice, self._late)

    def stop_speaking(self, prompt: str) -> None:
        """Stop at once."""
        self._speaking.stop(prompt)

    def is_saying(self, prefix: str) -> bool:
        """Whether a prompt whose name begins so has not been heard to its end."""
        return any(prompt.startswith(prefix) for prompt in self._prompts)

    def listen(self, wanted: actions.Listen) -> None:
        """Recognise the next utterance, or the one under way."""
        self._partial = None
        self._listening.listen(wanted)

    def stop_listening(self) -> None:
        """Nothing more is wanted of the recogniser: what it had understood so far was the answer."""
        if self._partial:
            self._turn.understood(self._loop.time())
            self._tell_heard(*self._partial)
            self._partial = None
        self._listening.stop()

    def deafen(self) -> None:
        """The stream ends: what is being recognised is of no more use, and is accounted for."""
        self._listening.stop()

    def echo(self, on: bool) -> None:
        """Send the caller's sound back from now on, or stop doing so."""
        self._echoing = on

    def close(self) -> None:
        """Everything of it ends."""
        self._closed = True
        self.recorder.close()
        self._speaking.close()
        self._listening.stop()
        self._watch_final()

    async def wait_closed(self) -> None:
        """Until nothing of it is left."""
        await self._speaking.wait_closed()

    # What is recorded

    def _sent(self, item: Send) -> None:
        self.recorder.sent(item)

    def _is_secret(self, prompt: str) -> bool:
        held = self._prompts.get(prompt)
        return held is not None and held.sensitive

    def _recorded(self, recording: str, seconds: float, url: str) -> None:
        self._shell.step(events.RecordingEnded(self._shell.at(), recording, seconds, url))

    # The mouth and the ear

    def _played(self, event: PlayoutEvent) -> None:
        if self.recorder.takes(event):
            return
        match event:
            case Began():
                self._began(event)
            case Ended():
                self._prompts.pop(event.prompt, None)
                self._shell.publish("prompt.finished", prompt=event.prompt, late_ms=round(event.late * 1000))
                self._shell.step(events.PromptFinished(self._shell.at(), event.prompt))
            case Interrupted():
                self._prompts.pop(event.prompt, None)
                heard = round(event.heard, 3)
                self._shell.publish("caller.interrupted", prompt=event.prompt, heard_seconds=heard)
                self._shell.step(events.PromptInterrupted(self._shell.at(), event.prompt, heard))
            case _:
                assert_never(event)

    def _began(self, event: Began) -> None:
        parts = self._turn.heard(event.prompt, event.at)
        latency: dict[str, object] = {}
        if parts:
            latency = {"latency_ms": round(sum(parts.values()) * 1000)}
            latency["latency"] = {f"{part}_ms": round(seconds * 1000) for part, seconds in parts.items()}
            self._metrics.answered(parts)
        prompt = self._prompts.get(event.prompt)
        text = "" if prompt is None else HIDDEN if prompt.sensitive else prompt.text
        self._shell.publish("prompt.started", prompt=event.prompt, node=self._shell.node, text=text, **latency)

    def _spoken_so(self, prompt: str, fact: Fact) -> None:
        if isinstance(fact, Sounded):
            self._turn.sounds(prompt, self._loop.time())
            if spoken := self._prompts.get(prompt):
                self._record.sounded(self._shell.at(), spoken.voice.tier, fact.provider)
        else:
            self._served(fact)

    def _served(self, fact: Fact) -> None:
        self._record.vendors.add(fact)
        measure(self._metrics, fact)
        if isinstance(fact, Troubled):
            if fact.late and fact.service == "recognition":
                self._late.add(fact.provider)
            problem = {"provider": fact.provider, "service": fact.service, "problem": fact.problem}
            self._shell.publish("speech.troubled", **problem)

    def _open_ear(
        self, wanted: actions.Listen, heard: Callable[[Heard], None], failed: Callable[[SpeechError], None]
    ) -> Recognition:
        expectation = Expectation(wanted.phrases, wanted.language, wanted.repeat, wanted.silence)
        return self._ears.open(wanted.tier, expectation, heard, failed, self._served)

    def _not_spoken(self, prompt: str, error: SpeechError) -> None:
        self._shell.publish("prompt.failed", prompt=prompt, problem=str(error))

    def _turned(self, edge: Edge) -> None:
        self.recorder.turned(edge)
        self._shell.glimpse("caller.speaking", on=isinstance(edge, SpeechStarted))
        if isinstance(edge, SpeechStarted):
            self._turn.forget()
            self._late.clear()
            self._shell.step(events.SpeechStarted(self._shell.at()))
        else:
            now = self._loop.time()
            self._turn.silent(now - (edge.at - edge.ended), now)
            self._shell.step(events.SpeechEnded(self._shell.at()))
            self._watch_final(FINAL_DEADLINE)

    def _heard(self, wanted: actions.Listen, heard: Heard) -> None:
        self._glimpsed(wanted, heard)
        self._partial = None if heard.final else (wanted, heard)
        if heard.final:
            self._watch_final()
            self._turn.understood(self._loop.time())
            self._tell_heard(wanted, heard)
        self._shell.step(events.Heard(self._shell.at(), wanted.id, heard.text, heard.final, heard.confidence))

    def _glimpsed(self, wanted: actions.Listen, heard: Heard) -> None:
        """A recogniser says the same again and again; and the final text is told for good."""
        before = self._partial[1].text if self._partial else ""
        if not heard.final and heard.text != before:
            self._shell.glimpse("caller.partial", text=HIDDEN if wanted.sensitive else heard.text)

    def _tell_heard(self, wanted: actions.Listen, heard: Heard) -> None:
        text = HIDDEN if wanted.sensitive else heard.text
        self._shell.publish("caller.heard", node=self._shell.node, text=text, confidence=round(heard.confidence, 2))

    def _not_heard(self, wanted: actions.Listen, error: SpeechError) -> None:
        self._turn.understood(self._loop.time())
        self._shell.publish("listening.failed", node=self._shell.node, problem=str(error))
        self._shell.step(events.ListeningFailed(self._shell.at(), wanted.id))

    def _watch_final(self, seconds: float | None = None) -> None:
        """Wait so long for the final text; None stops waiting."""
        if self._deadline:
            self._deadline.cancel()
            self._deadline = None
        if seconds is not None and not self._closed:
            self._deadline = self._loop.call_later(seconds, self._listening.give_up)
