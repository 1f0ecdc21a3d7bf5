"""What a site folder would change in the database, resource by resource, without changing anything.

A change is *new* if it only adds what was never there. What is there and differs may be newer than the folder: somebody
has changed it through the API.
"""

from collections.abc import Awaitable, Callable, Iterator
from typing import Any

import msgspec
from sqlalchemy.ext.asyncio import AsyncConnection

from vocelio.engine.flow import FlowVersion
from vocelio.engine.validation.references import flow_depth
from vocelio.gateway.errors import NotFound
from vocelio.gateway.model.tenant import Tenant
from vocelio.gateway.site.folder import SiteFolder
from vocelio.gateway.store import numbers
from vocelio.gateway.store.audit import Actor
from vocelio.gateway.store.db.database import Database
from vocelio.gateway.store.flows import drafts, promotion, versions
from vocelio.gateway.store.flows.drafts import FlowDraft
from vocelio.gateway.store.flows.versions import VersionPin
from vocelio.gateway.store.numbers import NewNumber
from vocelio.gateway.store.tenants import departments, sounds, tenants
from vocelio.gateway.store.tenants.tenants import TenantUpdate

PROMOTION_NOTE = "From the site folder."
MAX_VALUE_SHOWN = 60  # characters


class SiteChange(msgspec.Struct, frozen=True):
    """One change: what it is about, what becomes of it, and how it is made."""

    resource: str
    detail: str
    is_new: bool
    apply: Callable[[Actor], Awaitable[Any]]

    def __str__(self) -> str:
        return f"{self.resource}: {self.detail}"


