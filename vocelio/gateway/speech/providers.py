"""Builds the speech services of a process from its settings.

To add a provider, implement the interfaces in a package of its own and construct it here.
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

LOCAL_PACKAGES = ("pocketsphinx", "espeakng_loader")  # of the extra `local`


@dataclass(frozen=True)
class SpeechServices:
    """The recognizer and the synthesizer that all calls of a process share."""

    recognizer: FallbackRecognizer
    synthesizer: FallbackSynthesizer

    async def start(self) -> None:
        """Start all providers. Raises SpeechError if local speech is the only one and fails."""
        await asyncio.gather(self.recognizer.start(), self.synthesizer.start())

    async def aclose(self) -> None:
        await asyncio.gather(self.recognizer.aclose(), self.synthesizer.aclose())

    def status(self) -> list[ServiceStatus]:
        """Return the state and statistics of each service, by provider."""
        services = [*self.recognizer.status(), *self.synthesizer.status()]
        return sorted(services, key=lambda service: (service.provider, service.service))


def configured_tiers(settings: Settings) -> tuple[Tier, ...]:
    """Return the available tiers; local speech is one if it is installed, or if no other is configured."""
    tiers: list[Tier] = []
    if settings.elevenlabs:
        tiers.append("elevenlabs")
    if settings.azure:
        tiers.append("azure")
    if not tiers or all(map(importlib.util.find_spec, LOCAL_PACKAGES)):
        tiers.append("local")
    return tuple(tiers)


def create_speech_services(settings: Settings, prompt_cache: PromptLookup | None = None) -> SpeechServices:
    """Create speech services with all configured providers."""
    recognizers: dict[Tier, Recognizer] = {}
    synthesizers: dict[Tier, Synthesizer] = {}
    if azure := settings.azure:
        unconfigured = None if azure.key else UnconfiguredProvider("AZURE_SPEECH_KEY")
        recognizers["azure"] = unconfigured or AzureRecognizer(azure)
        synthesizers["azure"] = unconfigured or AzureSynthesizer(azure)
    if elevenlabs := settings.elevenlabs:
        unconfigured = None if elevenlabs.key else UnconfiguredProvider("ELEVENLABS_API_KEY")
        recognizers["elevenlabs"] = unconfigured or ElevenLabsRecognizer(elevenlabs)
        synthesizers["elevenlabs"] = unconfigured or ElevenLabsSynthesizer(elevenlabs)
    if "local" in configured_tiers(settings):
        recognizers["local"], synthesizers["local"] = LocalRecognizer(), LocalSynthesizer()
    return SpeechServices(FallbackRecognizer(recognizers), FallbackSynthesizer(synthesizers, prompt_cache))


def single_provider(
    recognizer: Recognizer, synthesizer: Synthesizer, prompt_cache: PromptLookup | None = None
) -> SpeechServices:
    """Create speech services with one recognizer and one synthesizer, used for every tier."""
    return SpeechServices(
        FallbackRecognizer({"local": recognizer}), FallbackSynthesizer({"local": synthesizer}, prompt_cache)
    )


class UnconfiguredProvider:
    """A provider whose key is missing: every request raises AuthenticationFailed, so that others take over."""

    def __init__(self, setting: str) -> None:
        self._setting = setting

    async def start(self) -> None:
        raise self._missing_key_error()

    def open(
        self,
        hints: RecognitionHints,
        on_transcript: Callable[[Transcript], None],
        on_error: Callable[[SpeechError], None],
    ) -> Recognition:
        raise self._missing_key_error()

    async def speak(self, text: str, voice: Voice, tenant: str = "") -> AsyncGenerator[bytes, None]:
        raise self._missing_key_error()
        yield b""  # makes it a generator

    async def aclose(self) -> None: ...

    def _missing_key_error(self) -> AuthenticationFailed:
        return AuthenticationFailed(f"{self._setting} is missing")
