"""Seed a database from a site folder, for ``vocelio serve --site FOLDER``.

Everything in the folder is created or changed as by the API, with the same checks and audit entries. What is not in the
folder is left alone, and what is up to date is not touched, so seeding again changes nothing.
"""

import msgspec

from vocelio.engine.validation.references import flow_depth
from vocelio.gateway.errors import Conflict, InvalidInput, NotFound, SiteFolderError
from vocelio.gateway.model.types import ResourceName
from vocelio.gateway.site.folder import SiteFolder
from vocelio.gateway.store import numbers
from vocelio.gateway.store.audit import Actor
from vocelio.gateway.store.db.database import Database
from vocelio.gateway.store.flows import drafts, promotion
from vocelio.gateway.store.numbers import NewNumber
from vocelio.gateway.store.tenants import departments, sounds, tenants
from vocelio.gateway.store.tenants.tenants import TenantUpdate

PROMOTION_NOTE = "Seeded from the site folder."


async def seed_database(database: Database, folder: SiteFolder, actor: Actor) -> None:
    """Create or update a folder's tenant with all its resources. Raises SiteFolderError, DatabaseUnavailable."""
    _check_names(folder)
    actor = msgspec.structs.replace(actor, tenant=folder.tenant.id)
    try:
        await _seed(database, folder, actor)
    except (InvalidInput, Conflict) as error:
        raise SiteFolderError("\n".join((str(error), *map(str, getattr(error, "errors", ()))))) from error


async def _seed(database: Database, folder: SiteFolder, actor: Actor) -> None:
    await _seed_tenant(database, folder, actor)
    for number in folder.numbers:  # first: dial rules depend on the countries of the numbers, and caller ids must exist
        await _seed_number(database, actor, number)
    for name, department in folder.departments.items():
        await departments.put_department(database, actor, name, department)
    for name, mulaw in folder.sounds.items():
        await sounds.put_mulaw(database, actor, name, mulaw)
    for name in sorted(folder.flows, key=lambda name: flow_depth(folder.flows[name])):  # called flows first
        await _seed_flow(database, actor, name, folder.documents[name])
    for number, flow in folder.numbers.items():
        await numbers.assign_number(database, actor, number, flow)


async def _seed_tenant(database: Database, folder: SiteFolder, actor: Actor) -> None:
    settings = {name: getattr(folder.tenant, name) for name in TenantUpdate.__struct_fields__}
    try:
        await tenants.update_tenant(database, actor, folder.tenant.id, TenantUpdate(**settings))
    except NotFound:
        await tenants.create_tenant(database, actor, folder.tenant)


async def _seed_flow(database: Database, actor: Actor, name: str, document: bytes) -> None:
    try:
        revision = (await drafts.get_flow(database, actor.tenant, name)).revision
    except NotFound:
        revision = None
    await drafts.put_flow(database, actor, name, document, revision)
    await promotion.promote_flow(database, actor, name, PROMOTION_NOTE)


async def _seed_number(database: Database, actor: Actor, number: str) -> None:
    try:
        await numbers.get_number(database, actor.tenant, number)
    except NotFound:
        await numbers.create_number(database, actor, NewNumber(number))


def _check_names(folder: SiteFolder) -> None:
    problems = []
    for name in (*folder.flows, *folder.departments, *folder.sounds):
        try:
            msgspec.convert(name, ResourceName)
        except msgspec.ValidationError:
            problems.append(f"`{name}` is not a valid name: use up to 64 lowercase letters, digits, - and _")
    if problems:
        raise SiteFolderError("\n".join(problems))
