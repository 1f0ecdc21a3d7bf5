"""The ports of speech: what a call asks of a recogniser and of a synthesizer, whoever provides them.

Audio crosses these ports as telephone audio: mu-law, 8,000 bytes a second. Every method that is not a
coroutine returns at once: it may be called for each 20 ms frame on the event loop. Callbacks come on the
event loop, never from inside the call that caused them.
"""

from collections.abc import AsyncGenerator, Callable
from typing import Protocol

import msgspec

from vocelio.engine.voice import Voice


class SpeechError(Exception):
    """A provider refused, stalled or died. The message says which and why; it is safe to log."""


class AuthenticationFailed(SpeechError):
    """The key is missing, wrong, expired or used up: every request will fail until somebody acts."""


class RequestNotSupported(SpeechError):
    """This request is none for this provider (no such voice, a text too long, no room for more at present).

    It says nothing about how the provider does.
    """


class RecognitionHints(msgspec.Struct, frozen=True):
    """What a recogniser may expect to hear.

    ``phrases`` are the texts that the flow knows how to answer (a recogniser with a grammar hears only these, one
    with a language model prefers them). ``repeat`` says that they may follow one another, as digits do. ``silence``
    seconds are to end the utterance, for a service that looks for its end by itself.
    """

    phrases: tuple[str, ...]
    language: str = "en-US"
    repeat: bool = False
    silence_seconds: float = 0.6


class Transcript(msgspec.Struct, frozen=True):
    """What was understood: ``text`` is empty when speech was heard but not understood. ``confidence`` is 0 to 1."""

    text: str
    confidence: float
    final: bool


class Recognition(Protocol):
    """One utterance being recognised, from its first audio to its final text.

    A service that looks for the utterance's end by itself may give the final before ``finish``.
    """

    def feed(self, mulaw: bytes) -> None:
        """Take the next audio. Never blocks; past the provider's bound the recognition fails instead of growing."""

    def finish(self) -> None:
        """The utterance has ended: exactly one final (or one failure) follows. Calling it twice is harmless."""

    def close(self) -> None:
        """Forget it: nothing is called back after this returns. Harmless at any time and more than once."""


class Recognizer(Protocol):
    """A provider of recognition."""

    async def start(self) -> None:
        """Get ready (connections, processes), so that the first ``open`` costs nothing. Raises SpeechError."""

    def open(
        self,
        hints: RecognitionHints,
        on_transcript: Callable[[Transcript], None],
        on_error: Callable[[SpeechError], None],
    ) -> Recognition:
        """Begin one recognition. ``heard`` gets partials and then one final, or ``failed`` is called once.

        It is opened when somebody begins to listen, mostly while the prompt still plays: time to connect. Sound
        follows when the caller speaks, which may be never: until then it should cost next to nothing.
        """
        ...

    async def aclose(self) -> None:
        """End every recognition and leave nothing behind: no task, thread, process or socket."""


class Synthesizer(Protocol):
    """A provider of speech."""

    async def start(self) -> None:
        """Get ready (connections), so that the first ``speak`` is quick. Raises SpeechError."""

    def speak(self, text: str, voice: Voice) -> AsyncGenerator[bytes, None]:
        """Mu-law audio of ``text``, chunk by chunk, as it is made.

        Closing the iterator (``aclose``) cancels the synthesis. Raises SpeechError, also in mid-stream.
        """
        ...

    async def aclose(self) -> None:
        """Leave nothing behind."""
