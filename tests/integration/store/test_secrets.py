"""Secrets: readable by calls only, and useless in another tenant's row."""

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


async def test_secret_is_readable_by_calls_and_nowhere_stored_in_clear(database, make_actor):
    harbour = await create_tenant(database, make_actor)
    before = await tenant_revision(database)
    await secrets.put_secret(database, CIPHER, harbour, "crm_key", "old-value")
    await secrets.put_secret(database, CIPHER, harbour, "crm_key", "canary")
    assert await secrets.get_secret_value(database, CIPHER, "harbour", "crm_key") == "canary"
    (listed,) = await secrets.list_secrets(database, "harbour")
    assert (listed.name, listed.updated_at) == ("crm_key", harbour.now)
    async with database.read() as connection:
        rows = (await connection.execute(select(table))).all()
    assert "canary" not in str(rows) + str(await audit_entries(database))
    assert await audit_actions(database) == [("secret.updated", "crm_key")] * 2
    assert await tenant_revision(database) == before + 2


async def test_deleted_secret_is_not_found(database, make_actor):
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


async def test_secret_of_another_tenant_is_not_found_and_not_decryptable_in_its_row(database, make_actor):
    harbour, museum = await create_tenant(database, make_actor), await create_tenant(database, make_actor, "museum")
    await secrets.put_secret(database, CIPHER, harbour, "crm_key", "canary")
    for refused in (
        secrets.get_secret_value(database, CIPHER, "museum", "crm_key"),
        secrets.delete_secret(database, museum, "crm_key"),
    ):
        with pytest.raises(NotFound):
            await refused
    assert await secrets.list_secrets(database, "museum") == []
    async with database.transaction() as connection:  # as by an attacker who can write rows
        await connection.execute(update(table).values(tenant_id="museum"))
    with pytest.raises(GatewayError):
        await secrets.get_secret_value(database, CIPHER, "museum", "crm_key")


async def test_number_of_secrets_is_limited(database, make_actor):
    harbour = await create_tenant(database, make_actor)
    row = {"tenant_id": "harbour", "value": "", "updated_at": 1}
    await insert_rows(database, table, [row | {"name": f"s{place}"} for place in range(199)])
    await secrets.put_secret(database, CIPHER, harbour, "last", "1")
    with pytest.raises(Conflict, match="Delete one first"):
        await secrets.put_secret(database, CIPHER, harbour, "one_more", "2")
    await secrets.put_secret(database, CIPHER, harbour, "last", "3")
    assert await secrets.get_secret_value(database, CIPHER, "harbour", "last") == "3"


@pytest.mark.parametrize("value", ["", "two\nlines", "one line's end\n", "ümlaut", "x" * 8_193, "nul\0"])
def test_value_that_no_header_can_hold_is_rejected(value):
    with pytest.raises(msgspec.ValidationError):
        msgspec.convert({"value": value}, NewSecret)


def test_longest_value_is_accepted():
    assert len(msgspec.convert({"value": "~" * 8_192}, NewSecret).value) == 8_192
