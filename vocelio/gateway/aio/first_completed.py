"""Several things at once, of which the first to end decides."""

import asyncio
from collections.abc import Coroutine
from typing import Any, TypeVar

ResultT = TypeVar("ResultT")


async def first_completed(*coroutines: Coroutine[Any, Any, ResultT]) -> ResultT:
    """The result, or the error, of the one that ends first; the others are cancelled and have ended too."""
    tasks = [asyncio.create_task(coroutine) for coroutine in coroutines]
    try:
        done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for task in tasks:
            task.cancel()
        results = await asyncio.gather(*tasks, return_exceptions=True)
    for result in results:
        if isinstance(result, Exception):
            raise result
    return next(task for task in tasks if task in done).result()
