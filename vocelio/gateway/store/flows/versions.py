"""A flow's versions: what was promoted, and the running flow that is made of it again, always the same.

A version is never changed. It names, pinned, the versions of other flows that it calls; with these it is compiled for
a call. How much that can be is limited when it is promoted, and not at the expense of a caller.
"""

import asyncio
from collections.abc import Collection, Mapping
from typing import Annotated, Any, NamedTuple

import msgspec
from msgspec import Meta
from sqlalchemy import Row, and_, func, or_, select
from sqlalchemy.ext.asyncio import AsyncConnection

from vocelio.engine.flow import FlowVersion, Known
from vocelio.engine.validation.loader import check
from vocelio.engine.voice import Voice
from vocelio.gateway.errors import GatewayError, NotFound
from vocelio.gateway.store.db import pagination
from vocelio.gateway.store.db.database import Database
from vocelio.gateway.store.db.pagination import Items
from vocelio.gateway.store.db.schema import flow_versions
from vocelio.gateway.store.flows import drafts

MAX_CALLED = 50  # flows that a call can come through, the first included, each counted wherever it is called
MAX_BYTES_CALLED = 2_000_000  # of their documents: as many as take a few seconds to compile at the very worst

MAX_NUMBER = 2_147_483_647  # what its column holds

VersionNumber = Annotated[int, Meta(ge=1, le=MAX_NUMBER)]


class Pin(NamedTuple):
    """One version of one flow."""

    flow: str
    number: int


class Shape(NamedTuple):
    """What is known of a version before its document is read."""

    subflows: Mapping[str, Pin]
    size: int


class Version(msgspec.Struct, frozen=True, kw_only=True):
    """A version of a flow: ``content`` is what call logs name it by; ``by`` the key that promoted it, ``at`` when."""

    flow: str
    number: int
    content: str
    note: str
    by: str
    at: int
    active: bool


class WholeVersion(Version, frozen=True, kw_only=True):
    """A version with its document, its voice in full, and the versions of the flows that it calls."""

    voice: Voice
    subflows: dict[str, Pin]
    document: msgspec.Raw


class UnusableVersion(GatewayError):
    """A version was good when it was promoted, but this release finds errors in it."""


async def every(database: Database, tenant: str, flow: str, limit: int, cursor: str) -> Items[Version]:
    """A flow's versions, the newest first. Raises NotFound, Invalid."""
    last = pagination.after(cursor, int)
    left_out = ("document", "voice", "subflows")
    query = select(*(column for column in flow_versions.c if column.name not in left_out))
    query = query.where(flow_versions.c.tenant_id == tenant, flow_versions.c.flow_id == flow)
    if last:
        query = query.where(flow_versions.c.number < min(last[0], MAX_NUMBER))
    async with database.reading() as connection:
        active = (await drafts.found(connection, tenant, flow)).active
        rows = (await connection.execute(query.order_by(flow_versions.c.number.desc()).limit(limit + 1))).all()
    return pagination.cut(rows, limit, lambda row: told(row, active), lambda row: (row.number,))


async def show(database: Database, tenant: str, flow: str, number: int) -> WholeVersion:
    """One version, whole. Raises NotFound."""
    async with database.reading() as connection:
        active = (await drafts.found(connection, tenant, flow)).active
        row = await found(connection, tenant, Pin(flow, number))
    return WholeVersion(
        **msgspec.structs.asdict(told(row, active)),
        voice=msgspec.json.decode(row.voice, type=Voice),
        subflows=_pins(row.subflows),
        document=msgspec.Raw(row.document),
    )


async def found(connection: AsyncConnection, tenant: str, pin: Pin) -> Row[Any]:
    """A version's row. Raises NotFound."""
    query = select(flow_versions).where(flow_versions.c.tenant_id == tenant, _is_any([pin]))
    row = (await connection.execute(query)).first()
    if row is None:
        raise NotFound
    return row


