"""Secrets: used by calls, never told, of no use in another tenant's row."""

import msgspec
import pytest
from sqlalchemy import select, update

from tests.support.tenant_fixtures import (
    CIPHER,
    audit_actions,
    audit_entries,
    create_tenant,
    insert_rows,
    tenant_revision,
)
from vocelio.gateway.errors import Conflict, GatewayError, NotFound
from vocelio.gateway.store.db.schema import secrets as table
from vocelio.gateway.store.tenants import secrets
from vocelio.gateway.store.tenants.secrets import NewSecret


async def test_a_call_gets_the_secret_and_nobody_reads_it_anywhere_else(database, make_actor):
    harbour = await create_tenant(database, make_actor)
    before = await tenant_revision(database)
    await secrets.put_secret(database, CIPHER, harbour, "crm_key", "old-value")
    await secrets.put_secret(database, CIPHER, harbour, "crm_key", "canary")
    assert await secrets.get_secret_value(database, CIPHER, "harbour", "crm_key") == "canary"
    (told,) = await secrets.list_secrets(database, "harbour")
    assert (told.name, told.updated_at) == ("crm_key", harbour.now)
    async with database.read() as connection:
        kept = (await connection.execute(select(table))).all()
    assert "canary" not in str(kept) + str(await audit_entries(database))
    assert await audit_actions(database) == [("secret.updated", "crm_key")] * 2
    assert await tenant_revision(database) == before + 2


async def test_a_secret_that_was_removed_is_gone(database, make_actor):
    harbour = await create_tenant(database, make_actor)
    await secrets.put_secret(database, CIPHER, harbour, "crm_key", "canary")
    await secrets.delete_secret(database, harbour, "crm_key")
    for refused in (
        secrets.delete_secret(database, harbour, "crm_key"),
        secrets.get_secret_value(database, CIPHER, "harbour", "crm_key"),
    ):
        with pytest.raises(NotFound):
            await refused
    assert (await audit_actions(database))[1:] == [("secret.deleted", "crm_key")]


async def test_another_tenants_secret_is_not_there_and_its_row_opens_nowhere_else(database, make_actor):
    harbour, museum = await create_tenant(database, make_actor), await create_tenant(database, make_actor, "museum")
    await secrets.put_secret(database, CIPHER, harbour, "crm_key", "canary")
    for refused in (
        secrets.get_secret_value(database, CIPHER, "museum", "crm_key"),
        secrets.delete_secret(database, museum, "crm_key"),
    ):
        with pytest.raises(NotFound):
            await refused
    assert await secrets.list_secrets(database, "museum") == []
    async with database.transaction() as connection:  # somebody who can write rows moves it
        await connection.execute(update(table).values(tenant_id="museum"))
    with pytest.raises(GatewayError):
        await secrets.get_secret_value(database, CIPHER, "museum", "crm_key")


async def test_secrets_are_bounded(database, make_actor):
    harbour = await create_tenant(database, make_actor)
    row = {"tenant_id": "harbour", "value": "", "updated_at": 1}
    await insert_rows(database, table, [row | {"name": f"s{place}"} for place in range(199)])
    await secrets.put_secret(database, CIPHER, harbour, "last", "1")
    with pytest.raises(Conflict, match="Delete one first"):
        await secrets.put_secret(database, CIPHER, harbour, "one_more", "2")
    await secrets.put_secret(database, CIPHER, harbour, "last", "3")
    assert await secrets.get_secret_value(database, CIPHER, "harbour", "last") == "3"


@pytest.mark.parametrize("value", ["", "two\nlines", "one line's end\n", "ümlaut", "x" * 8_193, "nul\0"])
def test_what_no_header_can_hold_is_no_secret(value):
    with pytest.raises(msgspec.ValidationError):
        msgspec.convert({"value": value}, NewSecret)


def test_the_longest_secret():
    assert len(msgspec.convert({"value": "~" * 8_192}, NewSecret).value) == 8_192
