"""The Site port on the database: from a number to everything that its call needs.

One query finds the number, its tenant's revision and its flow's version, so that a promotion, a pause or a new
department counts from the next call on, in every process. What these revisions stand for is kept compiled in memory,
within bounds. When the database does not answer, a caller is told so in the tenant's words, or put through to the
number's fallback, as far as this process has seen the number before.
"""

import asyncio
import logging
from collections.abc import Sequence
from typing import Any, NamedTuple

import msgspec
from cachetools import LRUCache
from sqlalchemy import Row, and_, bindparam, select
from sqlalchemy.ext.asyncio import AsyncConnection

from vocelio.engine.flow import FlowVersion
from vocelio.engine.prompts.static_prompts import sounds
from vocelio.gateway.clock import WallClock
from vocelio.gateway.crypto.encryption import Vault
from vocelio.gateway.dialing import rules
from vocelio.gateway.errors import StoreUnavailable
from vocelio.gateway.model.directory import Assignment, Closed, Transfers
from vocelio.gateway.model.tenant import DEFAULT_APOLOGY, Department, Tenant
from vocelio.gateway.store.calls import transfer_counts
from vocelio.gateway.store.db.database import Database
from vocelio.gateway.store.db.dedicated_query import StandingQuery
from vocelio.gateway.store.db.schema import flow_versions, flows, numbers
from vocelio.gateway.store.db.schema import sounds as sound_table
from vocelio.gateway.store.db.schema import tenants as tenant_table
from vocelio.gateway.store.flows import versions
from vocelio.gateway.store.flows.drafts import Pause
from vocelio.gateway.store.tenants import departments, rates, secrets, tenants

LOG = logging.getLogger(__name__)

LOOKUP_SECONDS = 2.0  # Twilio waits longer, a caller should not
VERSION_NODES = 100_000  # of all versions kept, with 2 KB each: 10,000 flows such as examples/front-desk.json
SOUND_BYTES = 100_000_000  # three and a half hours
TENANTS = 20_000
REMEMBERED = 100_000  # numbers, for when the database is away: a few hundred bytes each

_FIND = (
    select(
        numbers.c.tenant_id,
        numbers.c.flow_id,
        numbers.c.fallback,
        tenant_table.c.revision,
        tenant_table.c.suspended,
        flows.c.active,
        flows.c.pause,
        flow_versions.c.content,
    )
    .join(tenant_table, tenant_table.c.id == numbers.c.tenant_id)
    .outerjoin(flows, and_(flows.c.tenant_id == numbers.c.tenant_id, flows.c.id == numbers.c.flow_id))
    .outerjoin(
        flow_versions,
        and_(
            flow_versions.c.tenant_id == flows.c.tenant_id,
            flow_versions.c.flow_id == flows.c.id,
            flow_versions.c.number == flows.c.active,
        ),
    )
    .where(numbers.c.number == bindparam("number"))
)
_PINNED = (
    select(
        tenant_table.c.id.label("tenant_id"),
        flow_versions.c.flow_id,
        flow_versions.c.number.label("active"),
        flow_versions.c.content,
        numbers.c.fallback,
        tenant_table.c.revision,
    )
    .join(flow_versions, flow_versions.c.tenant_id == tenant_table.c.id)
    .outerjoin(numbers, and_(numbers.c.tenant_id == tenant_table.c.id, numbers.c.number == bindparam("number")))
    .where(
        tenant_table.c.id == bindparam("tenant"),
        flow_versions.c.flow_id == bindparam("flow"),
        flow_versions.c.number == bindparam("version"),
    )
)

_Found = Row[Any, Any, Any, Any, Any, Any, Any, Any]


class _Tenant(NamedTuple):
    """A tenant at one revision."""

    revision: int
    tenant: Tenant
    account: str
    departments: dict[str, Department]
    rates: Sequence[rates.Rate]


