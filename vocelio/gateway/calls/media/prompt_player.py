"""Plays prompts to one caller: connects synthesis and playout on the event loop.

A cached prompt is played at once. Each other one has a task that takes its audio from the synthesizer no faster than
playout has room for. One timer at a time wakes playout.
"""

import asyncio
import logging
from collections.abc import Callable, Collection
from contextlib import aclosing
from functools import partial

from vocelio.engine.voice import Tier, Voice
from vocelio.gateway.media import messages
from vocelio.gateway.media.playout import Playout, PlayoutEvent, SendAudio, SendCommand, SendMark
from vocelio.gateway.speech.fallback_synthesizer import FallbackSynthesizer
from vocelio.gateway.speech.interfaces import FirstAudio, SpeechError, SpeechEvent

LOG = logging.getLogger(__name__)


class PromptPlayer:
    """Prompt player of one stream.

    ``on_event`` gets every prompt's start and end, never from within ``speak``; ``on_usage`` how it is synthesized;
    ``on_send`` everything that is sent.
    """

    def __init__(
        self,
        synthesizer: FallbackSynthesizer,
        tenant: str,
        stream_sid: str,
        send: Callable[[str], None],
        on_event: Callable[[PlayoutEvent], None],
        on_error: Callable[[str, SpeechError], None],
        on_usage: Callable[[str, SpeechEvent], None],
        on_send: Callable[[SendCommand], None],
    ) -> None:
        self._synthesizer, self._tenant = synthesizer, tenant
        self._stream_sid = stream_sid
        self._send, self._on_event, self._on_error, self._on_usage, self._on_send = (
            send,
            on_event,
            on_error,
            on_usage,
            on_send,
        )
        self._loop = asyncio.get_running_loop()
        self._playout = Playout()
        self._tasks: dict[str, asyncio.Task[None]] = {}
        self._room_available = asyncio.Event()
        self._timer: asyncio.TimerHandle | None = None
        self._closed = False

    def speak(self, prompt: str, text: str, voice: Voice, late_tiers: Collection[Tier]) -> None:
        """Queue a text; see FallbackSynthesizer.speak."""
        if ready := self._synthesizer.get_cached(self._tenant, text, voice):
            provider, sound = ready
            self._on_usage(prompt, FirstAudio(provider))
            self.play(prompt, sound)
            return
        self._playout.start(prompt)
        task = self._loop.create_task(self._synthesize(prompt, text, voice, tuple(late_tiers)), name=f"prompt {prompt}")
        self._tasks[prompt] = task
        task.add_done_callback(lambda _: self._tasks.pop(prompt, None))

    def play(self, prompt: str, audio: bytes) -> None:
        """Queue stored audio (mu-law)."""
        self._playout.start(prompt)
        self._playout.feed(prompt, audio)
        self._playout.finish(prompt)
        self._set_timer(self._loop.time())  # not now: on_event is never called from within

    def stop(self, prompt: str) -> None:
        """Stop a prompt at once: clear Twilio's buffer and cancel synthesis."""
        if self._playout.has_prompt(prompt):
            self._cancel_tasks()
            self._send_all(self._playout.clear(self._loop.time()))
            self._pump()

    def on_mark(self, name: str) -> None:
        """Process a mark that Twilio returned."""
        if self._closed:
            return
        self._playout.on_mark(name, self._loop.time())
        self._pump()

    def close(self) -> None:
        """Cancel everything."""
        self._closed = True
        self._cancel_tasks()
        self._set_timer(None)

    async def wait_closed(self) -> None:
        """Wait until the canceled tasks have ended."""
        await asyncio.gather(*self._tasks.values(), return_exceptions=True)

    async def _synthesize(self, prompt: str, text: str, voice: Voice, late_tiers: Collection[Tier]) -> None:
        try:
            told = partial(self._on_usage, prompt)
            async with aclosing(self._synthesizer.speak(self._tenant, text, voice, told, late_tiers)) as sound:
                async for mulaw in sound:
                    self._playout.feed(prompt, mulaw)
                    self._pump()
                    await self._wait_for_room(prompt)
        except SpeechError as error:
            self._on_error(prompt, error)
        except Exception:  # a provider's defect: the call goes on with what was said
            LOG.exception("prompt %s broke off", prompt)
            self._on_error(prompt, SpeechError("the synthesizer failed; the log says how"))
        self._playout.finish(prompt)
        self._pump()

    async def _wait_for_room(self, prompt: str) -> None:
        while not self._playout.has_room(prompt):
            self._room_available.clear()
            await self._room_available.wait()

    def _cancel_tasks(self) -> None:
        for task in self._tasks.values():
            task.cancel()

    def _pump(self) -> None:
        """Send what is due, report events, and set the timer for what comes next."""
        if self._closed:
            return
        self._send_all(self._playout.poll(self._loop.time()))
        self._room_available.set()
        self._set_timer(self._playout.next_poll())
        for event in self._playout.events():
            self._on_event(event)

    def _set_timer(self, when: float | None) -> None:
        if self._timer:
            self._timer.cancel()
        self._timer = None if when is None else self._loop.call_at(when, self._pump)

    def _send_all(self, due: list[SendCommand]) -> None:
        for item in due:
            self._on_send(item)
            match item:
                case SendAudio(mulaw):
                    self._send(messages.media(self._stream_sid, mulaw))
                case SendMark(name):
                    self._send(messages.mark(self._stream_sid, name))
                case _:
                    self._send(messages.clear(self._stream_sid))
