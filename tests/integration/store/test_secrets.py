"""Secrets: used by calls, never told, of no use in another tenant's row."""

import msgspec
import pytest
from sqlalchemy import select, update

from tests.integration.store.things import VAULT, actions, fill_up, revision, tenant, trail
from vocelio.gateway.errors import Conflict, GatewayError, NotFound
from vocelio.gateway.store.db.schema import secrets as table
from vocelio.gateway.store.tenants import secrets
from vocelio.gateway.store.tenants.secrets import NewSecret


async def test_a_call_gets_the_secret_and_nobody_reads_it_anywhere_else(database, actor):
    harbour = await tenant(database, actor)
    before = await revision(database)
    await secrets.put(database, VAULT, harbour, "crm_key", "old-value")
    await secrets.put(database, VAULT, harbour, "crm_key", "canary")
    assert await secrets.reveal(database, VAULT, "harbour", "crm_key") == "canary"
    (told,) = await secrets.every(database, "harbour")
    assert (told.name, told.changed) == ("crm_key", harbour.at)
    async with database.reading() as connection:
        kept = (await connection.execute(select(table))).all()
    assert "canary" not in str(kept) + str(await trail(database))
    assert await actions(database) == [("secret.changed", "crm_key")] * 2
    assert await revision(database) == before + 2


async def test_a_secret_that_was_removed_is_gone(database, actor):
    harbour = await tenant(database, actor)
    await secrets.put(database, VAULT, harbour, "crm_key", "canary")
    await secrets.remove(database, harbour, "crm_key")
    for refused in (
        secrets.remove(database, harbour, "crm_key"),
        secrets.reveal(database, VAULT, "harbour", "crm_key"),
    ):
        with pytest.raises(NotFound):
            await refused
    assert (await actions(database))[1:] == [("secret.removed", "crm_key")]


async def test_another_tenants_secret_is_not_there_and_its_row_opens_nowhere_else(database, actor):
    harbour, museum = await tenant(database, actor), await tenant(database, actor, "museum")
    await secrets.put(database, VAULT, harbour, "crm_key", "canary")
    for refused in (
        secrets.reveal(database, VAULT, "museum", "crm_key"),
        secrets.remove(database, museum, "crm_key"),
    ):
        with pytest.raises(NotFound):
            await refused
    assert await secrets.every(database, "museum") == []
    async with database.writing() as connection:  # somebody who can write rows moves it
        await connection.execute(update(table).values(tenant_id="museum"))
    with pytest.raises(GatewayError):
        await secrets.reveal(database, VAULT, "museum", "crm_key")


async def test_secrets_are_bounded(database, actor):
    harbour = await tenant(database, actor)
    row = {"tenant_id": "harbour", "value": "", "changed": 1}
    await fill_up(database, table, [row | {"name": f"s{place}"} for place in range(199)])
    await secrets.put(database, VAULT, harbour, "last", "1")
    with pytest.raises(Conflict, match="Remove one first"):
        await secrets.put(database, VAULT, harbour, "one_more", "2")
    await secrets.put(database, VAULT, harbour, "last", "3")
    assert await secrets.reveal(database, VAULT, "harbour", "last") == "3"


@pytest.mark.parametrize("value", ["", "two\nlines", "one line's end\n", "ümlaut", "x" * 8_193, "nul\0"])
def test_what_no_header_can_hold_is_no_secret(value):
    with pytest.raises(msgspec.ValidationError):
        msgspec.convert({"value": value}, NewSecret)


def test_the_longest_secret():
    assert len(msgspec.convert({"value": "~" * 8_192}, NewSecret).value) == 8_192
