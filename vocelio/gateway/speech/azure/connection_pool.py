"""Lines that are connected before they are needed: a first connection costs a caller 0.3 s of silence.

A line goes back to the pool only after it has said a text in full. One that was stopped or failed is torn down, and
another connects in its place.
"""

import asyncio
import logging
from collections.abc import Callable
from typing import TYPE_CHECKING, assert_never

from vocelio.gateway.config import Azure
from vocelio.gateway.speech.azure.sdk_events import Connected, Disconnected, Ended, Failed, LineEvent, Sound
from vocelio.gateway.speech.azure.sdk_resources import Place, Upkeep
from vocelio.gateway.speech.azure.synthesis_stream import Speech
from vocelio.gateway.speech.interfaces import SpeechError

if TYPE_CHECKING:
    from vocelio.gateway.speech.azure.synthesis_connection import Line

MAKE_SECONDS = 2.0
"""For making a line, which takes milliseconds."""

RENEW_SECONDS = 5.0
"""Until a line that the service hung up on, as it does after minutes of silence, is replaced. One that never got a
connection is not: the next text will try."""

_log = logging.getLogger(__name__)


class Slot:
    """A line, and what is known of its connection."""

    def __init__(self, upkeep: Upkeep, account: Azure, pool: "Pool") -> None:
        """Raises SpeechError when there is no room."""
        loop = asyncio.get_running_loop()
        self.connected = asyncio.Event()
        self._pool = pool
        self._speech: Speech | None = None
        self.place: Place[Line] = upkeep.make(lambda: _build(account, self._happened, loop))

    async def line(self, speech: Speech | None = None) -> "Line":
        """The line, once it has been made; from now on it is ``speech`` that it says. Raises SpeechError."""
        self._speech = speech
        done, _ = await asyncio.wait((self.place.made,), timeout=MAKE_SECONDS)
        if not done:
            raise SpeechError("Azure's SDK does not answer")
        if error := self.place.made.exception():
            raise SpeechError(f"Azure's SDK failed: {type(error).__name__}") from None
        return self.place.made.result()

    def _happened(self, event: LineEvent) -> None:
        match event:
            case Connected():
                self.connected.set()
            case Disconnected():
                self.connected.clear()
                self._pool.hung_up(self)
            case Sound() | Ended() | Failed():
                if self._speech:
                    self._speech.happened(event)
            case _:
                assert_never(event)


class Pool:
    """At least ``warm`` lines wait, as far as the upkeep has room, and at most twice as many.

    With one limit instead of two, each text would leave a line too many, and the next one a line too few.
    """

    def __init__(self, upkeep: Upkeep, account: Azure, warm: int) -> None:
        self._upkeep, self._account, self._warm = upkeep, account, warm
        self._idle: list[Slot] = []
        self._renewing: asyncio.TimerHandle | None = None
        self._closed = False

    def take(self) -> Slot:
        """A line that nobody uses, if possible one that is connected. Raises SpeechError when there is no room."""
        slot = self._idle.pop() if self._idle else self._new()
        self.fill()
        return slot

    def give_back(self, slot: Slot, clean: bool) -> None:
        """It is used no more. It is ``clean`` when all that was asked of it has been done."""
        if clean and not self._closed and slot.connected.is_set() and len(self._idle) < 2 * self._warm:
            self._idle.append(slot)
        else:
            slot.place.leave()

    def fill(self) -> None:
        """Have as many lines waiting as there should be, as far as there is room."""
        try:
            while len(self._idle) < self._warm:
                self._idle.insert(0, self._new())  # behind those that are connected
        except SpeechError as error:
            _log.info("no spare line for speech: %s", error)

    def hung_up(self, slot: Slot) -> None:
        """From a slot: its connection has ended. One that is in use tells its user by itself."""
        if slot in self._idle:
            self._idle.remove(slot)
            slot.place.leave()
            if self._renewing is None and not self._closed:
                self._renewing = asyncio.get_running_loop().call_later(RENEW_SECONDS, self._renew)

    def close(self) -> None:
        """Let go of what waits."""
        self._closed = True
        if self._renewing:
            self._renewing.cancel()
        for slot in self._idle:
            slot.place.leave()
        self._idle.clear()

    def _renew(self) -> None:
        self._renewing = None
        self.fill()

    def _new(self) -> Slot:
        return Slot(self._upkeep, self._account, self)


def _build(account: Azure, happened: Callable[[LineEvent], None], loop: asyncio.AbstractEventLoop) -> "Line":
    from vocelio.gateway.speech.azure.synthesis_connection import (
        Line,  # here, on a thread: the SDK takes 0.25 s to import
    )

    line = Line(happened, loop)
    try:
        line.open(account)
    except BaseException:
        line.tear_down()
        raise
    return line