class DatabaseSite:
    """Numbers, as the database has them."""

    def __init__(self, database: Database, vault: Vault, wall: WallClock) -> None:
        self._database, self._vault, self._wall = database, vault, wall
        self._tenants: LRUCache[str, _Tenant] = LRUCache(TENANTS)
        self._versions: LRUCache[str, FlowVersion] = LRUCache(VERSION_NODES, getsizeof=_nodes)
        self._sounds: LRUCache[tuple[str, int, str], bytes] = LRUCache(SOUND_BYTES, getsizeof=len)
        self._remembered: LRUCache[str, Closed] = LRUCache(REMEMBERED)
        self._loading: dict[str, asyncio.Future[FlowVersion]] = {}  # one for each version under way
        self._query = StandingQuery(database, _FIND)
        self._pinned = StandingQuery(database, _PINNED)

    async def assignment(self, number: str) -> Assignment | Closed | None:
        """See Site."""
        try:
            found = await self._database.in_time(self._find(number), LOOKUP_SECONDS)
        except StoreUnavailable:
            if remembered := self._remembered.get(number):
                return remembered
            raise
        return found

    def remembered(self, number: str) -> Closed | None:
        """See Site."""
        return self._remembered.get(number)

    async def pinned(self, tenant: str, number: str, flow: str, version: int, started: int) -> Assignment | None:
        """See Site."""
        found = self._find_pinned(started, tenant=tenant, number=number, flow=flow, version=version)
        return await self._database.in_time(found, LOOKUP_SECONDS)

    async def secret(self, tenant: str, name: str) -> str:
        """See Site."""
        return await self._database.in_time(secrets.reveal(self._database, self._vault, tenant, name), LOOKUP_SECONDS)

    async def transfers(self, tenant: str, since: int) -> Transfers:
        """See Site."""
        counting = transfer_counts.count(self._database, tenant, since, self._wall())
        return await self._database.in_time(counting, LOOKUP_SECONDS)

    async def owns(self, tenant: str, number: str) -> bool:
        """See Site."""
        return await self._database.in_time(transfer_counts.owns(self._database, tenant, number), LOOKUP_SECONDS)

    async def _find(self, number: str) -> Assignment | Closed | None:
        row = await self._query.first(number=number)
        if row is None:
            self._remembered.pop(number, None)
            return None
        tenant = await self._tenant(row)
        self._remember(number, row, tenant)
        closed = _closed(number, row, tenant)
        if closed:
            return closed
        try:
            return await self._assignment(number, row, tenant, self._wall())
        except versions.UnusableVersion:
            LOG.exception("calls of %s get the apology", number)
            return self._remembered[number]

    async def _find_pinned(self, started: int, **which: Any) -> Assignment | None:
        row = await self._pinned.first(**which)
        if row is None:
            return None
        try:
            return await self._assignment(which["number"], row, await self._tenant(row), started)
        except versions.UnusableVersion:
            LOG.exception("a call of %s cannot go on", which["number"])
            return None

    async def _assignment(self, number: str, row: Any, tenant: _Tenant, at: int) -> Assignment:
        """Raises UnusableVersion."""
        version = await self._version(row)
        return Assignment(
            number=number,
            tenant=tenant.tenant,
            flow=row.flow_id,
            version=version,
            promoted=row.active,
            departments=tenant.departments,
            sounds=await self._played(row, version),
            rates=rates.in_force(tenant.rates, at),
            account=tenant.account,
            fallback=_forward(number, row.fallback, tenant),
        )

    async def _tenant(self, row: Any) -> _Tenant:
        """As of that revision or a later one: then the next lookup finds that one, and reads again."""
        held = self._tenants.get(row.tenant_id)
        if held is None or held.revision != row.revision:
            async with self._database.reading() as connection:
                tenant, account = await tenants.read(connection, row.tenant_id)
                theirs = await departments.read(connection, row.tenant_id)
                held = _Tenant(row.revision, tenant, account, theirs, await rates.read(connection, row.tenant_id))
            self._tenants[row.tenant_id] = held
        return held

    async def _version(self, row: Any) -> FlowVersion:
        """Versions with the same content are the same, whoever's they are."""
        held = self._versions.get(row.content)
        if held is not None:
            return held
        loading = self._loading.get(row.content)
        if loading is None:
            loading = asyncio.ensure_future(self._load(row))
            self._loading[row.content] = loading
            loading.add_done_callback(lambda done: self._loaded(row.content, done))
        return await asyncio.shield(loading)  # who gives up waiting leaves it to the next caller

    def _loaded(self, content: str, done: asyncio.Future[FlowVersion]) -> None:
        del self._loading[content]
        if not done.cancelled():
            done.exception()  # whoever still waits gets it; nobody may

    async def _load(self, row: Any) -> FlowVersion:
        async with self._database.reading() as connection:
            version = await versions.load(connection, row.tenant_id, row.flow_id, row.active)
        self._versions[row.content] = version
        return version

    async def _played(self, row: Any, version: FlowVersion) -> dict[str, bytes]:
        """The sounds that the version plays and the tenant has."""
        played = {}
        for name in sounds(version):
            key = (row.tenant_id, row.revision, name)
            mulaw = self._sounds.get(key)
            if mulaw is None:
                async with self._database.reading() as connection:
                    mulaw = self._sounds[key] = await _sound(connection, row.tenant_id, name)
            played[name] = mulaw
        return {name: mulaw for name, mulaw in played.items() if mulaw}

    def _remember(self, number: str, row: _Found, tenant: _Tenant) -> None:
        self._remembered[number] = Closed(
            number=number,
            tenant=row.tenant_id,
            flow=row.flow_id or "",
            outcome="unavailable",
            text=tenant.tenant.apology,
            forward=_forward(number, row.fallback, tenant),
            account=tenant.account,
            longest=tenant.tenant.max_transfer_seconds,
        )


def _closed(number: str, row: _Found, tenant: _Tenant) -> Closed | None:
    """Why the number leads to no flow, if it does not: calls go to its fallback then, where it has one."""
    closed = Closed(
        number=number,
        tenant=row.tenant_id,
        flow=row.flow_id or "",
        outcome="unassigned",
        text=DEFAULT_APOLOGY,
        forward=_forward(number, row.fallback, tenant),
        account=tenant.account,
        longest=tenant.tenant.max_transfer_seconds,
    )
    if row.suspended:
        return msgspec.structs.replace(closed, outcome="suspended", forward="")
    if row.content is None:
        return closed
    if row.pause is None:
        return None
    pause = msgspec.json.decode(row.pause, type=Pause)
    text, forward = pause.text or tenant.tenant.pause, _forward(number, pause.forward, tenant)
    return msgspec.structs.replace(closed, outcome="paused", text=text, forward=forward)


def _forward(number: str, to: str | None, tenant: _Tenant) -> str:
    """Where calls of a number are put through to, if that may be rung: settings may have become stricter since."""
    if not to or rules.refused(tenant.tenant, to, frozenset({rules.region(number)}) - {""}):
        return ""
    return to


def _nodes(version: FlowVersion) -> int:
    return len(version.flow.nodes) + sum(map(_nodes, version.subflows.values()))


async def _sound(connection: AsyncConnection, tenant: str, name: str) -> bytes:
    query = select(sound_table.c.mulaw).where(sound_table.c.tenant_id == tenant, sound_table.c.name == name)
    return (await connection.execute(query)).scalar() or b""
