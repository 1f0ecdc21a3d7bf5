"""Twilio decides who owns an account, by the token that it accepts, and a number, by the account that has it."""

import pytest
from sqlalchemy import select

from tests.integration.api.test_provisioning import assign_number, create_tenant_with_number, get_provisioning
from tests.support.api_client import PLATFORM_ACCOUNT, PLATFORM_TOKEN, ApiEnv, create_tenant
from tests.support.tenant_fixtures import CIPHER
from tests.support.two_tenants import ACCOUNT, NUMBER, OTHER_ACCOUNT, OTHER_NUMBER, TOKEN
from vocelio.gateway.config import SIMULATOR_ACCOUNT_SID
from vocelio.gateway.simulator.rest_api.server import FaultRule, TwilioRestApi
from vocelio.gateway.store.database_directory import DatabaseDirectory
from vocelio.gateway.store.db.schema import audit_log
from vocelio.gateway.store.db.schema import tenants as tenant_table
from vocelio.gateway.store.tenants import twilio_accounts

BOTH = pytest.mark.parametrize("database", ["sqlite", "postgresql"], indirect=True)
OWN = {"account_sid": ACCOUNT, "auth_token": TOKEN}
OLD_URL = "https://ceo-hotline.example/hook"


@pytest.fixture
async def twilio_api():
    """Twilio's API: the platform's account has NUMBER, a tenant's has OTHER_NUMBER."""
    async with TwilioRestApi() as emulator:
        emulator.add_account(PLATFORM_ACCOUNT, PLATFORM_TOKEN).add_number(NUMBER, voice_url=OLD_URL)
        emulator.add_account(ACCOUNT, TOKEN).add_number(OTHER_NUMBER, voice_url=OLD_URL)
        yield emulator


@pytest.fixture
async def api(database, twilio_api):
    api = ApiEnv(database, twilio=twilio_api.origin)
    yield api
    await api.provisioner.aclose()


async def status_of(client, method, path, body=None):
    return (await client.request(method, path, body)).status


async def routed(api, number):
    """Return the tenant and the account that a call of the number reaches, None if it leads nowhere."""
    config = await DatabaseDirectory(api.database, CIPHER, lambda: api.now).get_call_config(number)
    if config is None:
        return None
    return (config.tenant if isinstance(config.tenant, str) else config.tenant.id), config.account_sid


@BOTH
async def test_a_tenant_cannot_take_a_number_out_of_the_platforms_account(api, twilio_api):
    """C2 of the security review, step by step."""
    thief = await create_tenant_with_number(api, "thief", number=None)
    invented = {"account_sid": "AC" + "d" * 32, "auth_token": "x" * 32}
    assert await status_of(thief, "POST", "/v1/numbers", {"number": NUMBER}) == 403
    assert await status_of(thief, "PUT", "/v1/tenant/twilio", invented) == 422
    assert await status_of(thief, "POST", "/v1/numbers", {"number": NUMBER}) == 403
    assert await status_of(thief, "PUT", "/v1/tenant/twilio", OWN) == 204, "an account that it really has"
    assert await status_of(thief, "POST", "/v1/numbers", {"number": NUMBER}) == 409, "has not that number"
    assert await status_of(thief, "POST", "/v1/numbers/import", {"numbers": [NUMBER]}) == 200
    assert await status_of(thief, "DELETE", "/v1/tenant/twilio") == 204
    assert await status_of(thief, "PUT", f"/v1/numbers/{NUMBER}/assignment", {"flow": "desk"}) == 404
    await api.provisioner.process_due()
    assert twilio_api.find_requests("POST") == []
    assert await routed(api, NUMBER) is None


@pytest.mark.parametrize(
    ("account_sid", "auth_token", "path"),
    [
        ("AC" + "d" * 32, "x" * 32, "auth_token"),  # no such account
        (ACCOUNT, "x" * 32, "auth_token"),
        (PLATFORM_ACCOUNT, "x" * 32, "auth_token"),
        (PLATFORM_ACCOUNT, PLATFORM_TOKEN.replace(" ", "-"), "account_sid"),
        (SIMULATOR_ACCOUNT_SID, "x" * 32, "auth_token"),
        (OTHER_ACCOUNT, TOKEN, "account_sid"),  # suspended
    ],
)
async def test_account_is_accepted_only_if_twilio_accepts_its_token(api, twilio_api, account_sid, auth_token, path):
    twilio_api.add_account(PLATFORM_ACCOUNT, PLATFORM_TOKEN.replace(" ", "-"))
    twilio_api.add_account(OTHER_ACCOUNT, TOKEN).status = "suspended"
    admin = await create_tenant(api, "harbour")
    refused = await admin.request("PUT", "/v1/tenant/twilio", {"account_sid": account_sid, "auth_token": auth_token})
    assert (refused.status, refused.json["errors"][0]["path"]) == (422, path)
    assert (await admin.request("GET", "/v1/tenant")).json["account_sid"] == ""
    assert auth_token not in refused.body.decode()


