"""Speaking with whichever voice can be had: each prompt sentence by sentence, from a shelf or from a provider.

A sentence that stands on the shelf, rendered before, costs nothing. Others are asked for one after the other, which
is ahead of their time: providers make sound faster than it is played. A provider that is behind real time by
``DEADLINE`` seconds (in its first sound, in a stall, or since it drips) has failed: the next voice begins the sentence
anew, and stays for the rest of the prompt.
"""

import asyncio
import logging
from collections.abc import AsyncGenerator, Collection, Mapping
from contextlib import aclosing
from typing import NamedTuple, Protocol

import msgspec

from vocelio.codecs.mulaw import SAMPLE_RATE, SILENCE
from vocelio.engine.prompts.sentences import split
from vocelio.engine.voice import Tier, Voice
from vocelio.gateway.speech.circuit_breaker import Health, Late, Report, start_all
from vocelio.gateway.speech.interfaces import CredentialsRefused, SpeechError, Synthesizer, Unsuitable
from vocelio.gateway.speech.telemetry import Sounded, Synthesised, Told, Troubled

LOG = logging.getLogger(__name__)

SECONDS_A_CHARACTER = 0.06  # of ordinary speech: a sentence of which so much has sounded has been said
SECONDS_A_DIGIT = 0.5
RENDER_SECONDS = 5.0  # that rendering, for which nobody waits, may be behind
DEADLINE = 1.2  # seconds: three providers one after the other stay below the 4 s that nobody waits on a telephone
PLAN: Mapping[Tier, tuple[Tier, ...]] = {
    "elevenlabs": ("elevenlabs", "azure", "local"),
    "azure": ("azure", "local"),
    "local": ("local",),
}
STANDARD: Mapping[Tier, str] = {"azure": "en-US-AvaMultilingualNeural", "elevenlabs": "EXAVITQu4vr4xnSDxMaL"}
PROBE = "Hello."
PAUSE = bytes([SILENCE]) * (SAMPLE_RATE // 5)  # between two sentences: services are told to leave none


class Shelf(Protocol):
    """Where sentences stand that were rendered before."""

    def get(self, tenant: str, voice: Voice, sentence: str) -> bytes | None:
        """Its mu-law sound, if that is at hand. Never waits."""
        ...


class EmptyShelf:
    """Nothing was rendered."""

    def get(self, tenant: str, voice: Voice, sentence: str) -> bytes | None:
        """See Shelf."""
        return None


def chain(voice: Voice, configured: Collection[Tier]) -> list[Voice]:
    """The voices to speak with, best first, of the tiers that are ``configured``; at least one is."""
    own = {**{one.tier: one for one in voice.fallbacks}, voice.tier: voice}
    tiers: list[Tier] = [tier for tier in PLAN[voice.tier] if tier in configured] or list(configured)
    return [own.get(tier) or _standing_in(tier, voice) for tier in tiers]


def _standing_in(tier: Tier, voice: Voice) -> Voice:
    """The plain voice of another tier, for one that names none there."""
    name = voice.language.lower() if tier == "local" else STANDARD[tier]
    return msgspec.structs.replace(voice, tier=tier, name=name, fallbacks=())


class _Mouth(NamedTuple):
    synthesizer: Synthesizer
    health: Health


class Voices:
    """The voices of a process. ``synthesizers`` are those that are configured; there is at least one."""

    def __init__(self, synthesizers: Mapping[Tier, Synthesizer], shelf: Shelf | None = None) -> None:
        self._shelf = shelf or EmptyShelf()
        self._good: dict[Tier, Voice] = {}  # the newest voice of each that spoke, for probes
        self._mouths: dict[Tier, _Mouth] = {
            tier: _Mouth(synthesizer, Health(tier, "synthesis", lambda tier=tier: self._try(tier)))  # type: ignore[misc]
            for tier, synthesizer in synthesizers.items()
        }

    def ready(self, tenant: str, text: str, voice: Voice) -> tuple[Tier, bytes] | None:
        """Whose voice it is and the whole sound of the text, if all of it stands on the shelf."""
        first = chain(voice, self._mouths)[0]
        sounds = [self._shelf.get(tenant, first, sentence) for sentence in split(text)]
        if not sounds or None in sounds:
            return None
        return first.tier, PAUSE.join(sound for sound in sounds if sound)

    async def speak(
        self, tenant: str, text: str, voice: Voice, told: Told, late: Collection[Tier] = ()
    ) -> AsyncGenerator[bytes, None]:
        """Mu-law sound, as it is made. Raises SpeechError when no voice can be had any more.

        Providers that were ``late`` in the caller's present turn are not waited for again, if there is another.
        """
        every = chain(voice, self._mouths)
        left = [one for one in every if one.tier not in late] or every
        speaking: Tier | None = None
        for sentence in split(text):
            if speaking:
                yield PAUSE
            if sound := self._shelf.get(tenant, left[0], sentence):
                if left[0].tier != speaking:
                    told(Sounded(left[0].tier))
                    speaking = left[0].tier
                yield sound
                continue
            async with aclosing(self._sentence(sentence, left, told)) as sounds:
                async for tier, chunk in sounds:
                    if tier != speaking:
                        told(Sounded(tier))
                        speaking = tier
                    yield chunk

    async def start(self) -> None:
        """See ``start_all``."""
        await start_all({tier: (mouth.synthesizer, mouth.health) for tier, mouth in self._mouths.items()})

    async def aclose(self) -> None:
        """Leave nothing behind."""
        await asyncio.gather(*(mouth.health.aclose() for mouth in self._mouths.values()))
        await asyncio.gather(*(mouth.synthesizer.aclose() for mouth in self._mouths.values()))

    def report(self) -> list[Report]:
        """What is known of each provider."""
        return [mouth.health.report() for mouth in self._mouths.values()]

    async def render(self, sentence: str, voice: Voice) -> bytes:
        """All of a sentence's sound in just that voice. Raises SpeechError."""
        mouth = self._mouths.get(voice.tier)
        if mouth is None:
            raise SpeechError(f"{voice.tier} is not configured")
        if not mouth.health.usable:
            raise SpeechError(f"{voice.tier} is left alone for now")
        try:
            async with aclosing(_paced(mouth.synthesizer, sentence, voice, RENDER_SECONDS)) as sounds:
                return b"".join([chunk async for chunk in sounds])
        except CredentialsRefused as error:
            mouth.health.failed(error)  # of other failures calls have their own: many renderings at once cause some
            raise

    async def _sentence(self, sentence: str, left: list[Voice], told: Told) -> AsyncGenerator[tuple[Tier, bytes], None]:
        """With the first of those ``left`` that can; those that could not are taken from them."""
        problem, enough = SpeechError("no voice can be had"), _usual(sentence) * SAMPLE_RATE
        while left:
            voice, sounded = left[0], 0
            if self._mouths[voice.tier].health.usable or len(left) == 1:
                try:
                    async with aclosing(self._asked(sentence, voice, told)) as sounds:
                        async for chunk in sounds:
                            sounded += len(chunk)
                            yield voice.tier, chunk
                    return
                except SpeechError as error:
                    problem = error
                    told(Troubled(voice.tier, "synthesis", str(error), isinstance(error, Late)))
                    if sounded >= enough / min(
                        1.0, voice.speed
                    ):  # only its end did not come: nobody wants to hear it twice
                        del left[: len(left) > 1]
                        return
            del left[0]
        raise problem

    async def _asked(self, sentence: str, voice: Voice, told: Told) -> AsyncGenerator[bytes, None]:
        """One provider's sound, while it keeps up; what that says of its health, and what it costs."""
        synthesizer, health = self._mouths[voice.tier]
        loop = asyncio.get_running_loop()
        begun = loop.time()
        first: float | None = None
        try:
            async with aclosing(_paced(synthesizer, sentence, voice, DEADLINE)) as sounds:
                async for chunk in sounds:
                    if first is None:
                        first = loop.time() - begun
                        told(Synthesised(voice.tier, len(sentence), first))
                    yield chunk
        except SpeechError as error:
            health.failed(error)
            if first is None and isinstance(error, Late):  # it has the text, and may well ask money for it
                told(Synthesised(voice.tier, len(sentence), None))
            raise
        except (GeneratorExit, asyncio.CancelledError):
            if first is None:
                told(Synthesised(voice.tier, len(sentence), None))
            else:  # nobody wants the rest: it was well as far as it went
                health.succeeded(first)
            raise
        except Exception as error:
            LOG.exception("a synthesis failed")
            failure = SpeechError(f"{voice.tier}: speaking failed; the log says how")
            health.failed(failure)
            raise failure from error
        else:
            health.succeeded(first)
            self._good[voice.tier] = voice

    async def _try(self, tier: Tier) -> None:
        """As a caller would, with a voice that was good before."""
        voice = self._good.get(tier) or _standing_in(tier, Voice())
        async with aclosing(_paced(self._mouths[tier].synthesizer, PROBE, voice, DEADLINE)) as sounds:
            async for _ in sounds:
                pass


async def _paced(synthesizer: Synthesizer, sentence: str, voice: Voice, deadline: float) -> AsyncGenerator[bytes, None]:
    """The sound, while it is never ``deadline`` seconds behind. Raises SpeechError."""
    loop = asyncio.get_running_loop()
    waited = sounded = 0.0
    async with aclosing(synthesizer.speak(sentence, voice)) as sounds:
        while True:
            before = loop.time()
            chunk = await _in_time(sounds, deadline - max(0.0, waited - sounded), voice.tier, deadline)
            waited += loop.time() - before
            if not chunk:
                break
            sounded += len(chunk) / SAMPLE_RATE
            yield chunk
    if not sounded and any(map(str.isalnum, sentence)):
        raise Unsuitable(f"{voice.tier} made no sound of the text")


def _usual(sentence: str) -> float:
    """About how many seconds it sounds, at ordinary speed: rather too many than too few."""
    return sum(SECONDS_A_DIGIT if one.isdigit() or one in "$%" else SECONDS_A_CHARACTER for one in sentence)


async def _in_time(sounds: AsyncGenerator[bytes, None], seconds: float, tier: Tier, deadline: float) -> bytes:
    """The next sound, nothing at the end. Raises Late when it does not come in time."""
    try:
        async with asyncio.timeout(seconds):
            return await anext(sounds, b"")
    except TimeoutError:
        raise Late(f"{tier} is {deadline:g} s behind with its sound") from None
