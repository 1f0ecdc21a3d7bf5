"""What a flow wants done that the caller or the world would notice: it waits here until the store has the call's state.

A prompt, a request, a transfer: each is begun only when another process could go on from there. That takes some 20 ms.
When it takes longer, ``hold`` is called, now and then; when it takes too long, ``give_up``. A transfer waits to be
cleared first: until it is exchanged for what it is really to be, it is not taken.
"""

import asyncio
from collections import deque
from collections.abc import Callable, Iterable

from vocelio.engine.actions import AnyAction, HangUp, Queue, Record, Request, Speak, Transfer

HOLD_AFTER = 0.8  # seconds: usually the store has answered long before, and nobody is told to wait
HOLD_EVERY = 3.5  # seconds: nobody hears nothing for more than four
STORE_SECONDS = 10.0  # for the store to take a state; a caller does not wait longer
HANG_UP_SECONDS = 1.0  # the same for a hang-up, which nobody needs to know of first: its record waits in memory

Outward = Speak | Request | Transfer | Queue | Record | HangUp


class Held:
    """One call's actions that wait, in order; a handful at most. ``tickets`` count what was saved."""

    def __init__(self, hold: Callable[[], None], give_up: Callable[[], None]) -> None:
        self._hold, self._give_up = hold, give_up
        self._waiting: deque[tuple[int, Outward]] = deque()
        self._tickets = 0
        self._uncleared: Transfer | None = None
        self._timers: list[asyncio.TimerHandle] = []

    def wait(self, outward: Iterable[Outward]) -> int:
        """They wait behind those that wait already; what is given to ``take`` when the state is certain."""
        self._tickets += 1
        if not self._waiting:
            self._watch()
        for action in outward:
            self._waiting.append((self._tickets, action))
            self._uncleared = action if isinstance(action, Transfer) else self._uncleared
        if any(isinstance(action, HangUp) for _, action in self._waiting):
            self._timers.append(asyncio.get_running_loop().call_later(HANG_UP_SECONDS, self._give_up))
        return self._tickets

    def take(self, ticket: int) -> list[AnyAction]:
        """Those whose state is certain, in order."""
        ready = [item for item in self._waiting if item[0] <= ticket and item[1] is not self._uncleared]
        self._waiting = deque(item for item in self._waiting if item not in ready)
        self._unwatch()
        return [action for _, action in ready]

    def take_all(self) -> list[AnyAction]:
        """Those that wait, whatever is certain."""
        taken: list[AnyAction] = [action for _, action in self._waiting]
        self.stop()
        return taken

    @property
    def transfer(self) -> Transfer | None:
        """The transfer that waits here to be cleared."""
        return self._uncleared

    def exchange(self, transfer: Transfer, cleared: Transfer) -> int:
        """The transfer as it is really to be, with a ticket of its own; it has waited as long as it has."""
        self._tickets += 1
        self._uncleared = None
        kept = [item for item in self._waiting if item[1] is not transfer]
        self._waiting = deque([*kept, (self._tickets, cleared)])
        return self._tickets

    def withdraw(self, identifier: str) -> bool:
        """A prompt, a transfer or a recording that is not wanted any more; False when it does not wait here."""
        for item in self._waiting:
            if isinstance(item[1], Speak | Transfer | Record) and item[1].id == identifier:
                self._waiting.remove(item)
                self._uncleared = None if item[1] is self._uncleared else self._uncleared
                self._unwatch()
                return True
        return False

    def stop(self) -> None:
        """Nothing is waited for any more."""
        self._waiting.clear()
        self._uncleared = None
        self._unwatch()

    def _watch(self) -> None:
        """From the first that waits: what joins it does not prolong the caller's patience."""
        loop = asyncio.get_running_loop()
        holds = [HOLD_AFTER + HOLD_EVERY * count for count in range(int(STORE_SECONDS / HOLD_EVERY) + 1)]
        self._timers = [loop.call_later(after, self._hold) for after in holds if after < STORE_SECONDS]
        self._timers.append(loop.call_later(STORE_SECONDS, self._give_up))

    def _unwatch(self) -> None:
        if not self._waiting:
            for timer in self._timers:
                timer.cancel()
            self._timers.clear()
