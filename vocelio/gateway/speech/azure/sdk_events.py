"""What the SDK tells of a recognition or a synthesis: a small closed set, posted to the event loop.

The SDK's signals, from its threads to the event loop.
"""

import asyncio
from collections.abc import Callable
from typing import Any, TypeVar

import msgspec

from vocelio.gateway.speech.azure.daemon_pool import post
from vocelio.gateway.speech.interfaces import SpeechError


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


E = TypeVar("E")


class Signals:
    """What is connected of them. A signal holds whoever it tells, who mostly holds it: ``disconnect`` ends that."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._connected: list[Any] = []

    def connect(self, signal: Any, read: Callable[[Any], E], tell: Callable[[E | Failed], None]) -> None:
        """Have ``tell`` called on the event loop with what ``read`` makes of the signal's argument."""

        def tell_soon(argument: Any) -> None:
            event: E | Failed
            try:
                event = read(argument)
            except Exception as error:  # noqa: BLE001  this is a thread of the SDK: an error would be lost
                event = Failed(SpeechError(f"Azure speech said what cannot be read ({type(error).__name__})"))
            post(self._loop, tell, event)

        signal.connect(tell_soon)
        self._connected.append(signal)

    def disconnect(self) -> None:
        """Nothing more is told; waits for what is just being told. The first thing of a teardown, which may hang.

        A thread of the SDK that wants to tell something while the interpreter ends makes the process abort: Python
        ends that thread, which the SDK's C++ does not survive.
        """
        while self._connected:
            self._connected.pop().disconnect_all()
