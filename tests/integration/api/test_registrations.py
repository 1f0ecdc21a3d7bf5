"""Numbers and Twilio through the API: told, tried again, repaired, imported; by keys of tenants and of the platform."""

import pytest

from tests.integration.api.client import PLATFORM, PLATFORM_TOKEN, PUBLIC_URL, Api, tenant
from tests.integration.api.world import ACCOUNT, NUMBER, OTHER_NUMBER, TOKEN, flow
from vocelio.gateway.config import SIMULATOR_ACCOUNT
from vocelio.gateway.simulator.rest_api.server import RestApi, Trouble

BOTH = pytest.mark.parametrize("database", ["sqlite", "postgresql"], indirect=True)
OLD = "https://old.example/answer"


@pytest.fixture
async def twilio():
    """Twilio's API, where the platform's account has two numbers."""
    async with RestApi() as emulator:
        there = emulator.account(PLATFORM, PLATFORM_TOKEN)
        for number in (NUMBER, OTHER_NUMBER):
            there.add(number, voice_url=OLD, friendly_name=f"number {number[-2:]}")
        yield emulator


@pytest.fixture
async def api(database, twilio):
    """The API, with a registrar whose turn it is when the test says so."""
    api = Api(database, twilio=twilio.origin)
    yield api
    await api.registrar.aclose()


async def made(api, name="harbour", number=NUMBER):
    """A tenant with a flow and a number: its admin."""
    admin = await tenant(api, name)
    await ok(admin, "PUT", "/v1/flows/desk", flow())
    await ok(admin, "POST", "/v1/flows/desk/promote", {"note": ""})
    if number:
        await ok(await api.platform(name), "POST", "/v1/numbers", {"number": number})
    return admin


async def ok(client, method, path, body=None):
    """The answer, which is no refusal."""
    answer = await client.ask(method, path, body)
    assert answer.status < 300, answer.body
    return answer.json if answer.body else None


async def test_of_the_platforms_account_a_tenant_takes_no_number(api):
    admin = await made(api, number=None)
    refused = await admin.ask("POST", "/v1/numbers", {"number": NUMBER})
    assert (refused.status, "platform key" in refused.json["detail"]) == (403, True)


async def assign(client, number=NUMBER):
    await ok(client, "PUT", f"/v1/numbers/{number}/assignment", {"flow": "desk"})


async def one(client, number=NUMBER):
    """What is told of a number."""
    page = await ok(client, "GET", "/v1/registrations")
    return next(item for item in page["items"] if item["number"] == number)


def url(twilio, number=NUMBER, account=PLATFORM, token=PLATFORM_TOKEN):
    return twilio.account(account, token).number(number)["voice_url"]


@BOTH
async def test_from_assignment_to_drift_to_repair_to_the_end(api, twilio):
    admin = await made(api)
    before = await one(admin)
    assert (before["state"], before["wanted"], before["found"]["voice_url"]) == (None, None, OLD)
    await assign(admin)
    pending = await one(admin)
    assert (pending["state"], pending["flow"], pending["wanted"]["voice_url"]) == (
        "pending",
        "desk",
        f"{PUBLIC_URL}/twilio/voice",
    )
    assert {line["field"] for line in pending["difference"]} == {"voice_url", "voice_fallback_url", "status_callback"}
    await api.registrar.run_due()
    assert url(twilio) == f"{PUBLIC_URL}/twilio/voice"
    assert (await one(admin))["state"] == "registered"
    twilio.account(PLATFORM, PLATFORM_TOKEN).number(NUMBER)["status_callback"] = ""
    drifted = await one(admin)
    assert drifted["state"] == "drifted"
    assert drifted["difference"] == [
        {"field": "status_callback", "wanted": f"{PUBLIC_URL}/twilio/status", "found": ""},
    ]
    repairing = await admin.ask("POST", "/v1/registrations/repair")
    assert (repairing.status, repairing.json) == (202, {"numbers": [NUMBER]})
    await api.registrar.run_due()
    assert (await one(admin))["difference"] == []
    assert await ok(admin, "POST", "/v1/registrations/repair") == {"numbers": []}
    await ok(admin, "DELETE", f"/v1/numbers/{NUMBER}/assignment")
    assert (await one(admin))["wanted"]["voice_url"] == OLD
    await api.registrar.run_due()
    assert url(twilio) == OLD
    told = [event.type for event in api.bus.events]
    assert told == ["number.registered", "number.drifted", "number.repaired", "number.restored"]
    trail = [line["action"] for line in (await ok(admin, "GET", "/v1/audit"))["items"]]
    assert trail[:3] == ["number.unassigned", "number.registration_asked", "number.assigned"]


async def test_tried_again_when_somebody_asks(api, twilio):
    admin = await made(api)
    assert (await admin.ask("POST", f"/v1/numbers/{NUMBER}/registration")).status == 409
    twilio.trouble(Trouble(500), times=100)
    await assign(admin)
    await api.registrar.run_due()
    page = await ok(admin, "GET", "/v1/registrations")
    assert "Internal Server Error" in page["problem"]
    (failed,) = page["items"]
    assert (failed["state"], failed["attempts"], failed["found"]) == ("failed", 1, None)
    assert failed["next"] > api.now
    assert (await admin.ask("POST", "/v1/registrations/repair")).status == 502
    twilio.at_peace()
    assert (await admin.ask("POST", f"/v1/numbers/{NUMBER}/registration")).status == 202
    await api.registrar.run_due()
    assert (await one(admin))["state"] == "registered"
    assert (await admin.ask("POST", "/v1/numbers/+13072240000/registration")).status == 404


