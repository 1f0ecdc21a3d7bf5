"""What the SDK tells of a recognition or a synthesis: a small closed set, posted to the event loop."""

import msgspec

from vocelio.gateway.speech.ports import SpeechError


class Connected(msgspec.Struct, frozen=True):
    """The service has accepted the key."""


class Disconnected(msgspec.Struct, frozen=True):
    """The connection has ended, whoever ended it."""


class Hypothesis(msgspec.Struct, frozen=True):
    """What has been heard of a phrase so far."""

    text: str


class Phrase(msgspec.Struct, frozen=True):
    """A phrase that has ended; ``text`` is empty when it was not understood."""

    text: str
    confidence: float


class Sound(msgspec.Struct, frozen=True):
    """The next of what is spoken, mu-law."""

    mulaw: bytes


class Ended(msgspec.Struct, frozen=True):
    """All sound has been heard, or the text has been spoken in full."""


class Failed(msgspec.Struct, frozen=True):
    """It failed; nothing sensible follows."""

    error: SpeechError


RecognitionEvent = Connected | Hypothesis | Phrase | Ended | Failed
LineEvent = Connected | Disconnected | Sound | Ended | Failed
