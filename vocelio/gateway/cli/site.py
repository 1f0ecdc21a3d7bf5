"""vocelio site: make the database equal to a site folder."""

import asyncio
from pathlib import Path
from typing import Annotated

import typer

from vocelio.gateway import private_files
from vocelio.gateway.cli import common
from vocelio.gateway.clock import wall_clock
from vocelio.gateway.config import Settings
from vocelio.gateway.site.changes import SiteChange
from vocelio.gateway.site.folder import SiteFolder
from vocelio.gateway.site.seed import apply_folder, list_changes
from vocelio.gateway.store.audit import Actor
from vocelio.gateway.store.db.database import Database

app = typer.Typer(no_args_is_help=True, add_completion=False)


@app.callback()
def site() -> None:
    """Manage a tenant's site folder: site.json, flows and sounds."""


@app.command()
def apply(
    folder: Annotated[Path, typer.Argument(help="The folder with site.json.", exists=True, file_okay=False)],
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Print the changes without making them.")] = False,
) -> None:
    """Make the database equal to a folder, and print each change. What the folder does not name stays as it is.

    Running gateways use the changes from the next call on.
    """
    with common.exit_on_error():
        private_files.make_new_files_private()
        changes = asyncio.run(_apply(common.read_settings(), SiteFolder(folder), dry_run))
    for change in changes:
        common.stdout.print(str(change), markup=False, soft_wrap=True)
    summary = f"{len(changes)} change{'' if len(changes) == 1 else 's'}" if changes else "nothing to change"
    common.stdout.print(f"{summary}{', not made (--dry-run)' if dry_run and changes else ''}")


async def _apply(settings: Settings, folder: SiteFolder, dry_run: bool) -> list[SiteChange]:
    database = Database(settings.database_url)
    try:
        await database.migrate()
        if dry_run:
            return await list_changes(database, folder)
        return await apply_folder(database, folder, Actor("command-line", "platform", "", "", wall_clock()))
    finally:
        await database.aclose()
