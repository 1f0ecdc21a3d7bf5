"""A process leaves and its calls do not: each is handed over to another process, by way of Twilio.

Closing its stream at a prompt's begin is best: the caller hears a pause of a second, and then that prompt. One that
comes to no prompt in time is handed over wherever it is, and its caller is asked again. All of that fits into the ten
seconds that Cloud Run leaves a process; whoever has more time lets calls end by themselves first.
"""

import asyncio
import logging

from vocelio.gateway.calls.registry import CallRegistry

LOG = logging.getLogger(__name__)

PROMPT_BOUNDARY_SECONDS = 6.0  # for a call to come to its next prompt
FORCED_HANDOFF_SECONDS = 1.0  # after that, for the store to take what is left, and the sockets to close
POLL_INTERVAL_SECONDS = 0.05  # seconds between two looks at what is left: this is no hot path


async def drain(registry: CallRegistry, drain_seconds: float = 0.0) -> int:
    """Let calls end by themselves for so long, then hand over what is left. Gives how many could not be in time."""
    registry.draining = True
    loop = asyncio.get_running_loop()
    if registry.live_calls:
        LOG.info("leaving: %d live calls, %g s to end by themselves", len(registry.live_calls), drain_seconds)
    await _wait_until_empty(registry, loop.time() + drain_seconds)
    deadline = loop.time() + PROMPT_BOUNDARY_SECONDS
    while registry.live_calls and loop.time() < deadline:
        for call in list(registry.live_calls.values()):  # one that was admitted meanwhile, too
            call.hand_off()
        await asyncio.sleep(POLL_INTERVAL_SECONDS)
    for call in list(registry.live_calls.values()):
        call.hand_off(immediately=True)
    await _wait_until_empty(registry, loop.time() + FORCED_HANDOFF_SECONDS)
    if registry.live_calls:
        LOG.error(
            "leaving: %d calls could not be handed over, they go on from where the store has them",
            len(registry.live_calls),
        )
    return len(registry.live_calls)


async def _wait_until_empty(registry: CallRegistry, deadline: float) -> None:
    loop = asyncio.get_running_loop()
    while registry.live_calls and loop.time() < deadline:  # noqa: ASYNC110 (once in a process's life)
        await asyncio.sleep(POLL_INTERVAL_SECONDS)
