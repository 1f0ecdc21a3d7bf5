"""A tenant's own Twilio account: its SID and its auth token, which is stored encrypted and never shown.

What is stored here has been proven to Twilio before; see twilio/provisioning/ownership.py.
"""

import re
from collections.abc import Collection, Sequence
from typing import Annotated, Any

import msgspec
from cachetools import LRUCache
from msgspec import Meta
from sqlalchemy import Row, or_, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from vocelio.gateway.crypto import DecryptionError, SecretCipher
from vocelio.gateway.errors import DatabaseUnavailable, NotFound
from vocelio.gateway.model.types import PATTERN_END
from vocelio.gateway.store import number_provisioning
from vocelio.gateway.store.audit import Actor
from vocelio.gateway.store.db.database import Database
from vocelio.gateway.store.db.schema import numbers, tenants
from vocelio.gateway.store.tenants.tenants import bump_tenant_revision, get_row

ACCOUNT_SID_PATTERN = re.compile(r"AC[0-9a-f]{32}")
LOOKUP_TIMEOUT_SECONDS = 1.0  # of the three seconds after which a caller should have heard something
MAX_CACHED_TOKENS = 10_000
UPDATE_BATCH_SIZE = 500  # numbers in one statement: SQLite allows at least 999 parameters

AccountSid = Annotated[str, Meta(pattern=f"^AC[0-9a-f]{{32}}{PATTERN_END}", description="a Twilio account: AC...")]


class TwilioAccount(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A Twilio account: its SID and the auth token that signs the account's webhooks."""

    account_sid: AccountSid
    auth_token: Annotated[str, Meta(min_length=16, max_length=200, pattern=f"^[!-~]+{PATTERN_END}")]


class TwilioAccounts:
    """Auth tokens for verifying signatures.

    Every request reads the token from the database, so that a changed token counts at once. While the database is
    unavailable the last known token is used, since the webhooks of live calls must be answered.
    """

    def __init__(self, database: Database, cipher: SecretCipher) -> None:
        self._database, self._cipher = database, cipher
        self._last_known_tokens: LRUCache[str, str] = LRUCache(MAX_CACHED_TOKENS)

    async def get_auth_token(self, account_sid: str) -> str | None:
        """Return the account's auth token if it is a tenant's. Raises DatabaseUnavailable, DecryptionError."""
        if not ACCOUNT_SID_PATTERN.fullmatch(account_sid):
            return None
        try:
            token = await self._database.with_timeout(
                get_auth_token(self._database, self._cipher, account_sid), LOOKUP_TIMEOUT_SECONDS
            )
        except (DatabaseUnavailable, DecryptionError):  # this process may not have the newest secret key yet
            if account_sid not in self._last_known_tokens:
                raise
            return self._last_known_tokens[account_sid]
        if token:  # unknown accounts are not cached, so they cannot evict tenants' accounts
            self._last_known_tokens[account_sid] = token
        else:
            self._last_known_tokens.pop(account_sid, None)
        return token


async def put_twilio_account(
    database: Database,
    cipher: SecretCipher,
    actor: Actor,
    account: TwilioAccount,
    account_numbers: Collection[str] = (),
) -> None:
    """Set the tenant's own Twilio account, which Twilio has confirmed to have ``account_numbers``.

    These of the tenant's numbers are claimed under it from now on. Numbers that are claimed under a former account lead
    nowhere. If the account was another tenant's, that tenant has none any more.
    """
    values: dict[str, str | None] = {
        "account_sid": account.account_sid,
        "auth_token": cipher.encrypt(account.auth_token, _encryption_purpose(actor.tenant)),
    }
    async with database.transaction() as connection:
        for row in await _lock_affected(connection, actor.tenant, account.account_sid):
            if row.id != actor.tenant:
                former = Actor("twilio", "platform", row.id, "", actor.now)  # the trail does not tell who has it now
                await _update_account(connection, former, row.account_sid, {"account_sid": None, "auth_token": None})
        before = (await get_row(connection, actor.tenant)).account_sid
        await _claim_numbers(connection, actor.tenant, account.account_sid, account_numbers)
        await _update_account(connection, actor, before, values)


async def delete_twilio_account(database: Database, actor: Actor) -> None:
    """Remove the tenant's own Twilio account; numbers that are claimed under it lead nowhere. Raises NotFound."""
    async with database.transaction() as connection:
        before = (await get_row(connection, actor.tenant, lock=True)).account_sid
        if before is None:
            raise NotFound
        await _update_account(connection, actor, before, {"account_sid": None, "auth_token": None})


async def _lock_affected(connection: AsyncConnection, tenant: str, account_sid: str) -> Sequence[Row[Any, Any]]:
    """Lock the rows of the tenant and of the one that has the account, in one order so that none deadlocks."""
    query = select(tenants.c.id, tenants.c.account_sid)
    query = query.where(or_(tenants.c.id == tenant, tenants.c.account_sid == account_sid)).order_by(tenants.c.id)
    return (await connection.execute(query.with_for_update(key_share=True))).all()


async def _claim_numbers(
    connection: AsyncConnection, tenant: str, account_sid: str, account_numbers: Collection[str]
) -> None:
    """Claim those of the tenant's numbers under the account that the account has."""
    own = await connection.scalars(select(numbers.c.number).where(numbers.c.tenant_id == tenant))
    claimed = sorted(set(own) & set(account_numbers))
    for start in range(0, len(claimed), UPDATE_BATCH_SIZE):
        batch = claimed[start : start + UPDATE_BATCH_SIZE]
        where = (numbers.c.tenant_id == tenant, numbers.c.number.in_(batch))
        await connection.execute(update(numbers).where(*where).values(account_sid=account_sid))


async def get_auth_token(database: Database, cipher: SecretCipher, account_sid: str) -> str | None:
    """Return the auth token of a Twilio account if it is a tenant's. Raises DecryptionError."""
    query = select(tenants.c.id, tenants.c.auth_token).where(tenants.c.account_sid == account_sid)
    async with database.read() as connection:
        row = (await connection.execute(query)).first()
    return cipher.decrypt(row.auth_token, _encryption_purpose(row.id)) if row else None


async def get_twilio_account(database: Database, cipher: SecretCipher, tenant: str) -> TwilioAccount | None:
    """Return a tenant's own Twilio account with its token, if it has one. Raises DecryptionError."""
    query = select(tenants.c.account_sid, tenants.c.auth_token).where(tenants.c.id == tenant)
    async with database.read() as connection:
        row = (await connection.execute(query)).first()
    if row is None or not row.account_sid:
        return None
    return TwilioAccount(row.account_sid, cipher.decrypt(row.auth_token, _encryption_purpose(tenant)))


async def _update_account(
    connection: AsyncConnection, actor: Actor, before: str | None, values: dict[str, str | None]
) -> None:
    await connection.execute(update(tenants).where(tenants.c.id == actor.tenant).values(values))
    await bump_tenant_revision(connection, actor.tenant)
    await number_provisioning.requeue_tenant(connection, actor.tenant, actor.now)
    changes = {"account_sid": before}, {"account_sid": values["account_sid"]}
    await actor.audit(connection, "tenant.twilio_account_changed", actor.tenant, *changes)


def _encryption_purpose(tenant: str) -> str:
    return f"{tenant}/twilio"