FAULTS = pytest.mark.parametrize("fault", [FaultRule(), FaultRule(500), FaultRule(429), FaultRule(503)])


@FAULTS
async def test_nothing_is_changed_while_twilio_does_not_answer(api, twilio_api, fault):
    admin = await create_tenant_with_number(api)
    platform = await api.platform_client("harbour")
    twilio_api.add_account(PLATFORM_ACCOUNT, PLATFORM_TOKEN).add_number("+13072240001")
    before = (await admin.request("GET", "/v1/numbers")).json
    twilio_api.add_fault(fault, times=1_000)
    for client, method, path, body in (
        (admin, "PUT", "/v1/tenant/twilio", OWN),
        (platform, "POST", "/v1/numbers", {"number": "+13072240001"}),
        (platform, "POST", "/v1/numbers/import", {"all": True}),
        (admin, "PUT", f"/v1/numbers/{NUMBER}/assignment", {"flow": "desk"}),
    ):
        refused = await client.request(method, path, body)
        assert (refused.status, "Retry-After".lower() in refused.headers) == (503, True), (method, path)
    assert (await admin.request("GET", "/v1/numbers")).json == before
    assert (await admin.request("GET", "/v1/tenant")).json["account_sid"] == ""
    twilio_api.clear_faults()
    await assign_number(admin)
    twilio_api.add_fault(fault, times=1_000)
    assert await routed(api, NUMBER) == ("harbour", ""), "calls of verified numbers go on"


@BOTH
async def test_account_moves_to_whoever_proves_its_token(api, twilio_api):
    former, owner = await create_tenant_with_number(api, "harbour", None), await create_tenant(api, "museum")
    assert await status_of(former, "PUT", "/v1/tenant/twilio", OWN) == 204
    assert await status_of(former, "POST", "/v1/numbers", {"number": OTHER_NUMBER}) == 201
    await assign_number(former, OTHER_NUMBER)
    wrong = await owner.request("PUT", "/v1/tenant/twilio", {**OWN, "auth_token": "x" * 32}, X_Request_Id="one")
    unknown = {"account_sid": "AC" + "e" * 32, "auth_token": "x" * 32}
    nobodys = await owner.request("PUT", "/v1/tenant/twilio", unknown, X_Request_Id="one")
    assert (wrong.status, wrong.body) == (422, nobodys.body), "the answer does not tell who is a customer"
    assert await routed(api, OTHER_NUMBER) == ("harbour", ACCOUNT)
    assert await status_of(owner, "PUT", "/v1/tenant/twilio", OWN) == 204
    assert (await former.request("GET", "/v1/tenant")).json["account_sid"] == ""
    assert await routed(api, OTHER_NUMBER) is None
    failed = await get_provisioning(former, OTHER_NUMBER)
    assert (failed["state"], "lead nowhere" in failed["error"]) == ("failed", True)
    assert await status_of(owner, "POST", "/v1/numbers", {"number": OTHER_NUMBER}) == 201
    assert await routed(api, OTHER_NUMBER) == ("museum", ACCOUNT)
    assert await status_of(former, "GET", f"/v1/numbers/{OTHER_NUMBER}") == 404
    (last, *_) = (await former.request("GET", "/v1/audit")).json["items"]
    assert (last["action"], last["key_id"]) == ("number.claim_revoked", "twilio")
    assert "museum" not in (await former.request("GET", "/v1/audit")).body.decode()


@pytest.mark.parametrize("by", ["create", "import", "import all"])
async def test_claim_without_proof_does_not_block_the_owner(database, twilio_api, by):
    """M6: a number claimed while there was no account to ask is the real owner's as soon as it proves to have it."""
    simulator = ApiEnv(database, twilio=twilio_api.origin, tokens={SIMULATOR_ACCOUNT_SID: "a token"})
    squatter = await create_tenant_with_number(simulator, "squatter", None)
    assert await status_of(squatter, "POST", "/v1/numbers", {"number": OTHER_NUMBER}) == 201
    await assign_number(squatter, OTHER_NUMBER)
    assert await routed(simulator, OTHER_NUMBER) == ("squatter", SIMULATOR_ACCOUNT_SID)
    api = ApiEnv(database, twilio=twilio_api.origin)
    owner = await create_tenant(api, "owner")
    assert await status_of(owner, "PUT", "/v1/tenant/twilio", OWN) == 204
    path, body = {
        "create": ("/v1/numbers", {"number": OTHER_NUMBER}),
        "import": ("/v1/numbers/import", {"numbers": [OTHER_NUMBER]}),
        "import all": ("/v1/numbers/import", {"all": True}),
    }[by]
    answer = await owner.request("POST", path, body)
    assert answer.status in (200, 201)
    assert await routed(api, OTHER_NUMBER) == ("owner", ACCOUNT)
    assert (await squatter.request("GET", "/v1/numbers")).json["items"] == []
    history = (await squatter.request("GET", f"/v1/numbers/{OTHER_NUMBER}/assignments")).json["items"]
    assert [line["flow"] for line in history] == [None, "desk"]
    for each in (simulator, api):
        await each.provisioner.aclose()


