"""Rotation of VOCELIO_SECRET_KEYS: new key in front, old key behind it, then without the old key."""

from sqlalchemy import text

from tests.support.running_gateway import TENANT
from vocelio.gateway.crypto import SecretCipher
from vocelio.gateway.store.tenants import secrets, tenants, twilio_accounts
from vocelio.gateway.store.tenants.secrets import rotate_keys
from vocelio.gateway.store.tenants.twilio_accounts import TwilioAccount

ACCOUNT = "AC" + "1" * 32


async def test_stored_secrets_are_reencrypted_with_the_new_key(database, make_actor, caplog):
    await tenants.create_tenant(database, make_actor(tenant="", role="platform"), TENANT)
    old = SecretCipher(["the old key of the test"])
    await secrets.put_secret(database, old, make_actor(), "crm", "hush")
    await twilio_accounts.put_twilio_account(
        database, old, make_actor(), TwilioAccount(ACCOUNT, "the-auth-token-of-the-tenant")
    )
    both = SecretCipher(["the new key of the test", "the old key of the test"])
    await secrets.put_secret(database, both, make_actor(), "fresh", "hush hush")
    assert await rotate_keys(database, both) == 2
    assert await rotate_keys(database, both) == 0
    new = SecretCipher(["the new key of the test"])
    assert await secrets.get_secret_value(database, new, TENANT.id, "crm") == "hush"
    assert await twilio_accounts.get_auth_token(database, new, ACCOUNT) == "the-auth-token-of-the-tenant"
    stranger = SecretCipher(["a key that never was"])
    assert await rotate_keys(database, stranger) == 0
    assert "secrets harbour/crm: a secret was encrypted with a key" in caplog.text
    async with database.read() as connection:
        stored = str((await connection.execute(text("SELECT value FROM secrets"))).all())
    assert "hush" not in stored
