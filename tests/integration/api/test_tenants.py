"""Tenants: made and changed by the platform, their settings by their admins; and the trail of it all."""

import asyncio

import pytest
from sqlalchemy import select

from tests.support.api_client import create_tenant
from vocelio.gateway.clock import to_rfc3339
from vocelio.gateway.store.db.schema import tenants as table

both = pytest.mark.parametrize("database", ["sqlite", "postgresql"], indirect=True)


async def test_what_is_left_out_gets_its_default(api):
    platform = await api.platform_client()
    made = await platform.request("POST", "/v1/tenants", {"id": "harbour", "name": "Harbour Tools"})
    assert (made.status, made.headers["location"]) == (201, "/v1/tenants/harbour")
    assert (await platform.request("GET", "/v1/tenants/harbour")).json == made.json
    assert made.json["voice"]["tier"] == "local"
    assert (made.json["account_sid"], made.json["suspended"], made.json["created_at"]) == (
        "",
        False,
        to_rfc3339(api.now),
    )


@both
async def test_a_name_is_taken_once(api):
    platform = await api.platform_client()
    body = {"id": "harbour", "name": "Harbour Tools"}
    answers = await asyncio.gather(*(platform.request("POST", "/v1/tenants", body) for _ in range(3)))
    assert sorted(answer.status for answer in answers) == [201, 409, 409]


async def test_a_change_changes_what_it_names(api):
    admin = await create_tenant(api, "harbour", error_message="Sorry.", max_concurrent_calls=5)
    before = (await admin.request("GET", "/v1/tenant")).json
    voice = {"tier": "azure", "name": "en-US-JennyNeural"}
    after = await admin.request("PATCH", "/v1/tenant", {"voice": voice, "max_concurrent_calls": None})
    assert after.json == {**before, "voice": {**before["voice"], **voice}, "max_concurrent_calls": None}
    assert (await admin.request("GET", "/v1/tenant")).json == after.json


async def test_a_change_of_nothing_leaves_no_trail(api):
    admin = await create_tenant(api, "harbour", error_message="Sorry.")
    trail = (await admin.request("GET", "/v1/audit")).json
    assert (await admin.request("PATCH", "/v1/tenant", {"error_message": "Sorry."})).status == 200
    assert (await admin.request("PATCH", "/v1/tenant", {})).status == 200
    assert (await admin.request("GET", "/v1/audit")).json == trail


@pytest.mark.parametrize(
    ("change", "path"),
    [
        ({"time_zone": "Europe/Belrin"}, "time_zone"),
        ({"time_zone": "../etc/passwd"}, "time_zone"),
        ({"time_zone": "Europe"}, "time_zone"),
        ({"voice": {"speed": 9}}, "voice.speed"),
        ({"voice": None}, "voice"),
        ({"blocked_callers": ["+13105550142", "me"]}, "blocked_callers[1]"),
        ({"max_concurrent_calls": 0}, "max_concurrent_calls"),
        ({"overflow": {"action": "sing"}}, "overflow.action"),
        ({"overflow": {"action": "forward"}}, "overflow.number"),
        ({"overflow": {"action": "forward", "number": "911"}}, "overflow.number"),
        ({"overflow": {"action": "forward", "number": "+19005550123"}}, "overflow.number"),
        ({"overflow": {"action": "queue", "max_wait_seconds": 5}}, "overflow.max_wait_seconds"),
        ({"error_message": ""}, "error_message"),
        ({"suspended": True}, "suspended"),
        ({"id": "other"}, "id"),
        ({"variables": {"a": "b" * 1_001}}, "variables"),
    ],
)
async def test_a_change_that_cannot_be(api, change, path):
    admin = await create_tenant(api, "harbour")
    answer = await admin.request("PATCH", "/v1/tenant", change)
    assert (answer.status, answer.json["errors"][0]["path"]) == (422, path)


async def test_what_callers_get_when_the_gateway_is_full(api):
    admin = await create_tenant(api, "harbour")
    assert (await admin.request("GET", "/v1/tenant")).json["overflow"]["action"] == "message"
    forward = {"action": "forward", "number": "+13105550199"}
    assert (await admin.request("PATCH", "/v1/tenant", {"overflow": forward})).json["overflow"][
        "number"
    ] == "+13105550199"
    again = await admin.request("PATCH", "/v1/tenant", {"overflow": {"action": "queue"}})
    assert (again.json["overflow"]["action"], again.json["overflow"]["max_wait_seconds"]) == ("queue", 300)


async def test_a_misspelt_time_zone_is_hinted_at(api):
    admin = await create_tenant(api, "harbour")
    answer = await admin.request("PATCH", "/v1/tenant", {"time_zone": "Europe/Belrin"})
    assert answer.json["errors"][0]["hint"] == "did you mean `Europe/Berlin`?"
    assert (await admin.request("PATCH", "/v1/tenant", {"time_zone": "Europe/Berlin"})).status == 200


