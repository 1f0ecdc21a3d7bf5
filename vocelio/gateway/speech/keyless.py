"""A provider that is set up but for its key: in trouble from the beginning, and others stand in for it."""

from collections.abc import AsyncGenerator, Callable

from vocelio.engine.voice import Voice
from vocelio.gateway.speech.ports import CredentialsRefused, Expectation, Heard, Recognition, SpeechError


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
