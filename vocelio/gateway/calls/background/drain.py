"""Drain: before a process exits, its calls are handed off to other processes, by way of Twilio.

The best moment is the start of a prompt: the caller hears a pause of a second, then that prompt. A call that comes to
no prompt in time is handed off where it is, and the caller is asked again. All of that fits into the ten seconds that
Cloud Run leaves a process; one with more time lets calls end by themselves first.
"""

import asyncio
import logging

from vocelio.gateway.calls.registry import CallRegistry

LOG = logging.getLogger(__name__)

PROMPT_BOUNDARY_SECONDS = 6.0  # for a call to come to its next prompt
FORCED_HANDOFF_SECONDS = 1.0  # after that, for the store to commit the rest, and the sockets to close
POLL_INTERVAL_SECONDS = 0.05  # once in a process's life: polling is simple and cheap enough


async def drain(registry: CallRegistry, drain_seconds: float = 0.0) -> int:
    """Let calls end by themselves for ``drain_seconds``, then hand off the rest. Returns how many were left."""
    registry.draining = True
    loop = asyncio.get_running_loop()
    if registry.live_calls:
        LOG.info("draining: %d live calls; handing them off in %g s", len(registry.live_calls), drain_seconds)
    await _wait_until_empty(registry, loop.time() + drain_seconds)
    deadline = loop.time() + PROMPT_BOUNDARY_SECONDS
    while registry.live_calls and loop.time() < deadline:
        for session in list(registry.live_calls.values()):  # also one that was accepted meanwhile
            session.hand_off()
        await asyncio.sleep(POLL_INTERVAL_SECONDS)
    for session in list(registry.live_calls.values()):
        session.hand_off(immediately=True)
    await _wait_until_empty(registry, loop.time() + FORCED_HANDOFF_SECONDS)
    if registry.live_calls:
        LOG.error(
            "draining: %d calls could not be handed off; they are resumed from their last checkpoint",
            len(registry.live_calls),
        )
    return len(registry.live_calls)


async def _wait_until_empty(registry: CallRegistry, deadline: float) -> None:
    loop = asyncio.get_running_loop()
    while registry.live_calls and loop.time() < deadline:  # noqa: ASYNC110 (once in a process's life)
        await asyncio.sleep(POLL_INTERVAL_SECONDS)