class SiteComparison:
    """Compares a folder with the database. The changes are to be made in their order."""

    def __init__(self, database: Database, folder: SiteFolder) -> None:
        self._database, self._folder, self._tenant_id = database, folder, folder.tenant.id

    async def list_changes(self) -> list[SiteChange]:
        """Return all changes. Raises DatabaseUnavailable.

        Numbers come first: dial rules depend on their countries, and caller ids must exist.
        """
        stored = await self._get_tenant()
        flow_changes = await self._compare_flows(stored)
        return [
            *self._compare_tenant(stored),
            *await self._compare_numbers(),
            *await self._compare_departments(),
            *await self._compare_sounds(),
            *flow_changes,
            *await self._compare_assignments({change.resource for change in flow_changes if change.is_new}),
        ]

    async def _get_tenant(self) -> Tenant | None:
        try:
            return await tenants.get_tenant(self._database, self._tenant_id)
        except NotFound:
            return None

    def _compare_tenant(self, stored: Tenant | None) -> Iterator[SiteChange]:
        wanted, name = self._folder.tenant, f"tenant {self._tenant_id}"
        if stored is None:

            async def create(actor: Actor) -> None:
                await tenants.create_tenant(self._database, actor, wanted)

            yield SiteChange(name, "create", is_new=True, apply=create)
            return
        named = {setting: getattr(wanted, setting) for setting in sorted(self._folder.named_settings)}
        differing = {setting: value for setting, value in named.items() if value != getattr(stored, setting)}
        if not differing:
            return

        async def change(actor: Actor) -> None:
            await tenants.update_tenant(self._database, actor, self._tenant_id, TenantUpdate(**differing))

        details = (f"{key}: {_show_difference(getattr(stored, key), value)}" for key, value in differing.items())
        yield SiteChange(f"settings of {name}", ", ".join(details), is_new=False, apply=change)

    async def _compare_numbers(self) -> list[SiteChange]:
        return [
            SiteChange(f"number {number}", "create", is_new=True, apply=self._number_creation(number))
            for number in self._folder.numbers
            if await self._get_flow_of(number) is None
        ]

    def _number_creation(self, number: str) -> Callable[[Actor], Awaitable[None]]:
        async def create(actor: Actor) -> None:
            await numbers.create_number(self._database, actor, NewNumber(number))

        return create

    async def _get_flow_of(self, number: str) -> str | None:
        """Return the flow that answers a number, empty if none does; None if there is no such number."""
        try:
            return (await numbers.get_number(self._database, self._tenant_id, number)).flow or ""
        except NotFound:
            return None

    async def _compare_departments(self) -> list[SiteChange]:
        stored = await departments.list_departments(self._database, self._tenant_id)
        changes = []
        for name, department in self._folder.departments.items():
            before = stored.get(name)
            if before == department:
                continue

            async def put(actor: Actor, name: str = name) -> None:
                await departments.put_department(self._database, actor, name, self._folder.departments[name])

            detail = "create" if before is None else _show_difference(before, department)
            changes.append(SiteChange(f"department {name}", detail, before is None, put))
        return changes

    async def _compare_sounds(self) -> list[SiteChange]:
        changes = []
        for name, mulaw in self._folder.sounds.items():
            before = await sounds.get_mulaw(self._database, self._tenant_id, name)
            if before == mulaw:
                continue

            async def put(actor: Actor, name: str = name) -> None:
                await sounds.put_mulaw(self._database, actor, name, self._folder.sounds[name])

            changes.append(SiteChange(f"sound {name}", "create" if before is None else "replace", before is None, put))
        return changes

    async def _compare_flows(self, tenant: Tenant | None) -> list[SiteChange]:
        """Compare called flows before their callers, which a promotion binds to the versions of that moment."""
        named_voice = "voice" in self._folder.named_settings
        voice = self._folder.tenant.voice if tenant is None or named_voice else tenant.voice
        changes: dict[str, SiteChange] = {}
        for name in sorted(self._folder.flows, key=lambda name: flow_depth(self._folder.flows[name])):
            document = self._folder.documents[name]
            draft, active_document = await self._get_flow(name)
            if draft is None:
                detail, is_new = "create and promote", True
            elif active_document is None:
                is_new = bytes(draft.document) == document  # otherwise somebody is writing it
                detail = "promote" if is_new else "replace the draft, and promote it"
            elif active_document != promotion.with_default_voice(document, voice):
                detail, is_new = f"replace version {draft.active_version}", False
            elif bytes(draft.document) != document:
                detail, is_new = "replace the draft", False
            elif called := sorted(changes.keys() & _called_flows(self._folder.flows[name])):
                detail, is_new = f"promote again, since it calls {', '.join(called)}", False
            else:
                continue
            changes[name] = SiteChange(f"flow {name}", detail, is_new, self._flow_promotion(name, draft))
        return list(changes.values())

    async def _get_flow(self, name: str) -> tuple[FlowDraft | None, bytes | None]:
        """Return a flow's draft and the document of its active version."""
        try:
            draft = await drafts.get_flow(self._database, self._tenant_id, name)
        except NotFound:
            return None, None
        if draft.active_version is None:
            return draft, None
        async with self._database.read() as connection:
            return draft, await self._get_document(connection, VersionPin(name, draft.active_version))

    async def _get_document(self, connection: AsyncConnection, pin: VersionPin) -> bytes:
        return bytes((await versions.get_row(connection, self._tenant_id, pin)).document)

    def _flow_promotion(self, name: str, draft: FlowDraft | None) -> Callable[[Actor], Awaitable[None]]:
        async def promote(actor: Actor) -> None:
            revision = draft.revision if draft else None
            await drafts.put_flow(self._database, actor, name, self._folder.documents[name], revision)
            await promotion.promote_flow(self._database, actor, name, PROMOTION_NOTE)

        return promote

    async def _compare_assignments(self, new_flows: set[str]) -> list[SiteChange]:
        """Compare what answers the numbers. A number that was unassigned, and one whose flow was not, are not new."""
        changes = []
        for number, flow in self._folder.numbers.items():
            before = await self._get_flow_of(number)
            if before == flow:
                continue
            is_new = not before and not await self._was_assigned(number)
            if is_new and f"flow {flow}" not in new_flows:
                is_new = (await self._get_flow(flow))[1] is not None

            async def assign(actor: Actor, number: str = number) -> None:
                await numbers.assign_number(self._database, actor, number, self._folder.numbers[number])

            detail = f"{before or 'no flow'} -> {flow}"
            changes.append(SiteChange(f"assignment of {number}", detail, is_new, assign))
        return changes

    async def _was_assigned(self, number: str) -> bool:
        try:
            return bool((await numbers.list_assignments(self._database, self._tenant_id, number, 1, "")).items)
        except NotFound:
            return False


def _called_flows(version: FlowVersion) -> set[str]:
    """Return the flows that a flow calls without naming a version."""
    return {name for name in version.subflows if "@" not in name}


def _show_difference(before: Any, after: Any) -> str:
    return f"{_shorten(before)} -> {_shorten(after)}"


def _shorten(value: Any) -> str:
    text = msgspec.json.encode(value).decode()
    return text if len(text) <= MAX_VALUE_SHOWN else f"{text[: MAX_VALUE_SHOWN - 1]}…"
