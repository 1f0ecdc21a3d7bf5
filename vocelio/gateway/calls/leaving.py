"""A call about to leave its stream: what Twilio shall do with it next waits until the store has it for certain."""

import asyncio
from collections.abc import Callable

from vocelio.engine.actions import HangUp, Transfer

HOLD_AFTER = 0.8  # seconds: usually the store has answered long before, and nobody is told to wait
STORE_SECONDS = 10.0  # for the store to take a transfer; a caller does not wait longer
HANG_UP_SECONDS = 1.0  # the same for a hang-up, which nobody needs to know of first: its record waits in memory

Intent = Transfer | HangUp


class Leaving:
    """``hold`` is called when it takes long enough to be noticed, ``give_up`` when it takes too long."""

    def __init__(self, hold: Callable[[], None], give_up: Callable[[Intent], None]) -> None:
        self._hold, self._give_up = hold, give_up
        self._intent: Intent | None = None
        self._timers: list[asyncio.TimerHandle] = []

    def begin(self, intent: Intent) -> None:
        """Wait for the store, in place of what was waited for before."""
        self.stop()
        self._intent = intent
        loop = asyncio.get_running_loop()
        is_transfer = isinstance(intent, Transfer)
        self._timers = [loop.call_later(STORE_SECONDS if is_transfer else HANG_UP_SECONDS, self._too_long)]
        if is_transfer:
            self._timers.append(loop.call_later(HOLD_AFTER, self._hold))

    def go_on_as(self, intent: Intent) -> None:
        """What is waited for has taken another form; the time runs on."""
        self._intent = intent

    def waits_for(self, intent: Intent) -> bool:
        """Whether that is still what the call is to do."""
        return self._intent is intent

    def stop(self) -> None:
        """Nothing is waited for any more."""
        self._intent = None
        for timer in self._timers:
            timer.cancel()
        self._timers.clear()

    def _too_long(self) -> None:
        if self._intent is not None:
            self._give_up(self._intent)