async def test_what_was_assigned_before_there_was_a_registrar_is_repaired(api, twilio, database):
    admin = await made(api)
    await assign(admin)
    async with database.writing() as connection:
        await connection.exec_driver_sql("DELETE FROM registrations")
    assert (await one(admin))["state"] is None
    await ok(admin, "POST", "/v1/registrations/repair")
    await api.registrar.run_due()
    assert (await one(admin))["state"] == "registered"


@BOTH
async def test_numbers_come_in_pages_and_are_imported(api, twilio):
    admin = await made(api, number=None)
    await ok(admin, "PUT", "/v1/tenant/twilio", {"account": ACCOUNT, "token": TOKEN})
    there = twilio.account(ACCOUNT, TOKEN)
    for place in range(5):
        there.add(f"+1307224000{place}", friendly_name=f"line {place}")
    there.add(OTHER_NUMBER)
    museum = await made(api, "museum", OTHER_NUMBER)
    offered = await ok(admin, "GET", "/v1/twilio/numbers")
    assert {line["number"]: line["here"] for line in offered} == {
        **{f"+1307224000{place}": "no" for place in range(5)},
        OTHER_NUMBER: "another's",
    }
    some = await ok(admin, "POST", "/v1/numbers/import", {"numbers": ["+13072240000", NUMBER, OTHER_NUMBER]})
    assert some["imported"] == ["+13072240000"]
    assert [line["number"] for line in some["skipped"]] == [NUMBER, OTHER_NUMBER]
    rest = await ok(admin, "POST", "/v1/numbers/import", {"all": True})
    assert rest == {"imported": [f"+1307224000{place}" for place in range(1, 5)], "skipped": [], "more": 0}
    assert (await ok(admin, "GET", "/v1/numbers/+13072240003"))["label"] == "line 3"
    for wrong in ({}, {"all": True, "numbers": [NUMBER]}):
        assert (await admin.ask("POST", "/v1/numbers/import", wrong)).status == 422
    first = await ok(admin, "GET", "/v1/registrations?limit=2")
    second = await ok(admin, "GET", f"/v1/registrations?limit=3&cursor={first['next']}")
    assert [line["number"] for line in first["items"] + second["items"]] == [f"+1307224000{n}" for n in range(5)]
    assert second["next"] == ""
    assert all(line["found"] for line in second["items"])
    assert (await ok(museum, "GET", "/v1/numbers"))["items"][0]["number"] == OTHER_NUMBER


async def test_of_the_platforms_account_a_tenant_sees_its_own(api, twilio):
    admin = await made(api)
    platform = await api.platform("harbour")
    assert [line["number"] for line in await ok(admin, "GET", "/v1/twilio/numbers")] == [NUMBER]
    assert [line["here"] for line in await ok(platform, "GET", "/v1/twilio/numbers")] == ["yours", "no"]
    refused = await ok(admin, "POST", "/v1/numbers/import", {"numbers": [OTHER_NUMBER]})
    assert refused["imported"] == []
    assert (await ok(admin, "POST", "/v1/numbers/import", {"all": True}))["imported"] == []
    assert (await ok(platform, "POST", "/v1/numbers/import", {"all": True}))["imported"] == [OTHER_NUMBER]


async def test_wrong_credentials_are_told_by_all(api, twilio):
    admin = await made(api)
    await ok(admin, "PUT", "/v1/tenant/twilio", {"account": ACCOUNT, "token": "not_the_token_of_it"})
    page = await ok(admin, "GET", "/v1/registrations")
    assert (page["account"], page["own"], page["managed"]) == (ACCOUNT, True, True)
    assert "credentials" in page["problem"]
    for method, path, body in (
        ("GET", "/v1/twilio/numbers", None),
        ("POST", "/v1/numbers/import", {"all": True}),
        ("POST", "/v1/registrations/repair", None),
    ):
        answer = await admin.ask(method, path, body)
        assert (answer.status, answer.json["title"]) == (502, "Twilio refused")
        assert "not_the_token" not in answer.body.decode()


async def test_without_a_twilio_account(database, twilio):
    api = Api(database, twilio=twilio.origin, tokens={SIMULATOR_ACCOUNT: "a token"})
    admin = await made(api)
    await assign(admin)
    await api.registrar.run_due()
    page = await ok(admin, "GET", "/v1/registrations")
    assert (page["managed"], page["items"][0]["state"]) == (False, "not_managed")
    assert "TWILIO_ACCOUNT_SID" in page["problem"]
    assert (await admin.ask("GET", "/v1/twilio/numbers")).status == 409
    assert twilio.seen == []


async def test_without_a_registrar(database):
    admin = await made(Api(database))
    await assign(admin)
    assert (await admin.ask("GET", "/v1/registrations")).status == 409
