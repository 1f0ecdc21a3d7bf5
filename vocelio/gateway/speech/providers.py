"""The providers that the settings name. To add one: its package behind the ports, and a line here.

A provider that is set up but for its key: in trouble from the beginning, and others stand in for it.
"""

import importlib.util
from collections.abc import AsyncGenerator, Callable

from vocelio.engine.voice import Tier, Voice
from vocelio.gateway.config import Settings
from vocelio.gateway.speech.azure.recognizer import AzureRecognizer
from vocelio.gateway.speech.azure.synthesizer import AzureSynthesizer
from vocelio.gateway.speech.elevenlabs.recognizer import ElevenLabsRecognizer
from vocelio.gateway.speech.elevenlabs.synthesizer import ElevenLabsSynthesizer
from vocelio.gateway.speech.fallback_recognizer import Ears
from vocelio.gateway.speech.fallback_synthesizer import Shelf, Voices
from vocelio.gateway.speech.interfaces import (
    CredentialsRefused,
    Expectation,
    Heard,
    Recognition,
    Recognizer,
    SpeechError,
    Synthesizer,
)
from vocelio.gateway.speech.local.recognizer import LocalRecognizer
from vocelio.gateway.speech.local.synthesizer import LocalSynthesizer
from vocelio.gateway.speech.services import Speech

LOCAL = ("pocketsphinx", "espeakng_loader")  # what the extra `local` installs


def configured(settings: Settings) -> tuple[Tier, ...]:
    """The tiers that can be had. Local speech can where it is installed, or where nothing else is configured."""
    tiers: list[Tier] = []
    if settings.elevenlabs:
        tiers.append("elevenlabs")
    if settings.azure:
        tiers.append("azure")
    if not tiers or all(map(importlib.util.find_spec, LOCAL)):
        tiers.append("local")
    return tuple(tiers)


def speech(settings: Settings, shelf: Shelf | None = None) -> Speech:
    """Speech with all providers that are configured."""
    recognizers: dict[Tier, Recognizer] = {}
    synthesizers: dict[Tier, Synthesizer] = {}
    if azure := settings.azure:
        missing = None if azure.key else Keyless("AZURE_SPEECH_KEY")
        recognizers["azure"] = missing or AzureRecognizer(azure)
        synthesizers["azure"] = missing or AzureSynthesizer(azure)
    if elevenlabs := settings.elevenlabs:
        missing = None if elevenlabs.key else Keyless("ELEVENLABS_API_KEY")
        recognizers["elevenlabs"] = missing or ElevenLabsRecognizer(elevenlabs)
        synthesizers["elevenlabs"] = missing or ElevenLabsSynthesizer(elevenlabs)
    if "local" in configured(settings):
        recognizers["local"], synthesizers["local"] = LocalRecognizer(), LocalSynthesizer()
    return Speech(Ears(recognizers), Voices(synthesizers, shelf))


class Keyless:
    """Recogniser and synthesizer; all that is asked of them says which ``setting`` is missing."""

    def __init__(self, setting: str) -> None:
        self._setting = setting

    async def start(self) -> None:
        """Raises CredentialsRefused."""
        raise self._refusal()

    def open(
        self, expectation: Expectation, heard: Callable[[Heard], None], failed: Callable[[SpeechError], None]
    ) -> Recognition:
        """Raises CredentialsRefused."""
        raise self._refusal()

    async def speak(self, text: str, voice: Voice) -> AsyncGenerator[bytes, None]:
        """Raises CredentialsRefused."""
        raise self._refusal()
        yield b""

    async def aclose(self) -> None:
        """There is nothing."""

    def _refusal(self) -> CredentialsRefused:
        return CredentialsRefused(f"{self._setting} is missing")
