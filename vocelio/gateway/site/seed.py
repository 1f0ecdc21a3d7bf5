"""A database brought in line with a folder: what `vocelio serve --site FOLDER` answers with.

What the folder has is made or changed as if it were done by the API, with the same checks and on the same trail; what
it has not is left alone. Whatever is as it should be already is not touched, so a second time nothing happens.
"""

import msgspec

from vocelio.engine.validation.references import nesting
from vocelio.gateway.errors import Conflict, Invalid, NotFound, SiteError
from vocelio.gateway.model.types import Name
from vocelio.gateway.site.folder import Folder
from vocelio.gateway.store import numbers
from vocelio.gateway.store.audit.actor import Actor
from vocelio.gateway.store.db.database import Database
from vocelio.gateway.store.flows import drafts, promotion
from vocelio.gateway.store.numbers import NewNumber
from vocelio.gateway.store.tenants import departments, sounds, tenants
from vocelio.gateway.store.tenants.tenants import TenantChange

NOTE = "from the site's folder"


async def fill(database: Database, folder: Folder, actor: Actor) -> None:
    """Put a folder's tenant with all it has into the database. Raises SiteError, StoreUnavailable."""
    _check_names(folder)
    actor = msgspec.structs.replace(actor, tenant=folder.tenant.id)
    try:
        await _fill(database, folder, actor)
    except (Invalid, Conflict) as error:
        raise SiteError("\n".join((str(error), *map(str, getattr(error, "errors", ()))))) from error


async def _fill(database: Database, folder: Folder, actor: Actor) -> None:
    await _settings(database, folder, actor)
    for number in folder.numbers:  # before what is checked by where they are, and may show them
        await _number(database, actor, number)
    for name, department in folder.departments.items():
        await departments.put(database, actor, name, department)
    for name, mulaw in folder.sounds.items():
        await sounds.keep(database, actor, name, mulaw)
    for name in sorted(folder.flows, key=lambda name: nesting(folder.flows[name])):  # whoever is called comes first
        await _flow(database, actor, name, folder.documents[name])
    for number, flow in folder.numbers.items():
        await numbers.assign(database, actor, number, flow)


async def _settings(database: Database, folder: Folder, actor: Actor) -> None:
    wanted = {name: getattr(folder.tenant, name) for name in TenantChange.__struct_fields__}
    try:
        await tenants.change(database, actor, folder.tenant.id, TenantChange(**wanted))
    except NotFound:
        await tenants.create(database, actor, folder.tenant)


async def _flow(database: Database, actor: Actor, name: str, document: bytes) -> None:
    try:
        seen = (await drafts.show(database, actor.tenant, name)).revision
    except NotFound:
        seen = None
    await drafts.put(database, actor, name, document, seen)
    await promotion.promote(database, actor, name, NOTE)


async def _number(database: Database, actor: Actor, number: str) -> None:
    try:
        await numbers.show(database, actor.tenant, number)
    except NotFound:
        await numbers.create(database, actor, NewNumber(number))


def _check_names(folder: Folder) -> None:
    problems = []
    for name in (*folder.flows, *folder.departments, *folder.sounds):
        try:
            msgspec.convert(name, Name)
        except msgspec.ValidationError:
            problems.append(f"`{name}` cannot be a name: these have small letters, digits, - and _, at most 64")
    if problems:
        raise SiteError("\n".join(problems))
