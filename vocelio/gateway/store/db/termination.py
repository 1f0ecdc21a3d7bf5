"""Closing database connections whose statement was given up.

SQLAlchemy closes them within the cancelled task and drops them unfinished if the task is cancelled again. Here they are
closed by tasks of their own, which nobody cancels: until then the transaction may hold locks.
"""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

from sqlalchemy.exc import MissingGreenlet

_closing: set[asyncio.Task[None]] = set()
"""Keeps the tasks alive. One for each connection that a pool waits for, further ones only of tasks cancelled twice."""


def close_in_background(adapted_connection: Any, close: Callable[[Any], Awaitable[None]]) -> bool:
    """Close a connection of SQLAlchemy's asyncio adapters with a task of its own, and wait for it.

    Cancelling the caller ends only the waiting. Returns false where nothing can be awaited, which is when the garbage
    collector has found the connection. ``close`` raises nothing that says the connection is gone already.
    """

    async def wait(driver: Any) -> None:
        task = asyncio.ensure_future(close(driver))
        _closing.add(task)
        task.add_done_callback(_closing.discard)
        await asyncio.shield(task)

    try:
        adapted_connection.run_async(wait)
    except MissingGreenlet:
        return False
    return True
