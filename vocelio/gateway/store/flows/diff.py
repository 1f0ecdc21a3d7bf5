"""What differs between two versions of a flow, or between one and the draft: what a promotion would change."""

from typing import Annotated, Any

import msgspec
from msgspec import Meta
from sqlalchemy.ext.asyncio import AsyncConnection

from vocelio.engine.diff import Change, diff, format_summary
from vocelio.gateway.aio.cpu_executor import CPU_EXECUTOR
from vocelio.gateway.errors import Conflict
from vocelio.gateway.model.types import PATTERN_END
from vocelio.gateway.store.db.database import Database
from vocelio.gateway.store.flows import drafts, versions
from vocelio.gateway.store.flows.promotion import get_default_voice, with_default_voice
from vocelio.gateway.store.flows.versions import VersionPin

DiffSide = Annotated[
    str,
    Meta(
        pattern=f"^(draft|active|[1-9][0-9]{{0,8}}){PATTERN_END}", description="a version's number, `active` or `draft`"
    ),
]


class FlowDiff(msgspec.Struct, frozen=True):
    """The changes that lead from one to the other, and a few lines of text that tell them."""

    changes: list[Change]
    summary: str


async def diff_versions(database: Database, tenant: str, flow: str, before: str, after: str) -> FlowDiff:
    """The changes from ``before`` to ``after``: each a number, ``active`` or ``draft``.

    Raises NotFound, Conflict, TooMany.
    """
    async with database.read() as connection:
        one = await _get_document(connection, tenant, flow, before)
        other = await _get_document(connection, tenant, flow, after)
    return await CPU_EXECUTOR.run(lambda: _diff_documents(one, other))


def _diff_documents(before: bytes, after: bytes) -> FlowDiff:
    changes = diff(msgspec.json.decode(before), msgspec.json.decode(after))
    return FlowDiff(changes, format_summary(changes))


async def _get_document(connection: AsyncConnection, tenant: str, flow: str, side: str) -> bytes:
    row: Any = await drafts.get_row(connection, tenant, flow)
    if side == "draft":  # as it would be promoted
        return with_default_voice(row.draft, await get_default_voice(connection, tenant))
    if side == "active" and row.active_version is None:
        raise Conflict("The flow was never promoted, so there is nothing to compare with.")
    number = row.active_version if side == "active" else int(side)
    document: bytes = (await versions.get_row(connection, tenant, VersionPin(flow, number))).document
    return document
