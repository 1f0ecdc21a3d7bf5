"""Secrets of a tenant, for the headers of its flows' HTTP requests. They are encrypted, and the API never returns a
value.

Also re-encrypts every stored secret after a change of VOCELIO_SECRET_KEYS.
"""

import logging
from typing import Annotated, Any

import msgspec
from msgspec import Meta
from sqlalchemy import ColumnElement, Table, delete, select, update

from vocelio.gateway.clock import Instant
from vocelio.gateway.crypto import DecryptionError, SecretCipher
from vocelio.gateway.errors import NotFound, QuotaExceeded
from vocelio.gateway.model.types import PATTERN_END
from vocelio.gateway.store.audit import Actor
from vocelio.gateway.store.db.database import Database
from vocelio.gateway.store.db.schema import secrets, tenants
from vocelio.gateway.store.tenants.tenants import bump_tenant_revision, lock_tenant

MAX_SECRETS = 200  # of a tenant: a flow has a handful
MAX_VALUE_LENGTH = 8_192  # most servers reject longer headers

SecretName = Annotated[
    str, Meta(pattern=f"^[A-Za-z0-9_]{{1,64}}{PATTERN_END}", description="a secret's name such as crm_key")
]
"""As it is named in a flow: ``{{ secret.crm_key }}``."""


class NewSecret(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A secret's value: printable ASCII, without line breaks, which could forge further headers."""

    value: Annotated[
        str,
        Meta(min_length=1, max_length=MAX_VALUE_LENGTH),
        Meta(pattern=f"^[ -~]+{PATTERN_END}", description="a value of letters, digits and signs of ASCII"),
    ]


class Secret(msgspec.Struct, frozen=True):
    """The name of a secret and the time of its last change (microseconds UTC)."""

    name: str
    updated_at: Instant


async def list_secrets(database: Database, tenant: str) -> list[Secret]:
    """List a tenant's secrets, by name."""
    query = select(secrets.c.name, secrets.c.updated_at).where(secrets.c.tenant_id == tenant).order_by(secrets.c.name)
    async with database.read() as connection:
        return [Secret(row.name, Instant(row.updated_at)) for row in await connection.execute(query)]


async def put_secret(database: Database, cipher: SecretCipher, actor: Actor, name: str, value: str) -> Secret:
    """Create or replace a secret. Raises QuotaExceeded."""
    values = {"value": cipher.encrypt(value, _encryption_purpose(actor.tenant, name)), "updated_at": actor.now}
    async with database.transaction() as connection:
        await lock_tenant(connection, actor.tenant)
        names = (await connection.scalars(select(secrets.c.name).where(secrets.c.tenant_id == actor.tenant))).all()
        if name not in names and len(names) >= MAX_SECRETS:
            raise QuotaExceeded(f"A tenant can have at most {MAX_SECRETS} secrets. Delete one first.")
        statement = database.upsert(secrets).values(tenant_id=actor.tenant, name=name, **values)
        await connection.execute(statement.on_conflict_do_update(index_elements=["tenant_id", "name"], set_=values))
        await bump_tenant_revision(connection, actor.tenant)
        await actor.audit(connection, "secret.updated", name)
    return Secret(name, Instant(actor.now))


async def delete_secret(database: Database, actor: Actor, name: str) -> None:
    """Delete a secret. Raises NotFound."""
    async with database.transaction() as connection:
        where = (secrets.c.tenant_id == actor.tenant, secrets.c.name == name)
        if not (await connection.execute(delete(secrets).where(*where))).rowcount:
            raise NotFound
        await bump_tenant_revision(connection, actor.tenant)
        await actor.audit(connection, "secret.deleted", name)


async def get_secret_value(database: Database, cipher: SecretCipher, tenant: str, name: str) -> str:
    """Return the decrypted value. Raises NotFound, DecryptionError."""
    query = select(secrets.c.value).where(secrets.c.tenant_id == tenant, secrets.c.name == name)
    async with database.read() as connection:
        encrypted = await connection.scalar(query)
    if encrypted is None:
        raise NotFound
    return cipher.decrypt(encrypted, _encryption_purpose(tenant, name))


def _encryption_purpose(tenant: str, name: str) -> str:
    return f"{tenant}/secret/{name}"


LOG = logging.getLogger(__name__)

_ENCRYPTED_COLUMNS = ((secrets, "value", ("tenant_id", "name")), (tenants, "auth_token", ("id",)))


async def rotate_keys(database: Database, cipher: SecretCipher) -> int:
    """Re-encrypt with the newest key whatever an older key encrypted, and return how many values were.

    Runs once when a process starts. A value that no key can decrypt is left as it is and logged. One that is changed at
    the same time is left alone, since it is newer.
    """
    return sum(
        [await _rotate_column(database, cipher, table, column, key) for table, column, key in _ENCRYPTED_COLUMNS]
    )


async def _rotate_column(
    database: Database, cipher: SecretCipher, table: Table, column: str, key: tuple[str, ...]
) -> int:
    async with database.read() as connection:
        rows = (await connection.execute(select(table).where(table.c[column].is_not(None)))).all()
    rotated_count = 0
    for row in rows:
        key_values = [getattr(row, part) for part in key]
        try:
            rotated = cipher.rotate(getattr(row, column))
        except DecryptionError as error:
            LOG.error("%s %s: %s", table.name, "/".join(key_values), error)
            continue
        if rotated is not None:
            where: list[ColumnElement[Any]] = [
                table.c[part] == value for part, value in zip(key, key_values, strict=True)
            ]
            unchanged = table.c[column] == getattr(row, column)
            async with database.transaction() as connection:
                await connection.execute(update(table).where(*where, unchanged).values({column: rotated}))
            rotated_count += 1
    return rotated_count
