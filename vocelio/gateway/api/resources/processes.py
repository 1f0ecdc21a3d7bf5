"""/v1/processes."""

import msgspec

from vocelio.gateway.api.framework.operation import Context
from vocelio.gateway.store import process_heartbeats
from vocelio.gateway.store.process_heartbeats import Process


class Processes(msgspec.Struct, frozen=True):
    """Those that were heard of within the last 30 s, the oldest first."""

    items: list[Process]


async def every(context: Context) -> Processes:
    """The processes of the gateway, and how each stands."""
    return Processes(await process_heartbeats.every(context.database, context.actor.at))
