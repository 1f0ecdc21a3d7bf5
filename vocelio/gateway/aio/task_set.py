"""What a call has set off and must not leave behind: tasks that end by themselves, or with it."""

import asyncio
from collections.abc import Coroutine
from typing import Any


class TaskSet:
    """A handful of tasks, forgotten as they end."""

    def __init__(self) -> None:
        self._tasks: set[asyncio.Task[None]] = set()

    def start(self, coroutine: Coroutine[Any, Any, None], name: str) -> None:
        """Start one."""
        task = asyncio.get_running_loop().create_task(coroutine, name=name)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    def close(self) -> None:
        """Break all off."""
        for task in self._tasks:
            task.cancel()

    async def wait_closed(self) -> None:
        """Until nothing of them is left."""
        await asyncio.gather(*self._tasks, return_exceptions=True)
