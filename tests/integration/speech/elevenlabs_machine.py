"""What a test sees of the process, and waits for."""

import asyncio
import threading
from pathlib import Path


def in_use() -> tuple[int, int, int]:
    """Tasks, threads and open files of this process."""
    return len(asyncio.all_tasks()), threading.active_count(), len([*Path("/proc/self/fd").iterdir()])


async def become(what, value, seconds: float = 2.0) -> None:
    """Wait until ``what()`` is that."""
    async with asyncio.timeout(seconds):
        while what() != value:  # noqa: ASYNC110 (of another task's doing, which tells nobody)
            await asyncio.sleep(0.01)
