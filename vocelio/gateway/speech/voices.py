"""Speaking with whichever voice can be had: each prompt sentence by sentence, from a shelf or from a provider.

A sentence that stands on the shelf, rendered before, costs nothing. Others are asked for one after the other, which
is ahead of their time: providers make sound faster than it is played. A provider that is behind real time by
``DEADLINE`` seconds (in its first sound, in a stall, or since it drips) has failed: the next voice begins the sentence
anew, and stays for the rest of the prompt.
"""

import asyncio
import logging
from collections.abc import AsyncGenerator, Mapping
from contextlib import aclosing
from typing import NamedTuple, Protocol

import msgspec

from vocelio.codecs.mulaw import SAMPLE_RATE
from vocelio.engine.sentences import split
from vocelio.engine.voice import Tier, Voice
from vocelio.gateway.speech.facts import Sounded, Synthesised, Told, Troubled
from vocelio.gateway.speech.health import Health, Report, start_all
from vocelio.gateway.speech.ports import SpeechError, Synthesizer, Unsuitable

LOG = logging.getLogger(__name__)

SECONDS_A_CHARACTER = 0.06  # of ordinary speech: a sentence of which so much has sounded has been said
DEADLINE = 1.2  # seconds: three providers one after the other stay below the 4 s that nobody waits on a telephone
PLAN: Mapping[Tier, tuple[Tier, ...]] = {
    "elevenlabs": ("elevenlabs", "azure", "local"),
    "azure": ("azure", "local"),
    "local": ("local",),
}
STANDARD: Mapping[Tier, str] = {"azure": "en-US-AvaMultilingualNeural", "elevenlabs": "21m00Tcm4TlvDq8ikWAM"}
PROBE = "Hello."


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


class _Mouth(NamedTuple):
    synthesizer: Synthesizer
    health: Health


class Voices:
    """The voices of a process. ``synthesizers`` are those that are configured; there is at least one."""

    def __init__(self, synthesizers: Mapping[Tier, Synthesizer], shelf: Shelf | None = None) -> None:
        self._shelf = shelf or EmptyShelf()
        self._spoken: dict[Tier, Voice] = {}  # the newest voice of each, for probes
        self._mouths = {
            tier: _Mouth(synthesizer, Health(tier, "synthesis", lambda tier=tier: self._try(tier)))  # type: ignore[misc]
            for tier, synthesizer in synthesizers.items()
        }

    def chain(self, voice: Voice) -> list[Voice]:
        """The voices to speak with, best first, of the providers that are configured."""
        own = {voice.tier: voice, **{one.tier: one for one in voice.fallbacks}}
        found = [own.get(tier) or self._standing_in(tier, voice) for tier in PLAN[voice.tier] if tier in self._mouths]
        return found or [self._standing_in(tier, voice) for tier in self._mouths]

    def ready(self, tenant: str, text: str, voice: Voice) -> bytes | None:
        """The whole sound of the text, if all of it stands on the shelf."""
        voice = self.chain(voice)[0]
        sounds = [self._shelf.get(tenant, voice, sentence) for sentence in split(text)]
        return b"".join(sound for sound in sounds if sound) if sounds and None not in sounds else None

    async def speak(self, tenant: str, text: str, voice: Voice, told: Told) -> AsyncGenerator[bytes, None]:
        """Mu-law sound, as it is made. Raises SpeechError when no voice can be had any more."""
        chain = self.chain(voice)
        first = chain[0]
        speaking: Tier | None = None
        for sentence in split(text):
            if sound := self._shelf.get(tenant, first, sentence):
                if speaking is None:
                    told(Sounded(first.tier))
                    speaking = first.tier
                yield sound
                continue
            async with aclosing(self._sentence(sentence, chain, told)) as sounds:
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
        async with aclosing(self._asked(sentence, voice, lambda _: None)) as sounds:
            return b"".join([chunk async for chunk in sounds])

    def _standing_in(self, tier: Tier, voice: Voice) -> Voice:
        """The plain voice of another tier, for one that names none there."""
        name = voice.language.lower() if tier == "local" else STANDARD[tier]
        return msgspec.structs.replace(voice, tier=tier, name=name, fallbacks=())

    async def _sentence(
        self, sentence: str, chain: list[Voice], told: Told
    ) -> AsyncGenerator[tuple[Tier, bytes], None]:
        """With the first of the chain that can; those that could not are taken from it."""
        problem = SpeechError("no voice can be had")
        while chain:
            voice = chain[0]
            if self._mouths[voice.tier].health.usable or len(chain) == 1:
                try:
                    async with aclosing(self._asked(sentence, voice, told)) as sounds:
                        async for chunk in sounds:
                            yield voice.tier, chunk
                    return
                except SpeechError as error:
                    problem = error
                    told(Troubled(voice.tier, "synthesis", str(error)))
            del chain[0]
        raise problem

    async def _asked(self, sentence: str, voice: Voice, told: Told) -> AsyncGenerator[bytes, None]:
        """One provider's sound, while it keeps up."""
        synthesizer, health = self._mouths[voice.tier]
        self._spoken[voice.tier] = voice
        loop = asyncio.get_running_loop()
        begun, waited, sounded = loop.time(), 0.0, 0.0
        first: float | None = None
        try:
            async with aclosing(synthesizer.speak(sentence, voice)) as sounds:
                while True:
                    before = loop.time()
                    chunk = await _in_time(sounds, DEADLINE - max(0.0, waited - sounded), voice.tier)
                    waited += loop.time() - before
                    if not chunk:
                        break
                    if first is None:
                        first = loop.time() - begun
                    sounded += len(chunk) / SAMPLE_RATE
                    yield chunk
            if first is None and any(map(str.isalnum, sentence)):
                raise Unsuitable(f"{voice.tier} made no sound of the text")
            health.succeeded(first)
        except SpeechError as error:
            health.failed(error)
            raise
        except Exception as error:
            LOG.exception("a synthesis failed")
            failure = SpeechError(f"{voice.tier}: speaking failed; the log says how")
            health.failed(failure)
            raise failure from error
        finally:
            told(Synthesised(voice.tier, len(sentence), first))

    async def _try(self, tier: Tier) -> None:
        voice = self._spoken.get(tier) or self._standing_in(tier, Voice())
        async with aclosing(self._mouths[tier].synthesizer.speak(PROBE, voice)) as sounds:
            async for _ in sounds:
                pass


async def _in_time(sounds: AsyncGenerator[bytes, None], seconds: float, tier: Tier) -> bytes:
    """The next sound, nothing at the end. Raises SpeechError when it does not come in time."""
    try:
        async with asyncio.timeout(seconds):
            return await anext(sounds, b"")
    except TimeoutError:
        raise SpeechError(f"{tier} is {DEADLINE:g} s behind with its sound") from None
