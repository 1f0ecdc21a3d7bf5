"""Drain: what a process does with its calls before it exits.

If another process accepts calls, they are handed off to it, by way of Twilio. The best moment is the start of a prompt:
the caller hears a pause of a second, then that prompt. A call that comes to no prompt in time is handed off where it
is, and the caller is asked again. All of that fits into the ten seconds that Cloud Run leaves a process.

If there is no other process, the calls stay: the process goes on accepting connections, since transfers and
interrupted streams need webhooks, but refuses new calls, and exits when the last call has ended. As soon as another
process has started, the rest is handed off to it. What is left at the deadline, or at a second signal, is lost.
"""

import asyncio
import logging
from collections.abc import Callable
from typing import Protocol

from vocelio.gateway.calls.registry import CallRegistry

LOG = logging.getLogger(__name__)

PROMPT_BOUNDARY_SECONDS = 6.0  # for a call to come to its next prompt
FORCED_HANDOFF_SECONDS = 1.0  # after that, for the store to commit the rest, and the sockets to close
POLL_INTERVAL_SECONDS = 0.05  # once in a process's life: polling is simple and cheap enough
PEER_CHECK_INTERVAL_SECONDS = 1.0  # of which each takes one or two queries
DIAL_SECONDS = 120.0
"""How long calls without a stream are waited for: those between two streams, and those whose transfer is ringing. A
transfer that was answered needs the gateway only at its end, which the next process handles."""


class Peers(Protocol):
    """The other processes of this gateway. No method raises; without the database there are none."""

    async def announce_draining(self) -> None:
        """Tell the others that this process accepts no new calls."""

    async def are_serving(self) -> bool:
        """Whether at least one of them accepts calls."""
        ...

    async def count_calls_without_stream(self) -> int:
        """Count the calls of this gateway that have no stream here."""
        ...


class Drain:
    """Drains one process.

    Args:
        registry: The calls of the process.
        peers: The other processes.
        drain_seconds: How long calls may go on before they are handed off.
        alone_seconds: How long they may go on if there is nobody to hand them off to.
    """

    def __init__(
        self, registry: CallRegistry, peers: Peers, drain_seconds: float = 0.0, alone_seconds: float = 0.0
    ) -> None:
        self._registry, self._peers = registry, peers
        self._drain_seconds, self._alone_seconds = drain_seconds, alone_seconds

    async def run(self, stop_accepting: Callable[[], None]) -> None:
        """Drain; ``stop_accepting`` closes the listening socket. When canceled, calls that nobody takes are ended."""
        self._registry.draining = True
        await self._peers.announce_draining()
        try:
            if await self._wait_until_peers_serve():
                stop_accepting()
                await self._hand_off_all()
        finally:
            stop_accepting()
            self._end_remaining()

    async def _wait_until_peers_serve(self) -> bool:
        """Wait for another process, or for the end of all calls. Returns whether there is one."""
        loop = asyncio.get_running_loop()
        started_at = last_stream_at = loop.time()
        while not await self._peers.are_serving():
            if not self._registry.refuses_new_calls:
                self._registry.refuses_new_calls = True
                self._log_waiting()
            now = loop.time()
            if self._registry.live_calls:
                last_stream_at = now
            dialing = now < last_stream_at + DIAL_SECONDS and await self._peers.count_calls_without_stream()
            if now >= started_at + self._alone_seconds or not (self._registry.live_calls or dialing):
                return False
            if self._registry.live_calls:
                await self._wait_until_empty(now + PEER_CHECK_INTERVAL_SECONDS)
            else:
                await asyncio.sleep(PEER_CHECK_INTERVAL_SECONDS)
        self._registry.refuses_new_calls = False
        return True

    def _log_waiting(self) -> None:
        if self._registry.live_calls:
            LOG.warning(
                "no other process serves: waiting up to %g s for %d live calls to end. New calls are refused. "
                "A second signal ends the calls",
                self._alone_seconds,
                len(self._registry.live_calls),
            )

    async def _hand_off_all(self) -> None:
        registry, loop = self._registry, asyncio.get_running_loop()
        if registry.live_calls:
            LOG.info("draining: %d live calls; handing them off in %g s", len(registry.live_calls), self._drain_seconds)
        await self._wait_until_empty(loop.time() + self._drain_seconds)
        deadline = loop.time() + PROMPT_BOUNDARY_SECONDS
        while registry.live_calls and loop.time() < deadline:
            for session in list(registry.live_calls.values()):  # also one that was accepted meanwhile
                session.hand_off()
            await asyncio.sleep(POLL_INTERVAL_SECONDS)
        for session in list(registry.live_calls.values()):
            session.hand_off(immediately=True)
        await self._wait_until_empty(loop.time() + FORCED_HANDOFF_SECONDS)
        if registry.live_calls:
            LOG.error(
                "draining: %d calls could not be handed off; they are resumed from their last checkpoint",
                len(registry.live_calls),
            )

    async def _wait_until_empty(self, deadline: float) -> None:
        loop = asyncio.get_running_loop()
        while self._registry.live_calls and loop.time() < deadline:  # noqa: ASYNC110 (once in a process's life)
            await asyncio.sleep(min(POLL_INTERVAL_SECONDS, max(0.0, deadline - loop.time())))

    def _end_remaining(self) -> None:
        """End the calls that no other process will continue, so that they count for nothing any more."""
        if not self._registry.refuses_new_calls or not self._registry.live_calls:
            return
        LOG.warning("%d live calls are lost: no other process can continue them", len(self._registry.live_calls))
        for session in list(self._registry.live_calls.values()):
            session.end_as_lost()
