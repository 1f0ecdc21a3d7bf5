"""What a flow wants done that the caller or the world would notice: it waits here until the store has the call's state.

A prompt, a request, a transfer: each is begun only when another process could go on from there. That takes some 20 ms.
When it takes longer, ``hold`` is called; when it takes too long, ``give_up``, with all that waits.
"""

import asyncio
from collections import deque
from collections.abc import Callable, Iterable

from vocelio.engine.actions import AnyAction, HangUp, Queue, Record, Request, Speak, Transfer

HOLD_AFTER = 0.8  # seconds: usually the store has answered long before, and nobody is told to wait
STORE_SECONDS = 10.0  # for the store to take a state; a caller does not wait longer
HANG_UP_SECONDS = 1.0  # the same for a hang-up, which nobody needs to know of first: its record waits in memory

Outward = Speak | Request | Transfer | Queue | Record | HangUp


class Held:
    """One call's actions that wait, in order; a handful at most. ``tickets`` count what was saved."""

    def __init__(self, hold: Callable[[], None], give_up: Callable[[], None]) -> None:
        self._hold, self._give_up = hold, give_up
        self._waiting: deque[tuple[int, Outward]] = deque()
        self._tickets = 0
        self._timers: list[asyncio.TimerHandle] = []

    def wait(self, outward: Iterable[Outward]) -> int:
        """They wait behind those that wait already; what is given to ``take`` when the state is certain."""
        self._tickets += 1
        if not self._waiting:
            self._watch()
        self._waiting.extend((self._tickets, action) for action in outward)
        if any(isinstance(action, HangUp) for _, action in self._waiting):
            self._timers.append(asyncio.get_running_loop().call_later(HANG_UP_SECONDS, self._give_up))
        return self._tickets

    def take(self, ticket: int | None = None) -> list[AnyAction]:
        """Those whose state is certain, in order; all, if no ticket is given."""
        taken: list[AnyAction] = []
        while self._waiting and (ticket is None or self._waiting[0][0] <= ticket):
            taken.append(self._waiting.popleft()[1])
        self._unwatch()
        return taken

    @property
    def transfer(self) -> Transfer | None:
        """The newest transfer that waits here."""
        return next((action for _, action in reversed(self._waiting) if isinstance(action, Transfer)), None)

    def exchange(self, transfer: Transfer, cleared: Transfer) -> int:
        """The transfer as it is really to be, with a ticket of its own; it has waited as long as it has."""
        self._tickets += 1
        kept = [item for item in self._waiting if item[1] is not transfer]
        self._waiting = deque([*kept, (self._tickets, cleared)])
        return self._tickets

    def withdraw(self, identifier: str) -> bool:
        """A prompt, a transfer or a recording that is not wanted any more; False when it does not wait here."""
        for item in self._waiting:
            if isinstance(item[1], Speak | Transfer | Record) and item[1].id == identifier:
                self._waiting.remove(item)
                self._unwatch()
                return True
        return False

    def stop(self) -> None:
        """Nothing is waited for any more."""
        self._waiting.clear()
        self._unwatch()

    def _watch(self) -> None:
        """From the first that waits: what joins it does not prolong the caller's patience."""
        loop = asyncio.get_running_loop()
        self._timers = [loop.call_later(HOLD_AFTER, self._hold), loop.call_later(STORE_SECONDS, self._give_up)]

    def _unwatch(self) -> None:
        if not self._waiting:
            for timer in self._timers:
                timer.cancel()
            self._timers.clear()
