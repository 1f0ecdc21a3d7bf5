"""Flow versions: the immutable results of promotions, and their compilation for calls.

A version names, pinned, the versions of the flows that it calls, and is compiled together with them. Their number and
size are limited at promotion, so that no caller has to wait for the compilation of an excessive flow.
"""

import asyncio
from collections.abc import Collection, Mapping
from typing import Annotated, Any, NamedTuple

import msgspec
from msgspec import Meta
from sqlalchemy import Row, and_, func, or_, select
from sqlalchemy.ext.asyncio import AsyncConnection

from vocelio.engine.flow import FlowVersion, ValidationContext
from vocelio.engine.validation.loader import validate_flow
from vocelio.engine.voice import Voice
from vocelio.gateway.clock import Instant
from vocelio.gateway.errors import GatewayError, NotFound
from vocelio.gateway.store.db import pagination
from vocelio.gateway.store.db.database import Database
from vocelio.gateway.store.db.pagination import Page
from vocelio.gateway.store.db.schema import flow_versions
from vocelio.gateway.store.flows import drafts

MAX_COMPILED_FLOWS = 50  # reachable in one call, the first one included, each counted wherever it is called
MAX_COMPILED_BYTES = 2_000_000  # of their documents: compiling them takes a few seconds in the worst case

MAX_VERSION_NUMBER = 2_147_483_647  # of its column's type

VersionNumber = Annotated[int, Meta(ge=1, le=MAX_VERSION_NUMBER)]


class VersionPin(NamedTuple):
    """One version of one flow."""

    flow: str
    number: int


class VersionShape(NamedTuple):
    """What is known of a version without reading its document."""

    subflows: Mapping[str, VersionPin]
    document_bytes: int


class Version(msgspec.Struct, frozen=True, kw_only=True):
    """A version of a flow. Call logs name it by ``content_hash``; ``promoted_by`` is the id of an API key."""

    flow: str
    number: int
    content_hash: str
    note: str
    promoted_by: str
    promoted_at: Instant
    active: bool


class VersionDetail(Version, frozen=True, kw_only=True):
    """A version with its document, its voice with every field, and the versions of the flows that it calls."""

    voice: Voice
    subflows: dict[str, VersionPin]
    document: msgspec.Raw


class UnusableVersion(GatewayError):
    """A version was valid when it was promoted, but has errors for this release."""


async def list_versions(database: Database, tenant: str, flow: str, limit: int, cursor: str) -> Page[Version]:
    """List a flow's versions, newest first. Raises NotFound, InvalidInput."""
    last_key = pagination.decode_cursor(cursor, int)
    omitted = ("document", "voice", "subflows")
    query = select(*(column for column in flow_versions.c if column.name not in omitted))
    query = query.where(flow_versions.c.tenant_id == tenant, flow_versions.c.flow_id == flow)
    if last_key:
        query = query.where(flow_versions.c.number < min(last_key[0], MAX_VERSION_NUMBER))
    async with database.read() as connection:
        active = (await drafts.get_row(connection, tenant, flow)).active_version
        rows = (await connection.execute(query.order_by(flow_versions.c.number.desc()).limit(limit + 1))).all()
    return pagination.make_page(rows, limit, lambda row: from_row(row, active), lambda row: (row.number,))


async def get_version(database: Database, tenant: str, flow: str, number: int) -> VersionDetail:
    """Return one version with its document. Raises NotFound."""
    async with database.read() as connection:
        active = (await drafts.get_row(connection, tenant, flow)).active_version
        row = await get_row(connection, tenant, VersionPin(flow, number))
    return VersionDetail(
        **msgspec.structs.asdict(from_row(row, active)),
        voice=msgspec.json.decode(row.voice, type=Voice),
        subflows=_decode_pins(row.subflows),
        document=msgspec.Raw(row.document),
    )


async def get_row(connection: AsyncConnection, tenant: str, pin: VersionPin) -> Row[Any]:
    """Return a version's row. Raises NotFound."""
    query = select(flow_versions).where(flow_versions.c.tenant_id == tenant, _matches_any([pin]))
    row = (await connection.execute(query)).first()
    if row is None:
        raise NotFound
    return row


