"""After a change of VOCELIO_SECRET_KEY: everything that an older key encrypted, encrypted with the newest."""

import logging
from typing import Any

from sqlalchemy import ColumnElement, Table, select, update

from vocelio.gateway.crypto.encryption import Vault, VaultError
from vocelio.gateway.store.db.database import Database
from vocelio.gateway.store.db.schema import secrets, tenants

LOG = logging.getLogger(__name__)

_KEPT = ((secrets, "value", ("tenant_id", "name")), (tenants, "auth_token", ("id",)))


async def renew(database: Database, vault: Vault) -> int:
    """How many were encrypted anew. What no key opens stays, and is logged by its place.

    Done once when a process starts. One that was changed meanwhile is newer than ours and stays as it is.
    """
    return sum([await _renew(database, vault, table, column, key) for table, column, key in _KEPT])


async def _renew(database: Database, vault: Vault, table: Table, column: str, key: tuple[str, ...]) -> int:
    async with database.reading() as connection:
        rows = (await connection.execute(select(table).where(table.c[column].is_not(None)))).all()
    renewed = 0
    for row in rows:
        place = [getattr(row, part) for part in key]
        try:
            locked = vault.renewed(getattr(row, column))
        except VaultError as error:
            LOG.error("%s %s: %s", table.name, "/".join(place), error)
            continue
        if locked is not None:
            where: list[ColumnElement[Any]] = [table.c[part] == value for part, value in zip(key, place, strict=True)]
            unchanged = table.c[column] == getattr(row, column)
            async with database.writing() as connection:
                await connection.execute(update(table).where(*where, unchanged).values({column: locked}))
            renewed += 1
    return renewed
