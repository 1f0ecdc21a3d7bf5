"""What differs between two versions of a flow, or between one and the draft: what a promotion would change."""

from typing import Annotated, Any

import msgspec
from msgspec import Meta
from sqlalchemy.ext.asyncio import AsyncConnection

from vocelio.engine.diff import Change, difference, summary
from vocelio.gateway.aio.cpu_executor import ASIDE
from vocelio.gateway.errors import Conflict
from vocelio.gateway.model.types import END
from vocelio.gateway.store.db.database import Database
from vocelio.gateway.store.flows import drafts, versions
from vocelio.gateway.store.flows.promotion import voice_of, with_voice
from vocelio.gateway.store.flows.versions import Pin

Side = Annotated[
    str, Meta(pattern=f"^(draft|active|[1-9][0-9]{{0,8}}){END}", description="a version's number, `active` or `draft`")
]


class Comparison(msgspec.Struct, frozen=True):
    """The changes that lead from one to the other, and a few lines of text that tell them."""

    changes: list[Change]
    summary: str


async def compare(database: Database, tenant: str, flow: str, before: str, after: str) -> Comparison:
    """The changes from ``before`` to ``after``: each a number, ``active`` or ``draft``.

    Raises NotFound, Conflict, TooMany.
    """
    async with database.reading() as connection:
        one = await _document(connection, tenant, flow, before)
        other = await _document(connection, tenant, flow, after)
    return await ASIDE.run(lambda: _compared(one, other))


def _compared(before: bytes, after: bytes) -> Comparison:
    changes = difference(msgspec.json.decode(before), msgspec.json.decode(after))
    return Comparison(changes, summary(changes))


async def _document(connection: AsyncConnection, tenant: str, flow: str, side: str) -> bytes:
    row: Any = await drafts.found(connection, tenant, flow)
    if side == "draft":  # as it would be promoted
        return with_voice(row.draft, await voice_of(connection, tenant))
    if side == "active" and row.active is None:
        raise Conflict("The flow was never promoted, so there is nothing to compare with.")
    number = row.active if side == "active" else int(side)
    document: bytes = (await versions.found(connection, tenant, Pin(flow, number))).document
    return document
