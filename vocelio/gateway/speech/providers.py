"""The providers that the settings name. To add one: its package behind the ports, and a line here.

A provider that is set up but for its key: in trouble from the beginning, and others stand in for it.

Speech as calls use it: the ears and voices of all providers that are configured.
"""

import asyncio
import importlib.util
from collections.abc import AsyncGenerator, Callable
from dataclasses import dataclass

from vocelio.engine.voice import Tier, Voice
from vocelio.gateway.config import Settings
from vocelio.gateway.speech.azure.recognizer import AzureRecognizer
from vocelio.gateway.speech.azure.synthesizer import AzureSynthesizer
from vocelio.gateway.speech.circuit_breaker import ServiceStatus
from vocelio.gateway.speech.elevenlabs.recognizer import ElevenLabsRecognizer
from vocelio.gateway.speech.elevenlabs.synthesizer import ElevenLabsSynthesizer
from vocelio.gateway.speech.fallback_recognizer import FallbackRecognizer
from vocelio.gateway.speech.fallback_synthesizer import FallbackSynthesizer, PromptLookup
from vocelio.gateway.speech.interfaces import (
    AuthenticationFailed,
    Recognition,
    RecognitionHints,
    Recognizer,
    SpeechError,
    Synthesizer,
    Transcript,
)
from vocelio.gateway.speech.local.recognizer import LocalRecognizer
from vocelio.gateway.speech.local.synthesizer import LocalSynthesizer

LOCAL_PACKAGES = ("pocketsphinx", "espeakng_loader")  # what the extra `local` installs


@dataclass(frozen=True)
class SpeechServices:
    """What all calls of a process share."""

    recognizer: FallbackRecognizer
    synthesizer: FallbackSynthesizer

    async def start(self) -> None:
        """Get ready. Raises SpeechError when local speech is all there is, and cannot be had."""
        await asyncio.gather(self.recognizer.start(), self.synthesizer.start())

    async def aclose(self) -> None:
        """Leave nothing behind."""
        await asyncio.gather(self.recognizer.aclose(), self.synthesizer.aclose())

    def status(self) -> list[ServiceStatus]:
        """What is known of each service of each provider."""
        return sorted(
            [*self.recognizer.status(), *self.synthesizer.status()], key=lambda one: (one.provider, one.service)
        )


def configured_tiers(settings: Settings) -> tuple[Tier, ...]:
    """The tiers that can be had. Local speech can where it is installed, or where nothing else is configured."""
    tiers: list[Tier] = []
    if settings.elevenlabs:
        tiers.append("elevenlabs")
    if settings.azure:
        tiers.append("azure")
    if not tiers or all(map(importlib.util.find_spec, LOCAL_PACKAGES)):
        tiers.append("local")
    return tuple(tiers)


def create_speech_services(settings: Settings, prompt_cache: PromptLookup | None = None) -> SpeechServices:
    """Speech with all providers that are configured."""
    recognizers: dict[Tier, Recognizer] = {}
    synthesizers: dict[Tier, Synthesizer] = {}
    if azure := settings.azure:
        missing = None if azure.key else UnconfiguredProvider("AZURE_SPEECH_KEY")
        recognizers["azure"] = missing or AzureRecognizer(azure)
        synthesizers["azure"] = missing or AzureSynthesizer(azure)
    if elevenlabs := settings.elevenlabs:
        missing = None if elevenlabs.key else UnconfiguredProvider("ELEVENLABS_API_KEY")
        recognizers["elevenlabs"] = missing or ElevenLabsRecognizer(elevenlabs)
        synthesizers["elevenlabs"] = missing or ElevenLabsSynthesizer(elevenlabs)
    if "local" in configured_tiers(settings):
        recognizers["local"], synthesizers["local"] = LocalRecognizer(), LocalSynthesizer()
    return SpeechServices(FallbackRecognizer(recognizers), FallbackSynthesizer(synthesizers, prompt_cache))


class UnconfiguredProvider:
    """Recogniser and synthesizer; all that is asked of them says which ``setting`` is missing."""

    def __init__(self, setting: str) -> None:
        self._setting = setting

    async def start(self) -> None:
        """Raises CredentialsRefused."""
        raise self._missing_key_error()

    def open(
        self,
        hints: RecognitionHints,
        on_transcript: Callable[[Transcript], None],
        on_error: Callable[[SpeechError], None],
    ) -> Recognition:
        """Raises CredentialsRefused."""
        raise self._missing_key_error()

    async def speak(self, text: str, voice: Voice) -> AsyncGenerator[bytes, None]:
        """Raises CredentialsRefused."""
        raise self._missing_key_error()
        yield b""

    async def aclose(self) -> None:
        """There is nothing."""

    def _missing_key_error(self) -> AuthenticationFailed:
        return AuthenticationFailed(f"{self._setting} is missing")


def single_provider(
    recognizer: Recognizer, synthesizer: Synthesizer, prompt_cache: PromptLookup | None = None
) -> SpeechServices:
    """One recogniser and one synthesizer, for whichever tier is asked for."""
    return SpeechServices(
        FallbackRecognizer({"local": recognizer}), FallbackSynthesizer({"local": synthesizer}, prompt_cache)
    )
