"""/v1/flows/{flow}/prompts: how far the rendering is, and another try."""

import pytest

from tests.support.api_client import ApiEnv, create_tenant
from tests.support.two_tenants import make_flow
from vocelio.gateway.clock import from_rfc3339
from vocelio.gateway.speech.interfaces import SpeechError

PROMPTS = "/v1/flows/desk/prompts"

both = pytest.mark.parametrize("database", ["sqlite", "postgresql"], indirect=True)


@pytest.fixture
async def admin(api):
    """The admin of a tenant that has promoted a flow."""
    client = await create_tenant(api, "harbour")
    await client.request("PUT", "/v1/flows/desk", make_flow("Good day. Hello."))
    assert (await client.request("POST", "/v1/flows/desk/promote")).status == 201
    return client


async def run_renderer(api):
    """Do what the renderer would be doing."""
    await api.renderer.reconciler.enqueue_promoted()
    await api.renderer.process_due()


@both
async def test_a_promotion_is_rendered_and_how_far_that_is_can_be_asked(api, admin):
    before = await admin.request("GET", PROMPTS)
    assert before.status == 200
    assert before.json["total"] == before.json["pending"] == 8
    assert before.json["remaining_seconds"] is None
    await run_renderer(api)
    after = (await admin.request("GET", PROMPTS)).json
    characters = sum(map(len, api.synthesizer.requests))
    assert after == {
        "version": 1,
        "total": 8,
        "ready": 8,
        "pending": 0,
        "failed": 0,
        "characters": characters,
        "remaining_characters": 0,
        "remaining_seconds": 0.0,
        "failures": [],
    }


@both
async def test_what_failed_is_told_and_tried_again_when_somebody_asks(api, admin):
    api.synthesizer.failing = {"Hello.": SpeechError("no voice of that name")}
    await run_renderer(api)
    reported = (await admin.request("GET", PROMPTS)).json
    assert (reported["failed"], reported["ready"], reported["remaining_characters"]) == (1, 7, 6)
    (trouble,) = reported["failures"]
    assert (trouble["sentence"], trouble["error"]) == ("Hello.", "no voice of that name")
    assert trouble["voice"]["tier"] == "local"
    assert from_rfc3339(trouble["next_attempt_at"]) > api.now
    api.synthesizer.failing = {}
    again = await admin.request("POST", f"{PROMPTS}/retry")
    assert (again.status, again.json) == (202, {"retried": 1})
    await api.renderer.process_due()
    assert (await admin.request("GET", PROMPTS)).json["ready"] == 8
    assert (await admin.request("POST", f"{PROMPTS}/retry")).json == {"retried": 0}
    actions = [row["action"] for row in (await admin.request("GET", "/v1/audit")).json["items"]]
    assert actions.count("prompts.retried") == 1


async def test_a_rollback_is_rendered_too(api, admin):
    await admin.request("PUT", "/v1/flows/desk", make_flow("Good evening."), If_Match='"1"')
    await admin.request("POST", "/v1/flows/desk/promote")
    await run_renderer(api)
    assert "Hello." not in api.synthesizer.requests
    await admin.request("POST", "/v1/flows/desk/rollback", {"version": 1})
    await run_renderer(api)
    assert "Hello." in api.synthesizer.requests


async def test_a_flow_that_was_never_promoted_has_none(api):
    admin = await create_tenant(api, "harbour")
    await admin.request("PUT", "/v1/flows/desk", make_flow())
    for method, path in (("GET", PROMPTS), ("POST", f"{PROMPTS}/retry")):
        refused = await admin.request(method, path)
        assert (refused.status, "never promoted" in refused.json["detail"]) == (409, True)
    assert (await admin.request("GET", "/v1/flows/nothing/prompts")).status == 404


async def test_a_gateway_that_renders_nothing_says_so(database):
    api = ApiEnv(database, renders=False)
    admin = await create_tenant(api, "harbour")
    await admin.request("PUT", "/v1/flows/desk", make_flow())
    assert (await admin.request("POST", "/v1/flows/desk/promote")).status == 201
    assert "renders no prompts" in (await admin.request("GET", PROMPTS)).json["detail"]