def told(row: Row[Any], active: int | None) -> Version:
    """A version from its row."""
    return Version(
        flow=row.flow_id,
        number=row.number,
        content=row.content,
        note=row.note,
        by=row.promoted_by,
        at=row.promoted,
        active=row.number == active,
    )


# Running them


async def load(connection: AsyncConnection, tenant: str, flow: str, number: int) -> FlowVersion:
    """A version as calls run it; its id is its ``content``. Raises NotFound, UnusableVersion."""
    pin = Pin(flow, number)
    shapes = await below(connection, tenant, [pin])
    if pin not in shapes:
        raise NotFound
    documents = await read(connection, tenant, shapes)
    return await asyncio.to_thread(lambda: compiled(shapes, documents)[pin])


async def below(connection: AsyncConnection, tenant: str, pins: Collection[Pin]) -> dict[Pin, Shape]:
    """The shapes of versions and of all that they call; of what is too much already, only that there is so much."""
    shapes: dict[Pin, Shape] = {}
    ahead = set(pins)
    size = func.length(flow_versions.c.document).label("size")
    columns = (flow_versions.c.flow_id, flow_versions.c.number, flow_versions.c.subflows, size)
    while ahead:
        if len(shapes) + len(ahead) > MAX_CALLED:
            return shapes | dict.fromkeys(ahead, Shape({}, 0))
        query = select(*columns).where(flow_versions.c.tenant_id == tenant, _is_any(ahead))
        rows = (await connection.execute(query)).all()
        shapes |= {Pin(row.flow_id, row.number): Shape(_pins(row.subflows), row.size) for row in rows}
        ahead = {pin for row in rows for pin in _pins(row.subflows).values()} - shapes.keys()
    return shapes


async def read(connection: AsyncConnection, tenant: str, pins: Collection[Pin]) -> dict[Pin, bytes]:
    """The documents of versions."""
    columns = (flow_versions.c.flow_id, flow_versions.c.number, flow_versions.c.document)
    query = select(*columns).where(flow_versions.c.tenant_id == tenant, _is_any(pins))
    return {Pin(row.flow_id, row.number): row.document for row in await connection.execute(query)}


def compiled(shapes: Mapping[Pin, Shape], documents: Mapping[Pin, bytes]) -> dict[Pin, FlowVersion]:
    """The versions, each made once. Raises UnusableVersion. It may take seconds."""
    made: dict[Pin, FlowVersion] = {}
    for pin in shapes:
        _compile(pin, shapes, documents, made)
    return made


def _compile(
    pin: Pin, shapes: Mapping[Pin, Shape], documents: Mapping[Pin, bytes], made: dict[Pin, FlowVersion]
) -> FlowVersion:
    if pin not in made:
        called = {name: _compile(other, shapes, documents, made) for name, other in shapes[pin].subflows.items()}
        version, problems = check(documents[pin], Known(flows=called))
        if version is None:
            raise UnusableVersion(f"version {pin.number} of the flow {pin.flow} has errors: {problems[0]}")
        made[pin] = version
    return made[pin]


def too_much(shapes: Mapping[Pin, Shape], pins: Collection[Pin]) -> bool:
    """Whether these are more flows, or larger ones, than one flow may call."""
    if len(shapes) > MAX_CALLED or sum(shape.size for shape in shapes.values()) > MAX_BYTES_CALLED:
        return True
    counts: dict[Pin, int] = {}

    def count(pin: Pin) -> int:
        if pin not in counts:
            counts[pin] = 1 + sum(map(count, shapes[pin].subflows.values()))
        return counts[pin]

    return sum(map(count, pins)) > MAX_CALLED


def _pins(subflows: str) -> dict[str, Pin]:
    return msgspec.json.decode(subflows, type=dict[str, Pin])


def _is_any(pins: Collection[Pin]) -> Any:
    where = (and_(flow_versions.c.flow_id == pin.flow, flow_versions.c.number == pin.number) for pin in pins)
    return or_(False, *where)