def from_row(row: Row[Any], active_number: int | None) -> Version:
    """Convert a row."""
    return Version(
        flow=row.flow_id,
        number=row.number,
        content_hash=row.content_hash,
        note=row.note,
        promoted_by=row.promoted_by,
        promoted_at=Instant(row.promoted_at),
        active=row.number == active_number,
    )


# Compilation


async def load_version(connection: AsyncConnection, tenant: str, flow: str, number: int) -> FlowVersion:
    """Load and compile a version for calls; its id is its content hash. Raises NotFound, UnusableVersion."""
    pin = VersionPin(flow, number)
    shapes = await load_shapes(connection, tenant, [pin])
    if pin not in shapes:
        raise NotFound
    documents = await load_documents(connection, tenant, shapes)
    return await asyncio.to_thread(lambda: compile_versions(shapes, documents)[pin])


async def load_shapes(
    connection: AsyncConnection, tenant: str, pins: Collection[VersionPin]
) -> dict[VersionPin, VersionShape]:
    """Return the shapes of versions and of all versions that they call; beyond the limit, placeholders."""
    shapes: dict[VersionPin, VersionShape] = {}
    pending = set(pins)
    size = func.length(flow_versions.c.document).label("size")
    columns = (flow_versions.c.flow_id, flow_versions.c.number, flow_versions.c.subflows, size)
    while pending:
        if len(shapes) + len(pending) > MAX_COMPILED_FLOWS:
            return shapes | dict.fromkeys(pending, VersionShape({}, 0))
        query = select(*columns).where(flow_versions.c.tenant_id == tenant, _matches_any(pending))
        rows = (await connection.execute(query)).all()
        shapes |= {
            VersionPin(row.flow_id, row.number): VersionShape(_decode_pins(row.subflows), row.size) for row in rows
        }
        pending = {pin for row in rows for pin in _decode_pins(row.subflows).values()} - shapes.keys()
    return shapes


async def load_documents(
    connection: AsyncConnection, tenant: str, pins: Collection[VersionPin]
) -> dict[VersionPin, bytes]:
    """Return the documents of versions."""
    columns = (flow_versions.c.flow_id, flow_versions.c.number, flow_versions.c.document)
    query = select(*columns).where(flow_versions.c.tenant_id == tenant, _matches_any(pins))
    return {VersionPin(row.flow_id, row.number): row.document for row in await connection.execute(query)}


def compile_versions(
    shapes: Mapping[VersionPin, VersionShape], documents: Mapping[VersionPin, bytes]
) -> dict[VersionPin, FlowVersion]:
    """Compile each version once; may take seconds. Raises UnusableVersion."""
    compiled: dict[VersionPin, FlowVersion] = {}
    for pin in shapes:
        _compile_version(pin, shapes, documents, compiled)
    return compiled


def _compile_version(
    pin: VersionPin,
    shapes: Mapping[VersionPin, VersionShape],
    documents: Mapping[VersionPin, bytes],
    compiled: dict[VersionPin, FlowVersion],
) -> FlowVersion:
    if pin not in compiled:
        called = {
            name: _compile_version(called, shapes, documents, compiled) for name, called in shapes[pin].subflows.items()
        }
        version, problems = validate_flow(documents[pin], ValidationContext(flows=called))
        if version is None:
            raise UnusableVersion(f"version {pin.number} of the flow {pin.flow} has errors: {problems[0]}")
        compiled[pin] = version
    return compiled[pin]


def exceeds_limits(shapes: Mapping[VersionPin, VersionShape], pins: Collection[VersionPin]) -> bool:
    """Whether these are more flows, or more bytes, than one flow may call."""
    if len(shapes) > MAX_COMPILED_FLOWS or sum(shape.document_bytes for shape in shapes.values()) > MAX_COMPILED_BYTES:
        return True
    counts: dict[VersionPin, int] = {}

    def count(pin: VersionPin) -> int:
        if pin not in counts:
            counts[pin] = 1 + sum(map(count, shapes[pin].subflows.values()))
        return counts[pin]

    return sum(map(count, pins)) > MAX_COMPILED_FLOWS


def _decode_pins(subflows: str) -> dict[str, VersionPin]:
    return msgspec.json.decode(subflows, type=dict[str, VersionPin])


def _matches_any(pins: Collection[VersionPin]) -> Any:
    where = (and_(flow_versions.c.flow_id == pin.flow, flow_versions.c.number == pin.number) for pin in pins)
    return or_(False, *where)
