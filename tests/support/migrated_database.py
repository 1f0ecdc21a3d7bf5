"""Migrated databases: copies of one that is migrated once, since a migration takes a tenth of a second of CPU."""

import shutil

from vocelio.gateway.store.db.database import Database


class MigratedDatabases:
    """Creates databases of one test process, with files in ``folder``."""

    def __init__(self, folder):
        self._file = folder / "vocelio.db"
        self._template = ""

    async def sqlite(self, folder):
        """Copy the database to a folder and return its URL."""
        if not self._file.exists():
            await _migrate(_url(self._file))
        return _url(shutil.copy(self._file, folder))

    async def postgresql(self, postgres):
        """Create a copy on a server and return its URL; the caller drops it."""
        if not self._template:
            template = await postgres.create_database()
            await _migrate(template)
            self._template = template
        return await postgres.create_database(self._template)


async def _migrate(url):
    database = Database(url)
    await database.migrate()
    await database.aclose()


def _url(file):
    return f"sqlite+aiosqlite:///{file}"
