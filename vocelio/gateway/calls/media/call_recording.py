"""The recording of a whole call: both sides of one stream, and what must not be in it.

What the caller says in confidence is silence in it, from the question on until that has been answered and the caller
has fallen silent; so is a prompt that says it again.
"""

import asyncio
from collections.abc import Callable
from typing import Literal, Protocol

from vocelio.codecs.mulaw import SILENCE
from vocelio.codecs.vad import SpeechStarted
from vocelio.gateway.media.playout import Send, SendAudio, SendClear
from vocelio.gateway.media.speech_input import Edge
from vocelio.gateway.media.stereo_mixer import BothSides
from vocelio.gateway.recordings.stored_audio import PIECE_SAMPLES

LINGER = 0.5
"""Seconds after an answer in confidence that are hidden, too: of a key the sound may come behind the message."""

_HUSH = bytes([SILENCE])


class Maker(Protocol):
    """Makes what the sound goes to."""

    def begin(self, kind: Literal["call"]) -> "Taker":
        """There is sound."""
        ...


class Taker(Protocol):
    """Takes both sides' sound, a byte of each in turn."""

    def add(self, sound: bytes) -> None:
        """The next piece."""

    def end(self) -> None:
        """There is no more."""


class CallTape:
    """It runs from when the stream ``began`` to its end. ``secret`` knows whether a prompt is to be silent in it.

    What came before the call was admitted is fed at once, late, and lies where it belongs. Sound is given in pieces of
    ``piece`` samples of each side.
    """

    def __init__(self, reels: Maker, secret: Callable[[str], bool], began: float, piece: int = PIECE_SAMPLES) -> None:
        self._reels, self._secret, self._piece = reels, secret, piece
        self._now = asyncio.get_running_loop().time
        self._sides = BothSides(began)
        self._reel: Taker | None = None  # from the first piece on: what is shorter is no call
        self._speaking = self._asked = self._hidden = False
        self._hidden_until = 0.0

    def hear(self, sound: bytes) -> None:
        """The caller's next sound."""
        now = self._now()
        if self._hidden:
            sound = self._hushed(sound, now)
        self._sides.caller(sound, now)
        if self._sides.waiting >= self._piece:
            self._keep(self._sides.take())

    def sent(self, item: Send) -> None:
        """What the gateway sends."""
        if isinstance(item, SendAudio):
            sound = _HUSH * len(item.mulaw) if self._secret(item.prompt) else item.mulaw
            self._sides.gateway(sound, item.starts)
        elif isinstance(item, SendClear):
            self._sides.cleared(self._now())

    def echoed(self, sound: bytes) -> None:
        """The caller's own sound goes back, and is heard at once."""
        self._sides.gateway(_HUSH * len(sound) if self._hidden else sound, self._now())

    def begin_amid(self, *, speaking: bool, confidential: bool) -> None:
        """It begins in the middle of a call: what was said in confidence just now may not be over."""
        self._speaking = speaking
        self.confide(confidential=True)
        self.confide(confidential)

    def turned(self, edge: Edge) -> None:
        """The caller begins to speak, or has fallen silent."""
        self._speaking = isinstance(edge, SpeechStarted)

    def confide(self, confidential: bool) -> None:
        """Whether what the caller says is confidential from now on."""
        if confidential and not self._hidden:
            self._sides.hush()
        if self._asked and not confidential:
            self._hidden_until = self._now() + LINGER
        self._asked = confidential
        self._hidden = self._hidden or confidential

    def close(self) -> None:
        """The stream ends."""
        if self._reel:
            self._reel.add(self._sides.take(self._now()))
            self._reel.end()

    def _hushed(self, sound: bytes, now: float) -> bytes:
        self._hidden = self._asked or self._speaking or now < self._hidden_until
        return _HUSH * len(sound) if self._hidden else sound

    def _keep(self, sound: bytes) -> None:
        if self._reel is None:
            self._reel = self._reels.begin("call")
        self._reel.add(sound)