@both
async def test_changes_at_the_same_time_lose_nothing(api):
    admin = await create_tenant(api, "harbour")
    await asyncio.gather(
        admin.request("PATCH", "/v1/tenant", {"hold_message": "Hold on."}),
        admin.request("PATCH", "/v1/tenant", {"unavailable_message": "Later."}),
        admin.request("PATCH", "/v1/tenant", {"max_concurrent_calls": 3}),
    )
    result = (await admin.request("GET", "/v1/tenant")).json
    assert (result["hold_message"], result["unavailable_message"], result["max_concurrent_calls"]) == (
        "Hold on.",
        "Later.",
        3,
    )


async def test_a_live_calls_next_lookup_notices_a_change(api):
    admin = await create_tenant(api, "harbour")
    before = await tenant_revision(api)
    await admin.request("PATCH", "/v1/tenant", {"hold_message": "Hold on."})
    assert await tenant_revision(api) == before + 1


@both
async def test_the_trail_says_who_changed_what_from_what_to_what(api):
    admin = await create_tenant(api, "harbour", hold_message="Hold.")
    key = (await admin.request("GET", "/v1/me")).json["key_id"]
    api.now += 1
    await admin.request("PATCH", "/v1/tenant", {"hold_message": "Hold on."})
    newest, *_, oldest = (await admin.request("GET", "/v1/audit")).json["items"]
    assert {
        name: newest[name] for name in ("occurred_at", "key_id", "role", "action", "target", "before", "after")
    } == {
        "occurred_at": to_rfc3339(api.now),
        "key_id": key,
        "role": "admin",
        "action": "tenant.updated",
        "target": "harbour",
        "before": {"hold_message": "Hold."},
        "after": {"hold_message": "Hold on."},
    }
    assert (oldest["action"], oldest["role"]) == ("tenant.created", "platform")


@both
async def test_the_trail_comes_in_pages_newest_first_each_change_once(api):
    admin = await create_tenant(api, "harbour")
    for place in range(7):
        api.now += place % 2  # some at the same instant
        await admin.request("PATCH", "/v1/tenant", {"hold_message": f"Hold {place}."})
    for client in (admin, await api.platform_client()):
        seen, cursor = [], ""
        while True:
            page = (await client.request("GET", f"/v1/audit?limit=2&cursor={cursor}")).json
            seen += page["items"]
            cursor = page["next_cursor"]
            if not cursor:
                break
        assert seen == (await client.request("GET", "/v1/audit?limit=200")).json["items"]
        assert len({entry["id"] for entry in seen}) == len(seen) >= 9
        assert [entry["occurred_at"] for entry in seen] == sorted(
            (entry["occurred_at"] for entry in seen), reverse=True
        )


async def test_the_trail_can_be_asked_for_one_action_and_one_thing(api):
    admin = await create_tenant(api, "harbour")
    for name in ("sales", "billing"):
        await admin.request("PUT", f"/v1/departments/{name}", {"numbers": ["+13105550111"]})
    await admin.request("DELETE", "/v1/departments/sales")
    result = (await admin.request("GET", "/v1/audit?target=sales")).json["items"]
    assert sorted(entry["action"] for entry in result) == ["department.deleted", "department.updated"]
    result = (await admin.request("GET", "/v1/audit?action=department.updated")).json["items"]
    assert sorted(entry["target"] for entry in result) == ["billing", "sales"]


async def test_the_platform_sees_the_whole_trail_or_one_tenants(api):
    await create_tenant(api, "harbour")
    await create_tenant(api, "other")
    everything = (await (await api.platform_client()).request("GET", "/v1/audit")).json["items"]
    assert {entry["tenant"] for entry in everything} == {"", "harbour", "other"}
    item = (await (await api.platform_client("other")).request("GET", "/v1/audit")).json["items"]
    assert {entry["tenant"] for entry in item} == {"other"}


@both
async def test_tenants_come_in_pages_by_name(api):
    for name in ("b", "a-1", "c", "a", "1"):
        await create_tenant(api, name)
    platform, seen, cursor = await api.platform_client(), [], ""
    while True:
        page = (await platform.request("GET", f"/v1/tenants?limit=2&cursor={cursor}")).json
        seen += [item["id"] for item in page["items"]]
        cursor = page["next_cursor"]
        if not cursor:
            break
    assert sorted(seen) == sorted(["b", "a-1", "c", "a", "1"])


async def tenant_revision(api):
    async with api.database.read() as connection:
        return (await connection.execute(select(table.c.revision))).scalar_one()
