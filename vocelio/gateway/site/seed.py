"""Bring a site folder into a database, with the same checks and audit entries as the API.

``vocelio serve --site`` only fills what is missing: a start undoes nothing that was changed through the API.
``vocelio site apply`` makes the database equal to the folder. Neither touches what the folder does not name.
"""

import msgspec

from vocelio.gateway.errors import Conflict, InvalidInput, NotFound, RevisionConflict, SiteFolderError
from vocelio.gateway.model.types import ResourceName
from vocelio.gateway.site.changes import SiteChange, SiteComparison
from vocelio.gateway.site.folder import SiteFolder
from vocelio.gateway.store.audit import Actor
from vocelio.gateway.store.db.database import Database


class SeedReport(msgspec.Struct, frozen=True):
    """What was created, and what was left alone because it differs from the folder."""

    created: list[SiteChange]
    left_alone: list[SiteChange]


async def seed_database(database: Database, folder: SiteFolder, actor: Actor) -> SeedReport:
    """Create what is missing. Raises SiteFolderError, DatabaseUnavailable."""
    changes = await list_changes(database, folder)
    created = [change for change in changes if change.is_new]
    await _apply(folder, created, actor)
    return SeedReport(created, [change for change in changes if not change.is_new])


async def apply_folder(database: Database, folder: SiteFolder, actor: Actor) -> list[SiteChange]:
    """Make the database equal to the folder; return the changes. Raises SiteFolderError, DatabaseUnavailable."""
    changes = await list_changes(database, folder)
    await _apply(folder, changes, actor)
    return changes


async def list_changes(database: Database, folder: SiteFolder) -> list[SiteChange]:
    """Return what ``apply_folder`` would change. Raises SiteFolderError, DatabaseUnavailable."""
    _check_names(folder)
    return await SiteComparison(database, folder).list_changes()


async def _apply(folder: SiteFolder, changes: list[SiteChange], actor: Actor) -> None:
    actor = msgspec.structs.replace(actor, tenant=folder.tenant.id)
    for change in changes:
        try:
            await change.apply(actor)
        except (InvalidInput, Conflict, RevisionConflict, NotFound) as error:
            details = "\n".join((str(error), *map(str, getattr(error, "errors", ()))))
            raise SiteFolderError(f"{change.resource}: {details}") from error


def _check_names(folder: SiteFolder) -> None:
    problems = []
    for name in (*folder.flows, *folder.departments, *folder.sounds):
        try:
            msgspec.convert(name, ResourceName)
        except msgspec.ValidationError:
            problems.append(f"`{name}` is not a valid name: use up to 64 lowercase letters, digits, - and _")
    if problems:
        raise SiteFolderError("\n".join(problems))
