"""Call routing: from a called number to everything that its calls need, from the database.

One query finds the number, the tenant's revision and the flow's active version, so that a promotion, a pause or a new
department applies from the next call on, in every process. What these revisions stand for is cached, compiled and
within bounds. While the database is unavailable, callers of a number that this process has seen before hear the
tenant's error message or are forwarded to the number's fallback.
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
from vocelio.engine.prompts.static_prompts import referenced_sounds
from vocelio.gateway.clock import WallClock
from vocelio.gateway.config import SIMULATOR_ACCOUNT_SID
from vocelio.gateway.crypto import SecretCipher
from vocelio.gateway.dialing import rules
from vocelio.gateway.errors import DatabaseUnavailable
from vocelio.gateway.model.directory import CallConfig, NumberClosed, TransferCounts
from vocelio.gateway.model.tenant import NOT_IN_SERVICE_MESSAGE, Department, Tenant
from vocelio.gateway.store import numbers as store_numbers
from vocelio.gateway.store.calls import live
from vocelio.gateway.store.db.database import Database, DedicatedQuery
from vocelio.gateway.store.db.schema import flow_versions, flows, numbers
from vocelio.gateway.store.db.schema import sounds as sound_table
from vocelio.gateway.store.db.schema import tenants as tenant_table
from vocelio.gateway.store.flows import versions
from vocelio.gateway.store.flows.drafts import PauseSettings
from vocelio.gateway.store.tenants import departments, rates, secrets, tenants

LOG = logging.getLogger(__name__)

LOOKUP_TIMEOUT_SECONDS = 2.0  # Twilio would wait longer, but a caller should not
MAX_CACHED_NODES = 100_000  # of all cached versions, 2 KB each: 10,000 flows such as examples/front-desk.json
MAX_CACHED_SOUND_BYTES = 100_000_000  # 3.5 hours
MAX_CACHED_TENANTS = 20_000
MAX_LAST_KNOWN_NUMBERS = 100_000  # used while the database is unavailable: a few hundred bytes each

_CONFIG_QUERY = (
    select(
        numbers.c.tenant_id,
        numbers.c.flow_id,
        numbers.c.fallback_number,
        numbers.c.account_sid.label("claimed_account"),
        tenant_table.c.account_sid.label("own_account"),
        tenant_table.c.revision,
        tenant_table.c.suspended,
        flows.c.active_version,
        flows.c.pause_settings,
        flow_versions.c.content_hash,
    )
    .join(tenant_table, tenant_table.c.id == numbers.c.tenant_id)
    .outerjoin(flows, and_(flows.c.tenant_id == numbers.c.tenant_id, flows.c.id == numbers.c.flow_id))
    .outerjoin(
        flow_versions,
        and_(
            flow_versions.c.tenant_id == flows.c.tenant_id,
            flow_versions.c.flow_id == flows.c.id,
            flow_versions.c.number == flows.c.active_version,
        ),
    )
    .where(numbers.c.number == bindparam("number"))
)
_RESUME_QUERY = (
    select(
        tenant_table.c.id.label("tenant_id"),
        flow_versions.c.flow_id,
        flow_versions.c.number.label("active_version"),
        flow_versions.c.content_hash,
        numbers.c.fallback_number,
        numbers.c.account_sid.label("claimed_account"),
        tenant_table.c.account_sid.label("own_account"),
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

_ConfigRow = Row[Any, Any, Any, Any, Any, Any, Any, Any, Any, Any]


class _TenantSnapshot(NamedTuple):
    """A tenant as of one revision."""

    revision: int
    tenant: Tenant
    departments: dict[str, Department]
    rates: Sequence[rates.Rate]


class DatabaseDirectory:
    """The Directory in the database, with caches."""

    def __init__(self, database: Database, cipher: SecretCipher, wall: WallClock) -> None:
        self._database, self._cipher, self._wall = database, cipher, wall
        self._tenants: LRUCache[str, _TenantSnapshot] = LRUCache(MAX_CACHED_TENANTS)
        self._versions: LRUCache[str, FlowVersion] = LRUCache(MAX_CACHED_NODES, getsizeof=_count_nodes)
        self._sounds: LRUCache[tuple[str, int, str], bytes] = LRUCache(MAX_CACHED_SOUND_BYTES, getsizeof=len)
        self._last_known: LRUCache[str, NumberClosed] = LRUCache(MAX_LAST_KNOWN_NUMBERS)
        self._loading: dict[str, asyncio.Future[FlowVersion]] = {}  # by content hash
        self._config_query = DedicatedQuery(database, _CONFIG_QUERY)
        self._resume_query = DedicatedQuery(database, _RESUME_QUERY)

    async def get_call_config(self, number: str) -> CallConfig | NumberClosed | None:
        try:
            config = await self._database.with_timeout(self._load_config(number), LOOKUP_TIMEOUT_SECONDS)
        except DatabaseUnavailable:
            if last_known := self._last_known.get(number):
                return last_known
            raise
        return config

    def get_last_known(self, number: str) -> NumberClosed | None:
        return self._last_known.get(number)

    async def get_resume_config(
        self, tenant: str, number: str, flow: str, version: int, started_at: int
    ) -> CallConfig | None:
        loading = self._load_resume_config(started_at, tenant=tenant, number=number, flow=flow, version=version)
        return await self._database.with_timeout(loading, LOOKUP_TIMEOUT_SECONDS)

    async def get_secret(self, tenant: str, name: str) -> str:
        return await self._database.with_timeout(
            secrets.get_secret_value(self._database, self._cipher, tenant, name), LOOKUP_TIMEOUT_SECONDS
        )

    async def count_transfers(self, tenant: str, since: int) -> TransferCounts:
        counting = live.count_transfers(self._database, tenant, since, self._wall())
        return await self._database.with_timeout(counting, LOOKUP_TIMEOUT_SECONDS)

    async def is_tenant_number(self, tenant: str, number: str, account_sid: str) -> bool:
        checking = store_numbers.is_tenant_number(self._database, tenant, number, account_sid or None)
        return await self._database.with_timeout(checking, LOOKUP_TIMEOUT_SECONDS)

    async def _load_config(self, number: str) -> CallConfig | NumberClosed | None:
        row = await self._config_query.first(number=number)
        if row is None or not _is_claim_current(row):
            self._last_known.pop(number, None)
            return None
        tenant = await self._get_tenant(row)
        self._store_last_known(number, row, tenant)
        closed = _number_closed(number, row, tenant)
        if closed:
            return closed
        try:
            return await self._build_config(number, row, tenant, self._wall())
        except versions.UnusableVersion:
            LOG.exception("number %s: its flow version cannot be run; callers get the error message", number)
            return self._last_known[number]

    async def _load_resume_config(self, started: int, **which: Any) -> CallConfig | None:
        row = await self._resume_query.first(**which)
        if row is None:
            return None
        try:
            return await self._build_config(which["number"], row, await self._get_tenant(row), started)
        except versions.UnusableVersion:
            LOG.exception("number %s: a call cannot be resumed, its flow version cannot be run", which["number"])
            return None

    async def _build_config(self, number: str, row: Any, tenant: _TenantSnapshot, rates_at: int) -> CallConfig:
        """Raises UnusableVersion."""
        version = await self._get_version(row)
        return CallConfig(
            number=number,
            tenant=tenant.tenant,
            flow=row.flow_id,
            version=version,
            version_number=row.active_version,
            departments=tenant.departments,
            sounds=await self._sounds_of(row, version),
            rates=rates.effective_rates(tenant.rates, rates_at),
            account_sid=row.claimed_account or "",
            fallback_number=_allowed_forward(number, row.fallback_number, tenant),
        )

    async def _get_tenant(self, row: Any) -> _TenantSnapshot:
        """Return the tenant as of the row's revision or a later one; if later, the next lookup reloads it once more."""
        snapshot = self._tenants.get(row.tenant_id)
        if snapshot is None or snapshot.revision != row.revision:
            async with self._database.read() as connection:
                tenant = await tenants.load_tenant(connection, row.tenant_id)
                tenant_departments = await departments.load_departments(connection, row.tenant_id)
                snapshot = _TenantSnapshot(
                    row.revision, tenant, tenant_departments, await rates.load_rates(connection, row.tenant_id)
                )
            self._tenants[row.tenant_id] = snapshot
        return snapshot

    async def _get_version(self, row: Any) -> FlowVersion:
        """Return the compiled version. Versions with the same content hash are shared, also between tenants."""
        cached = self._versions.get(row.content_hash)
        if cached is not None:
            return cached
        loading = self._loading.get(row.content_hash)
        if loading is None:
            loading = asyncio.ensure_future(self._load_version(row))
            self._loading[row.content_hash] = loading
            loading.add_done_callback(lambda done: self._on_version_loaded(row.content_hash, done))
        return await asyncio.shield(loading)  # a caller that stops waiting must not cancel it for the others

    def _on_version_loaded(self, content: str, done: asyncio.Future[FlowVersion]) -> None:
        del self._loading[content]
        if not done.cancelled():
            done.exception()  # mark it as retrieved: there may be no waiter left

    async def _load_version(self, row: Any) -> FlowVersion:
        async with self._database.read() as connection:
            version = await versions.load_version(connection, row.tenant_id, row.flow_id, row.active_version)
        self._versions[row.content_hash] = version
        return version

    async def _sounds_of(self, row: Any, version: FlowVersion) -> dict[str, bytes]:
        """Return the sounds that the version plays and the tenant has."""
        sounds = {}
        for name in referenced_sounds(version):
            key = (row.tenant_id, row.revision, name)
            mulaw = self._sounds.get(key)
            if mulaw is None:
                async with self._database.read() as connection:
                    mulaw = self._sounds[key] = await _load_sound(connection, row.tenant_id, name)
            sounds[name] = mulaw
        return {name: mulaw for name, mulaw in sounds.items() if mulaw}

    def _store_last_known(self, number: str, row: _ConfigRow, tenant: _TenantSnapshot) -> None:
        self._last_known[number] = NumberClosed(
            number=number,
            tenant=row.tenant_id,
            flow=row.flow_id or "",
            outcome="unavailable",
            message=tenant.tenant.error_message,
            forward_to=_allowed_forward(number, row.fallback_number, tenant),
            account_sid=row.claimed_account or "",
            max_transfer_seconds=tenant.tenant.max_transfer_seconds,
        )


