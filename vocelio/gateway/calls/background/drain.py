"""A process leaves and its calls do not: each is handed over to another process, by way of Twilio.

Closing its stream at a prompt's begin is best: the caller hears a pause of a second, and then that prompt. One that
comes to no prompt in time is handed over wherever it is, and its caller is asked again. All of that fits into the ten
seconds that Cloud Run leaves a process; whoever has more time lets calls end by themselves first.
"""

import asyncio
import logging

from vocelio.gateway.calls.registry import Calls

LOG = logging.getLogger(__name__)

BOUNDARY_SECONDS = 6.0  # for a call to come to its next prompt
LEAVING_SECONDS = 1.0  # after that, for the store to take what is left, and the sockets to close
LOOK = 0.05  # seconds between two looks at what is left: this is no hot path


async def hand_over(calls: Calls, drain_seconds: float = 0.0) -> int:
    """Let calls end by themselves for so long, then hand over what is left. Gives how many could not be in time."""
    calls.draining = True
    loop = asyncio.get_running_loop()
    if calls.live:
        LOG.info("leaving: %d live calls, %g s to end by themselves", len(calls.live), drain_seconds)
    await _until_none(calls, loop.time() + drain_seconds)
    deadline = loop.time() + BOUNDARY_SECONDS
    while calls.live and loop.time() < deadline:
        for call in list(calls.live.values()):  # one that was admitted meanwhile, too
            call.hand_over()
        await asyncio.sleep(LOOK)
    for call in list(calls.live.values()):
        call.hand_over(now=True)
    await _until_none(calls, loop.time() + LEAVING_SECONDS)
    if calls.live:
        LOG.error(
            "leaving: %d calls could not be handed over, they go on from where the store has them", len(calls.live)
        )
    return len(calls.live)


async def _until_none(calls: Calls, deadline: float) -> None:
    loop = asyncio.get_running_loop()
    while calls.live and loop.time() < deadline:  # noqa: ASYNC110 (once in a process's life)
        await asyncio.sleep(LOOK)
