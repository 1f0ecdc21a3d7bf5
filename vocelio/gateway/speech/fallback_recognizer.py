"""Listening with whichever recogniser can be had, from an utterance's first sound to its text.

The sound of the utterance is kept until there is a text. So when a provider fails in its midst, or does not come to an
end within ``DEADLINE`` seconds, the next one hears all of it from the beginning, which takes it a fraction of the time.
"""

import asyncio
import logging
from collections.abc import Callable, Mapping
from functools import partial
from typing import NamedTuple

from vocelio.codecs.mulaw import SAMPLE_RATE, SILENCE
from vocelio.engine.voice import Tier
from vocelio.gateway.speech.circuit_breaker import Health, Late, Report, start_all
from vocelio.gateway.speech.fallback_synthesizer import PLAN
from vocelio.gateway.speech.interfaces import Expectation, Heard, Recognition, Recognizer, SpeechError
from vocelio.gateway.speech.telemetry import Recognised, Told, Troubled

LOG = logging.getLogger(__name__)

DEADLINE = 1.2  # seconds from the end of an utterance to its text
CONNECT_SECONDS = 1.0
MOST = 30 * SAMPLE_RATE  # bytes kept of an utterance: the engine waits for none that is longer than 20 s
PROBE = bytes([SILENCE]) * (SAMPLE_RATE // 2)


class _Ear(NamedTuple):
    recognizer: Recognizer
    health: Health


class Ears:
    """The recognisers of a process. ``recognizers`` are those that are configured; there is at least one."""

    def __init__(self, recognizers: Mapping[Tier, Recognizer]) -> None:
        self._ears: dict[Tier, _Ear] = {
            tier: _Ear(recognizer, Health(tier, "recognition", lambda tier=tier: self._try(tier)))  # type: ignore[misc]
            for tier, recognizer in recognizers.items()
        }

    def open(
        self,
        tier: Tier,
        expectation: Expectation,
        heard: Callable[[Heard], None],
        failed: Callable[[SpeechError], None],
        told: Told,
    ) -> Recognition:
        """Begin to recognise. ``failed`` is called, once and later, when no recogniser can be had any more."""
        return _Listener([self._ears[one] for one in self._chain(tier, expectation)], expectation, heard, failed, told)

    async def start(self) -> None:
        """See ``start_all``."""
        await start_all({tier: (ear.recognizer, ear.health) for tier, ear in self._ears.items()})

    async def aclose(self) -> None:
        """Leave nothing behind."""
        await asyncio.gather(*(ear.health.aclose() for ear in self._ears.values()))
        await asyncio.gather(*(ear.recognizer.aclose() for ear in self._ears.values()))

    def report(self) -> list[Report]:
        """What is known of each provider."""
        return [ear.health.report() for ear in self._ears.values()]

    def _chain(self, tier: Tier, expectation: Expectation) -> list[Tier]:
        found: list[Tier] = [one for one in PLAN[tier] if one in self._ears] or list(self._ears)
        able: list[Tier] = [one for one in found if one != "local" or _is_for_local(expectation)] or found
        return [one for one in able if self._ears[one].health.usable] or able[-1:]

    async def _try(self, tier: Tier) -> None:
        """Half a second of silence: whatever text comes of it, the service is there."""
        done: asyncio.Future[None] = asyncio.get_running_loop().create_future()

        def heard(text: Heard) -> None:
            if text.final and not done.done():
                done.set_result(None)

        def failed(error: SpeechError) -> None:
            if not done.done():
                done.set_exception(error)

        recognition = self._ears[tier].recognizer.open(Expectation(("yes", "no")), heard, failed)
        try:
            recognition.feed(PROBE)
            await asyncio.sleep(CONNECT_SECONDS)  # which a prompt would give it
            recognition.finish()
            async with asyncio.timeout(DEADLINE):
                await done
        except TimeoutError:
            raise Late(f"{tier} had no text {DEADLINE:g} s after the probe's end") from None
        finally:
            recognition.close()


def _is_for_local(expectation: Expectation) -> bool:
    """It hears no free text, and no language but English: that a caller is not understood would be all that it says."""
    return bool(expectation.phrases) and expectation.language.lower().split("-")[0] == "en"


class _Listener:
    """One utterance: the Recognition that a call has, whoever recognises."""

    def __init__(
        self,
        chain: list[_Ear],
        expectation: Expectation,
        heard: Callable[[Heard], None],
        failed: Callable[[SpeechError], None],
        told: Told,
    ) -> None:
        self._chain, self._expectation = chain, expectation
        self._heard, self._failed, self._told = heard, failed, told
        self._loop = asyncio.get_running_loop()
        self._sound = bytearray()
        self._ear: _Ear | None = None  # the present one, and how many bytes it was sent
        self._recognition: Recognition | None = None
        self._sent = 0
        self._turn = 0  # which one it is: what an earlier one still says is not heard
        self._finished_at: float | None = None
        self._deadline: asyncio.TimerHandle | None = None
        self._ended = self._partly = False
        self._open_next(SpeechError("no recogniser is configured"))

    def feed(self, mulaw: bytes) -> None:
        """See Recognition."""
        if self._ended or self._finished_at is not None:
            return
        if len(self._sound) + len(mulaw) > MOST:
            self._leave(None)
            self._fail_soon(SpeechError(f"an utterance of more than {MOST // SAMPLE_RATE} s"))
            return
        self._sound += mulaw
        if self._recognition:
            self._sent += len(mulaw)
            self._recognition.feed(mulaw)

    def finish(self) -> None:
        """See Recognition."""
        if not self._ended and self._finished_at is None:
            self._finished_at = self._loop.time()
            self._finish()

    def close(self) -> None:
        """See Recognition."""
        if self._partly and not self._ended and self._ear:
            self._ear.health.succeeded()  # what it had understood so far was enough, or keys were quicker
        self._ended = True
        self._leave(None)
        self._sound.clear()

    def _open_next(self, problem: SpeechError) -> None:
        """Another recogniser hears what there is; without one the utterance is lost to that problem."""
        while self._chain:
            ear = self._ear = self._chain.pop(0)
            self._turn += 1
            heard, failed = partial(self._recognised, self._turn), partial(self._broken, self._turn)
            try:
                self._recognition = ear.recognizer.open(self._expectation, heard, failed)
            except SpeechError as error:
                problem = error
            except Exception:
                LOG.exception("a recognition could not be opened")
                problem = SpeechError(f"{ear.health.provider}: listening failed; the log says how")
            else:
                self._begin(self._recognition)
                return
            self._note(ear, problem)
        self._fail_soon(problem)

    def _begin(self, recognition: Recognition) -> None:
        """It hears what there is already."""
        if self._sound:
            self._sent = len(self._sound)
            recognition.feed(bytes(self._sound))
        if self._finished_at is not None:
            self._finish()

    def _finish(self) -> None:
        if self._recognition and self._ear:
            late = Late(f"{self._ear.health.provider} had no text {DEADLINE:g} s after the utterance's end")
            self._deadline = self._loop.call_later(DEADLINE, self._broken, self._turn, late)
            self._recognition.finish()

    def _recognised(self, turn: int, heard: Heard) -> None:
        if turn != self._turn or self._ended:
            return
        if heard.final and self._ear:
            after = None if self._finished_at is None else self._loop.time() - self._finished_at
            self._ear.health.succeeded(after)
            self._ended = True
            self._leave(after)
        self._partly = True
        self._heard(heard)

    def _broken(self, turn: int, error: SpeechError) -> None:
        if turn == self._turn and not self._ended and self._ear:
            self._note(self._ear, error)
            self._leave(None)
            self._open_next(error)

    def _note(self, ear: _Ear, error: SpeechError) -> None:
        ear.health.failed(error)
        self._told(Troubled(ear.health.provider, "recognition", str(error), isinstance(error, Late)))

    def _leave(self, after: float | None) -> None:
        """The present recogniser is done with."""
        if self._deadline:
            self._deadline.cancel()
            self._deadline = None
        recognition, self._recognition = self._recognition, None
        if recognition and self._ear:
            if self._sent:
                self._told(Recognised(self._ear.health.provider, self._sent / SAMPLE_RATE, after))
            self._sent = 0
            recognition.close()

    def _fail_soon(self, error: SpeechError) -> None:
        """On the loop's next turn: nobody is called back from inside their own call."""
        self._loop.call_soon(self._fail, error)

    def _fail(self, error: SpeechError) -> None:
        if not self._ended:
            self._ended = True
            self._failed(error)
