"""/v1/processes."""

import msgspec

from vocelio.gateway.api.framework.operation import RequestContext
from vocelio.gateway.store import process_heartbeats
from vocelio.gateway.store.process_heartbeats import Process


class ProcessList(msgspec.Struct, frozen=True):
    """Those that were heard of within the last 30 s, the oldest first."""

    items: list[Process]


async def list_processes(context: RequestContext) -> ProcessList:
    """The processes of the gateway, and how each stands."""
    return ProcessList(await process_heartbeats.list_processes(context.database, context.actor.now))
