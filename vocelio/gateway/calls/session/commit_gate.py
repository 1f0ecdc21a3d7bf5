"""What a flow wants done that the caller or the world would notice: it waits here until the store has the call's state.

A prompt, a request, a transfer: each is begun only when another process could go on from there. That takes some 20 ms.
When it takes longer, ``hold`` is called, now and then; when it takes too long, ``give_up``. A transfer waits to be
cleared first: until it is exchanged for what it is really to be, it is not taken.
"""

import asyncio
from collections import deque
from collections.abc import Callable, Iterable

from vocelio.engine.actions import AnyAction, HangUp, Queue, Record, Request, Speak, Transfer

HOLD_AFTER_SECONDS = 0.8  # seconds: usually the store has answered long before, and nobody is told to wait
HOLD_INTERVAL_SECONDS = 3.5  # seconds: nobody hears nothing for more than four
COMMIT_TIMEOUT_SECONDS = 10.0  # for the store to take a state; a caller does not wait longer
HANG_UP_TIMEOUT_SECONDS = 1.0  # the same for a hang-up, which nobody needs to know of first: its record waits in memory

SideEffect = Speak | Request | Transfer | Queue | Record | HangUp


class CommitGate:
    """One call's actions that wait, in order; a handful at most. ``tickets`` count what was saved."""

    def __init__(self, on_slow: Callable[[], None], on_timeout: Callable[[], None]) -> None:
        self._on_slow, self._on_timeout = on_slow, on_timeout
        self._pending: deque[tuple[int, SideEffect]] = deque()
        self._sequence = 0
        self._unauthorized_transfer: Transfer | None = None
        self._timers: list[asyncio.TimerHandle] = []

    def add(self, side_effects: Iterable[SideEffect]) -> int:
        """They wait behind those that wait already; what is given to ``take`` when the state is certain."""
        self._sequence += 1
        if not self._pending:
            self._start_timers()
        for action in side_effects:
            self._pending.append((self._sequence, action))
            self._unauthorized_transfer = action if isinstance(action, Transfer) else self._unauthorized_transfer
        if any(isinstance(action, HangUp) for _, action in self._pending):
            self._timers.append(asyncio.get_running_loop().call_later(HANG_UP_TIMEOUT_SECONDS, self._on_timeout))
        return self._sequence

    def release(self, sequence: int) -> list[AnyAction]:
        """Those whose state is certain, in order."""
        ready = [item for item in self._pending if item[0] <= sequence and item[1] is not self._unauthorized_transfer]
        self._pending = deque(item for item in self._pending if item not in ready)
        self._cancel_timers_if_empty()
        return [action for _, action in ready]

    def release_all(self) -> list[AnyAction]:
        """Those that wait, whatever is certain."""
        taken: list[AnyAction] = [action for _, action in self._pending]
        self.clear()
        return taken

    @property
    def unauthorized_transfer(self) -> Transfer | None:
        """The transfer that waits here to be cleared."""
        return self._unauthorized_transfer

    def replace(self, transfer: Transfer, authorized: Transfer) -> int:
        """The transfer as it is really to be, with a ticket of its own; it has waited as long as it has."""
        self._sequence += 1
        self._unauthorized_transfer = None
        kept = [item for item in self._pending if item[1] is not transfer]
        self._pending = deque([*kept, (self._sequence, authorized)])
        return self._sequence

    def cancel(self, action_id: str) -> bool:
        """A prompt, a transfer or a recording that is not wanted any more; False when it does not wait here."""
        for item in self._pending:
            if isinstance(item[1], Speak | Transfer | Record) and item[1].id == action_id:
                self._pending.remove(item)
                self._unauthorized_transfer = (
                    None if item[1] is self._unauthorized_transfer else self._unauthorized_transfer
                )
                self._cancel_timers_if_empty()
                return True
        return False

    def clear(self) -> None:
        """Nothing is waited for any more."""
        self._pending.clear()
        self._unauthorized_transfer = None
        self._cancel_timers_if_empty()

    def _start_timers(self) -> None:
        """From the first that waits: what joins it does not prolong the caller's patience."""
        loop = asyncio.get_running_loop()
        holds = [
            HOLD_AFTER_SECONDS + HOLD_INTERVAL_SECONDS * count
            for count in range(int(COMMIT_TIMEOUT_SECONDS / HOLD_INTERVAL_SECONDS) + 1)
        ]
        self._timers = [loop.call_later(after, self._on_slow) for after in holds if after < COMMIT_TIMEOUT_SECONDS]
        self._timers.append(loop.call_later(COMMIT_TIMEOUT_SECONDS, self._on_timeout))

    def _cancel_timers_if_empty(self) -> None:
        if not self._pending:
            for timer in self._timers:
                timer.cancel()
            self._timers.clear()
