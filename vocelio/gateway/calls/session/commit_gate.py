"""Commit gate: hold back externally visible side effects until the call's state has been committed.

A prompt, a request or a transfer starts only when another process could resume the call from there. That usually takes
20 ms. If it takes longer, ``on_slow`` is called repeatedly; if it takes too long, ``on_timeout`` once. A transfer also
waits for its authorization: it is not released before ``authorize`` has replaced it.
"""

import asyncio
import sys
from collections import deque
from collections.abc import Callable, Iterable

from vocelio.engine.actions import AnyAction, HangUp, Queue, Record, Request, Speak, Transfer

HOLD_AFTER_SECONDS = 0.8  # the store has usually answered long before, so that most callers are not asked to hold
HOLD_INTERVAL_SECONDS = 3.5  # no caller hears silence for more than four
COMMIT_TIMEOUT_SECONDS = 10.0  # of a commit: callers do not wait longer
HANG_UP_TIMEOUT_SECONDS = 1.0  # of a hang-up, which needs no commit: the record stays in memory until it is saved

SideEffect = Speak | Request | Transfer | Queue | Record | HangUp

_NOT_AUTHORIZED = sys.maxsize  # the ticket of a transfer that waits for its authorization: no commit reaches it


class CommitGate:
    """The pending side effects of one call, in order; a handful at most. Tickets count the saves."""

    def __init__(self, on_slow: Callable[[], None], on_timeout: Callable[[], None]) -> None:
        self._on_slow, self._on_timeout = on_slow, on_timeout
        self._pending: deque[tuple[int, SideEffect]] = deque()
        self._last_ticket = 0
        self._timers: list[asyncio.TimerHandle] = []

    def add(self, side_effects: Iterable[SideEffect]) -> int:
        """Queue the side effects and return the ticket to ``release`` when the present state is committed.

        A transfer replaces one that waits for its authorization.
        """
        self._last_ticket += 1
        if not self._pending:
            self._start_timers()
        for action in side_effects:
            if isinstance(action, Transfer):
                self._pending = deque(item for item in self._pending if item[0] != _NOT_AUTHORIZED)
                self._pending.append((_NOT_AUTHORIZED, action))
            else:
                self._pending.append((self._last_ticket, action))
        if any(isinstance(action, HangUp) for _, action in self._pending):
            self._timers.append(asyncio.get_running_loop().call_later(HANG_UP_TIMEOUT_SECONDS, self._on_timeout))
        return self._last_ticket

    def authorize(self, transfer: Transfer, authorized: Transfer) -> int:
        """Replace the transfer by its authorized form and return its ticket. The timers go on."""
        self._last_ticket += 1
        self._pending = deque(item for item in self._pending if item[1] is not transfer)
        self._pending.append((self._last_ticket, authorized))
        return self._last_ticket

    def release(self, ticket: int) -> list[AnyAction]:
        """Remove and return the side effects whose state is committed, in order."""
        ready = [action for action_ticket, action in self._pending if action_ticket <= ticket]
        self._pending = deque(item for item in self._pending if item[0] > ticket)
        self._cancel_timers_if_empty()
        return list(ready)

    def release_all(self) -> list[AnyAction]:
        """Remove and return all side effects, committed or not."""
        pending: list[AnyAction] = [action for _, action in self._pending]
        self.clear()
        return pending

    def cancel(self, action_id: str) -> bool:
        """Drop a prompt, a transfer or a recording that has not started; False when it is not here."""
        for item in self._pending:
            if isinstance(item[1], Speak | Transfer | Record) and item[1].id == action_id:
                self._pending.remove(item)
                self._cancel_timers_if_empty()
                return True
        return False

    def clear(self) -> None:
        """Drop everything."""
        self._pending.clear()
        self._cancel_timers_if_empty()

    def _start_timers(self) -> None:
        """Start with the first side effect: those that join it do not prolong the caller's wait."""
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
