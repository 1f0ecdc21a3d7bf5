"""A change of VOCELIO_SECRET_KEYS: the new key in front, the old one behind it, then without the old one."""

from sqlalchemy import text

from tests.support.running_gateway import TENANT
from vocelio.gateway.crypto.encryption import SecretCipher
from vocelio.gateway.store.tenants import secrets, tenants, twilio_accounts
from vocelio.gateway.store.tenants.secrets import rotate_keys
from vocelio.gateway.store.tenants.twilio_accounts import TwilioAccount

ACCOUNT = "AC" + "1" * 32


async def test_a_new_key_takes_the_place_of_an_old_one(database, make_actor, caplog):
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
        kept = str((await connection.execute(text("SELECT value FROM secrets"))).all())
    assert "hush" not in kept