def _is_claim_current(row: _ConfigRow) -> bool:
    """Whether the number is claimed under the platform's account or the tenant's present one; else it leads nowhere."""
    return row.claimed_account in (None, SIMULATOR_ACCOUNT_SID, row.own_account)


def _number_closed(number: str, row: _ConfigRow, tenant: _TenantSnapshot) -> NumberClosed | None:
    """Return why no flow answers the number, None if one does. Calls go to its fallback number then, if it has one."""
    closed = NumberClosed(
        number=number,
        tenant=row.tenant_id,
        flow=row.flow_id or "",
        outcome="unassigned",
        message=NOT_IN_SERVICE_MESSAGE,
        forward_to=_allowed_forward(number, row.fallback_number, tenant),
        account_sid=row.claimed_account or "",
        max_transfer_seconds=tenant.tenant.max_transfer_seconds,
    )
    if row.suspended:
        return msgspec.structs.replace(closed, outcome="suspended", forward_to="")
    if row.content_hash is None:
        return closed
    if row.pause_settings is None:
        return None
    pause = msgspec.json.decode(row.pause_settings, type=PauseSettings)
    text, forward = (
        pause.message or tenant.tenant.unavailable_message,
        _allowed_forward(number, pause.forward_to, tenant),
    )
    return msgspec.structs.replace(closed, outcome="paused", message=text, forward_to=forward)


def _allowed_forward(number: str, forward: str | None, tenant: _TenantSnapshot) -> str:
    """Return the number to forward to, empty if the dial rules do not allow it: they may have become stricter."""
    if not forward or rules.check_destination(tenant.tenant, forward, frozenset({rules.country_of(number)}) - {""}):
        return ""
    return forward


def _count_nodes(version: FlowVersion) -> int:
    return len(version.flow.nodes) + sum(map(_count_nodes, version.subflows.values()))


async def _load_sound(connection: AsyncConnection, tenant: str, name: str) -> bytes:
    query = select(sound_table.c.mulaw).where(sound_table.c.tenant_id == tenant, sound_table.c.name == name)
    return (await connection.execute(query)).scalar() or b""
