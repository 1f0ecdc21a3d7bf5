"""A tenant's secrets, for the headers of its flows' requests. They are encrypted, and the API never tells them.

After a change of VOCELIO_SECRET_KEYS: everything that an older key encrypted, encrypted with the newest.
"""

import logging
from typing import Annotated, Any

import msgspec
from msgspec import Meta
from sqlalchemy import ColumnElement, Table, delete, select, update

from vocelio.gateway.crypto.encryption import DecryptionError, SecretCipher
from vocelio.gateway.errors import Conflict, NotFound
from vocelio.gateway.model.types import PATTERN_END
from vocelio.gateway.store.audit import Actor
from vocelio.gateway.store.db.database import Database
from vocelio.gateway.store.db.schema import secrets, tenants
from vocelio.gateway.store.tenants.tenants import bump_tenant_revision, lock_tenant

MAX_SECRETS = 200  # a flow has a handful
MAX_VALUE_LENGTH = 8_192  # a header that is longer is refused by most servers

SecretName = Annotated[
    str, Meta(pattern=f"^[A-Za-z0-9_]{{1,64}}{PATTERN_END}", description="a secret's name such as crm_key")
]
"""As it stands in a flow: ``{{ secret.crm_key }}``."""


class NewSecret(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A secret's value: what a header can hold, so no ends of lines, which could forge others."""

    value: Annotated[
        str,
        Meta(min_length=1, max_length=MAX_VALUE_LENGTH),
        Meta(pattern=f"^[ -~]+{PATTERN_END}", description="a value of letters, digits and signs of ASCII"),
    ]


class Secret(msgspec.Struct, frozen=True):
    """That there is a secret, and when it was last ``changed`` (microseconds UTC)."""

    name: str
    updated_at: int


async def list_secrets(database: Database, tenant: str) -> list[Secret]:
    """All of a tenant's, by name."""
    query = select(secrets.c.name, secrets.c.updated_at).where(secrets.c.tenant_id == tenant).order_by(secrets.c.name)
    async with database.read() as connection:
        return [Secret(row.name, row.updated_at) for row in await connection.execute(query)]


async def put_secret(database: Database, cipher: SecretCipher, actor: Actor, name: str, value: str) -> Secret:
    """Keep a secret, in place of the one of that name. Raises Conflict when there are too many."""
    kept = {"value": cipher.encrypt(value, _encryption_purpose(actor.tenant, name)), "updated_at": actor.now}
    async with database.transaction() as connection:
        await lock_tenant(connection, actor.tenant)
        names = (await connection.scalars(select(secrets.c.name).where(secrets.c.tenant_id == actor.tenant))).all()
        if name not in names and len(names) >= MAX_SECRETS:
            raise Conflict(f"There are {MAX_SECRETS} secrets, which is all there can be. Remove one first.")
        statement = database.upsert(secrets).values(tenant_id=actor.tenant, name=name, **kept)
        await connection.execute(statement.on_conflict_do_update(index_elements=["tenant_id", "name"], set_=kept))
        await bump_tenant_revision(connection, actor.tenant)
        await actor.audit(connection, "secret.updated", name)
    return Secret(name, actor.now)


async def delete_secret(database: Database, actor: Actor, name: str) -> None:
    """Forget a secret. Raises NotFound."""
    async with database.transaction() as connection:
        where = (secrets.c.tenant_id == actor.tenant, secrets.c.name == name)
        if not (await connection.execute(delete(secrets).where(*where))).rowcount:
            raise NotFound
        await bump_tenant_revision(connection, actor.tenant)
        await actor.audit(connection, "secret.deleted", name)


async def get_secret_value(database: Database, cipher: SecretCipher, tenant: str, name: str) -> str:
    """The value. Raises NotFound, VaultError."""
    query = select(secrets.c.value).where(secrets.c.tenant_id == tenant, secrets.c.name == name)
    async with database.read() as connection:
        locked = await connection.scalar(query)
    if locked is None:
        raise NotFound
    return cipher.decrypt(locked, _encryption_purpose(tenant, name))


def _encryption_purpose(tenant: str, name: str) -> str:
    return f"{tenant}/secret/{name}"


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
