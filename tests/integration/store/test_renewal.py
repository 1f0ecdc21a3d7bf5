"""A change of VOCELIO_SECRET_KEY: the new key in front, the old one behind it, then without the old one."""

from sqlalchemy import text

from tests.gateway import TENANT
from vocelio.gateway.crypto.encryption import Vault
from vocelio.gateway.store.db.key_rotation import renew
from vocelio.gateway.store.tenants import secrets, tenants
from vocelio.gateway.store.tenants.tenants import Account

ACCOUNT = "AC" + "1" * 32


async def test_a_new_key_takes_the_place_of_an_old_one(database, actor, caplog):
    await tenants.create(database, actor(tenant="", role="platform"), TENANT)
    old = Vault(["the old key of the test"])
    await secrets.put(database, old, actor(), "crm", "hush")
    await tenants.set_account(database, old, actor(), Account(ACCOUNT, "the-auth-token-of-the-tenant"))
    both = Vault(["the new key of the test", "the old key of the test"])
    await secrets.put(database, both, actor(), "fresh", "hush hush")
    assert await renew(database, both) == 2
    assert await renew(database, both) == 0
    new = Vault(["the new key of the test"])
    assert await secrets.reveal(database, new, TENANT.id, "crm") == "hush"
    assert await tenants.token(database, new, ACCOUNT) == "the-auth-token-of-the-tenant"
    stranger = Vault(["a key that never was"])
    assert await renew(database, stranger) == 0
    assert "secrets harbour/crm: a secret was kept with a key" in caplog.text
    async with database.reading() as connection:
        kept = str((await connection.execute(text("SELECT value FROM secrets"))).all())
    assert "hush" not in kept
