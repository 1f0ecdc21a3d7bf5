"""Databases with the gateway's tables: copies of one that was migrated once, which takes a tenth of a second of CPU."""

import shutil

from vocelio.gateway.store.db.database import Database


class MigratedDatabases:
    """Of one test process; ``folder`` is its own."""

    def __init__(self, folder):
        self._file = folder / "vocelio.db"
        self._template = ""

    async def sqlite(self, folder):
        """The URL of a file in that folder."""
        if not self._file.exists():
            await _migrate(_url(self._file))
        return _url(shutil.copy(self._file, folder))

    async def postgresql(self, postgres):
        """The URL of a database there, to be dropped by whoever asked."""
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