async def test_the_platform_takes_a_number_of_its_account_from_a_claim_without_proof(database, twilio_api):
    simulator = ApiEnv(database, twilio=twilio_api.origin, tokens={SIMULATOR_ACCOUNT_SID: "a token"})
    squatter = await create_tenant_with_number(simulator, "squatter", None)
    assert await status_of(squatter, "POST", "/v1/numbers", {"number": NUMBER}) == 201
    await assign_number(squatter)
    api = ApiEnv(database, twilio=twilio_api.origin)
    await api.provisioner.process_due()
    assert twilio_api.find_requests("POST") == [], "never provisioned with the platform's credentials"
    await create_tenant_with_number(api)
    assert await routed(api, NUMBER) == ("harbour", "")
    other = await api.platform_client("squatter")
    assert await status_of(other, "POST", "/v1/numbers", {"number": NUMBER}) == 409, "claims of the platform stand"
    for each in (simulator, api):
        await each.provisioner.aclose()


async def test_number_that_has_left_the_account_is_not_assigned(api, twilio_api):
    admin = await create_tenant_with_number(api)
    twilio_api.add_account(PLATFORM_ACCOUNT, PLATFORM_TOKEN).delete_number(NUMBER)
    refused = await admin.request("PUT", f"/v1/numbers/{NUMBER}/assignment", {"flow": "desk"})
    assert (refused.status, PLATFORM_ACCOUNT in refused.json["detail"]) == (409, True)


@BOTH
async def test_changed_account_is_checked_for_the_tenants_numbers(api, twilio_api):
    admin = await create_tenant_with_number(api)
    assert await status_of(admin, "PUT", "/v1/tenant/twilio", OWN) == 204
    assert await status_of(admin, "POST", "/v1/numbers", {"number": OTHER_NUMBER}) == 201
    await assign_number(admin, OTHER_NUMBER)
    await assign_number(admin)
    assert (await routed(api, NUMBER), await routed(api, OTHER_NUMBER)) == (("harbour", ""), ("harbour", ACCOUNT))
    there = twilio_api.add_account(OTHER_ACCOUNT, TOKEN)
    assert await status_of(admin, "PUT", "/v1/tenant/twilio", {**OWN, "account_sid": OTHER_ACCOUNT}) == 204
    assert (await routed(api, NUMBER), await routed(api, OTHER_NUMBER)) == (("harbour", ""), None)
    there.add_number(OTHER_NUMBER)
    assert await status_of(admin, "PUT", "/v1/tenant/twilio", {**OWN, "account_sid": OTHER_ACCOUNT}) == 204
    assert await routed(api, OTHER_NUMBER) == ("harbour", OTHER_ACCOUNT)
    assert await status_of(admin, "DELETE", "/v1/tenant/twilio") == 204
    assert (await routed(api, NUMBER), await routed(api, OTHER_NUMBER)) == (("harbour", ""), None)


async def test_token_is_stored_encrypted_and_never_shown(api, twilio_api):
    admin = await create_tenant(api, "harbour")
    assert await status_of(admin, "PUT", "/v1/tenant/twilio", OWN) == 204
    assert (await admin.request("GET", "/v1/tenant")).json["account_sid"] == ACCOUNT
    assert await twilio_accounts.get_auth_token(api.database, CIPHER, ACCOUNT) == TOKEN
    assert await twilio_accounts.get_auth_token(api.database, CIPHER, OTHER_ACCOUNT) is None
    async with api.database.read() as connection:
        rows = [*await connection.execute(select(tenant_table)), *await connection.execute(select(audit_log))]
    assert TOKEN not in str(rows)
    assert await status_of(admin, "DELETE", "/v1/tenant/twilio") == 204
    assert await status_of(admin, "DELETE", "/v1/tenant/twilio") == 404
    assert await twilio_accounts.get_auth_token(api.database, CIPHER, ACCOUNT) is None
