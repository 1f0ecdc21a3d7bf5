"""After a change of VOCELIO_SECRET_KEYS: everything that an older key encrypted, encrypted with the newest."""

import logging
from typing import Any

from sqlalchemy import ColumnElement, Table, select, update

from vocelio.gateway.crypto.encryption import DecryptionError, SecretCipher
from vocelio.gateway.store.db.database import Database
from vocelio.gateway.store.db.schema import secrets, tenants

LOG = logging.getLogger(__name__)

_ENCRYPTED_COLUMNS = ((secrets, "value", ("tenant_id", "name")), (tenants, "auth_token", ("id",)))


async def rotate_keys(database: Database, cipher: SecretCipher) -> int:
    """How many were encrypted anew. What no key opens stays, and is logged by its place.

    Done once when a process starts. One that was changed meanwhile is newer than ours and stays as it is.
    """
    return sum(
        [await _rotate_column(database, cipher, table, column, key) for table, column, key in _ENCRYPTED_COLUMNS]
    )


async def _rotate_column(
    database: Database, cipher: SecretCipher, table: Table, column: str, key: tuple[str, ...]
) -> int:
    async with database.read() as connection:
        rows = (await connection.execute(select(table).where(table.c[column].is_not(None)))).all()
    renewed = 0
    for row in rows:
        place = [getattr(row, part) for part in key]
        try:
            locked = cipher.rotate(getattr(row, column))
        except DecryptionError as error:
            LOG.error("%s %s: %s", table.name, "/".join(place), error)
            continue
        if locked is not None:
            where: list[ColumnElement[Any]] = [table.c[part] == value for part, value in zip(key, place, strict=True)]
            unchanged = table.c[column] == getattr(row, column)
            async with database.transaction() as connection:
                await connection.execute(update(table).where(*where, unchanged).values({column: locked}))
            renewed += 1
    return renewed
